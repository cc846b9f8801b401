//! Says how runs ended.
//!
//! Responsible for the terminal event of each run, and for the news of a backup that was late: from an outbox column of
//! its row, so that a crash between the end and the line costs nothing. At least once, and once in all but that case.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backup_core::RunId;
use backup_core::run::State;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::driver::{InFlight, Task};
use crate::app::App;
use crate::journal::{Change, Row};
use crate::report::{Event, Kind};

/// Rows of one batch.
const BATCH: usize = 500;

/// The task.
#[derive(Default)]
pub struct Tell {
    /// What was said, and the record of it could not be written yet: the runs, and the versions of their rows.
    told: BTreeSet<(RunId, i64)>,
}

impl Task for Tell {
    const NEEDS_CLOCK: bool = false;

    fn bell(app: &App) -> &Notify {
        &app.pokes.tell
    }

    async fn step(&mut self, app: &Arc<App>, _: &mut InFlight) -> Duration {
        self.tell_all(app).await
    }
}

impl Tell {
    /// Says how all runs ended of which it was not said yet; how long to wait before asking again.
    pub async fn tell_all(&mut self, app: &App) -> Duration {
        loop {
            let rows = match app.parts.journal.read(|store| store.unreported(BATCH)).await {
                Ok(rows) => rows,
                Err(error) => {
                    app.journal_fault(&error);
                    return Duration::from_secs(10);
                }
            };
            if rows.is_empty() {
                return tell_gaps(app).await;
            }
            for row in &rows {
                if self.told.insert((row.run.id.clone(), row.version))
                    && let Some(event) = terminal(row)
                {
                    app.say(&event);
                }
            }
            let told = rows.iter().map(|row| row.run.id.clone()).collect();
            if app.write(Change::Reported(told)).await.is_err() {
                return Duration::from_secs(1);
            }
            for row in rows {
                self.told.remove(&(row.run.id, row.version));
            }
        }
    }
}

/// Says when disks had no good backup.
async fn tell_gaps(app: &App) -> Duration {
    let gaps = match app.parts.journal.read(|store| store.untold_gaps()).await {
        Ok(gaps) => gaps,
        Err(error) => {
            app.journal_fault(&error);
            return Duration::from_secs(10);
        }
    };
    for gap in &gaps {
        let say = |kind, message: String| {
            app.say(&Event::of_run(kind, &gap.run, message).with(|fields| {
                fields.backup_id = Some(gap.point.to_string());
                fields.took_ms = between(Some(gap.began_at), gap.ended_at).filter(|_| kind == Kind::GapEnded);
            }));
        };
        if !gap.begin_told {
            let message = format!(
                "{}, the last good backup of this disk, makes room for the next: from {} on it has none",
                gap.point, gap.began_at
            );
            say(Kind::GapBegan, message);
        }
        if let Some(ended) = gap.ended_at {
            say(
                Kind::GapEnded,
                format!("the disk has a good backup again; it had none from {} to {ended}", gap.began_at),
            );
        }
    }
    if gaps.is_empty() {
        return Duration::MAX;
    }
    let told = gaps.iter().map(|gap| (gap.number, gap.ended_at.is_some())).collect();
    if app.write(Change::GapsTold(told)).await.is_ok() { Duration::MAX } else { Duration::from_secs(1) }
}

fn terminal(row: &Row) -> Option<Event> {
    let took = between(row.began_at, row.ended_at);
    let (kind, message) = match &row.run.state {
        State::Completed { late: false, .. } => (Kind::BackupCompleted, "NORMAL".to_owned()),
        State::Completed { late: true, .. } => {
            (Kind::BackupLate, "NORMAL after its run had ended without it: it counts".to_owned())
        }
        State::Failed { why, .. } => (Kind::BackupFailed, why.to_string()),
        State::Skipped { why } => (Kind::RunSkipped, why.to_string()),
        _ => return None,
    };
    Some(Event::of_row(kind, row, message).with(|fields| {
        fields.took_ms = took;
        fields.lag_ms = between(Some(row.run.start_at), row.began_at);
    }))
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u64> {
    u64::try_from(to?.duration_since(from?).as_millis()).ok()
}
