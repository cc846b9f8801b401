//! Looks for a run's backup by its name.
//!
//! Responsible for the look-up that decides what became of an attempt, and for saying what it showed. It
//! refuses to conclude anything itself.

use std::sync::Arc;

use backup_core::BackupName;
use backup_core::run::{Look, State};
use cbs::limiter::Priority;

use crate::app::App;
use crate::cloud::Cloud;
use crate::journal::Row;
use crate::report::{Event, Kind};

/// One look-up, from the call to the record of what it showed.
pub async fn look(app: Arc<App>, cloud: Cloud, mut row: Row) {
    let before = row.run.state.clone();
    let name = BackupName::of(&row.owner, &row.run.id).to_string();
    let priority = if matches!(before, State::Tracking { .. }) {
        Priority::Tracking
    } else {
        Priority::UnresolvedCreate
    };
    let (began, seen) = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        looked = async { (app.now().mark(), cloud.look(&row.run.id.disk, &name, priority).await) } => looked,
    };
    let found = matches!(seen.look, Look::Found(..));
    let now = app.now();
    match row.run.looked(&now, began, seen.look, app.parts.random.draw(), &app.settings().config.retry) {
        Ok(run) => row.run = run,
        Err(error) => return app.fault(&error),
    }
    let waiting = matches!(before, State::Planned { .. }) && matches!(row.run.state, State::Planned { .. });
    let change = if waiting { app.saving_waiting(row.run.clone()) } else { app.saving(row.run.clone()) };
    if !app.persist(change).await {
        return;
    }
    if seen.twins > 0 {
        let message = format!("{} more backups of this disk bear the name {name}", seen.twins);
        app.say(&Event::of_row(Kind::BackupTwin, &row, message));
    }
    match (&before, &row.run.state) {
        (State::Planned { .. } | State::Creating { .. }, _) if found => {
            app.say(&Event::of_row(
                Kind::BackupAdopted,
                &row,
                format!("found in the cloud by its name {name}"),
            ));
        }
        (State::Creating { .. }, State::Absent { retry_at, .. }) => {
            let wait = retry_at.duration_since(now.wall).as_millis();
            app.say(
                &Event::of_row(
                    Kind::BackupRetry,
                    &row,
                    "a complete listing after the settle shows no such backup",
                )
                .with(|fields| fields.retry_in_ms = u64::try_from(wait).ok()),
            );
        }
        (State::Tracking { backup, .. }, State::Absent { .. } | State::Failed { .. }) => {
            let gone = backup.to_string();
            app.say(
                &Event::of_row(
                    Kind::BackupVanished,
                    &row,
                    format!("{gone} is missing from three complete listings"),
                )
                .with(|fields| fields.backup_id = Some(gone)),
            );
        }
        _ => {}
    }
    if let Some(problem) = seen.problem {
        tracing::debug!(run = %row.run.id, "look-up not complete: {problem}");
    }
    app.ring_about(&row.run);
}
