//! What is due, what follows, what to keep: every decision of cbs-backupd.
//!
//! Responsible for deciding, from values alone. It refuses to act: no I/O, no clock, no randomness, no
//! runtime; `now` and random numbers are parameters. The manifest shows it.

pub mod id;

pub use id::{BackupId, BackupName, DiskId, InvalidId, JobName, Owner, RunId, TargetName};
