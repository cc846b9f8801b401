//! What a forecast begins from, out of a configuration and of what the cloud has.
//!
//! Responsible for translating. It refuses to look ahead: `backup_core::forecast` does.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_core::retention::Point;
use backup_core::run::Sighting;
use backup_core::{DiskId, InstanceId, forecast};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cloud::identity;
use crate::config::{Config, Job};
use crate::fleet::{Fleet, OnRoster};
use crate::journal::Listed;

/// The zone of the jobs, where they share one; else UTC.
#[must_use]
pub fn zone(config: &Config) -> TimeZone {
    let mut zones = config.jobs.iter().map(|job| job.schedule.zone());
    match zones.next() {
        Some(first) if zones.all(|zone| zone == first) => first.clone(),
        _ => TimeZone::UTC,
    }
}

/// What a configuration leads to, from what the disks have.
#[must_use]
pub fn scene<'a>(
    config: &'a Config,
    fleet: &'a Fleet,
    disks: BTreeMap<DiskId, forecast::Disk>,
    (from, until): (Timestamp, Timestamp),
    takes: Duration,
    zone: TimeZone,
) -> forecast::Scene<'a> {
    // A lane is shared by who calls one host as one caller, at the lowest of the rates.
    let mut lanes: BTreeMap<(String, &str), (usize, u32)> = BTreeMap::new();
    for target in config.targets.values() {
        let next = lanes.len();
        let (_, rate) = lanes
            .entry((identity(&target.credentials), &target.endpoint))
            .or_insert((next, target.rate_limit));
        *rate = target.rate_limit.min(*rate);
    }
    let lane_of = |job: &Job| {
        let target = config.targets.get(&job.target)?;
        lanes.get(&(identity(&target.credentials), &*target.endpoint)).map(|(place, _)| *place)
    };
    let jobs =
        config.jobs.iter().filter_map(|job| Some(as_forecast(config, fleet, job, lane_of(job)?))).collect();
    let mut spacings: Vec<(usize, Duration)> = lanes
        .values()
        .map(|(place, rate)| (*place, Duration::from_secs(1) / (*rate).max(1) + config.guard))
        .collect();
    spacings.sort_unstable();
    let lanes = spacings.into_iter().map(|(_, spacing)| spacing).collect();
    forecast::Scene {
        owner: &config.owner,
        jobs,
        lanes,
        disks,
        from,
        until,
        takes,
        settle: config.settle,
        zone,
    }
}

fn as_forecast<'a>(config: &Config, fleet: &'a Fleet, job: &'a Job, lane: usize) -> forecast::Job<'a> {
    let on_job = |OnRoster { disk, instance }: &'a OnRoster| {
        let spread_by = instance.as_ref().filter(|_| job.together).map_or(disk.as_str(), InstanceId::as_str);
        forecast::OnJob { disk, spread_by }
    };
    forecast::Job {
        name: &job.name,
        disks: fleet.of(&job.name).disks().map(on_job).collect(),
        lane,
        schedule: &job.schedule,
        missed: job.missed,
        spread: job.spread,
        blackout: &job.blackout,
        policy: job.policy(config),
        objective: job.objective,
        keep: &job.keep,
    }
}

/// The jobs' disks, without backups and of this quota.
#[must_use]
pub fn assumed(config: &Config, fleet: &Fleet, quota: Option<u64>) -> BTreeMap<DiskId, forecast::Disk> {
    let disk = forecast::Disk { quota, ..forecast::Disk::default() };
    let on_rosters = config.jobs.iter().flat_map(|job| fleet.of(&job.name).disks());
    on_rosters.map(|on| (on.disk.clone(), disk.clone())).collect()
}

/// The point that a listed backup is, where it is ours.
#[must_use]
pub fn point(listed: &Listed) -> Option<Point> {
    let run = listed.run.as_ref()?.parse().ok()?;
    let sighting = if listed.state == "NORMAL" { Sighting::Normal } else { Sighting::Unfinished };
    Some(Point { id: listed.id.parse().ok()?, run, sighting })
}
