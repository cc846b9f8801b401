//! Notifiers: how those are reached who are told of troubles.
//!
//! Responsible for the exact bytes that each expects, and for whether it has taken them. It refuses to decide what is
//! told and when: that is `backup_core::notify`, carried out by `tasks::notify`. No error of it bears an address, a
//! token or a password.

mod mail;
pub mod message;
mod ping;
mod secrets;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::{Client, RequestBuilder, Url, redirect, retry};

use crate::config::{Mail, Ping, Webhook};
use crate::report::chain;
use message::Message;

/// What a dead man's switch is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The word.
    pub signal: Signal,
    /// What its beginning and its end have in common.
    pub run: Option<String>,
    /// What there is to say.
    pub text: String,
}

/// A word to a dead man's switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Something has begun.
    Start,
    /// It ended well.
    Success,
    /// It did not.
    Fail,
    /// Nothing: it is a test.
    Test,
}

/// Why a notifier has not taken what it was sent; it may have, all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undelivered(pub String);

/// Whether something was delivered.
pub type Delivered = Result<(), Undelivered>;

/// Delivers. The caller bounds the time.
pub trait Deliver: Send + Sync {
    /// Pings.
    fn ping<'a>(&'a self, ping: &'a Ping, beat: &'a Beat) -> BoxFuture<'a, Delivered>;
    /// Posts a message.
    fn post<'a>(&'a self, hook: &'a Webhook, message: &'a Message) -> BoxFuture<'a, Delivered>;
    /// Mails a message.
    fn mail<'a>(&'a self, mail: &'a Mail, message: &'a Message) -> BoxFuture<'a, Delivered>;
}

/// Nobody is reached: where nothing is to leave the process.
pub struct Nobody;

impl Deliver for Nobody {
    fn ping<'a>(&'a self, _: &'a Ping, _: &'a Beat) -> BoxFuture<'a, Delivered> {
        nobody()
    }

    fn post<'a>(&'a self, _: &'a Webhook, _: &'a Message) -> BoxFuture<'a, Delivered> {
        nobody()
    }

    fn mail<'a>(&'a self, _: &'a Mail, _: &'a Message) -> BoxFuture<'a, Delivered> {
        nobody()
    }
}

fn nobody() -> BoxFuture<'static, Delivered> {
    std::future::ready(Err(Undelivered("there is nobody".to_owned()))).boxed()
}

/// Delivers over the network, through the proxies that the environment names.
pub struct Network {
    client: Client,
    environment: BTreeMap<String, String>,
}

/// The bound on a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// More of an answer is not read.
const LONGEST_ANSWER: usize = 64 << 10;

impl Network {
    /// Notifiers as the network reaches them; `environment` has the secrets that the configuration says are there.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(environment: BTreeMap<String, String>) -> Result<Self, Undelivered> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            // A redirect would take the message, and the token in its address, elsewhere.
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .pool_max_idle_per_host(0)
            .http1_only()
            .user_agent(concat!("cbs-backupd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Undelivered(format!("TLS could not be set up: {}", chain(&error))))?;
        Ok(Self { client, environment })
    }

    async fn address(&self, url: &crate::config::Secret) -> Result<Url, Undelivered> {
        let text = secrets::read(url, &self.environment).await?;
        use secrecy::ExposeSecret as _;
        check_address(text.expose_secret())
    }
}

impl Deliver for Network {
    fn ping<'a>(&'a self, ping: &'a Ping, beat: &'a Beat) -> BoxFuture<'a, Delivered> {
        async move {
            let url = self.address(&ping.url).await?;
            let Some(request) = ping::request(&self.client, url.clone(), ping.style, beat) else {
                return Ok(());
            };
            let answer = send(request, &url).await?;
            ping::read(ping.style, &answer).map_err(|why| Undelivered(secrets::scrub(&why, &url)))
        }
        .boxed()
    }

    fn post<'a>(&'a self, hook: &'a Webhook, message: &'a Message) -> BoxFuture<'a, Delivered> {
        async move {
            let url = self.address(&hook.url).await?;
            let secret = match &hook.secret {
                Some(secret) => Some(secrets::read(secret, &self.environment).await?),
                None => None,
            };
            let request =
                webhook::request(&self.client, url.clone(), hook.template, secret.as_ref(), message)?;
            let answer = send(request, &url).await?;
            webhook::read(hook.template, &answer).map_err(|why| Undelivered(secrets::scrub(&why, &url)))
        }
        .boxed()
    }

    fn mail<'a>(&'a self, mail: &'a Mail, message: &'a Message) -> BoxFuture<'a, Delivered> {
        async move {
            let login = match &mail.login {
                Some((name, password)) => {
                    Some((name.clone(), secrets::read(password, &self.environment).await?))
                }
                None => None,
            };
            mail::send(mail, login, message).await
        }
        .boxed()
    }
}

/// Reads the address of a hook or a ping.
///
/// # Errors
/// When it is none.
pub fn check_address(text: &str) -> Result<Url, Undelivered> {
    let refused = || Undelivered("the address is not a URL with http or https, and a host".to_owned());
    let url = Url::parse(text).map_err(|_| refused())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host();
    if fits { Ok(url) } else { Err(refused()) }
}

/// Sends a request; the answer's body, where it is a good one.
async fn send(request: RequestBuilder, url: &Url) -> Result<String, Undelivered> {
    // The error's own text has the address in it.
    let failed = |error: reqwest::Error| Undelivered(secrets::scrub(&chain(&error.without_url()), url));
    let mut answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(Undelivered(format!("HTTP {}: a redirect, which is not followed", status.as_u16())));
    }
    if !status.is_success() {
        return Err(Undelivered(format!("HTTP {}", status.as_u16())));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST_ANSWER {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The beginning of a text, of no more than so many bytes.
fn clip(text: &str, most: usize) -> String {
    const MARK: &str = "\n…";
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}
