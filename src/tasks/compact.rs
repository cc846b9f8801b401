//! Forgets runs that ended long ago (`history_keep`), so that the journal does not grow for ever.
//!
//! Responsible for deleting rows, in small batches. It refuses to touch what is not told yet, runs whose
//! backups are still there, and the last completed run of a job on a disk with all that came after: they say how the
//! disk stands.

use std::sync::Arc;
use std::time::Duration;

use super::driver::{InFlight, Task};
use crate::app::App;
use crate::bell::Bell;
use crate::journal::Change;

/// How often it is looked for rows to forget.
const EVERY: Duration = Duration::from_secs(3600);
/// Between two batches others may write.
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);

/// The task.
#[derive(Default)]
pub struct Compact {
    /// When there was nothing left to forget, by the monotonic clock.
    done: Option<Duration>,
}

impl Task for Compact {
    /// A clock that is a year ahead would forget a year too much.
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.compact
    }

    async fn step(&mut self, app: &Arc<App>, _: &mut InFlight) -> Duration {
        let mono = app.parts.time.clock().mono();
        let rest = self.done.map_or(Duration::ZERO, |done| (done + EVERY).saturating_sub(mono));
        if !rest.is_zero() {
            return rest;
        }
        let keep = app.settings().config.history_keep;
        let Ok(before) = app.now().wall.checked_sub(keep) else { return EVERY };
        match app.write(Change::Compact { before }).await {
            Ok(true) => return BETWEEN_BATCHES,
            Ok(false) => self.done = Some(mono),
            Err(_) => {}
        }
        EVERY
    }
}
