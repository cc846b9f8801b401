//! Brings the journal into line with the configuration: at start, and at a reload.
//!
//! Responsible for watermarks that begin, change their schedule or end, and for the runs of what was removed.
//! A changed schedule owes what the old one owed up to now, and what the new one owes from then on.

use std::collections::{BTreeMap, HashSet, VecDeque};

use backup_core::clock_check::TOLERANCE;
use backup_core::run::Skip;
use backup_core::schedule::Schedule;
use backup_core::{DiskId, JobName};
use jiff::Timestamp;

use super::plan::{plan, write_plans};
use crate::app::{App, Settings};
use crate::config::{Config, Job};
use crate::fleet::OnRoster;
use crate::journal::{Change, JournalError, SharedError, Store, Watermark};
use crate::zones;

/// Watermarks that are held at once. There may be a hundred thousand, and all but the first time few of them change.
const PIECE: usize = 1000;

/// Brings the journal into line with the configuration in force.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn sync(app: &App) -> Result<(), SharedError> {
    let settings = app.settings();
    let (config, fleet) = (&settings.config, &settings.fleet);
    carry_over(app, config).await?;
    let now = app.now().wall;
    let since = app.in_force_since();
    let behind = app.parts.journal.read(|store| store.is_behind()).await?;
    let mut piece = Piece::default();
    for job in &config.jobs {
        let rules = Rules {
            app,
            settings: &settings,
            job,
            schedule: job.schedule.to_string(),
            next_due: job.schedule.next_after(since),
            now,
            since,
            behind,
        };
        let mut known = Known::of(&job.name);
        for OnRoster { disk, .. } in fleet.of(&job.name).disks() {
            let mark = loop {
                match known.next(app).await? {
                    // Of a disk that left the job. Both go by the disks' ids.
                    Some(mark) if mark.disk < *disk => piece.gone.push((mark.job, mark.disk)),
                    Some(mark) if mark.disk == *disk => break Some(mark),
                    Some(later) => {
                        known.put_back(later);
                        break None;
                    }
                    None => break None,
                }
            };
            rules.decide(disk, mark, &mut piece);
            piece.write_if_full(app).await?;
        }
        // Where it is not known yet which disks a job holds, those that it held stay.
        if fleet.of(&job.name).is_known {
            known.forget_rest(app, &mut piece).await?;
        }
    }
    let in_config: HashSet<&JobName> = config.jobs.iter().map(|job| &job.name).collect();
    for job in app.parts.journal.read(|store| store.planned_jobs()).await? {
        if !in_config.contains(&job) {
            Known::of(&job).forget_rest(app, &mut piece).await?;
        }
    }
    piece.write(app).await?;
    let in_doubt: HashSet<&JobName> =
        config.jobs.iter().map(|job| &job.name).filter(|job| !fleet.of(job).is_known).collect();
    remove_waiting(app, &settings, &in_doubt).await?;
    tidy_up(app, config).await
}

/// By what it is decided what becomes of a job's watermarks.
struct Rules<'a> {
    app: &'a App,
    settings: &'a Settings,
    job: &'a Job,
    schedule: String,
    next_due: Option<Timestamp>,
    now: Timestamp,
    since: Timestamp,
    behind: bool,
}

impl Rules<'_> {
    /// Adds to `piece` what is to be written of a disk, whose watermark is known as `mark`.
    fn decide(&self, disk: &DiskId, mark: Option<Watermark>, piece: &mut Piece) {
        let Self { job, since, .. } = *self;
        let may_begin = || !self.behind || self.app.listed(&job.target, disk).is_some();
        let begins = || Watermark {
            job: job.name.clone(),
            disk: disk.clone(),
            schedule: self.schedule.clone(),
            planned_through: whole_second(since),
            next_due: self.next_due,
        };
        match mark {
            None if may_begin() => piece.ready.push(begins()),
            // First seen, by a journal that may have been lost: nothing is planned before it is known what the
            // cloud has of it.
            None => piece.begun.push(Watermark { next_due: None, ..begins() }),
            Some(mark) if mark.next_due.is_none() => {
                if may_begin() {
                    let since = mark.planned_through;
                    let next_due = job.schedule.next_after(since);
                    piece.ready.push(Watermark { planned_through: since, next_due, ..begins() });
                }
            }
            // Planned by a clock that was ahead. Runs planned so wait for their time.
            Some(mark) if mark.planned_through.duration_since(self.now) > TOLERANCE => {
                piece.begun.push(begins());
            }
            Some(mark) if mark.schedule == self.schedule => {}
            Some(mark) => {
                piece.owed.extend(owed_by_old_schedule(self.settings, job, &mark, since));
                piece.begun.push(begins());
            }
        }
    }
}

/// What is to be written next.
#[derive(Default)]
struct Piece {
    /// What old schedules owe.
    owed: Vec<Change>,
    /// Watermarks that begin.
    begun: Vec<Watermark>,
    /// Those that begin where what was recovered ends.
    ready: Vec<Watermark>,
    /// Those that end.
    gone: Vec<(JobName, DiskId)>,
}

impl Piece {
    async fn write_if_full(&mut self, app: &App) -> Result<(), SharedError> {
        let Self { owed, begun, ready, gone } = self;
        if owed.len() + begun.len() + ready.len() + gone.len() < PIECE {
            return Ok(());
        }
        std::mem::take(self).write(app).await
    }

    async fn write(self, app: &App) -> Result<(), SharedError> {
        let Self { owed, mut begun, ready, gone } = self;
        // In this order: after a crash between the two, the old schedule's mark has moved and is found again.
        if !owed.is_empty() {
            write_plans(app, owed).await?;
        }
        if !ready.is_empty() {
            begun.extend(app.parts.journal.read(move |store| go_on_after_recovered(store, ready)).await?);
        }
        if !begun.is_empty() {
            app.write(Change::Watermarks(begun)).await?;
        }
        if !gone.is_empty() {
            app.write(Change::Forget(gone)).await?;
        }
        Ok(())
    }
}

/// The watermarks of a job that the journal knows, by disk.
struct Known {
    job: JobName,
    page: VecDeque<Watermark>,
    after: Option<DiskId>,
    is_whole: bool,
}

impl Known {
    fn of(job: &JobName) -> Self {
        Self { job: job.clone(), page: VecDeque::new(), after: None, is_whole: false }
    }

    async fn next(&mut self, app: &App) -> Result<Option<Watermark>, SharedError> {
        if self.page.is_empty() && !self.is_whole {
            let (job, after) = (self.job.clone(), self.after.take());
            let read = move |store: &mut dyn Store| store.watermarks_of(&job, after.as_ref(), PIECE);
            self.page = app.parts.journal.read(read).await?.into();
            self.is_whole = self.page.len() < PIECE;
            self.after = self.page.back().map(|last| last.disk.clone());
        }
        Ok(self.page.pop_front())
    }

    fn put_back(&mut self, mark: Watermark) {
        self.page.push_front(mark);
    }

    async fn forget_rest(mut self, app: &App, piece: &mut Piece) -> Result<(), SharedError> {
        while let Some(mark) = self.next(app).await? {
            piece.gone.push((mark.job, mark.disk));
            piece.write_if_full(app).await?;
        }
        Ok(())
    }
}

/// Watermarks of jobs that were renamed go on under the new name; runs stay under the old one, which goes on with them.
async fn carry_over(app: &App, config: &Config) -> Result<(), SharedError> {
    let renamed: BTreeMap<JobName, JobName> =
        config.jobs.iter().filter_map(|job| Some((job.was.clone()?, job.name.clone()))).collect();
    if renamed.is_empty() {
        return Ok(());
    }
    let marks = app.parts.journal.read(|store| store.watermarks()).await?;
    let there: HashSet<(&JobName, &DiskId)> = marks.iter().map(|mark| (&mark.job, &mark.disk)).collect();
    let (mut begun, mut gone) = (Vec::new(), Vec::new());
    for mark in &marks {
        let Some(name) = renamed.get(&mark.job) else { continue };
        if !there.contains(&(name, &mark.disk)) {
            begun.push(Watermark { job: name.clone(), ..mark.clone() });
            gone.push((mark.job.clone(), mark.disk.clone()));
        }
    }
    if !begun.is_empty() {
        app.write_all(vec![Change::Watermarks(begun), Change::Forget(gone)]).await?;
    }
    Ok(())
}

/// What the journal has of the jobs besides their watermarks and runs.
async fn tidy_up(app: &App, config: &Config) -> Result<(), SharedError> {
    let listed: HashSet<&JobName> =
        config.jobs.iter().filter(|job| job.wants_discovery()).map(|job| &job.name).collect();
    let held = app.parts.journal.read(|store| store.inventory()).await?.jobs;
    let unlisted: Vec<JobName> = held.into_keys().filter(|job| !listed.contains(job)).collect();
    let rank = |job: &Job| i64::from(job.priority) - i64::from(Job::PRIORITY);
    let ranks = config.jobs.iter().map(|job| (job.name.clone(), rank(job))).filter(|(_, rank)| *rank != 0);
    app.write_all(vec![Change::Unlist(unlisted), Change::Priorities(ranks.collect())]).await.map(drop)
}

/// Watermarks that begin; where the journal was lost, after the last run that was recovered, so that what was due
/// since is accounted for.
fn go_on_after_recovered(store: &dyn Store, begun: Vec<Watermark>) -> Result<Vec<Watermark>, JournalError> {
    let go_on = |mark: Watermark| {
        Ok(match store.recovered_through(&mark.job, &mark.disk)? {
            Some(through) if through < mark.planned_through => {
                Watermark { planned_through: through, next_due: Some(through), ..mark }
            }
            _ => mark,
        })
    };
    begun.into_iter().map(go_on).collect()
}

fn owed_by_old_schedule(settings: &Settings, job: &Job, mark: &Watermark, now: Timestamp) -> Option<Change> {
    let old = Schedule::read(&mark.schedule, &zones::in_force().database).ok()?;
    Some(plan(settings, job, &old, mark, now))
}

/// Ends the waiting runs of jobs, disks and targets that are no longer configured. Runs with an attempt or a
/// backup under way go on to their end.
async fn remove_waiting(
    app: &App,
    settings: &Settings,
    in_doubt: &HashSet<&JobName>,
) -> Result<(), SharedError> {
    let Settings { config, fleet, .. } = settings;
    let renamed: BTreeMap<&JobName, &JobName> =
        config.jobs.iter().filter_map(|job| Some((job.was.as_ref()?, &job.name))).collect();
    let mut skipped = Vec::new();
    for row in app.parts.journal.read(|store| store.waiting()).await? {
        let id = &row.run.id;
        let known_target = config.targets.contains_key(&row.target);
        let job = *renamed.get(&id.job).unwrap_or(&&id.job);
        let is_held = id.job.is_manual() || in_doubt.contains(job) || fleet.holds(job, &id.disk);
        if known_target && is_held {
            continue;
        }
        match row.run.skip(Skip::Removed) {
            Ok(run) => skipped.push(app.saving_waiting(run)),
            Err(error) => app.fault(&error),
        }
    }
    if !skipped.is_empty() {
        app.write_all(skipped).await?;
    }
    Ok(())
}

fn whole_second(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
