//! Which disks each job holds: the configuration and the inventory, put together.
//!
//! Responsible for the one answer that all of the program goes by. It refuses to ask the cloud: what that has was
//! listed by `tasks::discover`, and is in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup_core::{DiskId, InstanceId, JobName};

use crate::config::{Config, Disks, Job};
use crate::journal::{Held, Inventory};

/// The disks of all jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    rosters: BTreeMap<JobName, Arc<Roster>>,
}

/// The disks of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// By their ids.
    disks: Vec<OnRoster>,
    /// Whether it is known which they are: not before the first listing of a job that selects them.
    pub is_known: bool,
}

/// A disk of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnRoster {
    /// The disk.
    pub disk: DiskId,
    /// The instance that it is attached to, where the job wants to know, and it is known.
    pub instance: Option<InstanceId>,
}

/// The roster of a job that there is not.
static NOBODY: Roster = Roster { disks: Vec::new(), is_known: true };

impl Fleet {
    /// The disks of the jobs of `config`, as far as `inventory` knows them.
    #[must_use]
    pub fn resolve(config: &Config, inventory: &Inventory) -> Self {
        let roster = |job: &Job| Arc::new(Roster::resolve(job, inventory.jobs.get(&job.name)));
        Self { rosters: config.jobs.iter().map(|job| (job.name.clone(), roster(job))).collect() }
    }

    /// The same with the disks of those jobs that `news` knows as it knows them; none where that is no change.
    #[must_use]
    pub fn with(&self, config: &Config, news: &Inventory) -> Option<Self> {
        let mut rosters = self.rosters.clone();
        for job in config.jobs.iter().filter(|job| news.jobs.contains_key(&job.name)) {
            let roster = Roster::resolve(job, news.jobs.get(&job.name));
            if rosters.get(&job.name).is_none_or(|before| **before != roster) {
                rosters.insert(job.name.clone(), Arc::new(roster));
            }
        }
        let is_changed = rosters
            .iter()
            .any(|(job, roster)| self.rosters.get(job).is_none_or(|before| !Arc::ptr_eq(before, roster)));
        is_changed.then_some(Self { rosters })
    }

    /// The disks of a job; none where there is no such job.
    #[must_use]
    pub fn of(&self, job: &JobName) -> &Roster {
        self.rosters.get(job).map_or(&NOBODY, |roster| &**roster)
    }

    /// Whether a job holds a disk.
    #[must_use]
    pub fn holds(&self, job: &JobName, disk: &DiskId) -> bool {
        self.of(job).find(disk).is_some()
    }

    /// Whether any job holds a disk.
    #[must_use]
    pub fn has(&self, disk: &DiskId) -> bool {
        self.rosters.values().any(|roster| roster.find(disk).is_some())
    }

    /// Whether it is known of all jobs which disks they hold.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.rosters.values().all(|roster| roster.is_known)
    }

    /// How many disks there are, one of two jobs twice.
    #[must_use]
    pub fn size(&self) -> usize {
        self.rosters.values().map(|roster| roster.len()).sum()
    }
}

impl Roster {
    fn resolve(job: &Job, held: Option<&Held>) -> Self {
        let on_roster = |disk: &DiskId| {
            let member = held.filter(|_| job.together).and_then(|held| held.disks.get(disk));
            OnRoster { disk: disk.clone(), instance: member.and_then(|member| member.instance.clone()) }
        };
        match (&job.disks, held) {
            (Disks::Listed(listed), _) => {
                let mut disks: Vec<OnRoster> = listed.iter().map(on_roster).collect();
                disks.sort_unstable_by(|a, b| a.disk.cmp(&b.disk));
                Self { disks, is_known: true }
            }
            (Disks::Selected(_), None) => Self::default(),
            // Of another account or region: they are no longer the job's, and the new ones come when they are listed.
            (Disks::Selected(_), Some(held)) if held.target != job.target => {
                Self { disks: Vec::new(), is_known: true }
            }
            (Disks::Selected(_), Some(held)) => {
                Self { disks: held.disks.keys().map(on_roster).collect(), is_known: true }
            }
        }
    }

    /// The disks, by their ids.
    pub fn disks(&self) -> impl ExactSizeIterator<Item = &OnRoster> {
        self.disks.iter()
    }

    /// A disk of the job.
    #[must_use]
    pub fn find(&self, disk: &DiskId) -> Option<&OnRoster> {
        let at = self.disks.binary_search_by(|found| found.disk.cmp(disk)).ok()?;
        self.disks.get(at)
    }

    /// The instance that a disk of the job is attached to, where the job wants to know, and it is known.
    #[must_use]
    pub fn instance_of(&self, disk: &DiskId) -> Option<&InstanceId> {
        self.find(disk)?.instance.as_ref()
    }

    /// How many disks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.disks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.disks.is_empty()
    }
}
