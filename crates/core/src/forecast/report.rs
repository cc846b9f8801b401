//! What a forecast says: days, hours, and what breaks.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::discriminant;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::Scene;
use crate::id::{DiskId, JobName, RunId};

/// The coming days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Each day, the first one first.
    pub days: Vec<Day>,
    /// Hours in which runs are due.
    pub hours: Vec<Hour>,
    /// What breaks, the earliest first: each kind once for a job on a disk, with how often.
    pub problems: Vec<Problem>,
    /// Runs that have not ended at the end of the time.
    pub open: usize,
}

/// A day, in the forecast's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The date.
    pub date: Date,
    /// Runs that are due.
    pub due: usize,
    /// Of those, that end with a good backup.
    pub completed: usize,
    /// Of those, that fail: the quota is full.
    pub failed: usize,
    /// Of those, that are skipped: late, or overtaken by their successors.
    pub skipped: usize,
    /// Backups that are deleted in the course of the day.
    pub deleted: usize,
    /// Backup points that become snapshots.
    pub promoted: usize,
    /// Backups of ours at the end of the day, snapshots included.
    pub kept: usize,
    /// The longest queue of a lane, in runs.
    pub peak_queue: usize,
    /// When it was so long.
    pub peak_at: Option<Timestamp>,
    /// When the last of it left.
    pub drained_at: Option<Timestamp>,
    /// The longest that a create left after its start.
    pub longest_wait: Duration,
}

/// An hour, in the forecast's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// Its beginning.
    pub from: Timestamp,
    /// Runs that are due in it.
    pub due: usize,
}

/// Something that happens to a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// When.
    pub at: Timestamp,
    /// Its run.
    pub run: RunId,
    /// What.
    pub what: What,
    /// How many backups of ours the disk has then, snapshots included.
    pub left: usize,
}

/// What happens to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It becomes good.
    Good,
    /// No rule keeps it: retention deletes it.
    Deleted,
    /// It makes room for the next one.
    Rotated,
    /// It becomes a snapshot.
    Promoted,
}

impl What {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Deleted => "deleted",
            Self::Rotated => "rotated",
            Self::Promoted => "promoted",
        }
    }
}

/// Something that breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The job.
    pub job: JobName,
    /// The disk.
    pub disk: DiskId,
    /// The due instant of the first run that meets it.
    pub due: Timestamp,
    /// When it does.
    pub at: Timestamp,
    /// What.
    pub trouble: Trouble,
    /// How often, in all.
    pub times: u32,
}

/// What can break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk's backup quota is full, and nothing may go.
    QuotaFull {
        /// The quota.
        quota: u64,
        /// Points of ours.
        ours: u64,
        /// Points of others.
        others: u64,
    },
    /// `start_within` passes before an attempt can begin.
    Late,
    /// The next run of the job on the disk comes before this one could begin.
    Superseded,
    /// The last good backup grows older than the job's objective.
    Objective {
        /// How old, at least.
        age: Duration,
        /// How old it may be.
        objective: Duration,
    },
}

impl Trouble {
    /// In a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::QuotaFull { .. } => "quota_full",
            Self::Late => "late",
            Self::Superseded => "superseded",
            Self::Objective { .. } => "objective",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |span: &Duration| SignedDuration::from_mins((span.as_secs() / 60).cast_signed());
        match self {
            Self::QuotaFull { quota, ours, others } => {
                write!(
                    f,
                    "quota full: {ours} of ours + {others} of others + this one = {}, and the quota is {quota}",
                    { ours + others + 1 }
                )
            }
            Self::Late => f.write_str("late: start_within passes before it can begin"),
            Self::Superseded => f.write_str("superseded: the next run comes before it can begin"),
            Self::Objective { age, objective } => {
                write!(
                    f,
                    "objective: the last good backup grows {:#} old, and may be {:#}",
                    span(age),
                    span(objective)
                )
            }
        }
    }
}

/// A report that is being written.
pub(super) struct Report<'s> {
    scene: &'s Scene<'s>,
    days: BTreeMap<Date, Day>,
    hours: BTreeMap<Timestamp, usize>,
    /// By job and disk, one of each kind.
    problems: BTreeMap<(usize, DiskId), Vec<Problem>>,
    /// Backups that were there at the beginning.
    at_first: usize,
}

impl<'s> Report<'s> {
    pub(super) fn new(scene: &'s Scene<'s>, at_first: usize) -> Self {
        let mut report = Self {
            scene,
            days: BTreeMap::new(),
            hours: BTreeMap::new(),
            problems: BTreeMap::new(),
            at_first,
        };
        // The end is not part of the time: at midnight it begins no day.
        let end = scene.until.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(scene.until);
        let (mut date, last) = (report.date(scene.from), report.date(end));
        while date <= last {
            report.day(date);
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        report
    }

    fn date(&self, at: Timestamp) -> Date {
        self.scene.zone.to_datetime(at).date()
    }

    fn day(&mut self, date: Date) -> &mut Day {
        self.days.entry(date).or_insert_with(|| Day {
            date,
            due: 0,
            completed: 0,
            failed: 0,
            skipped: 0,
            deleted: 0,
            promoted: 0,
            kept: 0,
            peak_queue: 0,
            peak_at: None,
            drained_at: None,
            longest_wait: Duration::ZERO,
        })
    }

    fn at(&mut self, instant: Timestamp) -> &mut Day {
        self.day(self.date(instant))
    }

    pub(super) fn due(&mut self, due: Timestamp) {
        self.at(due).due += 1;
        // Zones lie whole quarters of an hour apart; their hours begin where the minute is none.
        let local = self.scene.zone.to_datetime(due);
        let into = i64::from(local.minute()) * 60 + i64::from(local.second());
        let begins = due.saturating_sub(SignedDuration::from_secs(into)).unwrap_or(due);
        *self.hours.entry(begins).or_default() += 1;
    }

    pub(super) fn queued(&mut self, peak: usize, peak_at: Timestamp, last: Timestamp) {
        let day = self.at(peak_at);
        if peak > day.peak_queue {
            (day.peak_queue, day.peak_at, day.drained_at) = (peak, Some(peak_at), Some(last));
        }
    }

    pub(super) fn waited(&mut self, now: Timestamp, start: Timestamp) {
        let wait = Duration::try_from(now.duration_since(start)).unwrap_or_default();
        let day = self.at(now);
        day.longest_wait = day.longest_wait.max(wait);
    }

    pub(super) fn completed(&mut self, due: Timestamp, at: Timestamp) {
        self.at(due).completed += 1;
        self.at(at).kept += 1;
    }

    pub(super) fn deleted(&mut self, at: Timestamp, count: usize) {
        self.at(at).deleted += count;
    }

    pub(super) fn promoted(&mut self, at: Timestamp) {
        self.at(at).promoted += 1;
    }

    /// A run ends without a backup.
    pub(super) fn without(&mut self, due: Timestamp, trouble: &Trouble) {
        match trouble {
            Trouble::QuotaFull { .. } => self.at(due).failed += 1,
            _ => self.at(due).skipped += 1,
        }
    }

    pub(super) fn noted(
        &mut self,
        due: Timestamp,
        at: Timestamp,
        job: usize,
        disk: &DiskId,
        trouble: Trouble,
    ) {
        let of_kind = self.problems.entry((job, disk.clone())).or_default();
        match of_kind.iter_mut().find(|known| discriminant(&known.trouble) == discriminant(&trouble)) {
            Some(known) => known.times += 1,
            None => of_kind.push(Problem {
                job: self.scene.jobs[job].name.clone(),
                disk: disk.clone(),
                due,
                at,
                trouble,
                times: 1,
            }),
        }
    }

    pub(super) fn finish(self, open: usize) -> Forecast {
        let mut kept = self.at_first;
        let mut days: Vec<Day> = self.days.into_values().collect();
        for day in &mut days {
            // So far it says how many were added.
            kept = (kept + day.kept).saturating_sub(day.deleted);
            day.kept = kept;
        }
        let mut problems: Vec<Problem> = self.problems.into_values().flatten().collect();
        problems.sort_by(|a, b| (a.at, &a.job, &a.disk).cmp(&(b.at, &b.job, &b.disk)));
        let hours = self.hours.into_iter().map(|(from, due)| Hour { from, due }).collect();
        Forecast { days, hours, problems, open }
    }
}
