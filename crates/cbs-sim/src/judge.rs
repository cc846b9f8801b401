//! In which order a request is judged, before anything is done: the cloud's own order.

use serde_json::{Map, Value};

use jiff::Timestamp;

use crate::actions::{self, Action};
use crate::sim::Request;
use crate::verify;
use crate::world::World;

/// How far a request's timestamp may be off, in seconds.
const SKEW: i64 = 300;

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// Who asks: the Authorization's shape, SecretId, token, skew, signature, in this order.
pub(crate) fn identity(request: &Request, world: &World, server_now: Timestamp) -> Result<String, ApiError> {
    let header = request.header("authorization").unwrap_or_default();
    let authorization = verify::authorization(header).ok_or_else(|| {
        ApiError::new("AuthFailure.InvalidAuthorization", "The Authorization header is malformed.")
    })?;
    let account =
        world.credentials.iter().find(|account| account.id == authorization.id).ok_or_else(|| {
            ApiError::new(
                "AuthFailure.SecretIdNotFound",
                "The SecretId is not found, please ensure that your SecretId is correct.",
            )
        })?;
    if request.header("x-tc-token").unwrap_or_default() != account.token.as_deref().unwrap_or_default() {
        return Err(ApiError::new("AuthFailure.TokenFailure", "Token verification failed."));
    }
    let timestamp = request.header("x-tc-timestamp").and_then(|text| text.parse::<i64>().ok());
    let timestamp =
        timestamp.ok_or_else(|| ApiError::new("MissingParameter", "X-TC-Timestamp is missing."))?;
    if (server_now.as_second() - timestamp).abs() > SKEW {
        return Err(ApiError::new(
            "AuthFailure.SignatureExpire",
            "The provided credentials could not be validated because of exceeding request timestamp.",
        ));
    }
    if !verify::is_signed_by(request, &authorization, &account.key, timestamp) {
        return Err(ApiError::new(
            "AuthFailure.SignatureFailure",
            "The provided credentials could not be validated. Please check your signature is correct.",
        ));
    }
    Ok(account.id.clone())
}

/// A call that may be made.
pub(crate) struct Call {
    pub(crate) run: actions::Run,
    pub(crate) body: Map<String, Value>,
}

/// What is asked: action, version, region, unknown fields, missing ones, in this order.
pub(crate) fn call(request: &Request, body: Option<Value>) -> Result<Call, ApiError> {
    if request.method != "POST" {
        return Err(ApiError::new("InvalidRequest", "Only POST is simulated."));
    }
    let name = request.header("x-tc-action").unwrap_or_default();
    let Action { fields, required, run, .. } = actions::ALL
        .iter()
        .find(|action| action.name == name)
        .ok_or_else(|| ApiError::new("InvalidAction", format!("The action `{name}` is not valid.")))?;
    if request.header("x-tc-version") != Some("2017-03-12") {
        return Err(ApiError::new("NoSuchVersion", "The version is not valid."));
    }
    if request.header("x-tc-region").unwrap_or_default().is_empty() {
        return Err(ApiError::new("MissingParameter", "X-TC-Region is missing."));
    }
    let Some(Value::Object(body)) = body else {
        return Err(ApiError::new("InvalidParameter", "The body is not a JSON object."));
    };
    if let Some(unknown) = body.keys().find(|key| !fields.contains(&key.as_str())) {
        return Err(ApiError::new(
            "UnknownParameter",
            format!("The parameter `{unknown}` is not recognized."),
        ));
    }
    if let Some(missing) = required.iter().find(|key| !body.contains_key(**key)) {
        return Err(ApiError::new(
            "MissingParameter",
            format!("The request is missing a required parameter `{missing}`."),
        ));
    }
    Ok(Call { run: *run, body })
}
