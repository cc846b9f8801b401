//! Says in good time which disks' quotas will not do: at start, at a reload, and daily.
//!
//! Responsible for asking how full disks are and handing that to `backup_core::quota::forecast`; what it saw is in the
//! journal, for the metrics. It refuses to change anything in the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::quota::{Coming, Demand, forecast};
use backup_core::{DiskId, JobName, TargetName};
use cbs::limiter::Priority;

use super::driver::{InFlight, Task};
use crate::app::{App, Settings};
use crate::bell::Bell;
use crate::cloud::Cloud;
use crate::config::Job;
use crate::journal::{Change, SeenShelf};
use crate::report::{Event, Kind};

/// How often disks are asked for, at a configuration that stays.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// After an answer that was not to be had.
const AGAIN: Duration = Duration::from_secs(60);

/// The task.
#[derive(Default)]
pub struct Preflight {
    /// When the next look at each target is due, by the monotonic clock; begun anew for other settings.
    next: Arc<Mutex<BTreeMap<TargetName, Duration>>>,
    settings: Option<Arc<Settings>>,
    /// Targets that were looked at under these settings: what lies far ahead was said, and is not said daily.
    looked_at: Arc<Mutex<BTreeSet<TargetName>>>,
}

impl Task for Preflight {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.preflight
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let settings = app.settings();
        if !self.settings.as_ref().is_some_and(|known| Arc::ptr_eq(known, &settings)) {
            (self.next, self.looked_at) = (Arc::default(), Arc::default());
            self.settings = Some(Arc::clone(&settings));
        }
        let mut wait = EVERY;
        for (target, cloud) in &settings.clouds {
            let mono = app.parts.time.clock().mono();
            let mut next = lock(&self.next);
            let due = next.get(target).copied().unwrap_or(mono);
            if due > mono {
                wait = wait.min(due - mono);
                continue;
            }
            next.insert(target.clone(), mono + EVERY);
            let (app, cloud, target) = (Arc::clone(app), cloud.clone(), target.clone());
            let (settings, next) = (Arc::clone(&settings), Arc::clone(&self.next));
            let looked_at = Arc::clone(&self.looked_at);
            in_flight.start(&[], async move {
                let is_first = !lock(&looked_at).contains(&target);
                let checked = tokio::select! {
                    biased;
                    () = app.stop.cancelled() => return,
                    checked = check(&app, &settings, &target, &cloud, is_first) => checked,
                };
                if checked {
                    lock(&looked_at).insert(target);
                } else {
                    lock(&next).insert(target, mono + AGAIN);
                }
            });
        }
        wait
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for the disks of a target and says which quotas will not do: what lies far ahead only the first time. False where
/// there was no answer.
async fn check(app: &App, settings: &Settings, target: &TargetName, cloud: &Cloud, is_first: bool) -> bool {
    let Settings { config, fleet, .. } = settings;
    let jobs = || config.jobs.iter().filter(|job| job.target == *target);
    let disks: BTreeSet<&DiskId> =
        jobs().flat_map(|job| fleet.of(&job.name).disks().map(|on| &on.disk)).collect();
    let disks: Vec<DiskId> = disks.into_iter().cloned().collect();
    if disks.is_empty() {
        return true;
    }
    let shelves = match cloud.shelves(&disks, Priority::Reconcile).await {
        Ok(shelves) => shelves,
        Err(problem) => {
            tracing::debug!(%target, "the disks' quotas could not be asked for: {problem}");
            return false;
        }
    };
    let have = match app.parts.journal.read(|store| store.good_counts()).await {
        Ok(counts) => counts.into_iter().map(|(job, disk, count)| ((job, disk), count)).collect(),
        Err(error) => {
            app.journal_fault(&error);
            return false;
        }
    };
    let now = app.now().wall;
    let jobs: Vec<(&Job, Coming)> =
        jobs().map(|job| (job, Coming::of(&job.schedule, &job.keep, now))).collect();
    let mut seen = Vec::with_capacity(shelves.len());
    for (disk, shelf) in &shelves {
        let holders = jobs.iter().filter(|(job, _)| fleet.holds(&job.name, disk));
        let demands: Vec<Demand<'_>> =
            holders.map(|(job, coming)| demand(job, coming, disk, &have)).collect();
        let expected = forecast(shelf.quota, shelf.count, &demands, now);
        // There may be thousands of disks, and others wait for their turn.
        tokio::task::yield_now().await;
        let trouble = expected.breaks.as_ref().or(expected.first_full.as_ref());
        let short = trouble.filter(|_| expected.is_warning).map(|full| full.job.clone());
        let (quota, count) = (shelf.quota, shelf.count);
        seen.push(SeenShelf { disk: disk.clone(), quota, count, short });
        if expected.is_warning && (is_first || expected.is_soon) {
            app.say(&Event::new(Kind::QuotaWarning, expected.to_string()).with(|fields| {
                fields.disk_id = Some(disk.to_string());
                fields.target = Some(target.to_string());
                fields.job = expected.breaks.or(expected.first_full).map(|full| full.job.to_string());
            }));
        }
    }
    // Whether it can be written says nothing of the runs' own writes, and is no news: it is asked for anew.
    app.parts.journal.write(Change::Shelves(target.clone(), seen)).await.is_ok()
}

/// What a job asks of a disk that it holds; `have` counts the good backups of each job on each disk.
fn demand<'a>(
    job: &'a Job,
    coming: &'a Coming,
    disk: &DiskId,
    have: &BTreeMap<(JobName, DiskId), u64>,
) -> Demand<'a> {
    let have = have.get(&(job.name.clone(), disk.clone())).copied().unwrap_or_default();
    Demand { job: &job.name, coming, when_full: job.when_full, have }
}
