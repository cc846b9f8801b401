//! What a reply says.
//!
//! Responsible for telling a success from everything else: HTTP 200 may hold an error, and what has not even the
//! id of its request is no answer of the cloud's. It refuses to guess.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::action::Action;
use crate::error::Error;
use crate::transport::HttpResponse;

/// The content of a reply without an error.
#[derive(Debug)]
pub(crate) struct Content {
    /// The JSON of `Response`, an object.
    object: Bytes,
    pub(crate) request_id: Option<String>,
}

/// A reply's outermost object. Its content is passed over: what it is to be read as, only the caller knows.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Response", borrow, default)]
    response: Option<&'a RawValue>,
}

/// What tells a success from an error.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Head {
    #[serde(default)]
    request_id: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

/// Reads a reply.
pub(crate) fn read(action: Action, reply: &HttpResponse) -> Result<Content, Error> {
    let result = match reply.status {
        200 => read_body(action, &reply.body),
        status => {
            let kind = reply.content_type.as_deref().unwrap_or("no content type");
            Err(Error::unusable(action, format!("status {status} ({kind})")))
        }
    };
    result.map_err(|error| Error { retry_after: error.retry_after.max(asked_wait(reply)), ..error })
}

fn read_body(action: Action, body: &Bytes) -> Result<Content, Error> {
    // An array of the right length would pass for an object.
    let is_object = |json: &[u8]| json.trim_ascii_start().starts_with(b"{");
    let not_json = |error: serde_json::Error| {
        Error::unusable(action, format!("the reply is not JSON ({:?})", error.classify()))
    };
    let Envelope { response } = serde_json::from_slice(body).map_err(not_json)?;
    let object = response.map(RawValue::get).filter(|json| is_object(body) && is_object(json.as_bytes()));
    let Some(object) = object else {
        return Err(Error::unusable(action, "the reply has no object `Response`"));
    };
    let Head { request_id, error } = serde_json::from_str(object).map_err(not_json)?;
    let request_id = text(request_id);
    match error {
        None if request_id.is_none() => Err(Error::unusable(action, "the reply has no id of its request")),
        None => Ok(Content { object: body.slice_ref(object.as_bytes()), request_id }),
        Some(error) => Err(Error { request_id, ..refusal(action, error) }),
    }
}

fn refusal(action: Action, error: Value) -> Error {
    let Value::Object(mut error) = error else {
        return Error {
            known: false,
            ..Error::unusable(action, "the reply has an error of an unknown form")
        };
    };
    let message = text(error.remove("Message")).unwrap_or_default();
    match text(error.remove("Code")) {
        Some(code) => Error::answered(action, code, &message),
        None => Error { known: false, ..Error::unusable(action, "the reply has an error without a code") },
    }
}

impl Content {
    /// The text of a field, unless it is missing or empty.
    pub(crate) fn text(&self, field: &str) -> Option<String> {
        let mut fields: Map<String, Value> = serde_json::from_slice(&self.object).ok()?;
        text(fields.remove(field))
    }

    /// The content as a type, and the id of the request.
    pub(crate) fn decode<T: DeserializeOwned>(self, action: Action) -> Result<(T, Option<String>), Error> {
        let Self { object, request_id } = self;
        match serde_json::from_slice(&object) {
            Ok(content) => Ok((content, request_id)),
            Err(error) => {
                let message = format!("the reply is not what was asked for ({error})");
                Err(Error { request_id, ..Error::unusable(action, message) })
            }
        }
    }
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) if !text.trim().is_empty() => Some(text),
        _ => None,
    }
}

/// `Retry-After` in seconds. Its other form, a date, is not worth the clock that it would take.
fn asked_wait(reply: &HttpResponse) -> Option<Duration> {
    Some(Duration::from_secs(reply.retry_after.as_deref()?.trim().parse().ok()?))
}

/// The server's time, from the `Date` header of any reply.
pub(crate) fn server_time(reply: &HttpResponse) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(reply.date.as_deref()?.trim()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Class;

    fn reply(body: &str) -> HttpResponse {
        HttpResponse { status: 200, body: body.to_owned().into(), ..HttpResponse::default() }
    }

    fn class_of_create(reply: &HttpResponse) -> Class {
        read(Action::CreateDiskBackup, reply).unwrap_err().class
    }

    #[test]
    fn a_200_with_an_error_is_an_error() {
        let body = r#"{"Response":{"Error":{"Code":"ResourceBusy","Message":"m"},"DiskBackupId":"dbp-1","RequestId":"r"}}"#;
        let error = read(Action::CreateDiskBackup, &reply(body)).unwrap_err();
        assert_eq!((error.class, error.code.as_deref()), (Class::Busy, Some("ResourceBusy")));
        assert_eq!((error.message.as_str(), error.request_id.as_deref()), ("m", Some("r")));
    }

    #[test]
    fn what_is_no_answer_is_ambiguous_for_a_create_and_unavailable_for_a_read() {
        let gateway = HttpResponse {
            status: 502,
            content_type: Some("text/html".into()),
            body: "<html>".into(),
            ..HttpResponse::default()
        };
        let redirect =
            HttpResponse { status: 307, ..reply(r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":"r"}}"#) };
        let bodies = [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"Response":null}"#,
            r#"{"Response":[]}"#,
            r#"{"Response":["r",null]}"#,
            r#"[{"RequestId":"r"}]"#,
            r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":"r"}"#,
            r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":"r"}}}"#,
            r#"{"Response":{"Error":"x"}}"#,
            r#"{"Response":{"Error":{}}}"#,
            r#"{"Response":{"Error":{"Code":""}}}"#,
            r#"{"Response":{"Error":{"Code":7}}}"#,
            r#"{"Response":{}}"#,
            r#"{"Response":{"DiskBackupId":"dbp-1"}}"#,
            r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":null}}"#,
            r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":" "}}"#,
            r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":7}}"#,
        ];
        for reply in bodies.iter().map(|body| reply(body)).chain([gateway, redirect]) {
            assert_eq!(class_of_create(&reply), Class::Ambiguous, "{reply:?}");
            let read = read(Action::DescribeDiskBackups, &reply).unwrap_err();
            assert_eq!(read.class, Class::Unavailable, "{reply:?}");
        }
    }

    #[test]
    fn the_longer_of_both_asked_waits_counts() {
        let wait = |code: &str, header: Option<&str>| {
            let body = format!(r#"{{"Response":{{"Error":{{"Code":"{code}"}}}}}}"#);
            let reply = HttpResponse { retry_after: header.map(Into::into), ..reply(&body) };
            read(Action::DescribeDisks, &reply).unwrap_err().retry_after.map(|wait| wait.as_secs())
        };
        assert_eq!(wait("RequestLimitExceeded", None), None);
        assert_eq!(wait("RequestLimitExceeded", Some("7")), Some(7));
        assert_eq!(wait("RequestLimitExceeded.IPLimitExceeded", Some("1")), Some(2));
        assert_eq!(wait("ServiceUnavailable", Some("Fri, 31 Dec 1999 23:59:59 GMT")), None);
    }

    #[test]
    fn the_servers_time_is_its_date() {
        let at =
            |date: &str| server_time(&HttpResponse { date: Some(date.into()), ..HttpResponse::default() });
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Timestamp::from_second(784_111_777).unwrap()));
        assert_eq!(at("yesterday"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>, status: u16, header: Option<String>) {
            let reply = HttpResponse { status, date: header.clone(), retry_after: header, content_type: None, body: body.into() };
            let _ = server_time(&reply);
            let _ = read(Action::CreateDiskBackup, &reply);
        }
    }
}
