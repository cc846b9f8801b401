//! What wakes a task.
//!
//! Responsible for the earliest instant that a task was asked to look around at. It refuses to say why: a task finds out
//! in the journal, and a bell that was not heard changes nothing but the hour.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;

/// A task's bell. Instants are those of the monotonic clock.
#[derive(Default)]
pub struct Bell {
    soonest: Mutex<Option<Duration>>,
    changed: Notify,
}

impl Bell {
    /// Rings at once.
    pub fn ring(&self) {
        self.ring_at(Duration::ZERO);
    }

    /// Is to ring at an instant, unless it rings before.
    pub fn ring_at(&self, instant: Duration) {
        let mut soonest = self.soonest();
        if soonest.is_none_or(|soonest| instant < soonest) {
            *soonest = Some(instant);
            self.changed.notify_one();
        }
    }

    /// All that it rang for, or is to ring for, is about to be seen.
    pub fn silence(&self) {
        *self.soonest() = None;
    }

    /// Waits until it rings.
    pub async fn rung(&self, clock: &dyn Clock) {
        loop {
            let soonest = *self.soonest();
            let wait = soonest.map_or(Duration::MAX, |instant| instant.saturating_sub(clock.mono()));
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn soonest(&self) -> MutexGuard<'_, Option<Duration>> {
        self.soonest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jiff::Timestamp;

    use super::*;
    use crate::clock::SteppedClock;

    const SECOND: Duration = Duration::from_secs(1);

    async fn rings_after(bell: &Bell, clock: &SteppedClock) -> Duration {
        let before = clock.mono();
        bell.rung(clock).await;
        clock.mono() - before
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_the_earliest_until_it_is_silenced() {
        let (bell, clock) = (Bell::default(), SteppedClock::new(Timestamp::UNIX_EPOCH));
        for instant in [30, 10, 20] {
            bell.ring_at(instant * SECOND);
        }
        assert_eq!(rings_after(&bell, &clock).await, 10 * SECOND);
        assert_eq!(rings_after(&bell, &clock).await, Duration::ZERO, "nobody has answered it");
        bell.silence();
        assert!(bell.rung(&clock).now_or_never().is_none());
        bell.ring();
        assert_eq!(rings_after(&bell, &clock).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_later_instant_hears_an_earlier_one() {
        let (bell, clock) = (Bell::default(), SteppedClock::new(Timestamp::UNIX_EPOCH));
        bell.ring_at(100 * SECOND);
        let ring = async {
            tokio::time::sleep(SECOND).await;
            bell.ring_at(5 * SECOND);
        };
        let (after, ()) = tokio::join!(rings_after(&bell, &clock), ring);
        assert_eq!(after, 5 * SECOND);
    }
}
