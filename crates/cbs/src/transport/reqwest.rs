//! The transport over the network: HTTP/1.1 by reqwest, TLS by rustls.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Response, redirect, retry};

use super::{Failure, Fetch, HttpRequest, HttpResponse, Timeouts, Transport, TransportError};

/// The server closes an idle connection at about 60 s; ours go well before.
const IDLE: Duration = Duration::from_secs(30);
/// A page of a hundred disks with all their tags is about 300 KB.
const LONGEST_REPLY: usize = 8 << 20;

/// A transport could not be made.
#[derive(Debug, thiserror::Error)]
#[error("TLS could not be set up")]
pub struct SetupError(#[source] reqwest::Error);

/// Sends over the network, through the proxy that the environment names, if any ([`proxy_for`]).
#[derive(Debug)]
pub struct ReqwestTransport {
    pooled: Client,
    fresh: Client,
}

impl ReqwestTransport {
    /// A transport with these bounds.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(timeouts: Timeouts) -> Result<Self, SetupError> {
        let build = |settings: ClientBuilder| {
            settings
                .connect_timeout(timeouts.connect)
                .timeout(timeouts.call)
                .pool_idle_timeout(IDLE)
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .http1_only()
                .build()
                .map_err(SetupError)
        };
        Ok(Self {
            pooled: build(Client::builder())?,
            fresh: build(Client::builder().pool_max_idle_per_host(0))?,
        })
    }

    async fn post(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let client = if request.fresh_connection { &self.fresh } else { &self.pooled };
        let mut post = client.post(&request.endpoint).body(request.body);
        for (name, value) in &request.headers {
            let mut value = HeaderValue::from_str(value).map_err(invalid)?;
            value.set_sensitive(true);
            post = post.header(HeaderName::from_bytes(name.as_bytes()).map_err(invalid)?, value);
        }
        whole(post.send().await.map_err(before_reply)?).await
    }
}

/// Fetches over the network, from the host itself.
#[derive(Debug)]
pub struct ReqwestFetch(Client);

impl ReqwestFetch {
    /// The metadata service is one hop away: who does not let in soon is not there.
    const CONNECT: Duration = Duration::from_secs(2);

    /// A fetcher.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new() -> Result<Self, SetupError> {
        let settings = Client::builder()
            .no_proxy()
            .connect_timeout(Self::CONNECT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .pool_max_idle_per_host(0)
            .http1_only();
        settings.build().map(Self).map_err(SetupError)
    }
}

impl Fetch for ReqwestFetch {
    fn get(&self, url: String) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        async move { whole(self.0.get(url).send().await.map_err(before_reply)?).await }.boxed()
    }
}

/// The reply with its body.
async fn whole(mut response: Response) -> Result<HttpResponse, TransportError> {
    let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let reply = HttpResponse {
        status: response.status().as_u16(),
        date: header(DATE),
        content_type: header(CONTENT_TYPE),
        retry_after: header(RETRY_AFTER),
        body: Bytes::new(),
    };
    Ok(HttpResponse { body: read(&mut response).await?, ..reply })
}

impl Transport for ReqwestTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        self.post(request).boxed()
    }
}

async fn read(response: &mut Response) -> Result<Bytes, TransportError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(within_reply)? {
        if body.len() + chunk.len() > LONGEST_REPLY {
            return Err(TransportError::new(Failure::TooLong));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::because(Failure::Invalid, error)
}

/// Only a failure to connect says for sure that nothing left: a connection closed after the request was read,
/// one reset and a stale one that never reached the server all look the same.
fn before_reply(error: reqwest::Error) -> TransportError {
    let failure = if error.is_builder() {
        Failure::Invalid
    } else if error.is_connect() {
        Failure::Connect
    } else if error.is_timeout() {
        Failure::TimedOut
    } else {
        Failure::Closed
    };
    TransportError::because(failure, error)
}

fn within_reply(error: reqwest::Error) -> TransportError {
    let failure = if error.is_timeout() { Failure::TimedOut } else { Failure::CutShort };
    TransportError::because(failure, error)
}

/// The proxy through which [`ReqwestTransport`] reaches `endpoint` by the environment's `HTTPS_PROXY`,
/// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, without its credentials; `None` is a direct connection.
#[must_use]
pub fn proxy_for(endpoint: &str) -> Option<String> {
    proxy_of(&Matcher::from_env(), endpoint)
}

fn proxy_of(proxies: &Matcher, endpoint: &str) -> Option<String> {
    let proxy = proxies.intercept(&endpoint.parse().ok()?)?;
    let (scheme, host) = (proxy.uri().scheme_str()?, proxy.uri().host()?);
    Some(match proxy.uri().port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_named_without_its_credentials() {
        let proxies = Matcher::builder()
            .https("http://user:hunter2@proxy.example:3128")
            .no("cbs.ap-shanghai.tencentcloudapi.com")
            .build();
        assert_eq!(
            proxy_of(&proxies, "https://cbs.ap-guangzhou.tencentcloudapi.com").as_deref(),
            Some("http://proxy.example:3128")
        );
        assert_eq!(proxy_of(&proxies, "https://cbs.ap-shanghai.tencentcloudapi.com"), None);
        assert_eq!(proxy_of(&proxies, "http://127.0.0.1:9"), None);
        let proxies = Matcher::builder().all("http://proxy.example").build();
        assert_eq!(proxy_of(&proxies, "http://127.0.0.1:9").as_deref(), Some("http://proxy.example"));
    }
}
