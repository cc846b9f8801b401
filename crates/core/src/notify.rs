//! What is to be told, given how things stand and what was told before.
//!
//! Responsible for speech by level and not by edge: whoever was told something hears of it again only when it has
//! changed, however often one looks, and whatever was lost in between. It refuses to know who is told, or how.

mod rounds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::DiskId;
use crate::freshness::Ended;

pub use rounds::{Round, Said, ToldRounds, next_ping};

/// How a job stands on a disk, as far as it is spoken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stands {
    /// The due instant of the last run that ended, and how it did.
    pub last: Option<(Timestamp, Ended)>,
    /// The last good backup is older than the job allows, or is owed and missing.
    pub beyond: bool,
}

/// What was told of a job on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOfDisk {
    /// The due instant of the last run that is known to have failed, where a failure was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Timestamp>,
    /// That it is beyond its objective.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beyond: bool,
}

/// What was told of a job: the disks of which something was, and is not over.
pub type ToldOfJob = BTreeMap<DiskId, ToldOfDisk>;

/// What there is to tell of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Disks whose runs fail, and of which that was not told.
    pub failed: Vec<DiskId>,
    /// Disks beyond their objective, of which that was not told.
    pub beyond: Vec<DiskId>,
    /// Disks of which something was told, and all is well again.
    pub recovered: Vec<DiskId>,
}

impl News {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.beyond.is_empty() && self.recovered.is_empty()
    }
}

/// What there is to tell of a job, and what will have been told then.
///
/// A run that was skipped mends nothing: only one that completed does, no earlier due than the one that failed. Disks
/// that the job holds no more are not spoken of.
#[must_use]
pub fn news(disks: &BTreeMap<DiskId, Stands>, told: &ToldOfJob) -> (News, ToldOfJob) {
    let (mut news, mut after) = (News::default(), ToldOfJob::new());
    for (disk, stands) in disks {
        let before = told.get(disk).copied().unwrap_or_default();
        let failed = match stands.last {
            Some((due, Ended::Failed)) => Some(due),
            Some((due, Ended::Completed)) => before.failed.filter(|failed| due < *failed),
            Some((_, Ended::Skipped)) | None => before.failed,
        };
        let now = ToldOfDisk { failed, beyond: stands.beyond };
        if now.failed.is_some() && before.failed.is_none() {
            news.failed.push(disk.clone());
        }
        if now.beyond && !before.beyond {
            news.beyond.push(disk.clone());
        }
        if now != ToldOfDisk::default() {
            after.insert(disk.clone(), now);
        } else if before != now {
            news.recovered.push(disk.clone());
        }
    }
    (news, after)
}

/// Whether news that were first seen so long ago are to be held no longer: while runs of the job are under way, others
/// of its disks may be about to say the same.
#[must_use]
pub fn is_ripe(under_way: bool, seen_for: Duration, gather: Duration) -> bool {
    !under_way || seen_for >= gather
}

/// Whether what was last told at `told_at` is to be told again, since it is still so.
#[must_use]
pub fn is_to_be_recalled(told_at: Timestamp, remind: Option<Duration>, now: Timestamp) -> bool {
    remind.and_then(|remind| SignedDuration::try_from(remind).ok()).is_some_and(|remind| {
        let since = now.duration_since(told_at);
        since >= remind
    })
}

/// Something that troubles the daemon as a whole, or one of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A credential is refused, or cannot be renewed.
    Credentials,
    /// The cloud does not answer.
    Cloud,
    /// The clock is wrong.
    Clock,
    /// The journal cannot be written.
    Journal,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Credentials, Self::Cloud, Self::Clock, Self::Journal];

    /// Its name, as the contract has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Cloud => "cloud",
            Self::Clock => "clock",
            Self::Journal => "journal",
        }
    }

    /// For how long it must have been there before it is spoken of. Networks come back by themselves.
    #[must_use]
    pub fn patience(self) -> Duration {
        match self {
            Self::Cloud => Duration::from_secs(15 * 60),
            Self::Credentials | Self::Clock | Self::Journal => Duration::from_secs(60),
        }
    }
}

/// For how long a condition must have been absent before that is told: after a start it is not known at once.
pub const IS_OVER_AFTER: Duration = Duration::from_secs(120);

/// What there is to tell of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is there.
    Begins,
    /// It is over.
    Ends,
}

/// What there is to tell of a condition that has been there, or absent, for so long.
#[must_use]
pub fn turn(condition: Condition, is_there: bool, since: Duration, was_told: bool) -> Option<Turn> {
    match (is_there, was_told) {
        (true, false) => (since >= condition.patience()).then_some(Turn::Begins),
        (false, true) => (since >= IS_OVER_AFTER).then_some(Turn::Ends),
        _ => None,
    }
}
