//! Says how runs and restores ended, and when disks had no good backup.
//!
//! Responsible for the events that stay in an outbox of the journal (a column of their row) until they are written, so that
//! a crash between the end and the line costs nothing, and neither does a log that nobody takes: what was said is recorded as
//! said once the log has handed it on, and nothing more is said before. At least once, and once in all but the case of
//! a crash between the line and the record of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::run::State;
use backup_core::{RunId, restore};
use jiff::Timestamp;

use super::driver::{InFlight, Task};
use crate::app::App;
use crate::bell::Bell;
use crate::journal::{Change, Gap, JournalError, RestoreRow, Row, Store};
use crate::report::{Event, Kind, Receipt};

/// Rows of one batch.
const BATCH: usize = 500;
/// How long the log is waited for at a time. A task that waits longer seems to hang.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// The task. A clone goes on where it was.
#[derive(Clone, Default)]
pub struct Tell(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// What was said, and the record of it could not be written yet.
    told: BTreeSet<Told>,
    /// Good once all that was said is where it goes.
    receipt: Receipt,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// A run's end, with the version of its row.
    Run(RunId, i64),
    /// The beginning of a gap, or its end.
    Gap(i64, Edge),
    /// A restore's end.
    Restore(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Begin,
    End,
}

impl Task for Tell {
    const NEEDS_CLOCK: bool = false;

    fn bell(app: &App) -> &Bell {
        &app.pokes.tell
    }

    async fn step(&mut self, app: &Arc<App>, _: &mut InFlight) -> Duration {
        self.tell_all(app).await
    }
}

impl Tell {
    /// Says all that was not said yet; how long to wait before asking again.
    pub async fn tell_all(&self, app: &App) -> Duration {
        match self.tell(app).await {
            Ok(()) => Duration::MAX,
            Err(Hindrance::Unread) => Duration::from_secs(10),
            Err(Hindrance::Unwritten) => Duration::from_secs(1),
            // That was waited for already.
            Err(Hindrance::Unheard) => Duration::ZERO,
        }
    }

    async fn tell(&self, app: &App) -> Result<(), Hindrance> {
        loop {
            let rows = read(app, |store| store.unreported(BATCH)).await?;
            if rows.is_empty() {
                break;
            }
            let said = rows
                .iter()
                .filter_map(|row| Some((Told::Run(row.run.id.clone(), row.version), terminal(row)?)));
            let change = Change::Reported(rows.iter().map(|row| row.run.id.clone()).collect());
            self.say(app, said.collect(), vec![change]).await?;
        }
        let gaps = read(app, |store| store.untold_gaps()).await?;
        if !gaps.is_empty() {
            let change =
                Change::GapsTold(gaps.iter().map(|gap| (gap.number, gap.ended_at.is_some())).collect());
            self.say(app, gaps.iter().flat_map(edges).collect(), vec![change]).await?;
        }
        let restores = read(app, |store| store.open_restores()).await?;
        let ended = restores.iter().filter_map(|row| Some((row.number, restored(row)?)));
        let (changes, said): (Vec<_>, Vec<_>) = ended
            .map(|(number, event)| (Change::RestoreReported(number), (Told::Restore(number), event)))
            .unzip();
        if !changes.is_empty() {
            self.say(app, said, changes).await?;
        }
        Ok(())
    }

    /// Says what of this was not said yet, and records it once the log has handed it on.
    async fn say(&self, app: &App, all: Vec<(Told, Event)>, record: Vec<Change>) -> Result<(), Hindrance> {
        // Nothing is added to what waits in the log already: the outbox keeps the rest.
        self.be_heard().await?;
        {
            let mut said = self.said();
            let mut is_new = false;
            for (what, event) in &all {
                if said.told.insert(what.clone()) {
                    app.say(event);
                    is_new = true;
                }
            }
            if is_new {
                said.receipt = app.parts.report.receipt();
            }
        }
        self.be_heard().await?;
        app.write_all(record).await.map_err(|_| Hindrance::Unwritten)?;
        let mut said = self.said();
        for (what, _) in &all {
            said.told.remove(what);
        }
        Ok(())
    }

    /// Waits for the log to hand on what was said, not for long. It is the same receipt until then: others go on
    /// speaking, and a log that is slow would never have written all that there is.
    async fn be_heard(&self) -> Result<(), Hindrance> {
        let receipt = self.said().receipt.clone();
        tokio::time::timeout(HEARD_WITHIN, receipt.good()).await.map_err(|_| Hindrance::Unheard)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps something from being told.
enum Hindrance {
    /// The journal cannot be read.
    Unread,
    /// It cannot be written.
    Unwritten,
    /// The log does not take it.
    Unheard,
}

async fn read<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&mut dyn Store) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, Hindrance> {
    app.parts.journal.read(question).await.map_err(|error| {
        app.journal_fault(&error);
        Hindrance::Unread
    })
}

/// What is to be said of a gap.
fn edges(gap: &Gap) -> Vec<(Told, Event)> {
    let event = |kind, message: String| {
        Event::of_run(kind, &gap.run, message).with(|fields| {
            fields.backup_id = Some(gap.point.to_string());
            fields.took_ms = between(Some(gap.began_at), gap.ended_at).filter(|_| kind == Kind::GapEnded);
        })
    };
    let mut edges = Vec::new();
    if !gap.begin_told {
        let message = format!(
            "{}, the last good backup of this disk, makes room for the next: from {} on it has none",
            gap.point, gap.began_at
        );
        edges.push((Told::Gap(gap.number, Edge::Begin), event(Kind::GapBegan, message)));
    }
    if let Some(ended) = gap.ended_at {
        let message =
            format!("the disk has a good backup again; it had none from {} to {ended}", gap.began_at);
        edges.push((Told::Gap(gap.number, Edge::End), event(Kind::GapEnded, message)));
    }
    edges
}

/// How a restore ended, if it has.
fn restored(row: &RestoreRow) -> Option<Event> {
    match &row.restore.state {
        _ if row.ended_at.is_none() => None,
        restore::State::Completed => {
            let message = format!("{} is what it was at {}", row.restore.disk, row.restore.backup);
            Some(super::restore::event(Kind::RestoreCompleted, row, message))
        }
        restore::State::Failed { why } => {
            let event = super::restore::event(Kind::RestoreFailed, row, why.to_string());
            Some(event.with(|fields| fields.reason = Some(super::restore::reason(why).to_owned())))
        }
        _ => None,
    }
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
