//! Turns due instants into runs.
//!
//! Responsible for moving each watermark up to now, in one write with the runs that it accounts for
//! (invariant 1). What is due is always computed from the configuration and the watermark, never remembered.

use std::sync::Arc;
use std::time::Duration;

use backup_core::catch_up::{CaughtUp, catch_up};
use backup_core::run::{Policy, Skip, State};
use backup_core::schedule::Schedule;
use backup_core::{JobName, Owner, Run, RunId, TargetName};
use jiff::Timestamp;

use super::driver::{InFlight, Task};
use super::sync;
use crate::app::{App, Settings};
use crate::bell::Bell;
use crate::config::{Config, Job};
use crate::journal::{Change, Row, SharedError, Watermark};
use crate::report::{Event, Kind};

/// Watermarks moved in one batch.
const BATCH: usize = 1000;

/// The task.
#[derive(Default)]
pub struct Plan {
    /// It brings the journal into line with the configuration, and makes no runs.
    in_line_alone: bool,
}

impl Plan {
    /// The task for a command that holds the journal itself, and is not there to make backups.
    #[must_use]
    pub fn in_line_alone() -> Self {
        Self { in_line_alone: true }
    }
}

impl Task for Plan {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.plan
    }

    async fn step(&mut self, app: &Arc<App>, _: &mut InFlight) -> Duration {
        if let Some(wanted) = app.in_line.wanted() {
            if let Err(error) = sync::sync(app).await {
                app.journal_fault(&error);
                return Duration::from_secs(1);
            }
            app.in_line.done(wanted);
            app.pokes.all();
        }
        if self.in_line_alone {
            return Duration::MAX;
        }
        loop {
            let now = app.now().wall;
            let answer =
                app.parts.journal.read(move |store| Ok((store.due(now, BATCH)?, store.next_due()?))).await;
            let (due, next) = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    app.journal_fault(&error);
                    return Duration::from_secs(1);
                }
            };
            if due.is_empty() {
                return next.map_or(Duration::MAX, |next| until(now, next));
            }
            let settings = app.settings();
            let plans: Vec<Change> =
                due.iter().filter_map(|watermark| plan_watermark(&settings, watermark, now)).collect();
            if plans.is_empty() || write_plans(app, plans).await.is_err() {
                // Of jobs that a reload is removing, or not to be written just now.
                return Duration::from_secs(1);
            }
        }
    }
}

fn until(now: Timestamp, next: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}

/// The runs that a watermark's schedule owes up to `now`, and the watermark after them.
fn plan_watermark(settings: &Settings, watermark: &Watermark, now: Timestamp) -> Option<Change> {
    let job = settings.config.jobs.iter().find(|job| job.name == watermark.job)?;
    let is_current = job.schedule.as_str() == watermark.schedule;
    is_current.then(|| plan(settings, job, &job.schedule, watermark, now))
}

/// The same, by a given schedule of the job.
pub fn plan(
    settings: &Settings,
    job: &Job,
    schedule: &Schedule,
    watermark: &Watermark,
    now: Timestamp,
) -> Change {
    let dues = || schedule.after(watermark.planned_through).take_while(|due| *due <= now);
    let instance = settings.fleet.of(&job.name).instance_of(&watermark.disk);
    let start_at = |due| job.start_at(&watermark.disk, instance, due);
    let CaughtUp { misses, run } = catch_up(dues(), start_at, job.missed, job.start_within, now);
    let by = PlannedBy::job(&settings.config, job);
    let id = |due| RunId { job: job.name.clone(), disk: watermark.disk.clone(), due };
    let mut rows = Vec::new();
    rows.extend(misses.map(|misses| {
        let mut row = by.row(id(misses.to), start_at(misses.to));
        row.run.state = State::Skipped { why: Skip::Missed(misses) };
        row.ended_at = Some(now);
        row
    }));
    rows.extend(run.map(|(due, start_at)| by.row(id(due), start_at)));
    let planned_through = rows.last().map_or(watermark.planned_through, |row| row.run.id.due);
    Change::Plan {
        rows,
        watermark: Watermark {
            planned_through,
            next_due: schedule.next_after(planned_through),
            schedule: schedule.to_string(),
            ..watermark.clone()
        },
    }
}

/// What a run takes from the configuration when it is planned, and keeps.
pub struct PlannedBy {
    /// The job.
    pub job: JobName,
    /// The account and region.
    pub target: TargetName,
    /// The mark in the backup's name.
    pub owner: Owner,
    /// Its bounds and conduct.
    pub policy: Policy,
}

impl PlannedBy {
    /// As a configured job has it.
    #[must_use]
    pub fn job(config: &Config, job: &Job) -> Self {
        Self {
            job: job.name.clone(),
            target: job.target.clone(),
            owner: config.owner.clone(),
            policy: job.policy(config),
        }
    }

    /// The row of a new run.
    #[must_use]
    pub fn row(&self, id: RunId, start_at: Timestamp) -> Row {
        let run = Run::planned(id, start_at, self.policy.clone());
        Row {
            run,
            target: self.target.clone(),
            owner: self.owner.clone(),
            began_at: None,
            ended_at: None,
            version: 0,
        }
    }
}

/// Writes plans in one batch and says what they hold.
///
/// # Errors
/// When the journal cannot be written; the plans are then owed as before.
pub async fn write_plans(app: &App, plans: Vec<Change>) -> Result<(), SharedError> {
    let planned = |plan: &Change| -> Vec<Event> {
        let Change::Plan { rows, .. } = plan else { return Vec::new() };
        let open = rows.iter().filter(|row| !row.run.state.is_ended());
        open.map(|row| Event::of_row(Kind::RunPlanned, row, format!("starts at {}", row.run.start_at)))
            .collect()
    };
    let events: Vec<Vec<Event>> = plans.iter().map(planned).collect();
    let applied = app.write_all(plans).await?;
    for (events, _) in events.iter().zip(applied).filter(|(_, applied)| *applied) {
        events.iter().for_each(|event| app.say(event));
    }
    app.pokes.submit.ring();
    app.pokes.tell.ring();
    Ok(())
}
