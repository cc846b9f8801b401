//! Rate limits: no lane ever releases more calls than its limit in any one second.
//!
//! A *lane* is one bucket of the cloud. A call queues for a [`Permit`] of the lane, by priority; with the permit
//! in hand its caller may write down what it is about to do; [`Permit::depart`] then waits for the lane's pace
//! and releases the call. So spacing holds at the moment the bytes leave however long the writing took, and the
//! writing overlaps with the wait. There are no more permits than calls that may depart while something is written:
//! one, up to a hundred calls a second. Nobody departs but who holds one, and does one short thing with it.
//!
//! Responsible for order, spacing, calls in flight, and for slowing down when the cloud says so. It refuses to
//! know what is called.

mod pace;
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::pace::{Pace, now};
use self::queue::Queue;
use crate::action::Action;

/// Who goes first: in this order, save that nobody is passed over for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Finding out what became of a create, or settling it.
    UnresolvedCreate,
    /// Following accepted backups.
    Tracking,
    /// Creates that were never tried.
    NewCreate,
    /// Deleting what is no longer kept.
    Retention,
    /// Comparing with the cloud.
    Reconcile,
    /// What a person asked for.
    Command,
}

impl Priority {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::UnresolvedCreate,
        Self::Tracking,
        Self::NewCreate,
        Self::Retention,
        Self::Reconcile,
        Self::Command,
    ];
}

/// A lane has as many permits as it may release calls within this. Half of them are handed out at a time: what is written
/// down with them shares an fsync.
const AHEAD: Duration = Duration::from_millis(20);

/// What holds for all lanes of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Added to the spacing of `1 / rate`: jitter on the way to the server may use up as many guards as the limit
    /// has calls.
    pub guard: Duration,
    /// The most calls of one lane that may be on their way at once.
    pub in_flight: usize,
    /// Where the jitter of pauses starts: processes that share a bucket want different ones.
    pub seed: u64,
}

impl Default for LaneSettings {
    /// A guard of 1 ms, 64 calls in flight, seed 0.
    fn default() -> Self {
        Self { guard: Duration::from_millis(1), in_flight: 64, seed: 0 }
    }
}

/// What the cloud counts together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// Who calls: an account, or a user in it.
    pub identity: String,
    /// The host that is called.
    pub host: String,
    /// What is called.
    pub action: Action,
}

/// All lanes of a process: the same key is the same lane.
#[derive(Debug, Default)]
pub struct Lanes {
    settings: LaneSettings,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    lanes: BTreeMap<LaneKey, Arc<Lane>>,
    /// Those whose rate was asked for since it was last asked for anew.
    asked: BTreeSet<LaneKey>,
}

impl Lanes {
    /// No lane yet.
    #[must_use]
    pub fn new(settings: LaneSettings) -> Self {
        Self { settings, known: Mutex::default() }
    }

    /// From now on the rates of all lanes are asked for anew: a configuration was read again. Lanes go on as they
    /// are, and one that nobody asks for keeps its rate.
    pub fn ask_anew(&self) {
        self.known().asked.clear();
    }

    /// The lane of this key, at the lowest of the rates (calls a second) that were asked for it.
    ///
    /// A lane that is new releases nothing for a second: what ran before this process may just have called.
    #[must_use]
    pub fn lane(&self, key: LaneKey, rate: NonZeroU32) -> Arc<Lane> {
        let mut known = self.known();
        let lane = known.lanes.entry(key.clone()).or_insert_with(|| Arc::new(Lane::new(rate, self.settings)));
        let lane = Arc::clone(lane);
        let (wanted, limit) = (f64::from(rate.get()), lane.snapshot().limit);
        let first = known.asked.insert(key);
        if wanted < limit || (first && wanted > limit) {
            lane.set_limit(rate);
        }
        lane
    }

    /// All lanes, by key.
    #[must_use]
    pub fn all(&self) -> Vec<(LaneKey, Arc<Lane>)> {
        self.known().lanes.iter().map(|(key, lane)| (key.clone(), Arc::clone(lane))).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One bucket of the cloud, and the calls that want to draw from it.
#[derive(Debug)]
pub struct Lane {
    state: Mutex<State>,
    /// The turn to wait for the pace: of several who waited, each but one would have waked in vain.
    at_the_door: tokio::sync::Mutex<()>,
    condition: watch::Sender<Condition>,
}

#[derive(Debug)]
struct State {
    queue: Queue<Permit>,
    pace: Pace,
    permits_out: usize,
    in_flight: usize,
    most_in_flight: usize,
    released: u64,
}

impl State {
    /// How many permits there are.
    fn most_out(&self) -> usize {
        self.pace.calls_within(AHEAD).max(1)
    }
}

/// Whether a lane is slowed down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// It goes at its limit.
    Free,
    /// The cloud throttled it, and it has not climbed back yet.
    Slowed {
        /// Calls a second, now.
        rate: f64,
    },
}

/// A lane at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneSnapshot {
    /// Calls a second when nothing is wrong.
    pub limit: f64,
    /// Calls a second now.
    pub rate: f64,
    /// Calls that wait for a permit.
    pub queued: usize,
    /// Calls that departed and have not ended.
    pub in_flight: usize,
    /// Calls released since the start.
    pub released: u64,
    /// Times that the lane slowed down since the start.
    pub throttles: u64,
}

impl Lane {
    fn new(rate: NonZeroU32, settings: LaneSettings) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Queue::default(),
                pace: Pace::new(rate, settings),
                permits_out: 0,
                in_flight: 0,
                most_in_flight: settings.in_flight.max(1),
                released: 0,
            }),
            at_the_door: tokio::sync::Mutex::default(),
            condition: watch::Sender::new(Condition::Free),
        }
    }

    /// Waits for a permit of the lane. Its place in the queue is taken when the future is first polled, and given
    /// back when it is dropped.
    pub async fn acquire(self: &Arc<Self>, priority: Priority) -> Permit {
        let (grant, granted) = oneshot::channel();
        self.state().queue.push(priority, grant);
        self.grant_next();
        granted.await.expect("the lane outlives who waits in it and keeps every grant until it is used")
    }

    /// Changes the limit (calls a second), up or down: for a configuration that was read again.
    pub fn set_limit(&self, rate: NonZeroU32) {
        let mut state = self.state();
        state.pace.set_limit(rate);
        self.tell(&state);
    }

    /// The lane now.
    #[must_use]
    pub fn snapshot(&self) -> LaneSnapshot {
        let state = self.state();
        LaneSnapshot {
            limit: state.pace.limit(),
            rate: state.pace.rate(),
            queued: state.queue.len(),
            in_flight: state.in_flight,
            released: state.released,
            throttles: state.pace.throttles(),
        }
    }

    /// Tells of each slow-down and step back. It changes when the lane is used: an idle lane climbs back at its
    /// next call.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands permits to who is next, while there are any and a call more may be on its way.
    fn grant_next(self: &Arc<Self>) {
        {
            let state = self.state();
            if state.permits_out > state.most_out() / 2 {
                return;
            }
        }
        while let Some((grant, permit)) = self.next_grant() {
            // Whoever gave up meanwhile sends the permit back; dropping it, outside the lock, hands it on.
            drop(grant.send(permit));
        }
    }

    fn next_grant(self: &Arc<Self>) -> Option<(oneshot::Sender<Permit>, Permit)> {
        let mut state = self.state();
        if state.permits_out >= state.most_out()
            || state.in_flight + state.permits_out >= state.most_in_flight
        {
            return None;
        }
        let (priority, grant) = state.queue.pop()?;
        state.permits_out += 1;
        Some((grant, Permit { lane: Arc::clone(self), priority, departed: None }))
    }

    /// Releases the call now, or says when to ask again.
    fn try_release(&self) -> Result<Instant, Instant> {
        let mut state = self.state();
        let released = state.pace.try_release()?;
        state.permits_out -= 1;
        state.in_flight += 1;
        state.released += 1;
        self.tell(&state);
        Ok(released)
    }

    fn tell(&self, state: &State) {
        let condition = state.pace.condition();
        self.condition.send_if_modified(|told| std::mem::replace(told, condition) != condition);
    }
}

/// The right to be among the next calls of a lane. Dropping it hands it on.
#[derive(Debug)]
#[must_use = "while it is held, others wait for it"]
pub struct Permit {
    lane: Arc<Lane>,
    priority: Priority,
    departed: Option<Instant>,
}

impl Permit {
    /// The lane.
    #[must_use]
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// The priority that it was asked for with.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Waits for the lane's pace and releases the call: its bytes are to leave at once. Dropping the future
    /// hands the permit on.
    pub async fn depart(mut self) -> Departure {
        let released = {
            let _turn = self.lane.at_the_door.lock().await;
            loop {
                match self.lane.try_release() {
                    Ok(released) => break released,
                    Err(not_before) => sleep_until(not_before).await,
                }
            }
        };
        self.departed = Some(released);
        self.lane.grant_next();
        Departure(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.lane.state();
            match self.departed {
                None => state.permits_out -= 1,
                Some(_) => state.in_flight -= 1,
            }
        }
        self.lane.grant_next();
    }
}

/// A call on its way. Dropping it says that the call has ended.
#[derive(Debug)]
#[must_use = "the call counts as on its way until this is dropped"]
pub struct Departure(Permit);

impl Departure {
    /// The cloud refused the call for its rate: halves the lane's rate and stops the lane for 1 to 2 s, or for
    /// `pause` (bounded by a minute) if that is longer. Calls that departed before the last halving prove nothing
    /// new, and halve nothing.
    pub fn throttled(&self, pause: Option<Duration>) {
        let mut state = self.0.lane.state();
        let departed = self.0.departed.unwrap_or_else(now);
        state.pace.throttled(departed, pause);
        self.0.lane.tell(&state);
    }
}

#[cfg(test)]
mod tests;
