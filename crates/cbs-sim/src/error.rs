//! The errors of the API: a code and the text beside it.

/// What `Response.Error` says.
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

    pub(crate) fn invalid_value(parameter: &str, expected: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!("The value of parameter `{parameter}` is not valid: expected {expected}."),
        )
    }
}
