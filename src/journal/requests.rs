//! What commands ask of the daemon, and its answers: they cross in the journal, as JSON.
//!
//! Responsible for the vocabulary. It refuses to know who answers.

use backup_core::restore::Seen;
use backup_core::{BackupId, DiskId, InstanceId, JobName, TargetName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Disks;

/// What a command asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// A backup of these disks, now.
    Backup {
        /// The disks.
        disks: Vec<DiskId>,
        /// Under this job.
        job: Option<JobName>,
    },
    /// Another attempt of a run that has ended.
    Retry {
        /// The run, as text.
        run: String,
    },
    /// What there is in the cloud.
    Backups(Which),
    /// Deletes what no rule keeps.
    Prune(Which),
    /// What a disk and a backup of it look like, before it is put back.
    InspectRestore(RestoreAsk),
    /// A disk is to be put back to a backup of it.
    Restore(RestoreAsk),
    /// What the jobs' disks may hold.
    Quotas,
    /// What is logged.
    LogLevel(LogAsk),
    /// Which disks these are, by the cloud: of jobs that need not be in force.
    Inspect {
        /// The jobs.
        jobs: Vec<ToInspect>,
    },
}

/// What is asked about what is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "log", rename_all = "snake_case")]
pub enum LogAsk {
    /// What is it?
    Show,
    /// This, from now on.
    Set {
        /// The filter, as text.
        filter: String,
        /// For so many milliseconds; where none are said, until the daemon ends.
        for_ms: Option<u64>,
    },
    /// What the configuration says.
    Reset,
}

/// What a disk may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The disk.
    pub disk: DiskId,
    /// How many backup points it may have, where the cloud says it.
    pub quota: Option<u64>,
}

/// A disk that is to be put back to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreAsk {
    /// The disk.
    pub disk: DiskId,
    /// The backup.
    pub backup: BackupId,
    /// The target that has them; where none is said, that of the jobs which hold the disk.
    pub target: Option<TargetName>,
    /// The instance that it is attached to is shut down first.
    pub auto_stop: bool,
    /// And started afterwards.
    pub auto_start: bool,
}

/// Which backups a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// Of this disk alone.
    pub disk: Option<DiskId>,
    /// Delete those of this job alone.
    pub job: Option<JobName>,
    /// Those of jobs that are gone may be deleted too.
    pub orphans: bool,
    /// Those of others too, and of disks that no job holds.
    pub all: bool,
}

/// A backup in the cloud, as the daemon answers (`docs/stability.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// `dbp-…`.
    pub id: String,
    /// Its name, whoever gave it.
    pub name: String,
    /// The disk.
    pub disk_id: String,
    /// The target that it was listed through.
    pub target: String,
    /// The cloud's word.
    pub state: String,
    /// When it was made, if that can be read.
    pub created: Option<Timestamp>,
    /// GiB of its disk.
    pub size_gib: Option<u64>,
    /// `ours`, `orphan` (ours, of a job that is gone), or `other`.
    pub kind: String,
    /// The job by its name, where it is ours.
    pub job: Option<String>,
    /// The run by its name, where it is ours.
    pub run: Option<String>,
    /// What the rules say of it, where it is ours.
    pub verdict: Option<String>,
    /// No rule keeps it.
    pub delete: bool,
    /// Whether it was deleted, where it was tried.
    pub deleted: Option<bool>,
}

/// A job of which is asked which disks it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToInspect {
    /// The job.
    pub job: JobName,
    /// The account and region.
    pub target: TargetName,
    /// Which disks.
    pub disks: Disks,
}

/// A job with the disks that the cloud has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspected {
    /// The job.
    pub job: JobName,
    /// The account and region.
    pub target: TargetName,
    /// The disks, by their ids.
    pub disks: Vec<InspectedDisk>,
    /// Disks that the job names, and the cloud does not know.
    pub unknown: Vec<DiskId>,
    /// Why nothing is known of them, in words.
    pub problem: Option<String>,
}

/// A disk as the cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedDisk {
    /// The disk.
    pub disk_id: DiskId,
    /// Its name.
    pub name: String,
    /// Its availability zone.
    pub zone: String,
    /// The instance that it is attached to, the first of several.
    pub instance_id: Option<InstanceId>,
    /// Its state, in the vendor's words.
    pub state: String,
    /// How many backups it may have; none where the cloud does not say.
    pub backup_quota: Option<u64>,
    /// How many it has, likewise.
    pub backup_count: Option<u64>,
}

/// What the daemon says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// These runs do it.
    Runs {
        /// The runs, as text.
        runs: Vec<String>,
    },
    /// What the cloud shows of a disk and a backup.
    Inspected {
        /// What it shows.
        seen: Seen,
        /// What stands against a restore.
        problem: Option<String>,
    },
    /// This restore does it.
    Restore {
        /// Its number.
        number: i64,
    },
    /// What disks may hold.
    Quotas {
        /// The disks that the cloud knows.
        quotas: Vec<Quota>,
        /// What could not be listed, and why.
        problems: Vec<String>,
    },
    /// What was asked for.
    Fleet {
        /// The jobs.
        jobs: Vec<Inspected>,
    },
    /// This is logged.
    Logged {
        /// In words: the filter, by whom, and until when.
        what: String,
    },
    /// It cannot be done.
    Refused {
        /// Why.
        why: String,
    },
    /// This there is.
    Backups {
        /// The backups, by disk, the newest first.
        backups: Vec<Listed>,
        /// What could not be listed or deleted, and why.
        problems: Vec<String>,
    },
}
