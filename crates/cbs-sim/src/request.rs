//! What crosses the wire: a request, and what the network shall do in return.

use std::time::Duration;

use bytes::Bytes;

/// An HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// With its query, if any.
    pub path: String,
    /// In any case and order.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Bytes,
}

impl Request {
    /// A POST to `/`, as every call of the API is.
    #[must_use]
    pub fn post(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { method: "POST".to_owned(), path: "/".to_owned(), headers, body: body.into() }
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What the network does once `delay` is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// From the arrival of the request.
    pub delay: Duration,
    /// Then this.
    pub outcome: Outcome,
}

/// How a request ends, as its sender sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP reply.
    Respond(Response),
    /// The connection is closed, no byte sent.
    DropConnection,
    /// The connection is reset, no byte sent.
    ResetConnection,
    /// Nothing ever comes; the connection stays open until the sender gives up.
    NeverReply,
    /// The content-length of the whole body, only its first so many bytes, and the end of the connection.
    TruncatedBody(Response, usize),
}

/// An HTTP reply. The body's length is not among its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type` and `Date`.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Bytes,
}

impl Response {
    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}
