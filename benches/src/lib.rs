//! The paths of the program that are measured by themselves, for divan (`functions.rs`) and callgrind (`.ci/guard`).
//!
//! Responsible for a state of things in which each path can be gone again and again, always with the same work to do.
//! It refuses to measure: who goes a path does that.

#![expect(clippy::unwrap_used, reason = "a failure ends the benchmark")]

mod planning;
mod replies;
mod run;
pub mod wire;

use std::fmt::Write as _;

use backup_core::{DiskId, Facts, JobName, Run, next_step};
use cbs_backupd::config::Config;
use jiff::{Timestamp, ToSpan as _};

pub use planning::Planning;
pub use replies::Replies;
pub use run::{Looks, Standings, Writes};

/// 2026-11-24T18:30:00Z: an instant at which the job of [`config`] is due.
pub const DUE: i64 = 1_795_545_000;

/// The first such instant, or one of the following days'.
#[must_use]
pub fn due(day: u32) -> Timestamp {
    Timestamp::from_second(DUE).unwrap() + i64::from(day).checked_mul(24).unwrap().hours()
}

/// The id of the n-th disk.
#[must_use]
pub fn disk(number: usize) -> DiskId {
    format!("disk-{number:08x}").parse().unwrap()
}

/// The job of [`config`].
#[must_use]
pub fn job() -> JobName {
    "nightly".parse().unwrap()
}

/// A configuration with one job on so many disks, as text.
#[must_use]
pub fn yaml(disks: usize) -> String {
    let mut text = String::from(
        "owner: ops1\ntargets:\n  default: { region: ap-guangzhou }\njobs:\n  - name: nightly\n    \
         schedule: { cron: \"30 2 * * *\", timezone: Asia/Shanghai }\n    disks:\n",
    );
    for number in 0..disks {
        writeln!(text, "      - {}", disk(number)).unwrap();
    }
    text
}

/// The same, read.
#[must_use]
pub fn config(yaml: &str) -> Config {
    Config::parse("config.yaml", yaml, &std::collections::BTreeMap::new()).unwrap()
}

/// A signature of a create.
#[must_use]
pub fn sign() -> String {
    let headers = [
        ("Content-Type", "application/json"),
        ("Host", "cbs.ap-guangzhou.tencentcloudapi.com"),
        ("X-TC-Action", "CreateDiskBackup"),
    ];
    let body = br#"{"DiskId":"disk-1a2b3c4d","DiskBackupName":"ops1_nightly_20261124T183000Z"}"#;
    let at = Timestamp::from_second(DUE).unwrap();
    cbs::sign::authorization("AKIDbench", &"the-secret-key".into(), "cbs", at, &headers, body)
}

/// What follows for a run in each of its states, once.
pub fn next_steps(states: &[Run]) {
    for run in states {
        std::hint::black_box(next_step(run, &run::now(20), Facts::default()));
    }
}

/// A run in each of the states that it passes through when all goes well.
#[must_use]
pub fn states() -> Vec<Run> {
    run::life(&disk(0), 0).into()
}
