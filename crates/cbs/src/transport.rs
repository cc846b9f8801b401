//! What carries a request to the cloud and its reply back.
//!
//! Responsible for saying, when no reply came, whether bytes of the request may have left. It refuses to sign,
//! to read what a reply says and to try again.

mod reqwest;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::reqwest::{ReqwestFetch, ReqwestTransport, SetupError, proxy_for};

/// A `POST /`, complete: it is sent as it stands.
#[derive(Clone)]
pub struct HttpRequest {
    /// Scheme and authority, such as `https://cbs.tencentcloudapi.com`.
    pub endpoint: String,
    /// All headers save `Content-Length`, `Host` among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether the request wants a connection of its own. On a pooled connection that the server has closed
    /// meanwhile, a request that never arrived cannot be told from one that did.
    pub fresh_connection: bool,
}

impl HttpRequest {
    /// The value of a header, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

impl fmt::Debug for HttpRequest {
    /// Leaves out the body and what authorizes: the headers carry the signature and the session's token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("endpoint", &self.endpoint)
            .field("action", &self.header("X-TC-Action"))
            .field("body_len", &self.body.len())
            .field("fresh_connection", &self.fresh_connection)
            .finish_non_exhaustive()
    }
}

/// A reply of whatever status, complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The `Date` header.
    pub date: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Carries requests.
pub trait Transport: Send + Sync {
    /// Sends a request and waits for the complete reply. It must not try again on its own, nor follow redirects.
    ///
    /// The client bounds the time of the whole call itself, whatever the transport does.
    ///
    /// # Errors
    /// If no complete reply came.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// Fetches what a service of this machine or its host says.
pub trait Fetch: Send + Sync + fmt::Debug {
    /// Sends a bare `GET` and waits for the complete reply. It must go to the host of `url` itself: through no proxy,
    /// and to no place that the reply names instead.
    ///
    /// Its caller bounds the time.
    ///
    /// # Errors
    /// If no complete reply came.
    fn get(&self, url: String) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// Whether bytes of a request may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Surely none did.
    No,
    /// Some may have: the cloud may have seen the request.
    Maybe,
}

/// How a call ended without a complete reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The request could not be put into HTTP.
    Invalid,
    /// No connection: name resolution, connect, proxy or TLS handshake.
    Connect,
    /// The time of the whole call was over.
    TimedOut,
    /// The connection ended before a reply.
    Closed,
    /// The reply ended before its end.
    CutShort,
    /// The reply is longer than any reply of the API.
    TooLong,
}

impl Failure {
    /// Whether bytes may have left when this is how it ended.
    #[must_use]
    pub fn sent(self) -> Sent {
        match self {
            Self::Invalid | Self::Connect => Sent::No,
            Self::TimedOut | Self::Closed | Self::CutShort | Self::TooLong => Sent::Maybe,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "the request could not be put into HTTP",
            Self::Connect => "no connection",
            Self::TimedOut => "no complete reply in time",
            Self::Closed => "the connection ended before a reply",
            Self::CutShort => "the reply was cut short",
            Self::TooLong => "the reply is too long",
        })
    }
}

/// No complete reply came.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct TransportError {
    /// How it ended; says also whether bytes may have left.
    pub failure: Failure,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl TransportError {
    /// A failure whose cause is its own explanation.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self { failure, source: None }
    }

    /// A failure with its cause.
    #[must_use]
    pub fn because(failure: Failure, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { failure, source: Some(source.into()) }
    }
}

/// How long a transport may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, its TLS handshake included.
    pub connect: Duration,
    /// For the whole call, from the first byte to the last of the reply.
    pub call: Duration,
}

impl Default for Timeouts {
    /// 5 s to connect, 15 s in all.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), call: Duration::from_secs(15) }
    }
}
