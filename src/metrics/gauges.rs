//! How things stand, as gauges.
//!
//! Responsible for turning a [`State`] into series. It refuses to read anything by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use backup_core::freshness::Trouble;
use backup_core::{DiskId, JobName, TargetName};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::state::{FromJournal, State};
use super::table::{self, Metric, Type};
use crate::standings::JobStands;

/// The states of a run that has not ended.
const OPEN: [&str; 6] = ["planned", "creating", "absent", "freeing", "promoting", "tracking"];

/// Writes it as text.
pub(super) fn encode(state: State, text: &mut impl fmt::Write) -> fmt::Result {
    let mut registry = Registry::with_prefix(table::PREFIX);
    registry.register_collector(Box::new(Gauges(state)));
    prometheus_client::encoding::text::encode_registry(text, &registry)
}

struct Gauges(State);

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = &self.0;
        let mut series = Series(encoder);
        series.one(table::BUILD_INFO, [env!("CARGO_PKG_VERSION")], 1_u64)?;
        series.one(table::READY, [], u64::from(state.unready.is_none()))?;
        series.one(table::START_TIME, [], seconds(state.started))?;
        series.one(table::CLOCK_WRONG, [], u64::from(state.is_clock_wrong))?;
        series.one(table::JOURNAL_WRITABLE, [], u64::from(state.is_writable))?;
        targets(state, &mut series)?;
        let Some(journal) = &state.journal else { return Ok(()) };
        series.one(table::JOURNAL_SIZE, [], journal.bytes)?;
        let open = |name: &'static str| {
            journal.open.iter().find(|(state, _)| state == name).map_or(0, |(_, count)| *count)
        };
        series.many(table::RUNS_OPEN, OPEN.iter().map(|name| ([*name], open(name))))?;
        series.one(table::RUNS_LATE, [], journal.standings.late.len())?;
        jobs(state, journal, &mut series)?;
        quotas(state, journal, &mut series)?;
        let is_per_disk = state.settings.config.metrics.as_ref().is_none_or(|metrics| metrics.per_disk);
        if is_per_disk { disks(state, journal, &mut series) } else { Ok(()) }
    }
}

fn targets(state: &State, series: &mut Series<'_>) -> fmt::Result {
    let each = || state.targets.iter();
    series.many(
        table::CLOUD_REACHABLE,
        each().map(|target| ([target.name.as_str()], u64::from(target.is_reachable))),
    )?;
    series.many(
        table::CREDENTIAL_FAILING,
        each().map(|target| ([target.name.as_str()], u64::from(target.is_credential_failing))),
    )?;
    series.many(
        table::CREDENTIAL_EXPIRY,
        each().filter_map(|target| Some(([target.name.as_str()], seconds(target.expires?)))),
    )?;
    let lanes = || {
        each().flat_map(|target| {
            target.lanes.iter().map(|(action, lane)| ([target.name.as_str(), *action], lane))
        })
    };
    series.many(table::LANE_RATE, lanes().map(|(labels, lane)| (labels, lane.rate)))?;
    series.many(table::LANE_LIMIT, lanes().map(|(labels, lane)| (labels, lane.limit)))?;
    series.many(table::LANE_WAITING, lanes().map(|(labels, lane)| (labels, lane.queued)))?;
    series.many(table::LANE_THROTTLES, lanes().map(|(labels, lane)| (labels, lane.throttles)))
}

fn jobs(state: &State, journal: &FromJournal, series: &mut Series<'_>) -> fmt::Result {
    let each = || journal.standings.jobs.iter();
    let mut counts = |metric, count: &dyn Fn(&JobStands) -> usize| {
        series.many(metric, each().map(|job| ([job.job.as_str()], count(job))))
    };
    counts(table::JOB_DISKS, &|job| job.disks.len())?;
    counts(table::JOB_WITHOUT, &|job| job.count(|disk| disk.last_good.is_none()))?;
    counts(table::JOB_BEYOND, &|job| job.count(|disk| disk.freshness.is_beyond()))?;
    counts(table::JOB_FAILING, &|job| {
        job.count(|disk| disk.freshness.has(|trouble| matches!(trouble, Trouble::Failed { .. })))
    })?;
    counts(table::JOB_LATE, &|job| {
        job.count(|disk| disk.freshness.has(|trouble| *trouble == Trouble::Late))
    })?;
    counts(table::JOB_PAUSED, &|job| usize::from(job.is_paused))?;
    let objectives = state
        .settings
        .config
        .jobs
        .iter()
        .filter_map(|job| Some(([job.name.as_str()], job.objective?.as_secs_f64())));
    series.many(table::JOB_OBJECTIVE, objectives)?;
    let next_due = |job: &JobStands| job.next_due.map(seconds);
    let last_good = |job: &JobStands| job.disks.iter().filter_map(|disk| disk.last_good).min();
    let some = |value: &dyn Fn(&JobStands) -> Option<f64>| -> Vec<_> {
        each().filter_map(|job| Some(([job.job.as_str()], value(job)?))).collect()
    };
    series.many(table::JOB_NEXT_DUE, some(&next_due))?;
    series.many(table::JOB_LAST_GOOD, some(&|job| last_good(job).map(seconds)))?;
    series.many(table::JOB_LAST_GOOD_AGE, some(&|job| last_good(job).map(|at| age(state.now, at))))
}

fn quotas(state: &State, journal: &FromJournal, series: &mut Series<'_>) -> fmt::Result {
    let mut full: BTreeMap<&TargetName, BTreeSet<&DiskId>> =
        state.targets.iter().map(|target| (&target.name, BTreeSet::new())).collect();
    let seen = journal.shelves.iter().filter(|(_, shelf)| shelf.count >= shelf.quota);
    let seen = seen.map(|(target, shelf)| (target, &shelf.disk));
    for (target, disk) in seen.chain(journal.full.iter().map(|(target, disk)| (target, disk))) {
        if let Some(disks) = full.get_mut(target).filter(|_| state.settings.fleet.has(disk)) {
            disks.insert(disk);
        }
    }
    let jobs = state.settings.config.jobs.iter().map(|job| (&job.name, 0_u64));
    let mut short: BTreeMap<&JobName, u64> = jobs.collect();
    for (_, shelf) in &journal.shelves {
        let of = shelf.short.as_ref().filter(|job| state.settings.fleet.holds(job, &shelf.disk));
        if let Some(short) = of.and_then(|job| short.get_mut(job)) {
            *short += 1;
        }
    }
    series.many(
        table::TARGET_QUOTA_FULL,
        full.iter().map(|(target, disks)| ([target.as_str()], disks.len())),
    )?;
    series.many(table::JOB_QUOTA_SHORT, short.iter().map(|(job, count)| ([job.as_str()], *count)))
}

fn disks(state: &State, journal: &FromJournal, series: &mut Series<'_>) -> fmt::Result {
    let each = || {
        journal.standings.jobs.iter().flat_map(|job| {
            job.disks
                .iter()
                .filter_map(|disk| Some(([job.job.as_str(), disk.disk.as_str()], disk.last_good?)))
        })
    };
    series.many(table::DISK_LAST_GOOD, each().map(|(labels, at)| (labels, seconds(at))))?;
    series.many(table::DISK_LAST_GOOD_AGE, each().map(|(labels, at)| (labels, age(state.now, at))))?;
    let fleet = &state.settings.fleet;
    let known = |target: &TargetName| state.targets.iter().any(|known| known.name == *target);
    let shelves: Vec<_> = journal
        .shelves
        .iter()
        .filter(|(target, shelf)| known(target) && fleet.has(&shelf.disk))
        .map(|(target, shelf)| ([target.as_str(), shelf.disk.as_str()], shelf))
        .collect();
    series.many(table::DISK_QUOTA, shelves.iter().map(|(labels, shelf)| (*labels, shelf.quota)))?;
    series.many(table::DISK_BACKUPS, shelves.iter().map(|(labels, shelf)| (*labels, shelf.count)))
}

/// Since the epoch, to the millisecond: that is what the journal keeps.
fn seconds(at: Timestamp) -> f64 {
    std::time::Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap_or_default()).as_secs_f64()
}

fn age(now: Timestamp, at: Timestamp) -> f64 {
    now.duration_since(at).as_secs_f64().max(0.0)
}

/// Writes series.
struct Series<'e>(DescriptorEncoder<'e>);

impl Series<'_> {
    fn one<const N: usize>(
        &mut self,
        metric: Metric,
        labels: [&str; N],
        value: impl Into<Value>,
    ) -> fmt::Result {
        self.many(metric, [(labels, value)])
    }

    fn many<'l, const N: usize, V: Into<Value>>(
        &mut self,
        metric: Metric,
        each: impl IntoIterator<Item = ([&'l str; N], V)>,
    ) -> fmt::Result {
        let mut each = each.into_iter().peekable();
        if each.peek().is_none() {
            return Ok(());
        }
        let kind = if metric.kind == Type::Counter { MetricType::Counter } else { MetricType::Gauge };
        // As the library ends the help of what is registered with it.
        let help = format!("{}.", metric.help);
        let mut encoder = self.0.encode_descriptor(metric.name, &help, None, kind)?;
        for (values, value) in each {
            let labels: [(&str, &str); N] = std::array::from_fn(|at| (metric.labels[at], values[at]));
            if N == 0 {
                value.into().encode(metric.kind, &mut encoder)?;
            } else {
                value.into().encode(metric.kind, &mut encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// The value of a series.
enum Value {
    Whole(u64),
    Real(f64),
}

impl Value {
    fn encode(&self, kind: Type, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (Type::Counter, Self::Whole(count)) => {
                encoder.encode_counter(count, None::<&Exemplar<[(&str, &str); 0], u64>>)
            }
            (_, Self::Whole(value)) => encoder.encode_gauge(value),
            (_, Self::Real(value)) => encoder.encode_gauge(value),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}
