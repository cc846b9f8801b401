//! Restores: putting a disk back to one of its backups, and what follows while that lasts.
//!
//! Responsible for what must hold before a rollback is asked for, and for the rule that it is never asked for twice:
//! a second one would take away what was written after the first. After a lost reply, a crash or a restart only
//! looks at the disk and the backup follow. A disk that is seen rolling back is followed to its end; one that
//! is not seen so until the settle is over leaves the outcome unknown, which a person must judge.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{BackupId, DiskId};
use crate::moment::{Mark, Now};

/// A call that has not ended after this long will not: whoever made it is gone.
const CALL_CEILING: Duration = Duration::from_secs(120);
/// The first look after the call; each later one waits twice as long.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// No look waits longer than this after the last.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A rollback that surely was not carried out, for a reason that passes, is asked for so often.
const ATTEMPTS: u32 = 5;
/// The wait after the first of them; each later one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// A rollback that lasts longer is no longer followed.
const COMPLETE_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// A disk that a person wants put back to one of its backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The disk.
    pub disk: DiskId,
    /// The backup.
    pub backup: BackupId,
    /// The instance that it is attached to is shut down first.
    pub auto_stop: bool,
    /// And started afterwards.
    pub auto_start: bool,
    /// How often the cloud was asked; at most once with an effect.
    pub attempts: u32,
    /// What is known.
    pub state: State,
}

/// What is known of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// The cloud was not asked, or surely did nothing.
    Asked {
        /// Not before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// The cloud was asked; the disk was not seen rolling back yet.
    Applying {
        /// When the intent was written.
        begun: Mark,
        /// When the call ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Mark>,
        /// The cloud took it on.
        accepted: bool,
        /// How often it was looked at.
        looks: u32,
        /// When it was last looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        looked: Option<Mark>,
    },
    /// The disk is rolling back.
    Rolling {
        /// Since when that is known.
        since: Timestamp,
        /// How far it is, in percent, by the last look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u64>,
        /// When it was last looked at.
        looked: Mark,
    },
    /// The disk is what it was at the backup.
    Completed,
    /// It may not be.
    Failed {
        /// Why.
        why: Failure,
    },
}

impl State {
    /// A restore that was just asked for.
    pub const ASKED: Self = Self::Asked { retry_at: None };

    /// The state's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "asked",
            Self::Applying { .. } => "applying",
            Self::Rolling { .. } => "rolling",
            Self::Completed => "completed",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more follows.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed { .. })
    }
}

/// Why a restore failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", content = "word", rename_all = "snake_case")]
pub enum Failure {
    /// It cannot be done as things stand; nothing was changed.
    Refused(String),
    /// The reply was lost, and the disk was never seen rolling back: it may have been, or not.
    OutcomeUnknown,
    /// It has not ended within a day.
    Incomplete,
    /// The disk is gone.
    DiskGone,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(word) => write!(f, "nothing was changed: {word}"),
            Self::OutcomeUnknown => f.write_str(
                "outcome unknown: the reply was lost, and the disk was not seen rolling back; look at what it holds before \
                 asking again",
            ),
            Self::Incomplete => f.write_str("the disk is still rolling back after a day"),
            Self::DiskGone => f.write_str("the disk is gone"),
        }
    }
}

/// What a fresh answer shows of a disk and a backup; none where it does not show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The disk.
    pub disk: Option<SeenDisk>,
    /// The backup.
    pub backup: Option<SeenBackup>,
}

/// What it shows of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenDisk {
    /// Its name; empty if none.
    pub name: String,
    /// GiB.
    pub size_gib: Option<u64>,
    /// The state, in the cloud's word.
    pub state: String,
    /// The instances that it is attached to.
    pub instances: Vec<String>,
    /// Whether it can be detached; none where the cloud does not say.
    pub portable: Option<bool>,
    /// Whether it is being rolled back.
    pub rolling: bool,
    /// How far, in percent.
    pub percent: Option<u64>,
    /// Whether it is moved to another kind of storage.
    pub migrating: bool,
}

/// What it shows of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBackup {
    /// Its name; empty if none.
    pub name: String,
    /// The disk that it is of.
    pub disk: String,
    /// The state, in the cloud's word.
    pub state: String,
    /// When it was made, if that can be read.
    pub created: Option<Timestamp>,
}

impl Seen {
    fn is_rolling(&self) -> bool {
        let disk = self.disk.as_ref().is_some_and(|disk| disk.rolling || disk.state == ROLLBACKING);
        disk || self.backup.as_ref().is_some_and(|backup| backup.state == ROLLBACKING)
    }
}

const ROLLBACKING: &str = "ROLLBACKING";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for so long; then ask again.
    Wait(Duration),
    /// Look at the disk and the backup, and ask for the rollback if nothing stands against it.
    Begin,
    /// Look at them, to see what became of it.
    Look,
    /// Nothing ever.
    Ended,
}

/// How the call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The cloud took it on.
    Accepted,
    /// It may have.
    Perhaps,
    /// It surely did nothing, for a reason that passes by itself; its word.
    NotYet(String),
    /// It surely did nothing; its word.
    Refused(String),
}

/// What follows for `restore` at `now`; `settle` is the wait before a look may conclude that nothing happens.
#[must_use]
pub fn next_step(restore: &Restore, now: &Now, settle: Duration) -> Step {
    let rest_until = |pause: Duration, since: Duration| match pause.saturating_sub(since) {
        Duration::ZERO => Step::Look,
        rest => Step::Wait(rest),
    };
    match &restore.state {
        State::Asked { retry_at } => {
            let not_before = retry_at.unwrap_or(now.wall);
            match Duration::try_from(not_before.duration_since(now.wall)).unwrap_or_default() {
                Duration::ZERO => Step::Begin,
                rest => Step::Wait(rest),
            }
        }
        State::Applying { begun, ended, looks, looked, .. } => {
            let under_way =
                ended.is_none() && now.is_of_this_epoch(*begun) && now.since(*begun) < CALL_CEILING;
            if under_way {
                return Step::Wait(CALL_CEILING - now.since(*begun));
            }
            let ended = ended.unwrap_or(*begun);
            let over = settle.saturating_sub(now.since(ended));
            // A look that began before the settle was over could conclude nothing; the next one may.
            let before = |looked: Mark| now.since(ended).saturating_sub(now.since(looked)) < settle;
            if over.is_zero() && looked.is_none_or(before) {
                return Step::Look;
            }
            let pause = FIRST_LOOK.saturating_mul(1 << looks.min(&10)).min(LONGEST_PAUSE);
            match rest_until(pause, now.since(looked.unwrap_or(ended))) {
                // The look that may conclude is not to be waited for longer than it must.
                Step::Wait(rest) if !over.is_zero() => Step::Wait(rest.min(over)),
                step => step,
            }
        }
        State::Rolling { looked, .. } => rest_until(FIRST_LOOK * 2, now.since(*looked)),
        State::Completed | State::Failed { .. } => Step::Ended,
    }
}

/// What stands against asking for `restore`, in words for a person; nothing, if all is as it must be.
///
/// # Errors
/// What must be otherwise first.
pub fn check(restore: &Restore, seen: &Seen) -> Result<(), String> {
    let Restore { disk: id, backup: backup_id, auto_stop, .. } = restore;
    let Some(disk) = &seen.disk else { return Err(format!("there is no disk {id} in this target")) };
    let Some(backup) = &seen.backup else {
        return Err(format!("there is no backup {backup_id} in this target"));
    };
    if backup.disk != id.as_str() {
        return Err(format!(
            "backup {backup_id} is of {}, and a backup is put back onto its own disk alone",
            backup.disk
        ));
    }
    if seen.is_rolling() {
        return Err(format!("disk {id} is being rolled back already"));
    }
    if backup.state != "NORMAL" {
        return Err(format!("backup {backup_id} is {}, and must be NORMAL", backup.state));
    }
    if disk.migrating {
        return Err(format!("disk {id} is being moved to another kind of storage"));
    }
    match disk.state.as_str() {
        "UNATTACHED" => Ok(()),
        "ATTACHED" if *auto_stop => Ok(()),
        // Whether its instance is stopped only the cloud knows: it refuses otherwise.
        "ATTACHED" if disk.portable == Some(false) => Ok(()),
        "ATTACHED" => Err(format!(
            "disk {id} is attached to {}: detach it, or let its instance be shut down (--auto-stop)",
            if disk.instances.is_empty() { "an instance".to_owned() } else { disk.instances.join(", ") }
        )),
        other => Err(format!("disk {id} is {other}, and must be UNATTACHED or ATTACHED")),
    }
}

impl Restore {
    /// The intent: the call is about to leave.
    #[must_use]
    pub fn begin(self, now: &Now) -> Self {
        let state =
            State::Applying { begun: now.mark(), ended: None, accepted: false, looks: 0, looked: None };
        Self { attempts: self.attempts + 1, state, ..self }
    }

    /// It cannot be done as things stand.
    #[must_use]
    pub fn refused(self, word: impl Into<String>) -> Self {
        Self { state: State::Failed { why: Failure::Refused(word.into()) }, ..self }
    }

    /// The call has ended so.
    #[must_use]
    pub fn reply(self, now: &Now, reply: Reply) -> Self {
        let State::Applying { begun, looks, looked, .. } = self.state else { return self };
        let ended = Some(now.mark());
        let state = match reply {
            Reply::Accepted => State::Applying { begun, ended, accepted: true, looks, looked },
            Reply::Perhaps => State::Applying { begun, ended, accepted: false, looks, looked },
            Reply::NotYet(_) if self.attempts < ATTEMPTS => {
                let wait = FIRST_RETRY.saturating_mul(1 << self.attempts.saturating_sub(1).min(10));
                State::Asked { retry_at: Some(now.wall.saturating_add(wait).unwrap_or(Timestamp::MAX)) }
            }
            Reply::NotYet(word) | Reply::Refused(word) => State::Failed { why: Failure::Refused(word) },
        };
        Self { state, ..self }
    }

    /// A look that `began` then has shown this; none where there was no answer.
    #[must_use]
    pub fn looked(self, now: &Now, began: Mark, seen: Option<&Seen>, settle: Duration) -> Self {
        let mark = now.mark();
        let percent = seen.and_then(|seen| seen.disk.as_ref()).and_then(|disk| disk.percent);
        let rolling = seen.map(Seen::is_rolling);
        let gone = seen.is_some_and(|seen| seen.disk.is_none());
        let state = match self.state {
            State::Applying { .. } if rolling == Some(true) => {
                State::Rolling { since: now.wall, percent, looked: mark }
            }
            State::Applying { begun, ended, accepted, looks, .. } => {
                // By the time that has passed until the look began: what came in meanwhile it may not show.
                let since_end = now.since(ended.unwrap_or(begun)).saturating_sub(now.since(began));
                let concludes = rolling.is_some() && since_end >= settle;
                match (concludes, accepted) {
                    (true, _) if gone => State::Failed { why: Failure::DiskGone },
                    (true, true) => State::Completed,
                    (true, false) => State::Failed { why: Failure::OutcomeUnknown },
                    (false, _) => {
                        State::Applying { begun, ended, accepted, looks: looks + 1, looked: Some(mark) }
                    }
                }
            }
            State::Rolling { .. } if rolling == Some(false) && !gone => State::Completed,
            State::Rolling { since, percent: last, .. } => {
                let lasts = Duration::try_from(now.wall.duration_since(since)).unwrap_or_default();
                match lasts > COMPLETE_WITHIN {
                    true if gone => State::Failed { why: Failure::DiskGone },
                    true => State::Failed { why: Failure::Incomplete },
                    false => State::Rolling { since, percent: percent.or(last), looked: mark },
                }
            }
            ended => ended,
        };
        Self { state, ..self }
    }
}

#[cfg(test)]
mod tests;
