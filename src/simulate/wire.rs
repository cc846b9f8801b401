//! The network between a daemon and the simulated cloud.
//!
//! Responsible for requests that take their time, for connections that are not to be had, and for the rule that
//! bytes that have left arrive, whatever becomes of their sender. It refuses to know what the cloud does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cbs::transport::{Failure, Fetch, HttpRequest, HttpResponse, Transport, TransportError};
use cbs_sim::{Outcome, Request, Sim};
use futures_util::future::BoxFuture;

use super::life::Life;
use super::witness::Witness;
use super::{CREATE, DELETE};
use crate::random::Random;

/// How the network is.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// How long a request is on its way, in milliseconds: each draws its own.
    pub on_its_way_ms: (u64, u64),
    /// So many requests in a thousand take this long instead.
    pub slow: (u64, (u64, u64)),
    /// So many requests in a thousand find no connection.
    pub no_connection: u64,
    /// So many creates find none, first of all.
    pub creates_without_connection: u64,
    /// Hosts that refuse every connection.
    pub refusing: BTreeSet<String>,
    /// Hosts that take every request, and never answer.
    pub silent: BTreeSet<String>,
}

/// The network, which may change.
pub struct Net {
    now: Mutex<Network>,
    random: Random,
}

impl Net {
    pub(super) fn new(network: Network, random: Random) -> Self {
        Self { now: Mutex::new(network), random }
    }

    /// From now on the network is like this.
    pub fn set(&self, network: Network) {
        *self.now() = network;
    }

    /// How long a request is on its way; none where there is no connection.
    fn way(&self, action: &str, host: &str) -> Option<Duration> {
        let mut now = self.now();
        if now.refusing.contains(host) {
            return None;
        }
        if action == CREATE && now.creates_without_connection > 0 {
            now.creates_without_connection -= 1;
            return None;
        }
        if self.random.chance(now.no_connection) {
            return None;
        }
        let range = if self.random.chance(now.slow.0) { now.slow.1 } else { now.on_its_way_ms };
        Some(Duration::from_millis(self.random.between(range)))
    }

    fn is_silent(&self, host: &str) -> bool {
        self.now().silent.contains(host)
    }

    fn now(&self) -> MutexGuard<'_, Network> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network's port of one life.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) life: Arc<Life>,
    pub(super) sim: Sim,
    pub(super) net: Arc<Net>,
    pub(super) witness: Arc<Witness>,
}

impl Transport for Wire {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            self.life.pass_or_die().await;
            let action = request.header("X-TC-Action").unwrap_or_default();
            let host = request.header("Host").unwrap_or_default();
            let Some(way) = self.net.way(action, host) else {
                return Err(TransportError::new(Failure::Connect));
            };
            if action == CREATE {
                self.witness.create_leaves(&request).await;
            }
            if action == DELETE {
                self.witness.delete_leaves(&request).await;
            }
            if self.net.is_silent(host) {
                return std::future::pending().await;
            }
            let headers: Vec<_> =
                request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.carry(Request::post(&headers, request.body.clone()), way).await
        })
    }
}

impl Fetch for Wire {
    fn get(&self, url: String) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            self.life.pass_or_die().await;
            let host = url.split('/').nth(2).unwrap_or_default();
            let Some(way) = self.net.way("GET", host) else {
                return Err(TransportError::new(Failure::Connect));
            };
            let path = url.splitn(4, '/').nth(3).map_or_else(|| "/".to_owned(), |path| format!("/{path}"));
            self.carry(Request { method: "GET".to_owned(), path, ..Request::post(&[], "") }, way).await
        })
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// What becomes of a request that has left and is on its way for so long.
    async fn carry(&self, arriving: Request, way: Duration) -> Result<HttpResponse, TransportError> {
        let reply = if way.is_zero() {
            let reply = self.sim.handle(&arriving);
            self.life.pass_or_die().await;
            reply
        } else {
            let sim = self.sim.clone();
            // A task of its own: bytes that have left do not come back when their sender dies.
            let arrival = tokio::spawn(async move {
                tokio::time::sleep(way).await;
                sim.handle(&arriving)
            });
            self.life.pass_or_die().await;
            arrival.await.map_err(|error| TransportError::because(Failure::Closed, error))?
        };
        tokio::time::sleep(reply.delay).await;
        self.life.pass_or_die().await;
        match reply.outcome {
            Outcome::Respond(response) => Ok(HttpResponse {
                status: response.status,
                date: response.header("Date").map(str::to_owned),
                content_type: response.header("Content-Type").map(str::to_owned),
                retry_after: response.header("Retry-After").map(str::to_owned),
                body: response.body,
            }),
            Outcome::DropConnection | Outcome::ResetConnection => Err(TransportError::new(Failure::Closed)),
            Outcome::NeverReply => std::future::pending().await,
            Outcome::TruncatedBody(..) => Err(TransportError::new(Failure::CutShort)),
        }
    }
}
