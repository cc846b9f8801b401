//! How every job stands on every disk that it holds: the journal and the configuration, put together.
//!
//! Responsible for reading what `backup_core::freshness` judges by, for `status`, its exit codes, the metrics and
//! notifications alike. It refuses to judge by itself.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::freshness::{Freshness, Known};
use backup_core::{DiskId, JobName, RunId};
use jiff::Timestamp;

use crate::config::{Config, Job};
use crate::fleet::{Fleet, OnRoster};
use crate::journal::{JournalError, Standing, Store, Subject};

/// How everything stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// By the jobs' order in the configuration, and by disk.
    pub jobs: Vec<JobStands>,
    /// The runs that are past `start_within` and have not ended, whether their jobs still exist or not.
    pub late: Vec<RunId>,
    /// What is paused, and since when.
    pub pauses: Vec<(Subject, Timestamp)>,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStands {
    /// The job.
    pub job: JobName,
    /// All of its disks are held.
    pub is_paused: bool,
    /// Its next due instant.
    pub next_due: Option<Timestamp>,
    /// Its disks.
    pub disks: Vec<DiskStands>,
}

/// How a job stands on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStands {
    /// The disk.
    pub disk: DiskId,
    /// When its last good backup became one.
    pub last_good: Option<Timestamp>,
    /// The due instant of the last run that ended.
    pub last: Option<Timestamp>,
    /// What it comes to.
    pub freshness: Freshness,
}

impl Standings {
    /// As `store` has it at `now`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read(
        store: &dyn Store,
        config: &Config,
        fleet: &Fleet,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let pauses = store.pauses()?;
        let deadlines = store.deadlines()?;
        let mut late = Vec::new();
        let mut waiting: BTreeMap<(&JobName, &DiskId), Timestamp> = BTreeMap::new();
        for (run, deadline) in &deadlines {
            if *deadline < now {
                late.push(run.clone());
            }
            let earliest = waiting.entry((&run.job, &run.disk)).or_insert(*deadline);
            *earliest = (*earliest).min(*deadline);
        }
        let standings = store.standings()?;
        let known: BTreeMap<(&JobName, &DiskId), &Standing> =
            standings.iter().map(|standing| ((&standing.job, &standing.disk), standing)).collect();
        let paused_disks: BTreeSet<&DiskId> =
            pauses.iter().filter_map(|(subject, _)| subject.disk()).collect();

        let stands = |job: &Job| {
            let is_paused = pauses.iter().any(|(subject, _)| subject.job() == Some(&job.name));
            let mut next_due = None;
            let disks = fleet.of(&job.name).disks().map(|on| {
                let key = (&job.name, &on.disk);
                let standing = known.get(&key).copied();
                let owed = standing.and_then(|standing| standing.next_due);
                next_due = [next_due, owed].into_iter().flatten().min();
                let unplanned = owed.filter(|due| *due <= now).map(|due| deadline(job, on, due));
                let known = Known {
                    last: standing.and_then(|standing| standing.last).map(|(_, ended)| ended),
                    last_good: standing.and_then(|standing| standing.last_good),
                    deadline: [waiting.get(&key).copied(), unplanned].into_iter().flatten().min(),
                    is_paused: is_paused || paused_disks.contains(&on.disk),
                    objective: job.objective,
                };
                DiskStands {
                    disk: on.disk.clone(),
                    last_good: known.last_good,
                    last: standing.and_then(|standing| standing.last).map(|(due, _)| due),
                    freshness: known.judge(now),
                }
            });
            let disks = disks.collect();
            JobStands { job: job.name.clone(), is_paused, next_due, disks }
        };
        let jobs = config.jobs.iter().map(stands).collect();
        Ok(Self { jobs, late, pauses })
    }
}

/// Until when a run may begin that nobody has planned: no daemon runs, or it does not know the time.
fn deadline(job: &Job, on: &OnRoster, due: Timestamp) -> Timestamp {
    let start_at = job.start_at(&on.disk, on.instance.as_ref(), due);
    start_at.saturating_add(job.start_within).unwrap_or(Timestamp::MAX)
}

impl JobStands {
    /// When the oldest of its disks' last good backups became one; none where a disk has none.
    #[must_use]
    pub fn last_good(&self) -> Option<Timestamp> {
        let all: Option<Vec<Timestamp>> = self.disks.iter().map(|disk| disk.last_good).collect();
        all?.into_iter().min()
    }

    /// How many of its disks are so.
    #[must_use]
    pub fn count(&self, is_so: impl Fn(&DiskStands) -> bool) -> usize {
        self.disks.iter().filter(|disk| is_so(disk)).count()
    }
}
