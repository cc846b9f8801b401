//! Verifies TC3-HMAC-SHA256 signatures, independently of any client.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::sim::Request;

/// The parts of an Authorization header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub(crate) id: &'a str,
    date: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

/// Takes an Authorization header apart; none where it has another shape.
pub(crate) fn authorization(header: &str) -> Option<Authorization<'_>> {
    let rest = header.strip_prefix("TC3-HMAC-SHA256")?.trim_start();
    let mut parts = rest.split(',').map(str::trim);
    let credential = parts.next()?.strip_prefix("Credential=")?;
    let signed = parts.next()?.strip_prefix("SignedHeaders=")?;
    let signature = parts.next()?.strip_prefix("Signature=")?;
    let mut scope = credential.split('/');
    let (id, date, service) = (scope.next()?, scope.next()?, scope.next()?);
    let good = scope.next() == Some("tc3_request") && scope.next().is_none() && parts.next().is_none();
    let hex = signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    (good && hex && !id.is_empty()).then(|| Authorization {
        id,
        date,
        service,
        signed: signed.split(';').collect(),
        signature,
    })
}

/// Whether the signature is the one that `key` makes for this request at `timestamp` (unix seconds).
pub(crate) fn is_signed_by(
    request: &Request,
    authorization: &Authorization<'_>,
    key: &str,
    timestamp: i64,
) -> bool {
    let Ok(time) = jiff::Timestamp::from_second(timestamp) else { return false };
    if time.strftime("%Y-%m-%d").to_string() != authorization.date {
        return false;
    }
    let mut canonical = format!("{}\n{}\n\n", request.method, request.path);
    for name in &authorization.signed {
        let Some(value) = request.header(name) else { return false };
        canonical.push_str(&format!("{name}:{}\n", value.trim().to_lowercase()));
    }
    let body: &[u8] = match request.header("x-tc-content-sha256") {
        Some("UNSIGNED-PAYLOAD") => b"UNSIGNED-PAYLOAD",
        _ => &request.body,
    };
    canonical.push_str(&format!(
        "\n{}\n{}",
        authorization.signed.join(";"),
        hex::encode(Sha256::digest(body))
    ));
    let scope = format!("{}/{}/tc3_request", authorization.date, authorization.service);
    let to_sign = format!(
        "TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    let mut signing = mac(format!("TC3{key}").as_bytes(), authorization.date);
    signing = mac(&signing, authorization.service);
    signing = mac(&signing, "tc3_request");
    hex::encode(mac(&signing, &to_sign)) == authorization.signature.to_lowercase()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vendor's two published vectors.
    #[test]
    fn the_vendors_vectors_verify_and_nothing_else_does() {
        let body =
            r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        let cases = [
            (
                "AKIDz8krbsJ5yKBZQpn74WFkmLPx3*******",
                "Gu5t9xGARNpq86cd98joQYCN3*******",
                "content-type;host;x-tc-action",
                "be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3",
            ),
            (
                "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
                "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
                "content-type;host",
                "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
            ),
        ];
        for (id, key, signed, signature) in cases {
            let header = format!(
                "TC3-HMAC-SHA256 Credential={id}/2019-02-25/cvm/tc3_request, SignedHeaders={signed}, Signature={signature}"
            );
            let request = |body: &str| Request {
                method: "POST".to_owned(),
                path: "/".to_owned(),
                headers: vec![
                    ("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned()),
                    ("HOST".to_owned(), "cvm.tencentcloudapi.com".to_owned()),
                    ("X-TC-Action".to_owned(), "DescribeInstances".to_owned()),
                ],
                body: body.to_owned().into(),
            };
            let parsed = authorization(&header).unwrap();
            assert!(is_signed_by(&request(body), &parsed, key, 1_551_113_065));
            assert!(!is_signed_by(&request("{}"), &parsed, key, 1_551_113_065));
            assert!(!is_signed_by(&request(body), &parsed, "another", 1_551_113_065));
            assert!(!is_signed_by(&request(body), &parsed, key, 1_551_113_066));
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for header in [
            "",
            "Basic abc",
            "TC3-HMAC-SHA256 Credential=a/b/c/tc3_request",
            "TC3-HMAC-SHA256 Credential=a/2019-02-25/cvm/other, SignedHeaders=host, Signature=00",
        ] {
            assert_eq!(authorization(header), None, "{header}");
        }
    }
}
