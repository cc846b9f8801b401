//! What a forecast begins from.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catch_up::Missed;
use crate::id::{DiskId, JobName, Owner};
use crate::retention::{Keep, Point};
use crate::run::Policy;
use crate::schedule::{Blackout, Schedule};

/// What a forecast begins from.
pub struct Scene<'a> {
    /// The mark in the names of our backups.
    pub owner: &'a Owner,
    /// The jobs.
    pub jobs: Vec<Job<'a>>,
    /// The time between two creates of each lane: `1 / rate`, and the guard.
    pub lanes: Vec<Duration>,
    /// What is known of disks; one that is not here has no backups, and a quota that nobody knows.
    pub disks: BTreeMap<DiskId, Disk>,
    /// From this instant on …
    pub from: Timestamp,
    /// … up to this one.
    pub until: Timestamp,
    /// How long a backup takes to become NORMAL.
    pub takes: Duration,
    /// How long after a backup is good retention deletes what it replaces.
    pub settle: Duration,
    /// Whose days and hours are counted.
    pub zone: TimeZone,
}

/// A job, as the configuration has it.
pub struct Job<'a> {
    /// Its name.
    pub name: &'a JobName,
    /// Its disks.
    pub disks: Vec<OnJob<'a>>,
    /// Its lane, by its place in [`Scene::lanes`].
    pub lane: usize,
    /// When it is due.
    pub schedule: &'a Schedule,
    /// What follows downtime.
    pub missed: Missed,
    /// Over how long its starts are spread.
    pub spread: Duration,
    /// When nothing may start.
    pub blackout: &'a [Blackout],
    /// What its runs are planned with.
    pub policy: Policy,
    /// The greatest age of the last good backup.
    pub objective: Option<Duration>,
    /// What it keeps.
    pub keep: &'a Keep,
}

/// A disk of a job.
#[derive(Clone, Copy, Debug)]
pub struct OnJob<'a> {
    /// The disk.
    pub disk: &'a DiskId,
    /// What its start is spread by: its own id, or its instance's.
    pub spread_by: &'a str,
}

/// What is known of a disk at the beginning.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// How many backup points it may have; none where nobody knows.
    pub quota: Option<u64>,
    /// How many of those that it has are not ours.
    pub others: u64,
    /// Those that are.
    pub points: Vec<Point>,
}
