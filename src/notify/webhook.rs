//! Hooks: the body that each kind expects, its signature, and what its answer means.
//!
//! Responsible for the vendors' formats: WeCom, DingTalk and Feishu answer 200 to a refusal, too, and say so in the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use super::message::Message;
use super::{Undelivered, clip};
use crate::config::Template;

/// A request that posts a message.
pub(super) fn request(
    client: &Client,
    mut url: Url,
    template: Template,
    secret: Option<&SecretString>,
    message: &Message,
) -> Result<RequestBuilder, Undelivered> {
    if let (Template::Dingtalk, Some(secret)) = (template, secret) {
        let millis = message.at.as_millisecond();
        let key = secret.expose_secret();
        let sign = signature(key.as_bytes(), format!("{millis}\n{key}").as_bytes())?;
        url.query_pairs_mut().append_pair("timestamp", &millis.to_string()).append_pair("sign", &sign);
    }
    let body = body(template, secret, message)?.to_string();
    Ok(client.post(url).header(CONTENT_TYPE, "application/json").body(body))
}

/// The body that a kind of hook expects. Bounds are the vendors', in bytes.
fn body(template: Template, secret: Option<&SecretString>, message: &Message) -> Result<Value, Undelivered> {
    let text = format!("{}\n{}", message.title, message.text);
    Ok(match template {
        Template::Json => {
            serde_json::to_value(message).map_err(|error| Undelivered(format!("the message: {error}")))?
        }
        Template::Slack => {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({ "text": clip(&text, 4_000) })
        }
        Template::Wecom => json!({ "msgtype": "text", "text": { "content": clip(&text, 2_048) } }),
        Template::Dingtalk => json!({ "msgtype": "text", "text": { "content": clip(&text, 20_000) } }),
        Template::Feishu => {
            let mut body = json!({ "msg_type": "text", "content": { "text": clip(&text, 18_000) } });
            if let Some(secret) = secret {
                let seconds = message.at.as_second().to_string();
                // The text is the key here, and what is signed is empty.
                let key = format!("{seconds}\n{}", secret.expose_secret());
                body["sign"] = signature(key.as_bytes(), b"")?.into();
                body["timestamp"] = seconds.into();
            }
            body
        }
    })
}

fn signature(key: &[u8], text: &[u8]) -> Result<String, Undelivered> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|_| Undelivered("the secret cannot be used as a key".to_owned()))?;
    mac.update(text);
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

/// Whether an answer says that the message was taken.
pub(super) fn read(template: Template, answer: &str) -> Result<(), String> {
    let (code, why) = match template {
        Template::Json | Template::Slack => return Ok(()),
        Template::Wecom | Template::Dingtalk => ("errcode", "errmsg"),
        Template::Feishu => ("code", "msg"),
    };
    let Ok(said) = serde_json::from_str::<Value>(answer) else {
        return Err("the answer is not that of such a hook".to_owned());
    };
    match said[code].as_i64() {
        Some(0) => Ok(()),
        Some(number) => {
            let why = said[why].as_str().unwrap_or_default();
            Err(format!("refused: {number} {}", clip(&why.replace(char::is_control, " "), 200)))
        }
        None => Err("the answer is not that of such a hook".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        let mut message = Message::test("ops1".parse().unwrap(), "2026-11-24T18:30:00Z".parse().unwrap());
        message.title = "cbs-backupd ops1: db: 1 disk failed".to_owned();
        message.text = text.to_owned();
        message
    }

    fn bodies(template: Template, secret: Option<&str>, text: &str) -> Value {
        body(template, secret.map(SecretString::from).as_ref(), &message(text)).unwrap()
    }

    #[test]
    fn each_kind_of_hook_gets_the_body_that_it_expects() {
        let text = "cbs-backupd ops1: db: 1 disk failed\n5 < 6 & 7 > 6";
        let content = |template| bodies(template, None, "5 < 6 & 7 > 6");
        assert_eq!(
            content(Template::Slack),
            json!({ "text": "cbs-backupd ops1: db: 1 disk failed\n5 &lt; 6 &amp; 7 &gt; 6" })
        );
        assert_eq!(content(Template::Wecom), json!({ "msgtype": "text", "text": { "content": text } }));
        assert_eq!(content(Template::Dingtalk), json!({ "msgtype": "text", "text": { "content": text } }));
        assert_eq!(content(Template::Feishu), json!({ "msg_type": "text", "content": { "text": text } }));
    }

    #[test]
    fn a_text_that_is_too_long_ends_at_a_character() {
        let long = bodies(Template::Wecom, None, &"盘".repeat(2_000));
        let content = long["text"]["content"].as_str().unwrap();
        assert!((2_040..=2_048).contains(&content.len()) && content.ends_with("盘\n…"), "{}", content.len());
    }

    /// Signed by hand: `printf '%s\n%s' MILLIS SECRET | openssl dgst -sha256 -hmac SECRET -binary | base64`, and for
    /// Feishu the other way round.
    #[test]
    fn messages_are_signed_as_the_vendors_say() {
        let client = Client::new();
        let url: Url = "https://host/robot/send?access_token=abc".parse().unwrap();
        let secret = SecretString::from("SECdemo");
        let request =
            request(&client, url, Template::Dingtalk, Some(&secret), &message("x")).unwrap().build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://host/robot/send?access_token=abc&timestamp=1795545000000&sign=aPodwa4yvwV%2BLVZTzOYsvFXUDF3i%2F2DWcrdHaOFeUU8%3D"
        );
        let signed = bodies(Template::Feishu, Some("SECdemo"), "x");
        assert_eq!(
            (&signed["timestamp"], &signed["sign"]),
            (&"1795545000".into(), &"tyNHc9B4toQrusEE5gddGL9h3E6E+QfHGGL7KATqsuE=".into())
        );
    }

    #[test]
    fn a_refusal_is_one_whatever_its_status() {
        assert_eq!(read(Template::Wecom, r#"{"errcode":0,"errmsg":"ok"}"#), Ok(()));
        let refused = read(Template::Wecom, r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#);
        assert_eq!(refused, Err("refused: 93000 invalid webhook url".to_owned()));
        let refused = read(Template::Dingtalk, r#"{"errcode":310000,"errmsg":"sign not match"}"#);
        assert_eq!(refused, Err("refused: 310000 sign not match".to_owned()));
        assert_eq!(read(Template::Feishu, r#"{"code":0,"msg":"success"}"#), Ok(()));
        assert_eq!(
            read(Template::Feishu, r#"{"code":19021,"msg":"bad sign"}"#),
            Err("refused: 19021 bad sign".to_owned())
        );
        for odd in ["ok", "<html>", "{}"] {
            assert!(read(Template::Wecom, odd).is_err(), "{odd}");
            assert_eq!(read(Template::Slack, odd), Ok(()));
        }
    }
}
