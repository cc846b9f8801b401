//! Compares the journal with the cloud: every disk at the start, and a few times a day.
//!
//! Responsible for carrying out what `backup_core::reconcile` finds: runs of a journal that was lost come back,
//! before anything is planned for their disks; late backups count; twins that are surely ours go; what is gone is
//! said. It refuses to touch a backup that does not bear the owner's mark.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backup_core::reconcile::{Finding, GONE_AFTER, Known, Listed, compare};
use backup_core::retention::PointId;
use backup_core::run::{Look, Sighting};
use backup_core::{BackupId, BackupName, DiskId, Mark, RunId, TargetName};
use cbs::limiter::Priority;

use super::driver::{InFlight, Task};
use super::plan::PlannedBy;
use super::retain;
use super::rounds::{Rounds, Turn};
use crate::app::App;
use crate::bell::Bell;
use crate::cloud::Cloud;
use crate::journal::{Change, Row, SharedError};
use crate::report::{Event, Kind};

/// How often a disk's backups are listed.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// Disks listed in one call: the fewest values that any of the cloud's filters is known to take.
const AT_ONCE: usize = 5;

/// Disks that were listed for the first time let their jobs begin: together, no more often than this, for all
/// watermarks are gone through.
const LINE_UP_EVERY: Duration = Duration::from_secs(2);
/// The same where the journal knows what the cloud knows: jobs did not wait for a listing.
const LINE_UP_AT_EASE: Duration = Duration::from_secs(60);

/// The task.
#[derive(Default)]
pub struct Reconcile {
    rounds: Rounds,
    /// Disks that are due, of each target. Those that join meanwhile come after them.
    queues: BTreeMap<TargetName, VecDeque<DiskId>>,
    /// Disks were listed for the first time since jobs were last let begin.
    fresh: Arc<AtomicBool>,
    /// When that was, by the monotonic clock.
    lined_up: Option<Duration>,
}

impl Task for Reconcile {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
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
        let settings = app.settings();
        // What an earlier process sent at its very end may need the settle to show.
        let settled = mono.saturating_sub(app.now().up).saturating_add(settings.config.settle);
        // While it is not known which disks there are, not all of them were listed.
        let (mut wait, mut all_listed) = (EVERY, settings.fleet.is_known());
        for (target, cloud) in &settings.clouds {
            if self.rounds.is_busy(target) {
                all_listed = false;
                continue;
            }
            let queue = self.queues.entry(target.clone()).or_default();
            if queue.is_empty() {
                match due(app, target, mono, behind.then_some(settled)) {
                    Ok(disks) => *queue = disks,
                    Err(later) => {
                        wait = wait.min(later);
                        if self.rounds.recovered(target) {
                            let event =
                                Event::new(Kind::ReconcileRecovered, "all disks' backups are listed again");
                            app.say(&event.with(|fields| fields.target = Some(target.to_string())));
                        }
                        continue;
                    }
                }
            }
            all_listed = false;
            let rest = self.rounds.rest(target, mono);
            if rest.is_zero() {
                let disks = queue.drain(..AT_ONCE.min(queue.len())).collect();
                let listing = reconcile(
                    Arc::clone(app),
                    cloud.clone(),
                    self.rounds.begin(target),
                    disks,
                    Arc::clone(&self.fresh),
                );
                in_flight.start(&[], listing);
            } else {
                wait = wait.min(rest);
            }
        }
        let wait = wait.min(self.let_begin(app, mono, behind, all_listed));
        // Not before the jobs have begun: where the journal was lost, after what was recovered.
        let begun = !self.fresh.load(Ordering::Relaxed) && app.in_line.is_so();
        if behind && all_listed && begun && mono >= settled && app.write(Change::CaughtUp).await.is_ok() {
            app.pokes.submit.ring();
            app.pokes.retain.ring();
        }
        wait
    }
}

impl Reconcile {
    /// Lets the jobs of disks begin that were listed for the first time; how long until it is to be asked again.
    fn let_begin(&mut self, app: &App, mono: Duration, behind: bool, at_once: bool) -> Duration {
        if !self.fresh.load(Ordering::Relaxed) {
            return Duration::MAX;
        }
        let every = if behind { LINE_UP_EVERY } else { LINE_UP_AT_EASE };
        let rest = self.lined_up.map_or(Duration::ZERO, |at| (at + every).saturating_sub(mono));
        if !at_once && !rest.is_zero() {
            return rest;
        }
        self.fresh.store(false, Ordering::Relaxed);
        self.lined_up = Some(mono);
        app.in_line.ask();
        app.pokes.plan.ring();
        Duration::MAX
    }
}

/// The disks of a target that are to be listed now, those never listed first; or how long until one is. While the
/// journal is behind, a listing before `settled` does not count.
fn due(
    app: &App,
    target: &TargetName,
    mono: Duration,
    settled: Option<Duration>,
) -> Result<VecDeque<DiskId>, Duration> {
    let settings = app.settings();
    let jobs = settings.config.jobs.iter().filter(|job| job.target == *target);
    let disks = jobs.flat_map(|job| settings.fleet.of(&job.name).disks()).map(|on_roster| &on_roster.disk);
    let due = |disk: &DiskId| {
        let listed = app.listed(target, disk)?;
        Some(settled.filter(|settled| listed < *settled).unwrap_or(listed + EVERY))
    };
    let mut order: Vec<(Option<Duration>, &DiskId)> = disks.map(|disk| (due(disk), disk)).collect();
    order.sort_unstable();
    order.dedup();
    let now = order.iter().take_while(|(due, _)| due.is_none_or(|due| due <= mono));
    let now: VecDeque<DiskId> = now.map(|(_, disk)| (*disk).clone()).collect();
    if now.is_empty() {
        let first = order.first().and_then(|(due, _)| *due);
        return Err(first.map_or(EVERY, |due| due.saturating_sub(mono)));
    }
    Ok(now)
}

/// Lists these disks in one call, and carries out what that shows.
async fn reconcile(app: Arc<App>, cloud: Cloud, turn: Turn, disks: Vec<DiskId>, fresh: Arc<AtomicBool>) {
    let (began, mono) = (app.now().mark(), app.parts.time.clock().mono());
    let listed = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        listed = cloud.list(&disks, Priority::Reconcile) => listed,
    };
    let mut listed = match listed {
        Ok(listed) => listed,
        Err(problem) => {
            if turn.fail(mono) {
                let message = format!("the disks' backups cannot be listed: {problem}");
                let event = Event::new(Kind::ReconcileFailed, message);
                app.say(&event.with(|fields| fields.target = Some(turn.target.to_string())));
            }
            return;
        }
    };
    let mut missing = Vec::new();
    let compare_all = async {
        for disk in &disks {
            let listed = listed.remove(disk).unwrap_or_default();
            let compared = Disk { app: &app, cloud: &cloud, target: &turn.target, disk };
            compared.compare(began, &listed, &mut missing).await?;
        }
        write_missing(&app, missing).await
    };
    if let Err(error) = compare_all.await {
        // Not at once: where something is to be written and cannot be, each listing would lead to the next.
        let _ = turn.fail(mono);
        return app.journal_fault(&error);
    }
    for disk in disks {
        if app.note_listed(&turn.target, &disk, mono).is_none() {
            // Its jobs may begin now.
            fresh.store(true, Ordering::Relaxed);
        }
    }
    turn.succeed();
}

/// A completed backup that is missing from a complete listing.
struct Missing {
    run: RunId,
    backup: BackupId,
    /// From how many listings in a row.
    times: u32,
    last_good: bool,
}

/// All that one call's listings lack is one write.
async fn write_missing(app: &App, missing: Vec<Missing>) -> Result<(), SharedError> {
    if missing.is_empty() {
        return Ok(());
    }
    app.write(Change::Missing(missing.iter().map(|missing| missing.run.clone()).collect())).await?;
    for Missing { run, backup, last_good, .. } in missing.iter().filter(|missing| missing.times == GONE_AFTER)
    {
        if *last_good {
            let message = "the last good backup of this disk is gone from the cloud";
            say(app, Kind::BackupVanished, run, backup, message);
        } else {
            let message = "deleted by a person, or rotated by the vendor";
            say(app, Kind::BackupGone, run, backup, message);
        }
    }
    Ok(())
}

fn say(app: &App, kind: Kind, run: &RunId, backup: &BackupId, message: impl Into<String>) {
    let event = Event::of_run(kind, run, message);
    app.say(&event.with(|fields| fields.backup_id = Some(backup.to_string())));
}

/// A disk that is compared.
struct Disk<'a> {
    app: &'a App,
    cloud: &'a Cloud,
    target: &'a TargetName,
    disk: &'a DiskId,
}

impl Disk<'_> {
    /// Carries out what a listing of the disk shows, save what is `missing` from it.
    async fn compare(
        &self,
        began: Mark,
        listed: &[Listed],
        missing: &mut Vec<Missing>,
    ) -> Result<(), SharedError> {
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
            self.carry_out(finding, &rows, began, missing).await?;
        }
        Ok(())
    }

    async fn carry_out(
        &self,
        finding: Finding,
        rows: &BTreeMap<RunId, Row>,
        began: Mark,
        missing: &mut Vec<Missing>,
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
                        app.pokes.tell.ring();
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
                match deletion {
                    // It was to go.
                    Some(deletion) => retain::account(app, &deletion).await,
                    None => missing.push(Missing { run, backup, times, last_good }),
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
        app.ring_about(&row.run);
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
            app.ring_about(&row.run);
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
        say(self.app, kind, run, backup, message);
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
