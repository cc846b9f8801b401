//! Compares the journal with the cloud: every disk at the start, and a few times a day.
//!
//! Responsible for carrying out what `backup_core::reconcile` finds: runs of a journal that was lost come back,
//! before anything is planned for their disks; late backups count; twins that are surely ours go; what is gone is
//! said. It refuses to touch a backup that does not bear the owner's mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::reconcile::{Finding, GONE_AFTER, Known, Listed, compare};
use backup_core::retention::PointId;
use backup_core::run::{Look, Sighting};
use backup_core::{BackupId, BackupName, DiskId, Mark, RunId, TargetName};
use tokio::sync::Notify;

use super::driver::{InFlight, Task};
use super::plan::PlannedBy;
use super::retain;
use crate::app::App;
use crate::cloud::Cloud;
use crate::journal::{Change, Row, SharedError};
use crate::report::{Event, Kind};

/// How often a disk's backups are listed.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// After a listing that failed; after each that fails in a row, twice as long …
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// … but no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Disks listed in one call: the fewest values that any of the cloud's filters is known to take.
const AT_ONCE: usize = 5;

/// The task.
#[derive(Default)]
pub struct Reconcile {
    targets: Arc<Mutex<Targets>>,
}

/// How listings, and the records of what they show, go; by the monotonic clock.
#[derive(Default)]
struct Targets {
    busy: BTreeSet<TargetName>,
    /// When the last listing failed, and how many have in a row.
    failed: BTreeMap<TargetName, (Duration, u32)>,
    /// Where it was said that they fail.
    said: BTreeSet<TargetName>,
}

impl Targets {
    /// Whether that is to be said.
    fn fail(&mut self, target: &TargetName, mono: Duration) -> bool {
        let times = self.failed.get(target).map_or(0, |(_, times)| *times);
        self.failed.insert(target.clone(), (mono, times + 1));
        self.said.insert(target.clone())
    }

    /// How long until another listing is worth its call.
    fn rest(&self, target: &TargetName, mono: Duration) -> Duration {
        self.failed.get(target).map_or(Duration::ZERO, |(failed, times)| {
            let pause = SHORTEST_PAUSE.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_PAUSE);
            failed.saturating_add(pause).saturating_sub(mono)
        })
    }
}

/// Which disks are to be listed now, or when one will be.
enum Next {
    Now(Vec<DiskId>),
    Later(Duration),
}

impl Task for Reconcile {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Notify {
        &app.pokes.reconcile
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let behind = match app.parts.journal.read(|store| store.is_behind()).await {
            Ok(behind) => behind,
            Err(error) => {
                app.journal_fault(&error);
                return Duration::from_secs(1);
            }
        };
        let mono = app.parts.time.clock().mono();
        // What an earlier process sent at its very end may need the settle to show.
        let settled = mono.saturating_sub(app.now().up).saturating_add(app.settings().config.settle);
        let (mut wait, mut all_listed) = (EVERY, true);
        for (target, cloud) in &app.settings().clouds {
            if lock(&self.targets).busy.contains(target) {
                all_listed = false;
                continue;
            }
            let rest = lock(&self.targets).rest(target, mono);
            match next(app, target, mono, behind.then_some(settled)) {
                Next::Later(later) => {
                    wait = wait.min(later);
                    if lock(&self.targets).said.remove(target) {
                        let event =
                            Event::new(Kind::ReconcileRecovered, "all disks' backups are listed again");
                        app.say(&event.with(|fields| fields.target = Some(target.to_string())));
                    }
                }
                Next::Now(_) if !rest.is_zero() => (all_listed, wait) = (false, wait.min(rest)),
                Next::Now(disks) => {
                    all_listed = false;
                    lock(&self.targets).busy.insert(target.clone());
                    let turn = Turn { targets: Arc::clone(&self.targets), target: target.clone() };
                    in_flight.start(&[], reconcile(Arc::clone(app), cloud.clone(), turn, disks));
                }
            }
        }
        if behind && all_listed && mono >= settled && app.write(Change::CaughtUp).await.is_ok() {
            app.pokes.submit.notify_one();
            app.pokes.retain.notify_one();
        }
        wait
    }
}

/// The next disks of a target: those never listed first. While the journal is behind, a listing before `settled`
/// does not count.
fn next(app: &App, target: &TargetName, mono: Duration, settled: Option<Duration>) -> Next {
    let settings = app.settings();
    let disks = settings.config.jobs.iter().filter(|job| job.target == *target).flat_map(|job| &job.disks);
    let due = |disk: &DiskId| {
        let listed = app.listed(target, disk)?;
        Some(settled.filter(|settled| listed < *settled).unwrap_or(listed + EVERY))
    };
    let mut order: Vec<(Option<Duration>, &DiskId)> = disks.map(|disk| (due(disk), disk)).collect();
    order.sort_unstable();
    order.dedup();
    let now = order.iter().take_while(|(due, _)| due.is_none_or(|due| due <= mono));
    let now: Vec<DiskId> = now.take(AT_ONCE).map(|(_, disk)| (*disk).clone()).collect();
    if now.is_empty() {
        let first = order.first().and_then(|(due, _)| *due);
        Next::Later(first.map_or(EVERY, |due| due.saturating_sub(mono)))
    } else {
        Next::Now(now)
    }
}

/// One listing of a target at a time; given back when dropped.
struct Turn {
    targets: Arc<Mutex<Targets>>,
    target: TargetName,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.targets).busy.remove(&self.target);
    }
}

fn lock(targets: &Mutex<Targets>) -> MutexGuard<'_, Targets> {
    targets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lists these disks in one call, and carries out what that shows.
async fn reconcile(app: Arc<App>, cloud: Cloud, turn: Turn, disks: Vec<DiskId>) {
    let (began, mono) = (app.now().mark(), app.parts.time.clock().mono());
    let listed = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        listed = cloud.list(&disks) => listed,
    };
    let mut listed = match listed {
        Ok(listed) => listed,
        Err(problem) => {
            if lock(&turn.targets).fail(&turn.target, mono) {
                let message = format!("the disks' backups cannot be listed: {problem}");
                let event = Event::new(Kind::ReconcileFailed, message);
                app.say(&event.with(|fields| fields.target = Some(turn.target.to_string())));
            }
            return;
        }
    };
    for disk in disks {
        let listed = listed.remove(&disk).unwrap_or_default();
        let compared = Disk { app: &app, cloud: &cloud, target: &turn.target, disk: &disk };
        if let Err(error) = compared.compare(began, &listed).await {
            // Not at once: where something is to be written and cannot be, each listing would lead to the next.
            lock(&turn.targets).fail(&turn.target, mono);
            return app.journal_fault(&error);
        }
        if app.note_listed(&turn.target, &disk, mono).is_none() {
            // Its jobs may begin now.
            app.in_line.store(false, Ordering::Relaxed);
        }
    }
    lock(&turn.targets).failed.remove(&turn.target);
    app.pokes.plan.notify_one();
}

/// A disk that is compared.
struct Disk<'a> {
    app: &'a App,
    cloud: &'a Cloud,
    target: &'a TargetName,
    disk: &'a DiskId,
}

impl Disk<'_> {
    async fn compare(&self, began: Mark, listed: &[Listed]) -> Result<(), SharedError> {
        let (app, disk) = (self.app, self.disk.clone());
        let owner = &app.settings().config.owner;
        let named = listed.iter().filter_map(|listed| listed.name.parse::<BackupName>().ok());
        let ours: Vec<RunId> =
            named.filter(|name| name.owner == *owner).map(|name| name.run_on(disk.clone())).collect();
        let rows = app.parts.journal.read(move |store| store.to_compare(&disk, &ours)).await?;
        let (rows, known): (BTreeMap<RunId, Row>, Vec<Known>) = rows
            .into_iter()
            .map(|(row, missing)| ((row.run.id.clone(), row.clone()), Known { run: row.run, missing }))
            .unzip();
        for finding in compare(owner, self.disk, listed, &known) {
            self.carry_out(finding, &rows, began).await?;
        }
        Ok(())
    }

    async fn carry_out(
        &self,
        finding: Finding,
        rows: &BTreeMap<RunId, Row>,
        began: Mark,
    ) -> Result<(), SharedError> {
        let app = self.app;
        match finding {
            Finding::Unknown { run, backup, sighting } => self.recover(run, backup, sighting).await?,
            Finding::Adopted { run, backup, sighting } => {
                let Some(row) = rows.get(&run) else { return Ok(()) };
                self.adopt(row, began, Look::Found(backup, sighting)).await?;
            }
            Finding::Late { run, backup } => {
                let late = rows.get(&run).map(|row| row.run.clone().late(backup));
                match late {
                    Some(Ok(run)) => {
                        app.write(Change::Late(run)).await?;
                        app.pokes.tell.notify_one();
                    }
                    Some(Err(error)) => app.fault(&error),
                    None => {}
                }
            }
            Finding::Twin { run, other, removable } => {
                let kept = rows.get(&run).and_then(|row| row.run.state.backup());
                self.twin(run, other, kept.filter(|_| removable)).await?;
            }
            Finding::Conflict { run, other } => {
                let message = "a backup bears the name of this run, which made another: does a second installation use \
                               this `owner`?";
                self.say(Kind::OwnerConflict, &run, &other, message);
            }
            Finding::Missing { run, backup, times, last_good } => {
                let point = PointId::Backup(backup.clone());
                let deletion = app.parts.journal.read(move |store| store.deletion(&point)).await?;
                if let Some(deletion) = deletion {
                    // It was to go.
                    retain::account(app, &deletion).await;
                    return Ok(());
                }
                app.write(Change::Missing(vec![run.clone()])).await?;
                match (times, last_good) {
                    (GONE_AFTER, true) => {
                        let message = "the last good backup of this disk is gone from the cloud";
                        self.say(Kind::BackupVanished, &run, &backup, message);
                    }
                    (GONE_AFTER, false) => {
                        let message = "deleted by a person, or rotated by the vendor";
                        self.say(Kind::BackupGone, &run, &backup, message);
                    }
                    _ => {}
                }
            }
            Finding::Back { run } => {
                app.write(Change::Back(vec![run])).await?;
            }
        }
        Ok(())
    }

    /// A run of a journal that was lost.
    async fn recover(&self, run: RunId, backup: BackupId, sighting: Sighting) -> Result<(), SharedError> {
        let (app, now) = (self.app, self.app.now());
        let start_at = run.due;
        let mut row = self.planned_by(&run).row(run, start_at);
        row.run = row.run.recovered(&now, backup, sighting);
        row.ended_at = row.run.state.is_ended().then_some(now.wall);
        app.write(Change::Recover(vec![row.clone()])).await?;
        let message = "found in the cloud by its name; the journal did not know its run";
        app.say(&Event::of_row(Kind::BackupAdopted, &row, message));
        app.pokes.about(&row.run.state);
        Ok(())
    }

    /// The backup of a run that waits; unless the run has moved on meanwhile.
    async fn adopt(&self, row: &Row, began: Mark, look: Look) -> Result<(), SharedError> {
        let (app, now) = (self.app, self.app.now());
        let retry = &app.settings().config.retry;
        let run = match row.run.clone().looked(&now, began, look, app.parts.random.draw(), retry) {
            Ok(run) => run,
            Err(error) => {
                app.fault(&error);
                return Ok(());
            }
        };
        let row = Row { run: run.clone(), ..row.clone() };
        if app.write(app.saving_waiting(run)).await? {
            let message = "an earlier attempt had its effect after all";
            app.say(&Event::of_row(Kind::BackupAdopted, &row, message));
            app.pokes.about(&row.run.state);
        }
        Ok(())
    }

    /// A second backup of a run. It goes where one is `kept`: intent first, then the call.
    async fn twin(&self, run: RunId, other: BackupId, kept: Option<&BackupId>) -> Result<(), SharedError> {
        let Some(kept) = kept else {
            self.say(Kind::BackupTwin, &run, &other, "a second backup of this run");
            return Ok(());
        };
        let app = self.app;
        let point = PointId::Backup(other.clone());
        app.write(Change::Delete { point: point.clone(), run: run.clone(), at: app.now().wall }).await?;
        match self.cloud.delete(&point).await {
            Ok(()) => {
                app.write(Change::Deleted(point, app.now().wall)).await?;
                let message = format!("a second backup of this run, and removed; {kept} stays");
                self.say(Kind::BackupTwin, &run, &other, message);
            }
            Err(problem) => {
                let message = format!("a second backup of this run, and not removed yet: {problem}");
                self.say(Kind::BackupTwin, &run, &other, message);
            }
        }
        Ok(())
    }

    fn say(&self, kind: Kind, run: &RunId, backup: &BackupId, message: impl Into<String>) {
        let event = Event::of_run(kind, run, message);
        self.app.say(&event.with(|fields| fields.backup_id = Some(backup.to_string())));
    }

    /// What a run that an earlier journal planned is to be followed by.
    fn planned_by(&self, run: &RunId) -> PlannedBy {
        let config = &self.app.settings().config;
        match config.jobs.iter().find(|job| job.name == run.job) {
            Some(job) => PlannedBy { target: self.target.clone(), ..PlannedBy::job(config, job) },
            None => PlannedBy {
                job: run.job.clone(),
                target: self.target.clone(),
                owner: config.owner.clone(),
                policy: config.manual_policy(),
            },
        }
    }
}
