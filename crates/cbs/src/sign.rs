//! The signature TC3-HMAC-SHA256 of Tencent Cloud's API 3.0.
//!
//! Responsible for one pure function from what is sent to its `Authorization` header. It refuses to read a
//! clock, to choose headers and to touch the body: what is signed here is to be sent byte for byte.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// The `Authorization` header of a `POST /` with these headers and this body.
///
/// `headers` are those to sign; `content-type` and `host` must be among them. Names and values are trimmed,
/// lower-cased and sorted as the algorithm wants it. The date in the credential's scope is the UTC date of `at`,
/// whose whole seconds must be what `X-TC-Timestamp` says.
#[must_use]
pub fn authorization(
    secret_id: &str,
    secret_key: &SecretString,
    service: &str,
    at: Timestamp,
    headers: &[(&str, &str)],
    body: &[u8],
) -> String {
    authorization_with(&mut None, secret_id, secret_key, service, at, headers, body)
}

/// What a secret key becomes for a UTC day and a service. To derive it is most of the work of a signature.
pub struct DayKey {
    secret_key: SecretString,
    scope: String,
    key: Zeroizing<[u8; 32]>,
}

impl DayKey {
    fn derive(secret_key: &SecretString, service: &str, date: &str, scope: String) -> Self {
        let secret = Zeroizing::new(format!("TC3{}", secret_key.expose_secret()));
        let key = hmac(secret.as_bytes(), date);
        let key = hmac(key.as_slice(), service);
        let key = hmac(key.as_slice(), "tc3_request");
        Self { secret_key: secret_key.clone(), scope, key }
    }

    fn is_for(&self, secret_key: &SecretString, scope: &str) -> bool {
        self.scope == scope && self.secret_key.expose_secret() == secret_key.expose_secret()
    }
}

/// The same as [`authorization`], for a caller who signs often: with the key of the day that is `kept`, or, where that is of
/// another day, service or secret key, with one that is kept from now on.
#[must_use]
pub fn authorization_with(
    kept: &mut Option<DayKey>,
    secret_id: &str,
    secret_key: &SecretString,
    service: &str,
    at: Timestamp,
    headers: &[(&str, &str)],
    body: &[u8],
) -> String {
    let (canonical, signed_headers) = canonical_request(headers, body);
    let date = at.strftime("%Y-%m-%d").to_string();
    let scope = format!("{date}/{service}/tc3_request");
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", at.as_second(), hash(canonical.as_bytes()));

    let kept_one = kept.take().filter(|kept| kept.is_for(secret_key, &scope));
    let day = kept.insert(kept_one.unwrap_or_else(|| DayKey::derive(secret_key, service, &date, scope)));
    let signature = hex::encode(hmac(day.key.as_slice(), &to_sign).as_slice());
    format!(
        "{ALGORITHM} Credential={secret_id}/{}, SignedHeaders={signed_headers}, Signature={signature}",
        day.scope
    )
}

/// The canonical request of a `POST /`, and the list of its signed headers.
///
/// A seam for checks against other implementations: its SHA-256 is the third line of what is signed.
#[must_use]
pub fn canonical_request(headers: &[(&str, &str)], body: &[u8]) -> (String, String) {
    let mut headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_lowercase()))
        .collect();
    headers.sort();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(";");
    (format!("POST\n/\n\n{lines}\n{names}\n{}", hash(body)), names)
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn hmac(key: &[u8], message: &str) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        br#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
    const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");
    const HOST: (&str, &str) = ("Host", "cvm.tencentcloudapi.com");

    fn signed(id: &str, key: &str, at: i64, headers: &[(&str, &str)]) -> String {
        let at = Timestamp::from_second(at).unwrap();
        authorization(id, &key.into(), "cvm", at, headers, BODY)
    }

    #[test]
    fn the_vendors_first_vector() {
        let headers = [HOST, ("X-TC-Action", "DescribeInstances"), CONTENT_TYPE];
        assert_eq!(
            hash(canonical_request(&headers, BODY).0.as_bytes()),
            "7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84"
        );
        assert_eq!(
            signed(
                "AKIDz8krbsJ5yKBZQpn74WFkmLPx3*******",
                "Gu5t9xGARNpq86cd98joQYCN3*******",
                1_551_113_065,
                &headers
            ),
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3*******/2019-02-25/cvm/tc3_request, \
             SignedHeaders=content-type;host;x-tc-action, \
             Signature=be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3"
        );
    }

    #[test]
    fn the_vendors_second_vector() {
        let headers = [CONTENT_TYPE, HOST];
        assert_eq!(
            hash(canonical_request(&headers, BODY).0.as_bytes()),
            "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
        );
        assert_eq!(
            signed(
                "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
                "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
                1_551_113_065,
                &headers
            ),
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, \
             SignedHeaders=content-type;host, \
             Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        );
    }

    #[test]
    fn the_date_of_the_scope_is_the_utc_date_of_the_timestamp() {
        let last_second_of_2018 = 1_546_300_799;
        assert!(signed("id", "key", last_second_of_2018, &[HOST]).contains("=id/2018-12-31/"));
        assert!(signed("id", "key", last_second_of_2018 + 1, &[HOST]).contains("=id/2019-01-01/"));
    }

    #[test]
    fn a_key_that_is_kept_is_used_for_its_day_its_service_and_its_secret_alone() {
        let mut kept = None;
        for (key, service, at) in [
            ("one", "cbs", 1_546_300_799),
            ("one", "cbs", 1_546_300_000),
            ("one", "cbs", 1_546_300_800),
            ("two", "cbs", 1_546_300_801),
            ("two", "sts", 1_546_300_802),
            ("one", "cbs", 1_546_300_803),
        ] {
            let at = Timestamp::from_second(at).unwrap();
            let afresh = authorization("id", &key.into(), service, at, &[HOST], BODY);
            let again = authorization_with(&mut kept, "id", &key.into(), service, at, &[HOST], BODY);
            assert_eq!(again, afresh, "{key} {service} {at}");
        }
    }
}
