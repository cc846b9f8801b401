//! The states of a run, and the reasons that they carry: what is known, in words that the journal keeps.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catch_up::Misses;
use crate::id::{BackupId, RunId, SnapshotId};
use crate::moment::Mark;
use crate::retry::Class;

/// Why an attempt did not create a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// Its kind.
    pub class: Class,
    /// The cloud's code, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How many of this class there were in a row.
    pub failures: u32,
    /// How many answers in a row bore a code that nobody knows.
    #[serde(default)]
    pub unknown: u32,
}

impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.as_str())?;
        self.code.as_ref().map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It is due; no attempt was made.
    Planned {
        /// A complete listing showed that its backup does not exist.
        looked: bool,
        /// Not before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// An attempt was begun: its backup may exist.
    Creating {
        /// When the intent was written.
        begun: Mark,
        /// The same, by the wall clock.
        begun_at: Timestamp,
        /// When the call ended without an answer that settles it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Mark>,
        /// How often it was looked for.
        looks: u32,
        /// When it was last looked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        looked: Option<Mark>,
    },
    /// The attempts so far surely created nothing.
    Absent {
        /// Not before this.
        retry_at: Timestamp,
        /// The quota of the disk was full, and nothing has happened since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        full: Option<Full>,
    },
    /// Room is being made: a point of ours is being deleted.
    Freeing {
        /// The point.
        point: BackupId,
        /// The run that made it.
        of: RunId,
        /// Why this one.
        why: Freed,
        /// How far it is.
        step: Freeing,
        /// Not before this.
        retry_at: Timestamp,
        /// How often the present step was tried.
        tries: u32,
    },
    /// Room is being made: a point of ours is being turned into a snapshot.
    Promoting {
        /// The point.
        point: BackupId,
        /// The run that made it: the snapshot bears the name of its backup.
        of: RunId,
        /// When the intent was written.
        begun: Mark,
        /// The same, by the wall clock.
        begun_at: Timestamp,
        /// When the call ended without an answer that settles it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Mark>,
        /// How often it was looked for.
        looks: u32,
        /// When it was last looked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        looked: Option<Mark>,
        /// The snapshot, once it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<Promoted>,
    },
    /// The cloud has accepted the backup; it is not NORMAL yet.
    Tracking {
        /// The backup.
        backup: BackupId,
        /// When it was accepted, or found.
        accepted_at: Timestamp,
        /// When the cloud was last known to have it.
        seen: Mark,
        /// How often it was asked for since.
        polls: u32,
        /// When it was last asked for.
        polled: Mark,
        /// From how many complete listings in a row it was missing; none while asking by id finds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<u32>,
    },
    /// The cloud says NORMAL.
    Completed {
        /// The backup.
        backup: BackupId,
        /// It became so after the run had failed or been skipped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// It ended without a backup that counts.
    Failed {
        /// Why.
        why: Failure,
        /// A backup that was accepted, all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup: Option<BackupId>,
    },
    /// It ended before its first attempt, or was overtaken.
    Skipped {
        /// Why.
        why: Skip,
    },
}

/// A full quota: what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// What to do about it is to be decided, from a listing.
    Undecided,
    /// A point must go by other hands. The cloud said so at this instant.
    Waiting {
        /// When.
        since: Timestamp,
    },
}

/// Why a point is deleted to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freed {
    /// No rule would keep it once the run has its backup.
    Unkept,
    /// It is the oldest of the job, which rotates.
    Rotated,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeing {
    /// The cloud has not confirmed that it deletes the point.
    Asking,
    /// It has; the point may still be in listings.
    Deleted,
    /// It is in no listing any more: the attempt follows.
    Gone,
}

/// The snapshot that a point becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The snapshot.
    pub id: SnapshotId,
    /// When the cloud was last known to have it.
    pub seen: Mark,
    /// How often it was asked for since.
    pub polls: u32,
    /// When it was last asked for.
    pub polled: Mark,
    /// From how many complete listings in a row it was missing; none while asking by id finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u32>,
    /// It is NORMAL: the attempt follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub normal: bool,
}

/// The point that a run took away to make room, by rotation or promotion: one at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The point.
    pub point: BackupId,
    /// It was deleted, and was the last good backup of the disk: the run owes another, however late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owes: bool,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Failure {
    /// The cloud will never do it as asked.
    Refused(Setback),
    /// `start_within` passed; this was the last setback.
    OutOfTime(Setback),
    /// The quota is full, and the job says `when_full: fail`.
    QuotaFull,
    /// The quota is full, and no point of the job is there that could make room.
    QuotaHeldByOthers,
    /// The quota is full, and only the last good backup could make room: it stays, without `allow_gap`.
    QuotaLastGood,
    /// `complete_within` passed, and the snapshot that a point was to become was not NORMAL, or not found.
    PromotionIncomplete,
    /// `complete_within` passed and the backup was not NORMAL.
    Incomplete,
    /// The backup went away before it was NORMAL, too late for another attempt.
    Vanished,
    /// Whether a backup exists could not be found out in time.
    OutcomeUnknown,
}

/// Why a run was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Skip {
    /// Nobody was there to start these in time; the row stands for all of them.
    Missed(Misses),
    /// `start_within` passed before the first attempt could begin.
    Late,
    /// The job or the disk was paused all the while.
    Paused,
    /// A blackout of the job lasted until then.
    Blackout,
    /// Another run, or a restore, held the disk all the while.
    DiskBusy,
    /// The next run of the same job on the same disk has come.
    Superseded,
    /// The job, the disk or the target left the configuration.
    Removed,
}

impl Failure {
    /// All that [`Self::name`] says.
    pub const NAMES: [&'static str; 9] = [
        "refused",
        "out_of_time",
        "quota_full",
        "quota_held_by_others",
        "quota_last_good",
        "promotion_incomplete",
        "incomplete",
        "vanished",
        "outcome_unknown",
    ];

    /// The name of the reason, without what goes with it: as the journal and the contract have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::OutOfTime(_) => "out_of_time",
            Self::QuotaFull => "quota_full",
            Self::QuotaHeldByOthers => "quota_held_by_others",
            Self::QuotaLastGood => "quota_last_good",
            Self::PromotionIncomplete => "promotion_incomplete",
            Self::Incomplete => "incomplete",
            Self::Vanished => "vanished",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }
}

impl Skip {
    /// All that [`Self::name`] says.
    pub const NAMES: [&'static str; 7] =
        ["missed", "late", "paused", "blackout", "disk_busy", "superseded", "removed"];

    /// The name of the reason, without what goes with it: as the journal and the contract have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missed(_) => "missed",
            Self::Late => "late",
            Self::Paused => "paused",
            Self::Blackout => "blackout",
            Self::DiskBusy => "disk_busy",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(setback) => write!(f, "refused: {setback}"),
            Self::OutOfTime(setback) => write!(f, "out of time: {setback}"),
            Self::QuotaFull => f.write_str("quota full"),
            Self::QuotaHeldByOthers => {
                f.write_str("quota held by others: no backup of this job is there to make room")
            }
            Self::QuotaLastGood => f.write_str(
                "quota full: only the last good backup could make room, and `allow_gap` is not set",
            ),
            Self::PromotionIncomplete => {
                f.write_str("promotion incomplete: complete_within passed before the snapshot was NORMAL")
            }
            Self::Incomplete => f.write_str("incomplete: complete_within passed before it was NORMAL"),
            Self::Vanished => f.write_str("vanished: the backup went away before it was NORMAL"),
            Self::OutcomeUnknown => {
                f.write_str("outcome unknown: no listing could tell whether a backup exists")
            }
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed(Misses { count: 1, .. }) => f.write_str("missed"),
            Self::Missed(Misses { from, to, count }) => write!(f, "missed: {count} from {from} to {to}"),
            Self::Late => f.write_str("late: start_within passed before an attempt could begin"),
            Self::Paused => f.write_str("paused"),
            Self::Blackout => f.write_str("blackout: it lasted until start_within had passed"),
            Self::DiskBusy => f.write_str("disk busy: another run or a restore held it"),
            Self::Superseded => f.write_str("superseded by its successor"),
            Self::Removed => f.write_str("removed from the configuration"),
        }
    }
}

impl State {
    /// A run that was just planned.
    pub const PLANNED: Self = Self::Planned { looked: false, retry_at: None };

    /// The state's name, as the contract has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Creating { .. } => "creating",
            Self::Absent { .. } => "absent",
            Self::Freeing { .. } => "freeing",
            Self::Promoting { .. } => "promoting",
            Self::Tracking { .. } => "tracking",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }

    /// Whether nothing more follows.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. } | Self::Skipped { .. })
    }

    /// The backup, where one is known.
    #[must_use]
    pub fn backup(&self) -> Option<&BackupId> {
        match self {
            Self::Tracking { backup, .. } | Self::Completed { backup, .. } => Some(backup),
            Self::Failed { backup, .. } => backup.as_ref(),
            _ => None,
        }
    }

    /// The name of [`Self::reason`]: one of few.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Self::Failed { why, .. } => Some(why.name()),
            Self::Skipped { why } => Some(why.name()),
            _ => None,
        }
    }

    /// Why the run ended as it did, where it did not complete.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Failed { why, .. } => Some(why.to_string()),
            Self::Skipped { why } => Some(why.to_string()),
            _ => None,
        }
    }
}
