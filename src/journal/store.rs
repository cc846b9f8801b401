//! What a journal must be able to do: the trait, and the rows and changes that cross it.
//!
//! Responsible for the vocabulary. It refuses to know a database; `sqlite` is one.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::freshness::Ended;
use backup_core::notify::Round;
use backup_core::restore::Restore;
use backup_core::retention::PointId;
use backup_core::selection::Member;
use backup_core::{BackupId, DiskId, Facts, JobName, Owner, Run, RunId, SnapshotId, TargetName};
use jiff::Timestamp;

use super::requests::{Answer, Request};

/// A run with what goes with its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The run.
    pub run: Run,
    /// The target it was planned for.
    pub target: TargetName,
    /// The owner it was planned under: with the run's id, the name of its backup.
    pub owner: Owner,
    /// When its first attempt began.
    pub began_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How much had happened to the row when it was read; 0 for a new one.
    pub version: i64,
}

/// Up to where the due instants of a job on a disk have been planned, and by which schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The job.
    pub job: JobName,
    /// The disk.
    pub disk: DiskId,
    /// The schedule, as text: cron expression and zone.
    pub schedule: String,
    /// All due instants up to this one are planned.
    pub planned_through: Timestamp,
    /// The next one; none while nothing may be planned yet.
    pub next_due: Option<Timestamp>,
}

/// A restore with what goes with its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreRow {
    /// The number of the request that asked for it.
    pub number: i64,
    /// The restore.
    pub restore: Restore,
    /// The target that has the disk.
    pub target: TargetName,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What was last listed of the jobs that select their disks, or want to know where they are attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// By job.
    pub jobs: BTreeMap<JobName, Held>,
}

/// The disks of a job, as they were last listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The account and region.
    pub target: TargetName,
    /// What was asked for, as text.
    pub selection: String,
    /// The disks.
    pub disks: BTreeMap<DiskId, Member>,
}

/// Which runs a task attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Without an attempt that may have had its effect: planned, absent.
    Waiting,
    /// With an attempt whose effect is unknown: creating.
    Unresolved,
    /// With a backup that is not NORMAL yet: tracking.
    Accepted,
    /// Making room on a full disk: freeing, promoting.
    Room,
}

/// Which runs are asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Those of this target
    pub target: TargetName,
    /// and of this stage,
    pub stage: Stage,
    /// at most so many.
    pub limit: usize,
}

/// Runs that want attention.
#[derive(Debug, Default)]
pub struct ToAttend {
    /// Each with what the journal knows besides.
    pub runs: Vec<(Row, Facts)>,
    /// Rows that cannot be read: they never hold up the others.
    pub unreadable: Vec<JournalError>,
    /// How many were excepted.
    pub excepted: usize,
    /// When the next one wants attention.
    pub next: Option<Timestamp>,
}

/// Something to write. A batch of changes is written whole or not at all; each is applied or, where what it
/// presumes no longer holds, left out.
#[derive(Clone, Debug)]
pub enum Change {
    /// New runs (those that exist already are left as they are) and the new watermark, together. Left out where the
    /// job's disk is not planned by this schedule (any more).
    Plan {
        /// The runs; an ended one is a record of misses.
        rows: Vec<Row>,
        /// The watermark.
        watermark: Watermark,
    },
    /// A run that a person asked for. Left out where it exists.
    Ask(Row),
    /// The intent of an attempt. Left out where the run is no longer waiting, or another run holds the disk.
    Begin {
        /// The run, with the attempt begun.
        run: Run,
        /// Not worth a look before: until then the call is under way.
        attend_at: Timestamp,
        /// The wall clock.
        now: Timestamp,
    },
    /// The intent of a deletion or a promotion that makes room for a run. Left out where the run is no longer absent, or
    /// another run holds the disk.
    MakeRoom {
        /// The run: freeing or promoting.
        run: Run,
        /// It takes the last good backup: a gap begins.
        gap: bool,
        /// Not worth a look before.
        attend_at: Timestamp,
        /// The wall clock.
        now: Timestamp,
    },
    /// The backup of this run has become a snapshot: it is good, and no backup point any more.
    Promoted {
        /// The run.
        of: RunId,
        /// The snapshot.
        snapshot: SnapshotId,
        /// It has no deadline.
        stays: bool,
        /// When.
        at: Timestamp,
    },
    /// The gap of a disk is over, if there is one.
    CloseGap(DiskId, Timestamp),
    /// What was logged of gaps: their numbers, and whether the end was.
    GapsTold(Vec<(i64, bool)>),
    /// What is known of a run now, and when to attend to it next. Left out where it had ended.
    Save {
        /// The run.
        run: Run,
        /// Not worth a look before.
        attend_at: Timestamp,
        /// The wall clock, for the record of a run that ends.
        now: Timestamp,
    },
    /// A waiting run, as [`Change::Save`]; left out where it is no longer waiting.
    SaveWaiting {
        /// The run.
        run: Run,
        /// Not worth a look before.
        attend_at: Timestamp,
        /// The wall clock.
        now: Timestamp,
    },
    /// Runs, as they were read, that are not worth a look before these instants. Left out for those to which
    /// something has happened since.
    Attend(Vec<(Row, Timestamp)>),
    /// An ended run comes back to life. Left out where it has not ended.
    Revive(Run),
    /// Runs of an earlier journal, by their backups in the cloud. Those that exist are left as they are; the
    /// watermarks move up to them. The journal is known to be behind from now on.
    Recover(Vec<Row>),
    /// The journal knows what the cloud knows.
    CaughtUp,
    /// The backup of an ended run is good after all. Left out where the run has not ended without one.
    Late(Run),
    /// A restore that a person asked for. Left out where it exists.
    AskRestore(RestoreRow),
    /// The intent of a rollback. Left out where it was begun before, a backup of the disk is under way, or another
    /// restore of it is.
    BeginRestore(RestoreRow),
    /// What is known of a restore now. Left out where it had ended.
    SaveRestore(RestoreRow),
    /// The end of this restore was logged.
    RestoreReported(i64),
    /// The backups of these completed runs were missing from a complete listing of their disk.
    Missing(Vec<RunId>),
    /// And these were in it.
    Back(Vec<RunId>),
    /// A backup is to be deleted: before the call. Left out where that is known already.
    Delete {
        /// The backup.
        point: PointId,
        /// The run that it belongs to.
        run: RunId,
        /// When.
        at: Timestamp,
    },
    /// It was; if it was its run's good one, that is known to be gone from now on. Left out where there was no intent.
    Deleted(PointId, Timestamp),
    /// It stays after all, and is there. Left out where it was deleted, or that was intended no earlier than `before`: its
    /// call may be under way.
    Spare {
        /// The backup.
        point: PointId,
        /// An instant.
        before: Timestamp,
    },
    /// Terminal events that were logged.
    Reported(Vec<RunId>),
    /// Watermarks that begin, or change their schedule.
    Watermarks(Vec<Watermark>),
    /// Watermarks of jobs and disks that left the configuration.
    Forget(Vec<(JobName, DiskId)>),
    /// What a listing of a job's disks brought: those that joined or changed, and those that left.
    Listed {
        /// The job.
        job: JobName,
        /// The account and region.
        target: TargetName,
        /// What was asked for, as text.
        selection: String,
        /// As they are now.
        changed: BTreeMap<DiskId, Member>,
        /// Those that the job no longer holds.
        left: Vec<DiskId>,
        /// When.
        at: Timestamp,
    },
    /// The disks of jobs that do not ask for them any more.
    Unlist(Vec<JobName>),
    /// The jobs of another priority than the usual one, and by how much they are above it: these, and no others.
    Priorities(Vec<(JobName, i64)>),
    /// What the disks of a target were seen to hold: these, and no others.
    Shelves(TargetName, Vec<SeenShelf>),
    /// What a notifier was told, by subject.
    Told {
        /// The notifier.
        notifier: String,
        /// What it was told last.
        told: Vec<Told>,
        /// Subjects of which there is nothing to know any more.
        forgotten: Vec<String>,
    },
    /// Who is told things: these, and no others.
    OnlyNotifiers(Vec<String>),
    /// A command's request.
    Request {
        /// A repeat with the same id is left out.
        request_id: String,
        /// What is asked.
        body: Request,
        /// When.
        made_at: Timestamp,
    },
    /// The daemon's answer to a request.
    Answer(i64, Answer),
    /// A job or disk is paused.
    Pause(Subject, Timestamp),
    /// And resumed. Left out where it was not paused.
    Resume(Subject),
    /// Runs that ended before this, and requests answered and backups deleted before, are forgotten, a batch of them:
    /// told ones that a completed run of the same job and disk follows, and whose backups are gone or of no job any more. Left out
    /// where there are none.
    Compact {
        /// The instant.
        before: Timestamp,
    },
    /// Every run that has not ended wants attention now.
    AttendToAll,
    /// A request whose answer was read, and is of no use to anybody else.
    Heard(i64),
}

/// What a notifier was last told of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The subject.
    pub subject: String,
    /// What it was told, as text.
    pub body: String,
    /// When.
    pub at: Timestamp,
}

/// What a disk was last seen to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenShelf {
    /// The disk.
    pub disk: DiskId,
    /// How many backup points it may have.
    pub quota: u64,
    /// How many it has, by whoever.
    pub count: u64,
    /// The job for which that will not do.
    pub short: Option<JobName>,
}

/// A backup that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The backup.
    pub point: PointId,
    /// Its run.
    pub run: RunId,
    /// It is known to be gone.
    pub done: bool,
}

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All runs of a job.
    Job(JobName),
    /// All runs on a disk.
    Disk(DiskId),
}

impl Subject {
    /// The job, if it is one.
    #[must_use]
    pub fn job(&self) -> Option<&JobName> {
        match self {
            Self::Job(job) => Some(job),
            Self::Disk(_) => None,
        }
    }

    /// The disk, if it is one.
    #[must_use]
    pub fn disk(&self) -> Option<&DiskId> {
        match self {
            Self::Job(_) => None,
            Self::Disk(disk) => Some(disk),
        }
    }
}

/// Which runs `history` shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this job.
    pub job: Option<JobName>,
    /// On this disk.
    pub disk: Option<DiskId>,
    /// In this state.
    pub state: Option<String>,
    /// Due no earlier.
    pub since: Option<Timestamp>,
    /// At most so many, the latest due first.
    pub limit: u32,
}

/// A window in which a disk has no good backup, because a run took the last one away to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its number.
    pub number: i64,
    /// The run that made room.
    pub run: RunId,
    /// The backup that it took.
    pub point: BackupId,
    /// When it began.
    pub began_at: Timestamp,
    /// When the disk had a good backup again.
    pub ended_at: Option<Timestamp>,
    /// Whether its begin was logged.
    pub begin_told: bool,
}

/// What the journal knows of a job on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The job.
    pub job: JobName,
    /// The disk.
    pub disk: DiskId,
    /// The next due instant that was not planned; none while nothing may be planned yet.
    pub next_due: Option<Timestamp>,
    /// The due instant of the last run that ended, and how it did.
    pub last: Option<(Timestamp, Ended)>,
    /// When the last completed run's backup was seen NORMAL; of a run of a journal that was lost, its due instant.
    pub last_good: Option<Timestamp>,
}

/// Why the journal could not do it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is of a newer program.
    #[error(
        "journal {path} has format {found}, and this program knows {known} at most: use the program that wrote it, or a newer one"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// The file is not sound.
    #[error(
        "journal {path} is damaged ({why}); it is left as it is: put a copy back, or move it away with its -wal and -shm, and \
         start again: what the cloud knows comes back (docs/journal.md)"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file is a database, and no journal.
    #[error(
        "{path} is a database of another program; it is left as it is: `state_dir` must be the daemon's own folder"
    )]
    Foreign {
        /// The file.
        path: String,
    },
    /// The database failed.
    #[error("failed to {doing} the journal {path}")]
    Database {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: String,
        /// The database's word, and what to do.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row that cannot be read.
    #[error("run {run} in the journal cannot be read: {why}")]
    Unreadable {
        /// The row's key.
        run: String,
        /// What is wrong with it.
        why: String,
    },
    /// The thread that did it is gone.
    #[error("the journal's worker is gone")]
    Gone,
}

/// A durable record of runs. Calls block; every write is durable when it returns.
pub trait Store: Send {
    /// Writes a batch, whole or not at all; says of each change whether it was applied.
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<bool>, JournalError>;
    /// Does what must be done now and then, while nobody waits for it. What fails is done another time.
    fn settle(&mut self);
    /// Begins an epoch: its number, never used before. Every run that has not ended wants attention.
    fn begin_epoch(&mut self) -> Result<u64, JournalError>;
    /// Runs that want attention at `now`: of each that is asked for, the longest waiting first. Those `except`ed, by their
    /// keys and versions, are counted, and not read.
    fn to_attend(
        &self,
        asked: &[Asked],
        now: Timestamp,
        except: &dyn Fn(&RunId, i64) -> bool,
    ) -> Result<Vec<ToAttend>, JournalError>;
    /// Runs that have not ended, by the number in each state.
    fn open_counts(&self) -> Result<Vec<(String, u64)>, JournalError>;
    /// Waiting runs.
    fn waiting(&self) -> Result<Vec<Row>, JournalError>;
    /// One run.
    fn run(&self, id: &RunId) -> Result<Option<Row>, JournalError>;
    /// Ended runs whose terminal event is not known to be logged, at most `limit`.
    fn unreported(&self, limit: usize) -> Result<Vec<Row>, JournalError>;
    /// Waiting runs of a target that the disk's full quota holds.
    fn full(&self, target: &TargetName) -> Result<Vec<Row>, JournalError>;
    /// How many good backup points each job is known to have on each disk.
    fn good_counts(&self) -> Result<Vec<(JobName, DiskId, u64)>, JournalError>;
    /// The runs of a disk whose backups have become snapshots.
    fn promoted(&self, disk: &DiskId) -> Result<Vec<(RunId, SnapshotId)>, JournalError>;
    /// Gaps whose begin or end is not known to be logged.
    fn untold_gaps(&self) -> Result<Vec<Gap>, JournalError>;
    /// The completed runs of a disk whose backups are not known to be gone, and these besides; each with the
    /// number of listings in a row from which its backup was missing.
    fn to_compare(&self, disk: &DiskId, runs: &[RunId]) -> Result<Vec<(Row, u32)>, JournalError>;
    /// The disks on which runs completed after `since`, each with the last such instant.
    fn completed_since(&self, since: Timestamp) -> Result<Vec<(DiskId, Timestamp)>, JournalError>;
    /// The deletion of a backup, if it was ever to be deleted.
    fn deletion(&self, point: &PointId) -> Result<Option<Deletion>, JournalError>;
    /// The backups of a disk that were to be deleted and are not known to be gone.
    fn pending_deletions(&self, disk: &DiskId) -> Result<Vec<Deletion>, JournalError>;
    /// The latest due instant of a job on a disk whose backup was found rather than made, where the journal was
    /// behind: up to there an earlier journal has planned.
    fn recovered_through(&self, job: &JobName, disk: &DiskId) -> Result<Option<Timestamp>, JournalError>;
    /// Whether the cloud may know more than the journal.
    fn is_behind(&self) -> Result<bool, JournalError>;
    /// Runs for people to read.
    fn history(&self, filter: &Filter) -> Result<Vec<Row>, JournalError>;
    /// All watermarks.
    fn watermarks(&self) -> Result<Vec<Watermark>, JournalError>;
    /// Those of a job on the disks after one, or from the first on, by disk, at most `limit`.
    fn watermarks_of(
        &self,
        job: &JobName,
        after: Option<&DiskId>,
        limit: usize,
    ) -> Result<Vec<Watermark>, JournalError>;
    /// The jobs that have watermarks.
    fn planned_jobs(&self) -> Result<Vec<JobName>, JournalError>;
    /// Watermarks whose next due instant has come, the earliest first, at most `limit`.
    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Watermark>, JournalError>;
    /// The earliest next due instant.
    fn next_due(&self) -> Result<Option<Timestamp>, JournalError>;
    /// What was last listed of the jobs' disks.
    fn inventory(&self) -> Result<Inventory, JournalError>;
    /// The same of one job.
    fn held(&self, job: &JobName) -> Result<Option<Held>, JournalError>;
    /// Until when an attempt of each waiting run may begin.
    fn deadlines(&self) -> Result<Vec<(RunId, Timestamp)>, JournalError>;
    /// What is known of each job on each disk.
    fn standings(&self) -> Result<Vec<Standing>, JournalError>;
    /// What the disks of each target were last seen to hold.
    fn shelves(&self) -> Result<Vec<(TargetName, SeenShelf)>, JournalError>;
    /// What notifiers were told, each by its name.
    fn told(&self) -> Result<Vec<(String, Told)>, JournalError>;
    /// The jobs with runs that have not ended.
    fn jobs_under_way(&self) -> Result<BTreeSet<JobName>, JournalError>;
    /// The rounds of a job that were due at `from` or since, in their order. What was removed from the configuration
    /// does not count.
    fn rounds(&self, job: &JobName, from: Timestamp) -> Result<Vec<Round>, JournalError>;
    /// The disks whose runs of a round ended without a backup, at most `limit`, and why.
    fn without_backup(
        &self,
        job: &JobName,
        due: Timestamp,
        limit: usize,
    ) -> Result<Vec<(DiskId, String)>, JournalError>;
    /// Requests without an answer.
    fn open_requests(&self) -> Result<Vec<(i64, Request)>, JournalError>;
    /// A request's number by its id.
    fn request_number(&self, request_id: &str) -> Result<Option<i64>, JournalError>;
    /// The answer to a request, once there is one.
    fn answer(&self, number: i64) -> Result<Option<Answer>, JournalError>;
    /// Restores that have not ended, and those whose end was not logged yet.
    fn open_restores(&self) -> Result<Vec<RestoreRow>, JournalError>;
    /// One restore.
    fn restore(&self, number: i64) -> Result<Option<RestoreRow>, JournalError>;
    /// What is under way on a disk that a rollback would collide with, in words: the attempt or the backup of a run, or a
    /// restore.
    fn under_way(&self, disk: &DiskId) -> Result<Option<String>, JournalError>;
    /// What is paused.
    fn pauses(&self) -> Result<Vec<(Subject, Timestamp)>, JournalError>;
}
