//! A temporary credential, kept and renewed.
//!
//! Responsible for one renewal for all who use it, early enough that it may fail for a while, and for the credential
//! at hand staying in use as long as it is valid. It refuses to run by itself: a renewal begins when the credential is
//! used, or [tended](ProvideCredentials::tend), from its refresh point on. Who uses it then gets the one at hand and
//! does not wait; only where none is valid do callers wait, all for the same answer. So a process that calls nothing
//! asks nothing, a library needs no task, and a daemon that tends it once a second never meets one that has ended.
//!
//! Time is the caller's clock, set right by the date of the issuer's reply: a machine whose clock is wrong renews at
//! the right time all the same. Should the clock be set meanwhile, the cloud's refusal is what renews it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::{Credentials, CredentialsError, Health, Issue, Issued, ProvideCredentials};
use crate::client::Clock;

/// Draws a random number, evenly distributed.
pub type Draw = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The longest ceiling of the wait after a renewal that failed; the first is two seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So many failures in a row are more than a passing thing.
const SEVERAL: u32 = 3;
/// A credential that was issued so recently is not asked for again because it is refused: the next one would be too.
const YOUNG: SignedDuration = SignedDuration::from_secs(30);
/// An issuer that gives the same credential again is asked again no sooner than this.
const SOONEST: Duration = Duration::from_secs(1);

/// Keeps what a source issues.
pub struct Renewing {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<dyn Issue>,
    clock: Arc<dyn Clock>,
    draw: Draw,
    /// Held by the one who asks.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    renewals: u64,
    failed: Option<Failed>,
}

/// The credential at hand. Times are by our clock.
struct Held {
    credentials: Credentials,
    issued: Timestamp,
    renew: Timestamp,
    end: Timestamp,
    refused: bool,
}

/// The last attempts failed.
struct Failed {
    times: u32,
    at: Timestamp,
    again: Timestamp,
    error: Arc<CredentialsError>,
}

/// What can be said to a caller.
enum Standing {
    Good(Credentials),
    /// Good, and due to be renewed.
    Due(Credentials),
    /// Refused by the cloud, and not replaced yet.
    Doubtful,
    Lacking,
}

impl Renewing {
    /// Keeps what `source` issues. Waits are drawn with `draw`.
    #[must_use]
    pub fn new(source: impl Issue + 'static, clock: Arc<dyn Clock>, draw: Draw) -> Self {
        let inner =
            Inner { source: Box::new(source), clock, draw, turn: Arc::default(), state: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        match self.inner.standing() {
            Standing::Good(credentials) => Ok(credentials),
            Standing::Due(credentials) => {
                self.inner.renew_aside();
                Ok(credentials)
            }
            Standing::Doubtful | Standing::Lacking => self.inner.renew().await,
        }
    }
}

impl Inner {
    fn standing(&self) -> Standing {
        let now = self.now();
        let state = self.state();
        let Some(held) = state.held.as_ref().filter(|held| now < held.end) else { return Standing::Lacking };
        let credentials = held.credentials.clone();
        // A clock that was set back knows nothing of what is due.
        let due = now >= held.renew || now < held.issued;
        if !state.may_ask(now) {
            Standing::Good(credentials)
        } else if held.refused {
            Standing::Doubtful
        } else if due {
            Standing::Due(credentials)
        } else {
            Standing::Good(credentials)
        }
    }

    /// Renews in a task of its own, unless someone is at it.
    fn renew_aside(self: &Arc<Self>) {
        if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            let inner = Arc::clone(self);
            tokio::spawn(async move {
                let _turn = turn;
                // Whoever had the turn before may have done it. What comes of it is in the state.
                if !matches!(inner.standing(), Standing::Good(_)) {
                    let _ = inner.ask().await;
                }
            });
        }
    }

    /// Waits for a credential: for whoever asks already, or asks.
    async fn renew(&self) -> Result<Credentials, CredentialsError> {
        let _turn = self.turn.lock().await;
        if let Standing::Good(credentials) = self.standing() {
            return Ok(credentials);
        }
        if let Some(failed) = self.state().failed.as_ref().filter(|failed| failed.holds(self.now())) {
            return Err(CredentialsError::Again(Arc::clone(&failed.error)));
        }
        self.ask().await
    }

    /// Asks the source. A failure leaves the credential at hand in use while it is valid.
    async fn ask(&self) -> Result<Credentials, CredentialsError> {
        let asked = self.source.issue().await;
        let now = self.now();
        let drawn = (self.draw)();
        let mut state = self.state();
        match asked.and_then(|issued| self.hold(issued, now, drawn)) {
            Ok(held) => {
                let credentials = held.credentials.clone();
                let same = state.held.as_ref().is_some_and(|before| before.credentials.is(&credentials));
                state.renewals += u64::from(!same);
                state.failed = None;
                state.held = Some(held);
                Ok(credentials)
            }
            Err(error) => {
                let error = Arc::new(error);
                let times = state.failed.as_ref().map_or(0, |failed| failed.times).saturating_add(1);
                let again = after(now, wait(times, drawn));
                state.failed = Some(Failed { times, at: now, again, error: Arc::clone(&error) });
                match state.held.as_ref().filter(|held| now < held.end) {
                    Some(held) => Ok(held.credentials.clone()),
                    None => Err(CredentialsError::Again(error)),
                }
            }
        }
    }

    fn hold(&self, issued: Issued, now: Timestamp, drawn: u64) -> Result<Held, CredentialsError> {
        let Issued { credentials, expires, date } = issued;
        let life = Duration::try_from(expires.duration_since(date.unwrap_or(now))).unwrap_or_default();
        if life.is_zero() {
            let (place, what) = (format!("{:?}", self.source), "the credential has ended already".to_owned());
            return Err(CredentialsError::Unavailable { place, what });
        }
        let margin = self.source.margin(life).min(life);
        let jitter = Duration::from_millis(drawn % (millis(margin / 5) + 1));
        let renew = after(now, (life - margin + jitter).max(SOONEST));
        let credentials = credentials.until(expires);
        Ok(Held { credentials, issued: now, renew, end: after(now, life), refused: false })
    }

    fn now(&self) -> Timestamp {
        self.clock.now().try_into().unwrap_or(Timestamp::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_ask(&self, now: Timestamp) -> bool {
        !self.failed.as_ref().is_some_and(|failed| failed.holds(now))
    }
}

impl Failed {
    /// Whether it is too soon to try again; a clock that was set back does not prolong it.
    fn holds(&self, now: Timestamp) -> bool {
        (self.at..self.again).contains(&now)
    }
}

/// The wait after so many failures in a row: of 2 s, 4 s, 8 s …, between half and all.
fn wait(times: u32, drawn: u64) -> Duration {
    let ceiling = Duration::from_secs(1_u64 << times.min(16)).min(LONGEST_WAIT);
    ceiling / 2 + Duration::from_millis(drawn % (millis(ceiling / 2) + 1))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

impl ProvideCredentials for Renewing {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        self.current().boxed()
    }

    /// Makes the next call wait for another one, once: a credential that is just as young is not replaced again.
    fn refused(&self, credentials: &Credentials) {
        let now = self.inner.now();
        if let Some(held) = &mut self.inner.state().held
            && held.credentials.is(credentials)
            && !(SignedDuration::ZERO..YOUNG).contains(&now.duration_since(held.issued))
        {
            held.refused = true;
        }
    }

    fn tend(&self) {
        let asked_before = {
            let state = self.inner.state();
            state.held.is_some() || state.failed.is_some()
        };
        let due = match self.inner.standing() {
            Standing::Good(_) => false,
            Standing::Due(_) | Standing::Doubtful => true,
            Standing::Lacking => self.inner.state().may_ask(self.inner.now()),
        };
        if asked_before && due {
            self.inner.renew_aside();
        }
    }

    fn health(&self) -> Option<Health> {
        let now = self.inner.now();
        let state = self.inner.state();
        let held = state.held.as_ref().filter(|held| now < held.end);
        let trouble = state.failed.as_ref().filter(|failed| held.is_none() || failed.times >= SEVERAL);
        Some(Health {
            renewals: state.renewals,
            next: held.map(|held| held.renew),
            expires: held.map(|held| held.end),
            trouble: trouble.map(|failed| Arc::clone(&failed.error)),
        })
    }
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Renewing").field(&self.inner.source).finish()
    }
}

#[cfg(test)]
mod tests;
