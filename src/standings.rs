//! How every job stands on every disk that it holds: the journal and the configuration, put together.
//!
//! Responsible for reading what `backup_core::freshness` judges by, for `status`, its exit codes, the metrics and
//! notifications alike. It refuses to judge by itself.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::freshness::{Ended, Freshness, Known};
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
    /// The due instant of the last run that ended, and how it did.
    pub last: Option<(Timestamp, Ended)>,
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
                    last: standing.and_then(|standing| standing.last),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backup_core::freshness::Trouble;

    use super::*;
    use crate::journal::{Change, Inventory, Sqlite, Watermark};

    const JOB: &str = "db";
    const DUE: &str = "2026-11-24T02:30:00Z";

    fn config() -> Config {
        let text = "owner: ops1\ntargets:\n  default: { region: ap-guangzhou }\njobs:\n  - name: db\n    \
                    disks: [disk-1, disk-2]\n    objective: 26h\n    \
                    schedule: { cron: \"30 2 * * *\", start_within: 2h, blackout: [{ from: \"02:00\", to: \"03:00\" }] }\n";
        Config::parse("standings.yaml", text, &BTreeMap::new()).unwrap()
    }

    /// A journal in which both disks are planned up to `DUE`.
    fn journal() -> Sqlite {
        let watermark = |disk: &str| Watermark {
            job: JOB.parse().unwrap(),
            disk: disk.parse().unwrap(),
            schedule: "30 2 * * * UTC".to_owned(),
            planned_through: due() - Duration::from_secs(86_400),
            next_due: Some(due()),
        };
        let mut journal = Sqlite::in_memory().unwrap();
        journal.apply(&[Change::Watermarks(vec![watermark("disk-1"), watermark("disk-2")])]).unwrap();
        journal
    }

    fn due() -> Timestamp {
        DUE.parse().unwrap()
    }

    fn read(journal: &Sqlite, now: Timestamp) -> Standings {
        let config = config();
        let fleet = Fleet::resolve(&config, &Inventory::default());
        Standings::read(journal, &config, &fleet, now).unwrap()
    }

    fn troubles(standings: &Standings, disk: usize) -> &[Trouble] {
        &standings.jobs[0].disks[disk].freshness.troubles
    }

    #[test]
    fn what_nobody_planned_is_late_once_it_may_not_start_any_more() {
        let journal = journal();
        // It starts when the blackout ends, and has two hours from then.
        let deadline = due() + Duration::from_secs(30 * 60 + 2 * 3600);
        let standings = read(&journal, deadline);
        assert_eq!(standings.jobs[0].next_due, Some(due()));
        assert_eq!(troubles(&standings, 0), []);
        let standings = read(&journal, deadline + Duration::from_secs(1));
        assert_eq!(
            (troubles(&standings, 0), troubles(&standings, 1)),
            (&[Trouble::Late][..], &[Trouble::Late][..])
        );
        assert_eq!(standings.late, [], "there is no run of it");
    }

    #[test]
    fn a_pause_of_a_job_is_one_of_its_disks_and_one_of_a_disk_is_not_one_of_its_job() {
        let mut journal = journal();
        let disk = Subject::Disk("disk-2".parse().unwrap());
        journal.apply(&[Change::Pause(disk.clone(), due())]).unwrap();
        let standings = read(&journal, due());
        assert_eq!((troubles(&standings, 0), troubles(&standings, 1)), (&[][..], &[Trouble::Paused][..]));
        assert!(!standings.jobs[0].is_paused);
        let job = Subject::Job(JOB.parse().unwrap());
        journal.apply(&[Change::Resume(disk), Change::Pause(job, due())]).unwrap();
        let standings = read(&journal, due());
        assert_eq!(
            standings.jobs[0].count(|disk| disk.freshness.has(|trouble| *trouble == Trouble::Paused)),
            2
        );
        assert!(standings.jobs[0].is_paused);
    }

    #[test]
    fn a_job_that_the_journal_does_not_know_yet_has_its_disks_all_the_same() {
        let standings = read(&Sqlite::in_memory().unwrap(), due());
        let job = &standings.jobs[0];
        assert_eq!((job.disks.len(), job.last_good(), job.next_due), (2, None, None));
        assert_eq!(troubles(&standings, 0), []);
    }
}
