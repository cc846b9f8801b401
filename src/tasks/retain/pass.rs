//! A pass over the backups of some disks: what there is, what the rules say, what goes.
//!
//! Responsible for the order of things. Nothing goes before what stays has been NORMAL in two complete listings settle
//! apart; the second is fresh. The intent is durable before each call; one id a call; what is not found is done.
//! It refuses to delete what the journal does not know as the good backup of a run of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup_core::retention::{Keep, Point, PointId, Refusal, Verdict, plan};
use backup_core::run::{Sighting, State, WhenFull};
use backup_core::{BackupName, DiskId, JobName, Mark, RunId, SnapshotId};
use cbs::BackupState;
use cbs::limiter::Priority;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::cloud::{Cloud, Stored};
use crate::config::{Config, Job};
use crate::journal::{Change, Deletion, Row, SharedError, Which};
use crate::report::{Event, Kind};

/// Passes of one target with calls under way at once. More would only stand in its lanes.
const AT_ONCE: usize = 4;
/// An intent is given up when it is so old, and its backup is there and kept: no call of it is on its way any more.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// What the passes over a target share.
pub(super) struct Gate {
    calls: Semaphore,
    /// It was said that deletes fail.
    failing: AtomicBool,
}

impl Default for Gate {
    fn default() -> Self {
        Self { calls: Semaphore::new(AT_ONCE), failing: AtomicBool::new(false) }
    }
}

/// A backup, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// As the cloud lists it.
    pub(super) stored: Stored,
    /// Its run by its name, where it is ours, and the verdict.
    pub(super) ours: Option<(RunId, Verdict)>,
    /// Its job is there, and holds the disk.
    pub(super) has_job: bool,
    /// It is to be deleted.
    pub(super) goes: bool,
    /// Whether it was, where it was tried.
    pub(super) deleted: Option<bool>,
}

impl Judged {
    /// The verdict in words.
    pub(super) fn verdict(&self) -> Option<String> {
        let (_, verdict) = self.ours.as_ref()?;
        Some(match verdict {
            Verdict::Delete if !self.has_job => "delete: its job is gone".to_owned(),
            verdict => verdict.to_string(),
        })
    }
}

/// What a pass came to.
#[derive(Default)]
pub(super) struct Passed {
    /// The backups of each disk that has any, as they were listed last.
    pub(super) shelves: BTreeMap<DiskId, Vec<Judged>>,
    /// Disks of which something that should go is still there, perhaps.
    pub(super) failed: BTreeSet<DiskId>,
    /// Why, in words.
    pub(super) problems: Vec<String>,
}

/// Looks at these disks of one target and, if told to, deletes what no rule keeps.
///
/// # Errors
/// In words: why there is no complete listing, or why what there is could not be judged.
pub(super) async fn pass(
    app: &App,
    cloud: &Cloud,
    gate: &Gate,
    disks: &[DiskId],
    which: &Which,
    delete: bool,
) -> Result<Passed, String> {
    let mut passed = Passed::default();
    let first = list(app, cloud, gate, disks).await?;
    let seen = app.now().mark();
    for disk in disks {
        let stored = first.get(disk).cloned().unwrap_or_default();
        let judged = judge(app, disk, stored, None, which).await.map_err(|error| fault(app, &error))?;
        settle_pending(app, disk, &judged).await.map_err(|error| fault(app, &error))?;
        passed.shelves.insert(disk.clone(), judged);
    }
    let doomed: Vec<DiskId> = passed
        .shelves
        .iter()
        .filter(|(_, shelf)| shelf.iter().any(|judged| judged.goes))
        .map(|(disk, _)| disk.clone())
        .collect();
    if !delete || doomed.is_empty() {
        return Ok(passed);
    }
    let normal: BTreeSet<PointId> = first
        .into_values()
        .flatten()
        .filter(|stored| stored.sighting == Sighting::Normal)
        .map(|stored| stored.id)
        .collect();
    until_settled(app, seen).await?;
    let mut second = list(app, cloud, gate, &doomed).await?;
    if app.parts.journal.read(|store| store.is_behind()).await.map_err(|error| fault(app, &error))? {
        return Err("the journal is behind the cloud".to_owned());
    }
    let settings = app.settings();
    for disk in doomed {
        let stored = second.remove(&disk).unwrap_or_default();
        let mut shelf =
            judge(app, &disk, stored, Some(&normal), which).await.map_err(|error| fault(app, &error))?;
        say_kept(app, &disk, &shelf);
        for judged in shelf.iter_mut().filter(|judged| judged.goes) {
            let Some((run, _)) = &judged.ours else { continue };
            let outcome = if Arc::ptr_eq(&settings, &app.settings()) {
                delete_one(app, cloud, gate, run, judged).await
            } else {
                Err("the configuration has changed".to_owned())
            };
            judged.deleted = Some(outcome.is_ok());
            if let Err(problem) = outcome {
                passed.problems.push(format!("{}: {problem}", judged.stored.id));
                passed.failed.insert(disk.clone());
            }
        }
        passed.shelves.insert(disk, shelf);
    }
    Ok(passed)
}

/// The one place where what a disk holds is listed for a pass.
async fn list(
    app: &App,
    cloud: &Cloud,
    gate: &Gate,
    disks: &[DiskId],
) -> Result<BTreeMap<DiskId, Vec<Stored>>, String> {
    let list = async {
        let _turn = gate.calls.acquire().await.map_err(|error| error.to_string())?;
        let mut stored = cloud.stored(Some(disks), Priority::Retention).await?;
        let config = Arc::clone(&app.settings().config);
        let disks: Vec<DiskId> = disks.iter().filter(|disk| snapshots_join(&config, disk)).cloned().collect();
        // No disks, no call.
        for (disk, mut snapshots) in cloud.stored_snapshots(&disks, Priority::Retention).await? {
            stored.entry(disk).or_default().append(&mut snapshots);
        }
        Ok::<_, String>(stored)
    };
    tokio::select! {
        biased;
        () = app.stop.cancelled() => Err(STOPPED.to_owned()),
        listed = list => listed.map_err(|problem| format!("cannot be listed: {problem}")),
    }
}

/// Whether snapshots of a disk that were backup points are judged by its rules: where they are not given a deadline.
fn snapshots_join(config: &Config, disk: &DiskId) -> bool {
    let promotes = |job: &&Job| matches!(job.when_full, WhenFull::Promote { keep: None });
    config.jobs.iter().filter(promotes).any(|job| job.disks.contains(disk))
}

const STOPPED: &str = "stopped";

/// Waits until the settle has passed since `seen`.
async fn until_settled(app: &App, seen: Mark) -> Result<(), String> {
    loop {
        let left = app.settings().config.settle.saturating_sub(app.now().since(seen));
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = app.stop.cancelled() => return Err(STOPPED.to_owned()),
            () = tokio::time::sleep(left.min(app.parts.idle.hop)) => {}
        }
    }
}

fn fault(app: &App, error: &SharedError) -> String {
    app.journal_fault(error);
    crate::report::chain(&**error)
}

/// What jobs keep on a disk; none for one that is not there, or does not hold it. Targets do not matter: two may lead
/// to one account.
fn rules<'a>(config: &'a Config, disk: &'a DiskId) -> impl Fn(&JobName) -> Option<(Keep, TimeZone)> + 'a {
    move |name| {
        if name.is_manual() {
            return Some((Keep::default(), TimeZone::UTC));
        }
        let job = config.jobs.iter().find(|job| job.name == *name && job.disks.contains(disk))?;
        Some((job.keep.clone(), job.schedule.zone().clone()))
    }
}

/// Judges what a complete listing has of a disk. What was not NORMAL `before`, where that is known, does not count yet.
pub(super) async fn judge(
    app: &App,
    disk: &DiskId,
    stored: Vec<Stored>,
    before: Option<&BTreeSet<PointId>>,
    which: &Which,
) -> Result<Vec<Judged>, SharedError> {
    let config = &app.settings().config;
    let points: BTreeMap<PointId, Point> = stored
        .iter()
        .filter_map(|stored| Point::of(&config.owner, disk, stored.id.clone(), &stored.name, stored.sighting))
        .map(|point| (point.id.clone(), point))
        .collect();
    let runs: BTreeSet<RunId> = points.values().map(|point| point.run.clone()).collect();
    let of = disk.clone();
    let (behind, rows, promoted) = app
        .parts
        .journal
        .read(move |store| {
            let rows = runs.iter().filter_map(|run| store.run(run).transpose());
            let rows: Result<Vec<Row>, _> = rows.collect();
            Ok((store.is_behind()?, rows?, store.promoted(&of)?))
        })
        .await?;
    let rows: BTreeMap<&RunId, &Row> = rows.iter().map(|row| (&row.run.id, row)).collect();
    let rules = rules(config, disk);
    let has_job = |job: &JobName| rules(job).is_some();
    let counts = |point: &&Point| match rows.get(&point.run) {
        Some(row) => point.sighting != Sighting::Normal || is_the_runs(row, &point.id, &promoted),
        // While the journal is behind nothing is deleted, and this is a preview. One that is not may have forgotten
        // the runs of a job that is gone.
        None => (behind && before.is_none()) || !has_job(&point.run.job),
    };
    let is_rolling_back = stored.iter().any(|stored| stored.state == BackupState::Rollbacking);
    let counting: Vec<Point> = points
        .values()
        .filter(counts)
        .map(|point| {
            let fresh = before.is_some_and(|before| !before.contains(&point.id));
            let sighting = if fresh { Sighting::Unfinished } else { point.sighting };
            Point { sighting, ..point.clone() }
        })
        .collect();
    let or_orphan =
        |job: &JobName| rules(job).or_else(|| which.orphans.then_some((Keep::NOTHING, TimeZone::UTC)));
    let mut verdicts: BTreeMap<PointId, Verdict> =
        plan(&counting, &or_orphan, app.now().wall).into_iter().collect();
    let judged = stored.into_iter().map(|stored| {
        let ours = points.get(&stored.id).map(|point| {
            let verdict = match verdicts.remove(&stored.id) {
                Some(Verdict::Delete) if is_rolling_back => Verdict::Refused(Refusal::RollingBack),
                Some(verdict) => verdict,
                None => Verdict::Refused(Refusal::NotTheRuns),
            };
            (point.run.clone(), verdict)
        });
        let is_wanted = |run: &RunId| which.job.as_ref().is_none_or(|job| *job == run.job);
        Judged {
            goes: ours.as_ref().is_some_and(|(run, verdict)| *verdict == Verdict::Delete && is_wanted(run)),
            has_job: ours.as_ref().is_some_and(|(run, _)| has_job(&run.job)),
            stored,
            ours,
            deleted: None,
        }
    });
    Ok(judged.collect())
}

/// Whether the journal has this as the good backup of the run, or as the snapshot that it has become.
fn is_the_runs(row: &Row, id: &PointId, promoted: &[(RunId, SnapshotId)]) -> bool {
    match (&row.run.state, id) {
        (State::Completed { backup, .. }, PointId::Backup(id)) => backup == id,
        (_, PointId::Snapshot(id)) => {
            promoted.iter().any(|(run, snapshot)| *run == row.run.id && snapshot == id)
        }
        _ => false,
    }
}

/// What was to be deleted and is not listed any more, was; what is listed and is kept now, stays.
async fn settle_pending(app: &App, disk: &DiskId, shelf: &[Judged]) -> Result<(), SharedError> {
    let of = disk.clone();
    let joins = snapshots_join(&app.settings().config, disk);
    for deletion in app.parts.journal.read(move |store| store.pending_deletions(&of)).await? {
        // Snapshots that were not listed are not gone.
        if !joins && matches!(deletion.point, PointId::Snapshot(_)) {
            continue;
        }
        match shelf.iter().find(|judged| judged.stored.id == deletion.point) {
            None => account(app, &deletion).await,
            Some(Judged {
                ours: Some((_, Verdict::Kept(_) | Verdict::Refused(Refusal::LastGood))), ..
            }) => {
                let before = app.now().wall.saturating_sub(GIVEN_UP_AFTER).unwrap_or(Timestamp::MIN);
                app.write(Change::Spare { point: deletion.point, before }).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Says and writes down that a backup is gone that was to be deleted: at least once, for the line comes first.
pub(crate) async fn account(app: &App, deletion: &Deletion) {
    if !deletion.done {
        app.say(&event(app, Kind::RetentionDeleted, &deletion.run, &deletion.point, "gone, as it was to be"));
    }
    app.persist(Change::Deleted(deletion.point.clone(), app.now().wall)).await;
}

/// The one place where something goes.
async fn delete_one(
    app: &App,
    cloud: &Cloud,
    gate: &Gate,
    run: &RunId,
    judged: &Judged,
) -> Result<(), String> {
    let point = &judged.stored.id;
    let _turn = gate.calls.acquire().await.map_err(|error| error.to_string())?;
    if app.stop.is_cancelled() {
        return Err(STOPPED.to_owned());
    }
    if !app.parts.time.is_trusted() {
        return Err("the clock cannot be believed".to_owned());
    }
    let intent = Change::Delete { point: point.clone(), run: run.clone(), at: app.now().wall };
    app.write(intent).await.map_err(|error| crate::report::chain(&*error))?;
    match cloud.delete(point).await {
        Ok(()) => {
            gate.failing.store(false, Ordering::Relaxed);
            let why = judged.verdict().unwrap_or_default();
            let why = why.trim_start_matches("delete: ");
            app.say(&event(app, Kind::RetentionDeleted, run, point, why));
            app.persist(Change::Deleted(point.clone(), app.now().wall)).await;
            Ok(())
        }
        Err(problem) => {
            // Of many that fail for one reason, the first.
            if !gate.failing.swap(true, Ordering::Relaxed) {
                let message =
                    format!("no rule keeps it, and it may still be there; tried again later: {problem}");
                app.say(&event(app, Kind::RetentionFailed, run, point, &message));
            }
            Err(problem)
        }
    }
}

fn event(app: &App, kind: Kind, run: &RunId, point: &PointId, message: &str) -> Event {
    let name = BackupName::of(&app.settings().config.owner, run).to_string();
    Event::of_run(kind, run, message).with(|fields| {
        fields.backup_id = Some(point.to_string());
        fields.backup_name = Some(name);
    })
}

fn say_kept(app: &App, disk: &DiskId, shelf: &[Judged]) {
    let stays = shelf.iter().filter(|judged| !judged.goes);
    let kept: Vec<String> =
        stays.filter_map(|judged| Some(format!("{} ({})", judged.stored.id, judged.verdict()?))).collect();
    if kept.len() < shelf.len() && !kept.is_empty() {
        let event = Event::new(Kind::RetentionKept, kept.join("; "));
        app.say(&event.with(|fields| fields.disk_id = Some(disk.to_string())));
    }
}
