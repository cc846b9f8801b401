//! The metadata service of a cloud machine: `GET`, plain text, no signature.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::faults::Effect;
use crate::issuer::Issuer;
use crate::request::Request;

const ROOT: &str = "/latest/meta-data/cam/security-credentials/";

/// What fault scripts and the ledger call a question of the service.
pub(crate) const ACTION: &str = "Metadata";

/// Status and body.
pub(crate) type Answer = (u16, Bytes);

/// The role that a request asks for, empty if it asks which there is; none if it asks nothing of the kind.
pub(crate) fn role_asked_for(request: &Request) -> Option<&str> {
    (request.method == "GET").then(|| request.path.strip_prefix(ROOT)).flatten()
}

/// The answer.
pub(crate) fn answer(issuer: &mut Issuer, role: &str, now: Timestamp) -> Answer {
    if role.is_empty() {
        return issuer.machine.role.clone().map_or_else(not_found, |name| (200, name.into()));
    }
    issuer.show(role, now).map_or_else(not_found, |issued| (200, issued.as_metadata().to_string().into()))
}

fn not_found() -> Answer {
    (404, "404 page not found".into())
}

/// No one will read this answer.
pub(crate) fn nothing() -> Answer {
    (500, Bytes::new())
}

/// What a fault that is the API's own puts in the place of an answer.
pub(crate) fn in_place(fault: &Effect) -> Option<Answer> {
    let code = match fault {
        Effect::Error { code, .. } | Effect::ErrorAfter { code, .. } => code,
        Effect::NoResult => "Success",
        _ => return None,
    };
    Some((200, json!({ "Code": code }).to_string().into()))
}
