//! The line to one notifier: one delivery at a time, and pauses where it does not take them.
//!
//! Responsible for bounds in time and for saying an outage once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::app::App;
use crate::notify::Delivered;
use crate::report::{Event, Kind};

/// The pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A line.
#[derive(Default)]
pub(super) struct Line(Mutex<State>);

#[derive(Default)]
struct State {
    is_busy: bool,
    /// In a row.
    failures: u32,
    /// Not before this, by the monotonic clock.
    again_at: Duration,
}

impl Line {
    /// Takes the line, if it is free and not paused.
    pub(super) fn take(&self, mono: Duration) -> bool {
        let mut state = self.state();
        let may = !state.is_busy && mono >= state.again_at;
        state.is_busy |= may;
        may
    }

    /// Gives it back.
    pub(super) fn free(&self) {
        self.state().is_busy = false;
    }

    /// Whether somebody has it.
    pub(super) fn is_busy(&self) -> bool {
        self.state().is_busy
    }

    /// Ends a pause.
    pub(super) fn hurry(&self) {
        self.state().again_at = Duration::ZERO;
    }

    /// Delivers, within `timeout`; says whether it was taken. A stop ends it: whether it was is then not known.
    pub(super) async fn deliver(
        &self,
        app: &App,
        name: &str,
        timeout: Duration,
        sending: BoxFuture<'_, Delivered>,
    ) -> bool {
        let delivered = tokio::select! {
            biased;
            () = app.stop.cancelled() => return false,
            delivered = tokio::time::timeout(timeout, sending) => delivered,
        };
        let problem = match delivered {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why.to_string()),
            Err(_) => Some(format!("no answer within {} s", timeout.as_secs())),
        };
        let mono = app.parts.time.clock().mono();
        let was_down = self.note(problem.is_some(), mono);
        app.parts.report.notified(name, if problem.is_none() { "sent" } else { "failed" });
        let said = match (&problem, was_down) {
            (Some(problem), false) => Some((Kind::NotifyFailed, format!("{name} cannot be told: {problem}"))),
            (None, true) => Some((Kind::NotifyRecovered, format!("{name} can be told again"))),
            _ => None,
        };
        if let Some((kind, message)) = said {
            app.say(&Event::new(kind, message).with(|fields| fields.notifier = Some(name.to_owned())));
        }
        problem.is_none()
    }

    /// Notes how a delivery ended; whether the one before had failed.
    fn note(&self, failed: bool, mono: Duration) -> bool {
        let mut state = self.state();
        let was_down = state.failures > 0;
        if failed {
            let pause = FIRST.saturating_mul(1 << state.failures.min(16)).min(LONGEST);
            state.failures = state.failures.saturating_add(1);
            state.again_at = mono + pause;
        } else {
            (state.failures, state.again_at) = (0, Duration::ZERO);
        }
        was_down
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_end_with_a_success() {
        let line = Line::default();
        assert!(line.take(Duration::ZERO));
        assert!(!line.take(Duration::ZERO), "somebody has it");
        line.free();
        let mut mono = Duration::ZERO;
        let mut pauses = Vec::new();
        for attempt in 0..40 {
            assert_eq!(line.note(true, mono), attempt > 0);
            let again_at = line.state().again_at;
            assert!(!line.take(again_at - Duration::from_millis(1)));
            assert!(line.take(again_at));
            line.free();
            pauses.push((again_at - mono).as_secs());
            mono = again_at;
        }
        assert_eq!(pauses[..8], [10, 20, 40, 80, 160, 320, 640, 900]);
        assert_eq!(pauses.last(), Some(&900));
        assert!(line.note(false, mono));
        assert!(!line.note(false, mono));
        assert!(line.take(mono));
    }
}
