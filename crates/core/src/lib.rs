//! What is due, what follows, what to keep: every decision of cbs-backupd.
//!
//! Responsible for deciding, from values alone. It refuses to act: no I/O, no clock, no randomness, no
//! runtime; `now` and random numbers are parameters. The manifest shows it.

pub mod catch_up;
pub mod clock_check;
pub mod forecast;
pub mod freshness;
pub mod id;
pub mod moment;
pub mod next_step;
pub mod notify;
pub mod quota;
pub mod reconcile;
pub mod repetition;
pub mod restore;
pub mod retention;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod selection;

pub use id::{
    BackupId, BackupName, DiskId, InstanceId, InvalidId, JobName, NotifierName, Owner, RunId, SnapshotId,
    TargetName,
};
pub use moment::{Mark, Now};
pub use next_step::{Facts, Step, next_step};
pub use run::Run;
