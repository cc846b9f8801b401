//! Time: the one place of the daemon where a clock is read.
//!
//! Responsible for wall-clock and monotonic time behind a trait, and for the epoch that decisions measure in.
//! It refuses to say what the time means.

use std::sync::{Arc, Mutex, PoisonError};
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

/// The clock and the present epoch.
pub struct Time {
    clock: Arc<dyn Clock>,
    started: Timestamp,
    epoch: Mutex<Epoch>,
}

#[derive(Clone, Copy)]
struct Epoch {
    number: u64,
    began: Duration,
    /// What the wall clock would show at monotonic zero: it moves when the wall clock steps.
    origin: Timestamp,
}

/// The wall clock is said to have stepped when it and the monotonic clock part by more than this.
const STEP: SignedDuration = SignedDuration::from_secs(2);

impl Time {
    /// Time from now on, in the epoch of this number.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, epoch: u64) -> Self {
        let (wall, began) = (clock.wall(), clock.mono());
        let epoch = Mutex::new(Epoch { number: epoch, began, origin: origin(wall, began) });
        Self { clock, started: wall, epoch }
    }

    /// The source.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Now, for a decision.
    #[must_use]
    pub fn now(&self) -> Now {
        let epoch = self.epoch();
        Now {
            wall: self.clock.wall(),
            epoch: epoch.number,
            up: self.clock.mono().saturating_sub(epoch.began),
            started: self.started,
        }
    }

    /// By how much the wall clock has stepped since the epoch began, if it has.
    #[must_use]
    pub fn stepped(&self) -> Option<SignedDuration> {
        let by = origin(self.clock.wall(), self.clock.mono()).duration_since(self.epoch().origin);
        (by.abs() > STEP).then_some(by)
    }

    /// Begins the epoch of this number: what was measured before no longer counts.
    pub fn begin_epoch(&self, number: u64) {
        let (wall, began) = (self.clock.wall(), self.clock.mono());
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) =
            Epoch { number, began, origin: origin(wall, began) };
    }

    fn epoch(&self) -> Epoch {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn origin(wall: Timestamp, mono: Duration) -> Timestamp {
    wall.saturating_sub(mono).unwrap_or(Timestamp::MIN)
}
