//! Where the client calls.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// Scheme and authority, such as `https://cbs.tencentcloudapi.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: String,
    host: String,
}

/// A text that is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an endpoint (`https://HOST` or `http://HOST:PORT`, and nothing after it)")]
pub struct InvalidEndpoint {
    text: String,
}

impl Endpoint {
    /// The value of the `Host` header: with the port where it is not the scheme's own.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        // A text that may hold a password is not repeated.
        let shown = if text.contains('@') { "…" } else { text };
        let invalid = || InvalidEndpoint { text: shown.to_owned() };
        let url = Url::parse(text).map_err(|_| invalid())?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str().filter(|_| bare && matches!(url.scheme(), "http" | "https"));
        let host = host.ok_or_else(invalid)?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { scheme: url.scheme().to_owned(), host })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_its_port_when_it_is_not_the_default() {
        for (text, shown, host) in [
            ("https://cbs.tencentcloudapi.com", "https://cbs.tencentcloudapi.com", "cbs.tencentcloudapi.com"),
            (
                "https://CBS.tencentcloudapi.com:443/",
                "https://cbs.tencentcloudapi.com",
                "cbs.tencentcloudapi.com",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:80", "http://[::1]", "[::1]"),
            ("https://localhost:80", "https://localhost:80", "localhost:80"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.host()), (shown, host));
        }
    }

    #[test]
    fn what_is_more_or_less_than_scheme_and_authority_is_refused() {
        for text in [
            "",
            "cbs.tencentcloudapi.com",
            "cbs.tencentcloudapi.com:443",
            "ftp://cbs.tencentcloudapi.com",
            "https://",
            "https://cbs.tencentcloudapi.com/v3",
            "https://cbs.tencentcloudapi.com?a=b",
            "https://cbs.tencentcloudapi.com#a",
            "https://user:hunter2@cbs.tencentcloudapi.com",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
