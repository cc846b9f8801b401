//! Time: the one place of the daemon where a clock is read.
//!
//! Responsible for wall-clock and monotonic time behind a trait, for the epoch that decisions
//! measure in, and for whether the wall clock can be believed.
//! It refuses to say what the time means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::Now;
use jiff::{SignedDuration, Timestamp};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed instant; never goes back.
    fn mono(&self) -> Duration;
}

/// The machine's clocks. The wall clock may be set off by a constant, for the demo.
pub struct SystemClock {
    began: tokio::time::Instant,
    offset: SignedDuration,
}

impl SystemClock {
    /// The machine's clocks, the wall clock moved by `offset`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the daemon reads the clock")]
    pub fn new(offset: SignedDuration) -> Self {
        Self { began: tokio::time::Instant::now(), offset }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the daemon reads the clock")]
    fn wall(&self) -> Timestamp {
        Timestamp::now().saturating_add(self.offset).unwrap_or(Timestamp::MAX)
    }

    fn mono(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A wall clock that follows tokio's, which tests and simulations pause: it starts at `start`, and can be
/// stepped.
pub struct SteppedClock {
    machine: SystemClock,
    start: Timestamp,
    step: Mutex<SignedDuration>,
}

impl SteppedClock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { machine: SystemClock::new(SignedDuration::ZERO), start, step: Mutex::default() }
    }

    /// Steps the wall clock.
    pub fn step(&self, by: SignedDuration) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        *step = step.saturating_add(by);
    }
}

impl Clock for SteppedClock {
    fn wall(&self) -> Timestamp {
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = self.start.saturating_add(self.mono()).and_then(|wall| wall.saturating_add(step));
        wall.unwrap_or(Timestamp::MAX)
    }

    fn mono(&self) -> Duration {
        self.machine.mono()
    }
}

/// The clock, the present epoch, and whether the wall clock can be believed.
///
/// Inside an epoch the wall clock that decisions see runs with the monotonic one: a step of the machine's wall
/// clock shows only when it has been confirmed, and a new epoch begins with it. So no call under way can take a
/// step for the passing of time.
pub struct Time {
    clock: Arc<dyn Clock>,
    began: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    epoch: u64,
    /// Monotonic time at which it began.
    began: Duration,
    /// What the wall clock would show at monotonic zero: it moves when the wall clock steps.
    origin: Timestamp,
    trusted: bool,
}

/// The wall clock is said to have stepped when it and the monotonic clock part by more than this.
const STEP: SignedDuration = SignedDuration::from_secs(2);

impl Time {
    /// Time from now on, in the epoch of this number. Whether the wall clock is right is not known yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, epoch: u64) -> Self {
        let began = clock.mono();
        let state = State { epoch, began, origin: origin(&*clock), trusted: false };
        Self { began, state: Mutex::new(state), clock }
    }

    /// The source.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Now, for a decision.
    #[must_use]
    pub fn now(&self) -> Now {
        let state = *self.state();
        let (wall, mono) = (self.clock.wall(), self.clock.mono());
        let by_mono = at(state.origin, mono);
        // Slewing moves the two apart by little, and is followed.
        let stepped = wall.duration_since(by_mono).abs() > STEP;
        Now {
            wall: if stepped { by_mono } else { wall },
            epoch: state.epoch,
            up: mono.saturating_sub(state.began),
            started: at(state.origin, self.began),
        }
    }

    /// What the wall clock showed, or would have shown had it been as it is now, at an instant of the monotonic one.
    #[must_use]
    pub fn wall_at(&self, mono: Duration) -> Timestamp {
        at(self.state().origin, mono)
    }

    /// By how much the wall clock has stepped since the epoch began, if it has.
    #[must_use]
    pub fn stepped(&self) -> Option<SignedDuration> {
        let known = self.state().origin;
        let by = origin(&*self.clock).duration_since(known);
        (by.abs() > STEP).then_some(by)
    }

    /// Whether the wall clock can be believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.state().trusted
    }

    /// It cannot, until it is confirmed.
    pub fn doubt(&self) {
        self.state().trusted = false;
    }

    /// The wall clock is right as it stands.
    pub fn confirm(&self) {
        self.state().trusted = true;
    }

    /// Begins the epoch of this number, with the wall clock as it stands: what was measured before no longer
    /// counts.
    pub fn begin_epoch(&self, number: u64) {
        let (began, origin) = (self.clock.mono(), origin(&*self.clock));
        *self.state() = State { epoch: number, began, origin, trusted: false };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn at(origin: Timestamp, mono: Duration) -> Timestamp {
    origin.saturating_add(mono).unwrap_or(Timestamp::MAX)
}

fn origin(clock: &dyn Clock) -> Timestamp {
    clock.wall().saturating_sub(clock.mono()).unwrap_or(Timestamp::MIN)
}
