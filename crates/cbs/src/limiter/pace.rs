//! The instants at which a lane may release a call.

use std::num::NonZeroU32;
use std::ops::Add;
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::{Condition, LaneSettings};

/// Before a lane's first call: a process that ran before this one may have used up the second.
const QUIET_START: Duration = Duration::from_secs(1);
/// After a throttle the lane stops for this long, and up to as long again.
const PAUSE: Duration = Duration::from_secs(1);
/// No server may stop a lane for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The slowest that a lane gets, as a part of its limit.
const SLOWEST: f64 = 1.0 / 32.0;
/// A slowed lane climbs by this part of its limit …
const STEP: f64 = 1.0 / 20.0;
/// … each time that this passed without a throttle.
const STEP_EVERY: Duration = Duration::from_secs(5);

/// Now, on the clock that limits run on.
#[expect(
    clippy::disallowed_methods,
    reason = "a rate is a matter of monotonic time, which tests pause with tokio's"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Spacing by governor, with a rate that can change.
#[derive(Debug)]
pub(super) struct Pace {
    guard: Duration,
    limit: f64,
    rate: f64,
    spacing: Spacing,
    not_before: Instant,
    changed: Instant,
    halved: Option<Instant>,
    throttles: u64,
    jitter: u64,
}

impl Pace {
    pub(super) fn new(limit: NonZeroU32, settings: LaneSettings) -> Self {
        let (now, limit) = (now(), f64::from(limit.get()));
        Self {
            guard: settings.guard,
            limit,
            rate: limit,
            spacing: Spacing::new(limit, settings.guard),
            not_before: now + QUIET_START,
            changed: now,
            halved: None,
            throttles: 0,
            jitter: settings.seed,
        }
    }

    /// Releases a call now, or says when to ask again.
    pub(super) fn try_release(&mut self) -> Result<Instant, Instant> {
        let now = now();
        if now < self.not_before {
            return Err(self.not_before);
        }
        self.spacing.check()?;
        // Only now: the spacing that a climb starts anew must reckon from a release.
        self.climb(now);
        Ok(now)
    }

    /// Halves the rate, unless the call departed before the last halving; stops the lane in any case if the
    /// server asked for it.
    pub(super) fn throttled(&mut self, departed: Instant, pause: Option<Duration>) {
        let now = now();
        if let Some(pause) = pause {
            self.not_before = self.not_before.max(now + pause.min(LONGEST_PAUSE));
        }
        if self.halved.is_some_and(|halved| departed <= halved) {
            return;
        }
        self.halved = Some(now);
        self.throttles += 1;
        self.not_before = self.not_before.max(now + PAUSE + PAUSE.mul_f64(self.draw()));
        self.set_rate((self.rate / 2.0).max(self.limit * SLOWEST), now);
    }

    /// Changes the limit. A pace that is slowed down stays so, and climbs to the new limit.
    pub(super) fn set_limit(&mut self, limit: NonZeroU32) {
        let limit = f64::from(limit.get());
        let rate = if self.rate < self.limit { self.rate.min(limit) } else { limit };
        self.limit = limit;
        self.set_rate(rate, now());
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// The rate at which a call would be released now: an idle lane climbs too, though its spacing is only set
    /// anew at its next release.
    pub(super) fn rate(&self) -> f64 {
        self.climbed(now())
    }

    /// How many calls may be released within so much time.
    pub(super) fn calls_within(&self, time: Duration) -> usize {
        usize::try_from((self.rate * time.as_secs_f64()) as u64).unwrap_or(usize::MAX)
    }

    pub(super) fn throttles(&self) -> u64 {
        self.throttles
    }

    pub(super) fn condition(&self) -> Condition {
        let rate = self.rate();
        if rate < self.limit { Condition::Slowed { rate } } else { Condition::Free }
    }

    fn climb(&mut self, now: Instant) {
        let climbed = self.climbed(now);
        if climbed > self.rate {
            self.set_rate(climbed, now);
        }
    }

    /// The rate after the steps since it last changed.
    fn climbed(&self, now: Instant) -> f64 {
        let steps = now.duration_since(self.changed).as_secs() / STEP_EVERY.as_secs();
        let steps = f64::from(u32::try_from(steps).unwrap_or(u32::MAX));
        (self.rate + steps * STEP * self.limit).min(self.limit)
    }

    fn set_rate(&mut self, rate: f64, now: Instant) {
        self.rate = rate;
        self.changed = now;
        self.spacing = Spacing::new(rate, self.guard);
    }

    /// A number from 0 to 1, by splitmix64.
    fn draw(&mut self) -> f64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.jitter ^ (self.jitter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
    }
}

/// What a timer may be late; the calls after a late one make good for it.
const TIMER: Duration = Duration::from_millis(1);

/// governor, counting a call as many small cells, so that a part of a call may be saved up.
#[derive(Debug)]
struct Spacing {
    cells: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>,
}

/// So many cells are a call.
const CALL: NonZeroU32 = NonZeroU32::new(1_000).expect("it is more than nothing");

impl Spacing {
    /// Releases one by one, the first a whole spacing from now: a fresh limiter starts full, so its cells are
    /// burnt.
    ///
    /// Timers are late, and a spacing that reckoned from the late call would fall behind its rate by that much at
    /// each call (2 % at 20 a second). So a call may follow the one before early by as much as that one was
    /// late, up to [`TIMER`] - and up to half of what the guards of a second add up to: the limit holds in every
    /// second all the same.
    fn new(rate: f64, guard: Duration) -> Self {
        let period = (Duration::from_secs_f64(1.0 / rate) + guard).max(Duration::from_micros(1));
        let cell = period / CALL.get();
        let made_good = TIMER.min(guard.mul_f64(rate.min(1e6) / 2.0));
        let spare = u32::try_from(made_good.as_nanos() / cell.as_nanos()).unwrap_or(0).min(CALL.get());
        let burst = CALL.saturating_add(spare);
        let quota = Quota::with_period(cell).expect("a period is longer than nothing").allow_burst(burst);
        let cells = RateLimiter::direct_with_clock(quota, TokioClock);
        let _burnt = cells.check_n(burst);
        Self { cells }
    }

    /// Takes a call's cells, or says when they will be there.
    fn check(&self) -> Result<(), Instant> {
        match self.cells.check_n(CALL) {
            Ok(taken) => taken.map_err(|refused| refused.earliest_possible().0),
            // A burst holds at least one call.
            Err(_too_many) => Ok(()),
        }
    }
}

/// governor on tokio's clock, which tests pause.
#[derive(Clone, Copy, Debug)]
struct TokioClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(Instant);

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(now())
    }
}

impl Add<Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, nanos: Nanos) -> Self {
        Self(self.0.checked_sub(nanos.into()).unwrap_or(self.0))
    }
}
