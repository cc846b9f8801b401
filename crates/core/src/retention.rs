//! What to keep of a disk's backups, and what not, each with its reason.
//!
//! Responsible for the plan of one disk, from a fresh complete listing. It refuses to judge what does not bear the
//! owner's mark ([`Point::of`] makes no point of it), to delete what is not NORMAL, and to leave a disk without a
//! good backup.
//!
//! Rules are a union, each by itself: a backup stays when any rule of its job keeps it. `last` counts due instants;
//! the calendar rules keep the newest of each hour, day, ISO week, month or year in the job's zone, for so many of
//! the most recent ones that hold a backup at all: an empty day is not counted. A backup belongs to the day in which
//! it was due, however late it was made. `within` goes by age. Everything is per job, save for the floor: the newest
//! good backup of a disk stays, whichever job made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use serde::{Serialize, Serializer};

use crate::id::{BackupId, BackupName, DiskId, InvalidId, JobName, Owner, RunId, SnapshotId};
use crate::run::Sighting;

/// What a job keeps: the union of its rules. Zero is no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest.
    pub last: u32,
    /// All that were due no longer ago than this.
    pub within: Option<Duration>,
    /// The newest of each of so many hours. An hour that a DST fold repeats is two.
    pub hourly: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many ISO weeks.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
}

impl Keep {
    /// A rule that keeps nothing of the past: the floor alone remains. Not to be confused with no rule, which keeps
    /// everything.
    pub const NOTHING: Self =
        Self { last: 0, within: Some(Duration::ZERO), hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

    /// Whether there is no rule at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something that can be kept or deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointId {
    /// A backup point.
    Backup(BackupId),
    /// A snapshot that was a backup point.
    Snapshot(SnapshotId),
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(id) => fmt::Display::fmt(id, f),
            Self::Snapshot(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl FromStr for PointId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self::Snapshot).or_else(|_| text.parse().map(Self::Backup))
    }
}

impl Serialize for PointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A backup of ours, of one disk, in a fresh complete listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// The run that it belongs to, by its name.
    pub run: RunId,
    /// Its state.
    pub sighting: Sighting,
}

impl Point {
    /// The point that a listed backup of `disk` is; none where its name is not one that `owner` gives.
    #[must_use]
    pub fn of(owner: &Owner, disk: &DiskId, id: PointId, name: &str, sighting: Sighting) -> Option<Self> {
        let name: BackupName = name.parse().ok()?;
        (name.owner == *owner).then(|| Self { id, run: name.run_on(disk.clone()), sighting })
    }
}

/// What becomes of a point, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule keeps it.
    Kept(Why),
    /// No rule does.
    Delete,
    /// No rule keeps it, and it stays all the same.
    Refused(Refusal),
}

/// The rules that keep a point; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why(pub Vec<Reason>);

/// A rule that keeps a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its place among the newest, from 1.
    Last(u32),
    /// It is younger than this.
    Within(Duration),
    /// It is the newest of this stretch of the calendar.
    Newest(Bucket),
}

/// A stretch of the calendar, in the job's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Date, hour, and the zone's offset in seconds: a fold repeats the hour with another one.
    Hour(Date, i8, i32),
    /// A date.
    Day(Date),
    /// An ISO year and week.
    Week(i16, i8),
    /// A year and month.
    Month(i16, i8),
    /// A year.
    Year(i16),
}

/// Why a point stays that no rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is the newest good one of the disk.
    LastGood,
    /// It is not NORMAL: being made, or rolled back to.
    NotNormal,
    /// Its job says nothing of what to keep.
    NoRule,
    /// Its job is not there, or does not hold the disk any more.
    JobGone,
    /// The journal has another backup of its run, or none that is good. Never of [`plan`]: the journal's keeper knows.
    NotTheRuns,
    /// Its disk is being rolled back. Never of [`plan`], which does not see that.
    RollingBack,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(why) => write!(f, "kept: {why}"),
            Self::Delete => f.write_str("delete: not kept by any rule"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.0.iter().enumerate() {
            write!(f, "{}{reason}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(position) => write!(f, "last {position}"),
            Self::Within(within) => write!(f, "within {}", Span(*within)),
            Self::Newest(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hour(date, hour, offset) => {
                let (sign, minutes) = (if *offset < 0 { '-' } else { '+' }, offset.abs() / 60);
                write!(f, "hourly {date}T{hour:02}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            Self::Day(date) => write!(f, "daily {date}"),
            Self::Week(year, week) => write!(f, "weekly {year:04}-W{week:02}"),
            Self::Month(year, month) => write!(f, "monthly {year:04}-{month:02}"),
            Self::Year(year) => write!(f, "yearly {year:04}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastGood => "last good one",
            Self::NotNormal => "not NORMAL",
            Self::NoRule => "its job has no `keep`",
            Self::JobGone => "its job is gone",
            Self::NotTheRuns => "not the one that the journal has of its run",
            Self::RollingBack => "its disk is being rolled back",
        })
    }
}

/// A duration in the largest unit that says it exactly, as the configuration writes it.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
        let exact = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
        let (unit, letter) = exact.unwrap_or((1, 's'));
        write!(f, "{}{letter}", seconds / unit)
    }
}

/// What becomes of each of the points of one disk, the newest first.
///
/// `rules` gives what a job keeps on this disk and its zone: [`Keep::default`] where it says nothing, none where the
/// job is gone or does not hold the disk any more. A larger rule never deletes more; after the deletions the same
/// plan deletes nothing.
pub fn plan(
    points: &[Point],
    rules: &dyn Fn(&JobName) -> Option<(Keep, TimeZone)>,
    now: Timestamp,
) -> Vec<(PointId, Verdict)> {
    let mut points: Vec<&Point> = points.iter().collect();
    points.sort_unstable_by(|a, b| (b.run.due, &b.run.job, &b.id).cmp(&(a.run.due, &a.run.job, &a.id)));
    let good = || points.iter().filter(|point| point.sighting == Sighting::Normal);
    let last_good = good().next().map(|point| &point.id);
    let mut dues: BTreeMap<&JobName, Vec<Timestamp>> = BTreeMap::new();
    for point in good() {
        dues.entry(&point.run.job).or_default().push(point.run.due);
    }
    let chosen: BTreeMap<&JobName, Result<Chosen, Refusal>> =
        dues.into_iter().map(|(job, dues)| (job, choose(dues, rules(job), now))).collect();
    let verdict = |point: &Point| match chosen.get(&point.run.job) {
        _ if point.sighting != Sighting::Normal => Verdict::Refused(Refusal::NotNormal),
        Some(Err(refusal)) => Verdict::Refused(*refusal),
        Some(Ok(chosen)) => match chosen.get(&point.run.due) {
            Some(reasons) => Verdict::Kept(Why(reasons.clone())),
            None if last_good == Some(&point.id) => Verdict::Refused(Refusal::LastGood),
            None => Verdict::Delete,
        },
        // Each good point's job is among them.
        None => Verdict::Refused(Refusal::NoRule),
    };
    points.iter().map(|point| (point.id.clone(), verdict(point))).collect()
}

/// The stretch of the calendar that a date, an hour and an offset lie in.
type InBucket = fn(Date, i8, Offset) -> Bucket;

/// The due instants whose backups stay. Of twins, which share theirs, both do: to remove one is not this plan's.
type Chosen = BTreeMap<Timestamp, Vec<Reason>>;

/// What the rules of a job choose of the due instants of its good backups, the newest first.
fn choose(
    mut dues: Vec<Timestamp>,
    rules: Option<(Keep, TimeZone)>,
    now: Timestamp,
) -> Result<Chosen, Refusal> {
    let (keep, zone) = rules.ok_or(Refusal::JobGone)?;
    if keep.is_empty() {
        return Err(Refusal::NoRule);
    }
    dues.dedup();
    let mut chosen = Chosen::new();
    let mut take = |due: Timestamp, reason| chosen.entry(due).or_default().push(reason);
    for (position, due) in (1..=keep.last).zip(&dues) {
        take(*due, Reason::Last(position));
    }
    if let Some(within) = keep.within {
        let since = now.saturating_sub(within).unwrap_or(Timestamp::MIN);
        dues.iter().filter(|due| **due >= since).for_each(|due| take(*due, Reason::Within(within)));
    }
    let calendar: [(u32, InBucket); 5] = [
        (keep.hourly, |date, hour, offset| Bucket::Hour(date, hour, offset.seconds())),
        (keep.daily, |date, _, _| Bucket::Day(date)),
        (keep.weekly, |date, _, _| Bucket::Week(date.iso_week_date().year(), date.iso_week_date().week())),
        (keep.monthly, |date, _, _| Bucket::Month(date.year(), date.month())),
        (keep.yearly, |date, _, _| Bucket::Year(date.year())),
    ];
    for (count, bucket) in calendar.into_iter().filter(|(count, _)| *count > 0) {
        let mut seen = BTreeSet::new();
        for due in &dues {
            let offset = zone.to_offset(*due);
            let local = offset.to_datetime(*due);
            let bucket = bucket(local.date(), local.hour(), offset);
            if seen.insert(bucket) {
                take(*due, Reason::Newest(bucket));
            }
            if u32::try_from(seen.len()).is_ok_and(|seen| seen >= count) {
                break;
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
