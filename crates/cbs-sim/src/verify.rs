//! TC3-HMAC-SHA256, the server's side: who signed this request, and did they sign these bytes?
//!
//! Shares no code with any client: it checks them. It takes what real clients send: header names in any case,
//! the SignedHeaders in the order in which they come, a Host with a scheme in it.

use std::collections::HashMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::request::Request;
use crate::world::Credential;

/// How far a signature's time may be from the server's, in seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// Finds the credential that `request` is signed with. Checks, in this order: the shape of Authorization, the
/// SecretId, the token and the credential's end, the age, the signature. `credentials` are those that are known, with
/// their ends.
pub(crate) fn verify<'a>(
    request: &Request,
    service: &str,
    credentials: impl IntoIterator<Item = (&'a Credential, Option<Timestamp>)>,
    now: Timestamp,
    keys: &mut Keys,
) -> Result<&'a Credential, ApiError> {
    let claim = Claim::read(request, service)?;
    let (credential, ends) = credentials
        .into_iter()
        .find(|(credential, _)| credential.secret_id == claim.secret_id)
        .ok_or_else(|| failure("SecretIdNotFound", "The SecretId is not found."))?;
    let ended = ends.is_some_and(|ends| now >= ends);
    if ended || request.header("X-TC-Token") != credential.token.as_deref() {
        return Err(failure("TokenFailure", "The token is not valid."));
    }
    if now.as_second().abs_diff(claim.timestamp.as_second()) > TOLERANCE_SECONDS {
        return Err(failure(
            "SignatureExpire",
            "The time of the signature differs from the server's by more than five minutes.",
        ));
    }
    if claim.signature != claim.sign(request, keys.of(&claim, &credential.secret_key)) {
        return Err(failure(
            "SignatureFailure",
            "The provided credentials could not be validated. Please check your signature is correct.",
        ));
    }
    Ok(credential)
}

fn failure(kind: &str, message: &str) -> ApiError {
    ApiError::new(&format!("AuthFailure.{kind}"), message)
}

/// What the Authorization header says.
struct Claim<'a> {
    secret_id: &'a str,
    /// `2019-02-25/cvm/tc3_request`.
    scope: String,
    date: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    timestamp: Timestamp,
}

impl<'a> Claim<'a> {
    fn read(request: &'a Request, service: &str) -> Result<Self, ApiError> {
        let invalid = |what: &str| failure("InvalidAuthorization", what);
        let authorization =
            request.header("Authorization").ok_or_else(|| invalid("There is no Authorization header."))?;
        let timestamp = request.header("X-TC-Timestamp").and_then(|seconds| seconds.parse().ok());
        let timestamp = timestamp
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or_else(|| invalid("X-TC-Timestamp is not a number of seconds."))?;
        let claim = Self::parse(authorization, timestamp)
            .ok_or_else(|| invalid("The Authorization header is not of the form of TC3-HMAC-SHA256."))?;
        if claim.date != timestamp.strftime("%Y-%m-%d").to_string() {
            return Err(invalid("The date of the credential scope is not that of X-TC-Timestamp."));
        }
        if claim.service != service {
            return Err(invalid("The credential scope is for another service."));
        }
        let mut signed = claim.signed_headers.split(';');
        if !["content-type", "host"].iter().all(|name| signed.clone().any(|header| header == *name)) {
            return Err(invalid("The signed headers lack content-type or host."));
        }
        if !signed.all(|name| request.header(name).is_some()) {
            return Err(invalid("A signed header is not there."));
        }
        Ok(claim)
    }

    fn parse(authorization: &'a str, timestamp: Timestamp) -> Option<Self> {
        let mut fields = authorization.strip_prefix("TC3-HMAC-SHA256 ")?.split(',').map(str::trim);
        let mut field = |name| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        let (credential, signed_headers, signature) =
            (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
        let (secret_id, scope) = credential.split_once('/')?;
        let mut parts = scope.split('/');
        let (date, service, "tc3_request", None) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let scope = scope.to_owned();
        Some(Self { secret_id, scope, date, service, signed_headers, signature, timestamp })
    }

    /// The signature that this request should bear.
    fn sign(&self, request: &Request, key: &[u8]) -> String {
        let to_sign = format!(
            "TC3-HMAC-SHA256\n{}\n{}\n{}",
            self.timestamp.as_second(),
            self.scope,
            sha256(canonical(request, self.signed_headers).as_bytes())
        );
        hex::encode(hmac(key, &to_sign))
    }
}

/// The keys of a few secret keys, days and services: to derive one is most of the work of a signature.
#[derive(Default)]
pub(crate) struct Keys(HashMap<(String, String), Vec<u8>>);

/// More are forgotten, all at once.
const KEYS: usize = 64;

impl Keys {
    fn of(&mut self, claim: &Claim<'_>, secret_key: &str) -> &[u8] {
        if self.0.len() >= KEYS {
            self.0.clear();
        }
        self.0.entry((secret_key.to_owned(), claim.scope.clone())).or_insert_with(|| {
            let key = hmac(format!("TC3{secret_key}").as_bytes(), claim.date);
            hmac(&hmac(&key, claim.service), "tc3_request")
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

fn canonical(request: &Request, signed_headers: &str) -> String {
    const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
    let headers: String = signed_headers
        .split(';')
        .map(|name| {
            let value = request.header(name).unwrap_or_default().trim().to_lowercase();
            format!("{name}:{value}\n")
        })
        .collect();
    let payload = match request.header("X-TC-Content-SHA256") {
        Some(UNSIGNED) => UNSIGNED.as_bytes(),
        _ => &request.body,
    };
    format!("{}\n{}\n\n{headers}\n{signed_headers}\n{}", request.method, request.path, sha256(payload))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;

    fn vector(id: &str, signed_headers: &str, signature: &str) -> Request {
        Request::post(
            &[
                ("content-type", "application/json; charset=utf-8"),
                ("HOST", "cvm.tencentcloudapi.com"),
                ("x-tc-action", "DescribeInstances"),
                ("X-TC-Timestamp", "1551113065"),
                (
                    "authorization",
                    &format!(
                        "TC3-HMAC-SHA256 Credential={id}/2019-02-25/cvm/tc3_request, \
                         SignedHeaders={signed_headers}, Signature={signature}"
                    ),
                ),
            ],
            BODY,
        )
    }

    fn credential(id: &str, key: &str) -> Credential {
        Credential { secret_id: id.to_owned(), secret_key: key.to_owned(), token: None, identity: None }
    }

    fn first() -> (Request, Credential) {
        let id = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3*******";
        let signature = "be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3";
        let request = vector(id, "content-type;host;x-tc-action", signature);
        (request, credential(id, "Gu5t9xGARNpq86cd98joQYCN3*******"))
    }

    /// The error's code, empty for none, `ahead` seconds after the vectors were signed.
    fn code(request: &Request, credential: &Credential, ahead: i64) -> String {
        let now = Timestamp::from_second(1_551_113_065 + ahead).unwrap();
        let mut keys = Keys::default();
        verify(request, "cvm", [(credential, None)], now, &mut keys)
            .map_or_else(|error| error.code, |_| String::new())
    }

    #[test]
    fn the_vendors_first_vector_is_accepted() {
        let (request, credential) = first();
        assert_eq!(
            sha256(canonical(&request, "content-type;host;x-tc-action").as_bytes()),
            "7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84"
        );
        assert_eq!(code(&request, &credential, 0), "");
    }

    #[test]
    fn the_vendors_second_vector_is_accepted() {
        let id = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE";
        let signature = "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168";
        let request = vector(id, "content-type;host", signature);
        assert_eq!(
            sha256(canonical(&request, "content-type;host").as_bytes()),
            "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
        );
        assert_eq!(code(&request, &credential(id, "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"), 0), "");
    }

    #[test]
    fn a_changed_byte_a_wrong_key_and_an_unknown_id_are_refused() {
        let (request, good) = first();
        let changed = Request { body: BODY.replace('1', "2").into(), ..request.clone() };
        assert_eq!(code(&changed, &good, 0), "AuthFailure.SignatureFailure");
        let other_key = Credential { secret_key: "another".to_owned(), ..good.clone() };
        assert_eq!(code(&request, &other_key, 0), "AuthFailure.SignatureFailure");
        let other_id = Credential { secret_id: "another".to_owned(), ..good };
        assert_eq!(code(&request, &other_id, 0), "AuthFailure.SecretIdNotFound");
    }

    #[test]
    fn a_signature_lives_five_minutes_either_way() {
        let (request, credential) = first();
        for (ahead, expected) in [(300, ""), (-300, ""), (301, "SignatureExpire"), (-301, "SignatureExpire")]
        {
            assert_eq!(code(&request, &credential, ahead).trim_start_matches("AuthFailure."), expected);
        }
    }

    #[test]
    fn a_token_must_come_with_its_credential_and_with_no_other() {
        let (request, bare) = first();
        let temporary = Credential { token: Some("T".to_owned()), ..bare.clone() };
        assert_eq!(code(&request, &temporary, 0), "AuthFailure.TokenFailure");
        let with = |token: &str| {
            let mut request = request.clone();
            request.headers.push(("x-tc-token".to_owned(), token.to_owned()));
            request
        };
        assert_eq!(code(&with("T"), &temporary, 0), "");
        assert_eq!(code(&with("U"), &temporary, 0), "AuthFailure.TokenFailure");
        assert_eq!(code(&with("T"), &bare, 0), "AuthFailure.TokenFailure");
    }

    #[test]
    fn an_authorization_of_another_shape_is_refused() {
        let (request, credential) = first();
        let authorization = request.header("Authorization").unwrap().to_owned();
        for wrong in [
            String::new(),
            "SKIP".to_owned(),
            authorization.replace("TC3-", "TC2-"),
            authorization.replace("2019-02-25", "2019-02-26"),
            authorization.replace("/cvm/", "/cbs/"),
            authorization.replace("tc3_request", "tc2_request"),
            authorization.replace("content-type;", ""),
            authorization.replace("x-tc-action", "x-tc-absent"),
            authorization.replace(", Signature=", ", Sig="),
        ] {
            let mut request = request.clone();
            request.headers.retain(|(name, _)| name != "authorization");
            request.headers.push(("Authorization".to_owned(), wrong.clone()));
            assert_eq!(code(&request, &credential, 0), "AuthFailure.InvalidAuthorization", "{wrong}");
        }
    }

    #[test]
    fn an_unsigned_payload_may_be_anything() {
        let (mut request, credential) = first();
        request.headers.push(("X-TC-Content-SHA256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()));
        let verdict = |body: &'static str, request: &Request| {
            let mut request = Request { body: body.into(), ..request.clone() };
            let claim = Claim::read(&request, "cvm").unwrap();
            let mut keys = Keys::default();
            let signature = claim.sign(&request, keys.of(&claim, &credential.secret_key));
            let old = claim.signature.to_owned();
            request.headers[4].1 = request.headers[4].1.replace(&old, &signature);
            request.body = "something else".into();
            code(&request, &credential, 0)
        };
        assert_eq!(verdict("one", &request), "");
        request.headers.pop();
        assert_eq!(verdict("one", &request), "AuthFailure.SignatureFailure");
    }

    #[test]
    fn what_was_derived_for_one_key_or_day_is_of_no_use_to_another() {
        let (request, good) = first();
        let mut keys = Keys::default();
        let mut verdict = |credential: &Credential| {
            let now = Timestamp::from_second(1_551_113_065).unwrap();
            verify(&request, "cvm", [(credential, None)], now, &mut keys).is_ok()
        };
        let other = Credential { secret_key: "another".to_owned(), ..good.clone() };
        assert_eq!([&good, &other, &good].map(&mut verdict), [true, false, true]);
    }
}
