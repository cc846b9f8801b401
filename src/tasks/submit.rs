//! Makes the backups of waiting runs.
//!
//! Responsible for the attempt: a turn in the lane, the durable intent, the call, the outcome. It refuses to
//! send anything before the intent is on disk (invariant 3).

use std::sync::Arc;
use std::time::Duration;

use backup_core::run::State;
use backup_core::{BackupName, Step};
use cbs::limiter::Priority;

use super::driver::{InFlight, Task};
use super::{attend, look, room};
use crate::app::App;
use crate::bell::Bell;
use crate::cloud::Cloud;
use crate::journal::{Row, Stage};
use crate::report::{Event, Kind};

/// Runs of one target that may stand in its lane or have a call under way at once. More would only wait in
/// memory rather than in the journal.
const AT_ONCE: &[(Stage, usize)] = &[(Stage::Waiting, 128)];
/// New ones are looked for once there are no more than so many: by the dozen, not one for each call that ends.
const REFILL_AT: usize = 64;
/// A run whose intent could not be written is left alone for so long.
const AFTER_FAILED_WRITE: Duration = Duration::from_secs(1);

/// The task.
#[derive(Default)]
pub struct Submit {
    attend: attend::Attend,
}

impl Task for Submit {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.submit
    }

    fn heeds_ends(&self) -> bool {
        self.attend.heeds_ends()
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let settings = app.settings();
        let full = settings.clouds.keys().filter(|target| in_flight.claimed_of(target) > REFILL_AT);
        let full = full.cloned().collect();
        let found = self.attend.step(app, AT_ONCE, &full, in_flight).await;
        for (row, step) in found.acts {
            let Some(cloud) = app.cloud(&row.target) else { continue };
            match step {
                Step::Create => {
                    in_flight.start(std::slice::from_ref(&row), attempt(Arc::clone(app), cloud, row.clone()))
                }
                Step::Look => in_flight
                    .start(std::slice::from_ref(&row), look::look(Arc::clone(app), cloud, row.clone())),
                Step::MakeRoom => in_flight
                    .start(std::slice::from_ref(&row), room::decide(Arc::clone(app), cloud, row.clone())),
                Step::Skip(why) => end(app, row.run.skip(why)).await,
                Step::OutOfTime(why) => end(app, row.run.out_of_time(why)).await,
                Step::Wait(_) | Step::Delete | Step::Poll | Step::Ended => {}
            }
        }
        found.wait
    }
}

async fn end(app: &App, ended: Result<backup_core::Run, backup_core::run::IllegalTransition>) {
    match ended {
        Ok(run) => {
            // A failed write is not repeated here: the run is found again, and ends then.
            if app.write(app.saving_waiting(run)).await.is_ok() {
                app.pokes.tell.ring();
            }
        }
        Err(error) => app.fault(&error),
    }
}

/// One attempt of a run, from its turn in the lane to the record of its outcome.
pub(super) async fn attempt(app: Arc<App>, cloud: Cloud, mut row: Row) {
    let priority = if row.run.attempts > 0 { Priority::UnresolvedCreate } else { Priority::NewCreate };
    let turn = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        turn = cloud.create_turn(priority) => turn,
    };
    let now = app.now();
    let begun = match row.run.clone().begin(&now) {
        Ok(run) => run,
        Err(error) => return app.fault(&error),
    };
    // Without a durable intent no byte leaves. Left out means that another run holds the disk, or that the run
    // was removed, while this one stood in the lane.
    match app.write(app.beginning(begun.clone())).await {
        Ok(true) => row.run = begun,
        Ok(false) => return app.ring_about(&row.run),
        Err(_) => {
            tokio::time::sleep(AFTER_FAILED_WRITE).await;
            return app.ring_about(&row.run);
        }
    }
    let name = BackupName::of(&row.owner, &row.run.id).to_string();
    let lag = now.wall.duration_since(row.run.start_at).as_millis();
    app.say(
        &Event::of_row(Kind::BackupRequested, &row, format!("asking for backup {name}"))
            .with(|fields| fields.lag_ms = u64::try_from(lag).ok()),
    );

    let answer = cloud.create(turn, &row.run.id.disk, &name).await;
    let at_answer = app.now();
    let took = at_answer.since(now.mark());
    let run = match row.run.reply(
        &at_answer,
        answer.reply,
        app.parts.random.draw(),
        &app.settings().config.retry,
    ) {
        Ok(run) => run,
        Err(error) => return app.fault(&error),
    };
    row.run = run;
    app.persist(app.saving(row.run.clone())).await;

    let (kind, message) = match &row.run.state {
        State::Tracking { .. } => (Kind::BackupAccepted, "accepted; not good before it is NORMAL".to_owned()),
        // That is said together with what follows from it.
        State::Absent { full: Some(_), .. } => return app.pokes.submit.ring(),
        State::Absent { .. } => (Kind::BackupRetry, answer.message),
        State::Creating { .. } => {
            (Kind::BackupAmbiguous, format!("it may exist, and is looked for: {}", answer.message))
        }
        _ => (Kind::BackupRefused, answer.message),
    };
    app.say(&Event::of_row(kind, &row, message).with(|fields| {
        fields.request_id = answer.request_id;
        fields.took_ms = u64::try_from(took.as_millis()).ok();
        if let State::Absent { retry_at, .. } = row.run.state {
            fields.retry_in_ms = u64::try_from(retry_at.duration_since(at_answer.wall).as_millis()).ok();
        }
    }));
    app.ring_about(&row.run);
}
