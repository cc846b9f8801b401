//! The client: one endpoint, one identity, one region.
//!
//! Responsible for a call from its permit to its content: signing at the moment of sending, the bound on the
//! call's time, the one correction of clock or credentials that may follow, and telling the lane of a throttle.
//! It refuses to try again for any other reason: that is its caller's to decide.

mod endpoint;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::time::timeout;

pub use self::endpoint::{Endpoint, InvalidEndpoint};
use crate::action::{Action, Kind};
use crate::credentials::{Credentials, ProvideCredentials};
use crate::error::{Class, Error, Remedy};
use crate::limiter::{Lane, LaneKey, Lanes, Permit};
use crate::reply::{self, Content};
use crate::sign::{self, DayKey};
use crate::transport::{Failure, HttpRequest, HttpResponse, Timeouts, Transport, TransportError};

/// Exactly this: the signed bytes are the sent bytes.
const CONTENT_TYPE: &str = "application/json";

/// What the cloud documents for most actions, in calls a second.
const USUAL_LIMIT: u32 = 20;

/// Wall-clock time, as the caller keeps it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// What the client acts through.
#[derive(Clone)]
pub struct Ports {
    /// What it signs with.
    pub credentials: Arc<dyn ProvideCredentials>,
    /// What carries its requests.
    pub transport: Arc<dyn Transport>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The lanes of the process.
    pub lanes: Arc<Lanes>,
}

/// What the client is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The region, such as `ap-guangzhou`.
    pub region: String,
    /// Where it calls.
    pub endpoint: Endpoint,
    /// Who calls, as far as limits go: two clients of one account share their lanes by naming it alike.
    pub identity: String,
    /// The most calls of an action in any second. It is meant for the actions that the cloud limits to 20; those
    /// with another limit get as much more. The cloud's own limits, if none.
    pub rate_limit: Option<NonZeroU32>,
    /// The bound on the whole of each call.
    pub timeout: Duration,
    /// Who calls, for the cloud's own logs: `PROGRAM_VERSION`. What the header may not carry becomes `-`.
    pub request_client: String,
}

impl Settings {
    /// The usual settings for a region and an identity: the region's endpoint, the cloud's limits, 15 s.
    ///
    /// # Errors
    /// If the region does not make a host name.
    pub fn new(region: impl Into<String>, identity: impl Into<String>) -> Result<Self, InvalidEndpoint> {
        let region = region.into();
        Ok(Self {
            endpoint: format!("https://cbs.{region}.tencentcloudapi.com").parse()?,
            region,
            identity: identity.into(),
            rate_limit: None,
            timeout: Timeouts::default().call,
            request_client: format!("cbs-backupd_{}", env!("CARGO_PKG_VERSION")),
        })
    }
}

/// A client. Cloning it is cheap, and a clone is the same client.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    ports: Ports,
    lanes: [Arc<Lane>; Action::ALL.len()],
    time: Mutex<ServerTime>,
    day_key: Mutex<Option<DayKey>>,
}

/// How far the server's clock is ahead of ours.
#[derive(Clone, Copy, Debug, Default)]
struct ServerTime {
    /// By the last reply that had a date.
    seen: Option<SignedDuration>,
    /// As far as signatures reckon with it: only once one was refused, for a date may be any proxy's.
    applied: SignedDuration,
}

impl Client {
    /// A client. Its lanes are taken, and their quiet second begins, now.
    #[must_use]
    pub fn new(settings: Settings, ports: Ports) -> Self {
        let lanes = Action::ALL.map(|action| {
            let key = LaneKey {
                identity: settings.identity.clone(),
                host: settings.endpoint.host().to_owned(),
                action,
            };
            // In the proportion of the documented limits: the rate that is set is that of most actions, of 20.
            let rate = settings.rate_limit.map_or(USUAL_LIMIT, NonZeroU32::get);
            let rate = rate.saturating_mul(action.documented_limit()) / USUAL_LIMIT;
            ports.lanes.lane(key, NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN))
        });
        Self {
            inner: Arc::new(Inner {
                settings,
                ports,
                lanes,
                time: Mutex::default(),
                day_key: Mutex::default(),
            }),
        }
    }

    /// The lane of an action.
    #[must_use]
    pub fn lane(&self, action: Action) -> &Arc<Lane> {
        &self.inner.lanes[action as usize]
    }

    /// Where it calls.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.settings.endpoint
    }

    /// By how much the server's clock is ahead of ours, by the last reply that had a date; to about a second.
    #[must_use]
    pub fn server_offset(&self) -> Option<SignedDuration> {
        self.time().seen
    }

    /// Forgets the server's time: for a caller whose own clock has stepped, so that what it learns next is of the
    /// new time.
    pub fn forget_server_time(&self) {
        *self.time() = ServerTime::default();
    }

    /// Makes a call: sends it, and once more if the cloud refused it for its time or its credential and that
    /// could be put right. Neither was executed then. A second send takes a turn of its own.
    pub(crate) async fn call(
        &self,
        action: Action,
        mut permit: Permit,
        parameters: &impl Serialize,
    ) -> Result<Content, Error> {
        let lane = self.lane(action);
        if !Arc::ptr_eq(permit.lane(), lane) {
            return Err(Error::untried(action, "the permit is of another lane"));
        }
        let priority = permit.priority();
        let body = serde_json::to_vec(parameters).map(Bytes::from).expect("parameters are plain JSON");
        let mut credentials = self.credentials(action).await?;
        let mut tried = Vec::new();
        loop {
            let error = match self.send(action, permit, &credentials, body.clone()).await {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            let Some(remedy) = error.remedy.filter(|remedy| !tried.contains(remedy)) else {
                return Err(error);
            };
            tried.push(remedy);
            let cured = match remedy {
                Remedy::Clock => self.correct_clock(),
                Remedy::Credentials => self.renew(action, &mut credentials).await?,
            };
            if !cured {
                return Err(error);
            }
            permit = lane.acquire(priority).await;
        }
    }

    /// Waits for the pace, signs, sends and reads.
    async fn send(
        &self,
        action: Action,
        permit: Permit,
        credentials: &Credentials,
        body: Bytes,
    ) -> Result<Content, Error> {
        let Inner { settings, ports, .. } = &*self.inner;
        let departure = permit.depart().await;
        let request = self.sign(action, credentials, body);
        let reply = match timeout(settings.timeout, ports.transport.send(request)).await {
            Ok(reply) => reply.map_err(|error| Error::unanswered(action, error))?,
            Err(late) => {
                return Err(Error::unanswered(action, TransportError::because(Failure::TimedOut, late)));
            }
        };
        self.learn_time(&reply);
        let result = reply::read(action, &reply).map_err(|error| without_token(error, credentials));
        if let Err(error) = &result
            && error.class == Class::Throttled
        {
            departure.throttled(error.retry_after);
        }
        result
    }

    fn sign(&self, action: Action, credentials: &Credentials, body: Bytes) -> HttpRequest {
        let Settings { endpoint, region, request_client, .. } = &self.inner.settings;
        let at = self.now().saturating_add(self.time().applied).unwrap_or(Timestamp::MAX);
        let signed =
            [("Content-Type", CONTENT_TYPE), ("Host", endpoint.host()), ("X-TC-Action", action.as_str())];
        let authorization = sign::authorization_with(
            &mut self.inner.day_key.lock().unwrap_or_else(PoisonError::into_inner),
            credentials.id(),
            credentials.key(),
            Action::SERVICE,
            at,
            &signed,
            &body,
        );
        let mut headers: Vec<_> = signed.map(|(name, value)| (name, value.to_owned())).into();
        headers.extend([
            ("X-TC-Version", Action::VERSION.to_owned()),
            ("X-TC-Region", region.clone()),
            ("X-TC-Timestamp", at.as_second().to_string()),
            ("X-TC-Language", "en-US".to_owned()),
            ("X-TC-RequestClient", header_text(request_client)),
            ("Authorization", authorization),
        ]);
        if let Some(token) = credentials.token() {
            headers.push(("X-TC-Token", token.expose_secret().to_owned()));
        }
        HttpRequest {
            endpoint: endpoint.to_string(),
            headers,
            body,
            fresh_connection: matches!(action.kind(), Kind::Create | Kind::Rollback),
        }
    }

    async fn credentials(&self, action: Action) -> Result<Credentials, Error> {
        self.inner.ports.credentials.provide().await.map_err(|error| Error::unsigned(action, error))
    }

    /// Asks for other credentials; whether there were any.
    async fn renew(&self, action: Action, credentials: &mut Credentials) -> Result<bool, Error> {
        self.inner.ports.credentials.refused(credentials);
        let renewed = self.credentials(action).await?;
        let cured = !renewed.is(credentials);
        *credentials = renewed;
        Ok(cured)
    }

    /// Reckons with the server's time from now on; whether it is known.
    fn correct_clock(&self) -> bool {
        let mut time = self.time();
        time.applied = time.seen.unwrap_or(time.applied);
        time.seen.is_some()
    }

    fn learn_time(&self, reply: &HttpResponse) {
        if let Some(theirs) = reply::server_time(reply) {
            self.time().seen = Some(theirs.duration_since(self.now()));
        }
    }

    /// Ours, by the caller's clock.
    fn now(&self) -> Timestamp {
        self.inner.ports.clock.now().try_into().unwrap_or(Timestamp::MAX)
    }

    fn time(&self) -> MutexGuard<'_, ServerTime> {
        self.inner.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// The cloud saw the token: its words may quote it.
fn without_token(mut error: Error, credentials: &Credentials) -> Error {
    if let Some(token) = credentials.token() {
        error.message = error.message.replace(token.expose_secret(), "(token)");
    }
    error
}

/// The text with what `X-TC-RequestClient` may not carry replaced, and its length bounded.
fn header_text(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_ ,;.".contains(c);
    text.chars().take(128).map(|c| if allowed(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests;
