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
