//! A run: what is known of it, and how news changes that.
//!
//! Responsible for the states and every legal transition between them. It refuses to say what to do next (that
//! is [`crate::next_step()`]); a transition that makes no sense is an error to be reported, never a panic.

mod room;
mod state;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{BackupId, RunId};
use crate::moment::{Mark, Now};
use crate::retry::{Class, RetryPolicy};

pub use room::{PromotionLook, PromotionReply, Room};
pub use state::{Failure, Freed, Freeing, Full, Promoted, Setback, Skip, State, Taken};

/// So many attempts may be answered with a code that nobody knows.
const UNKNOWN_CODES: u32 = 3;
/// A backup has vanished when it is missing from so many complete listings in a row.
const VANISHED_AFTER: u32 = 3;
/// The last attempt is moved to this long before the deadline, rather than dropped for lying behind it.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// What a job does about a disk whose backup quota is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Try again once a point has gone by other hands.
    #[default]
    Wait,
    /// Delete the oldest point of the job.
    Rotate {
        /// Even the last good backup of the disk.
        allow_gap: bool,
    },
    /// Turn the oldest point of the job into a snapshot.
    Promote {
        /// How long the snapshot lives; until retention deletes it, where nothing is said.
        keep: Option<Duration>,
    },
    /// Fail at once.
    Fail,
}

/// What a run was planned with. It goes with the run: a reload changes the runs to come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// How long after `start_at` an attempt may begin.
    pub start_within: Duration,
    /// How long after its acceptance a backup may take to become NORMAL.
    pub complete_within: Duration,
    /// How long after an ambiguous attempt a listing may conclude that it had no effect.
    pub settle: Duration,
    /// What to do about a full quota.
    pub when_full: WhenFull,
}

/// One due instant of one job on one disk, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// When its first attempt may begin: once spread has passed since the due instant, outside of blackouts.
    pub start_at: Timestamp,
    /// What it was planned with.
    pub policy: Policy,
    /// How many attempts were begun.
    pub attempts: u32,
    /// The last setback.
    pub setback: Option<Setback>,
    /// Whether an attempt of it was ever ambiguous: its effect may still come to light.
    pub unsure: bool,
    /// The point that it took away to make room.
    pub taken: Option<Taken>,
    /// What is known.
    pub state: State,
}

/// What a create was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The cloud took it on.
    Accepted(BackupId),
    /// It did not, or may not have.
    Setback {
        /// The kind.
        class: Class,
        /// The code, where there was one.
        code: Option<String>,
        /// There was a code, and nobody knows it.
        unknown: bool,
        /// The code says that a backup of this disk is being made: after an ambiguous attempt, perhaps ours.
        sign_of_ours: bool,
        /// The server's wish for a pause.
        hint: Option<Duration>,
    },
}

/// What a look-up of a run's backup by name showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A backup of exactly this name.
    Found(BackupId, Sighting),
    /// No such name in a complete listing.
    Nothing,
    /// The listing could not be completed.
    Incomplete,
}

/// The state in which the cloud shows a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// NORMAL: it counts.
    Normal,
    /// CREATING, or any other state: not yet.
    Unfinished,
}

/// What asking for a tracked backup by id showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It exists.
    Seen(Sighting),
    /// The answer did not name it.
    Missing,
    /// There was no answer.
    Unanswered,
}

/// News that does not fit what is known of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{news} makes no sense for run {run}, which is {state}")]
pub struct IllegalTransition {
    run: RunId,
    state: &'static str,
    news: &'static str,
}

impl Run {
    /// A run that was just planned.
    #[must_use]
    pub fn planned(id: RunId, start_at: Timestamp, policy: Policy) -> Self {
        Self {
            id,
            start_at,
            policy,
            attempts: 0,
            setback: None,
            unsure: false,
            taken: None,
            state: State::PLANNED,
        }
    }

    /// A run that an earlier journal knew, by its backup in the cloud.
    #[must_use]
    pub fn recovered(mut self, now: &Now, backup: BackupId, sighting: Sighting) -> Self {
        match sighting {
            Sighting::Normal => self.state = State::Completed { backup, late: false },
            Sighting::Unfinished => self.track(now, backup),
        }
        self
    }

    /// The last instant at which an attempt may begin.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        later(self.start_at, self.policy.start_within)
    }

    /// An attempt begins. The result must be durable before its first byte leaves (invariant 3).
    pub fn begin(mut self, now: &Now) -> Result<Self, IllegalTransition> {
        if !self.may_begin() {
            return Err(self.illegal("an attempt"));
        }
        self.attempts += 1;
        self.state =
            State::Creating { begun: now.mark(), begun_at: now.wall, ended: None, looks: 0, looked: None };
        Ok(self)
    }

    /// The attempt was given up before its first byte left: it is as if it had not been begun.
    pub fn withdraw(mut self, now: &Now) -> Result<Self, IllegalTransition> {
        let State::Creating { ended: None, .. } = self.state else {
            return Err(self.illegal("a withdrawal"));
        };
        self.attempts = self.attempts.saturating_sub(1);
        self.state = State::Absent { retry_at: now.wall, full: None };
        Ok(self)
    }

    /// The attempt was answered, or will not be.
    pub fn reply(
        mut self,
        now: &Now,
        reply: Reply,
        draw: u64,
        retry: &RetryPolicy,
    ) -> Result<Self, IllegalTransition> {
        let State::Creating { begun, begun_at, looks, looked, .. } = self.state else {
            return Err(self.illegal("a reply"));
        };
        match reply {
            Reply::Accepted(backup) => self.track(now, backup),
            Reply::Setback { class, code, unknown, sign_of_ours, hint } => {
                // What looks like the disk's own trouble may be the backup that an earlier attempt made.
                let class = if self.unsure && (sign_of_ours || class == Class::Quota) {
                    Class::Ambiguous
                } else {
                    class
                };
                self.note(class, code, unknown);
                if class == Class::Ambiguous {
                    self.unsure = true;
                    self.state = State::Creating { begun, begun_at, ended: Some(now.mark()), looks, looked };
                } else {
                    self.retry_or_fail(now, draw, retry, hint);
                }
            }
        }
        Ok(self)
    }

    /// The disk's backups were listed, from `began` on, to find this run's by name.
    pub fn looked(
        mut self,
        now: &Now,
        began: Mark,
        look: Look,
        draw: u64,
        retry: &RetryPolicy,
    ) -> Result<Self, IllegalTransition> {
        match (self.state.clone(), look) {
            (
                State::Planned { .. } | State::Creating { .. } | State::Absent { .. },
                Look::Found(backup, sighting),
            ) => {
                self.track(now, backup);
                return self.polled(now, Poll::Seen(sighting));
            }
            (State::Tracking { accepted_at, .. }, Look::Found(backup, sighting)) => {
                self.track(now, backup);
                if let State::Tracking { accepted_at: first, .. } = &mut self.state {
                    *first = accepted_at;
                }
                return self.polled(now, Poll::Seen(sighting));
            }
            (State::Planned { .. }, Look::Nothing) => {
                self.state = State::Planned { looked: true, retry_at: None };
            }
            (State::Planned { looked, .. }, Look::Incomplete) => {
                self.note(Class::Unavailable, None, false);
                let retry_at = later(now.wall, self.delay(draw, retry, None));
                self.state = State::Planned { looked, retry_at: Some(retry_at) };
            }
            (State::Creating { begun, begun_at, ended, looks, .. }, look) => {
                let settled =
                    now.since(ended.unwrap_or(begun)).saturating_sub(now.since(began)) >= self.policy.settle;
                if look == Look::Nothing && settled {
                    self.retry_or_fail(now, draw, retry, None);
                } else {
                    self.state = State::Creating {
                        begun,
                        begun_at,
                        ended,
                        looks: looks + 1,
                        looked: Some(now.mark()),
                    };
                    self.give_up_waiting(now, begun_at, Failure::OutcomeUnknown);
                }
            }
            (State::Tracking { backup, accepted_at, seen, polls, missing, .. }, look) => {
                let settled = now.since(seen).saturating_sub(now.since(began)) >= self.policy.settle;
                let missing = missing.unwrap_or(0) + u32::from(look == Look::Nothing && settled);
                if missing >= VANISHED_AFTER {
                    // It was there, so nothing of this attempt can come to light: another is safe.
                    self.note(Class::Vanished, None, false);
                    self.retry_or_fail(now, draw, retry, None);
                    if let State::Failed { why, backup: gone } = &mut self.state {
                        *why = Failure::Vanished;
                        *gone = Some(backup);
                    }
                } else {
                    self.state = State::Tracking {
                        backup,
                        accepted_at,
                        seen,
                        polls: polls + 1,
                        polled: now.mark(),
                        missing: Some(missing),
                    };
                    self.give_up_waiting(now, accepted_at, Failure::Incomplete);
                }
            }
            _ => return Err(self.illegal("a look-up")),
        }
        Ok(self)
    }

    /// The backup was asked for by id.
    pub fn polled(mut self, now: &Now, poll: Poll) -> Result<Self, IllegalTransition> {
        let State::Tracking { backup, accepted_at, seen, polls, missing, .. } = self.state else {
            return Err(self.illegal("a poll"));
        };
        let polled = now.mark();
        self.state = match poll {
            Poll::Seen(Sighting::Normal) => State::Completed { backup, late: false },
            Poll::Seen(Sighting::Unfinished) => {
                State::Tracking { backup, accepted_at, seen: polled, polls: polls + 1, polled, missing: None }
            }
            Poll::Missing => State::Tracking {
                backup,
                accepted_at,
                seen,
                polls: polls + 1,
                polled,
                missing: missing.or(Some(0)),
            },
            Poll::Unanswered => {
                State::Tracking { backup, accepted_at, seen, polls: polls + 1, polled, missing }
            }
        };
        self.give_up_waiting(now, accepted_at, Failure::Incomplete);
        Ok(self)
    }

    /// It ends without a (further) attempt.
    pub fn skip(mut self, why: Skip) -> Result<Self, IllegalTransition> {
        if !matches!(self.state, State::Planned { .. } | State::Absent { .. }) {
            return Err(self.illegal("a skip"));
        }
        self.state = State::Skipped { why };
        Ok(self)
    }

    /// `start_within` has passed.
    pub fn out_of_time(mut self, why_never_begun: Skip) -> Result<Self, IllegalTransition> {
        match (&self.state, self.setback.clone()) {
            (State::Absent { .. }, Some(setback)) => {
                self.state = State::Failed { why: Failure::OutOfTime(setback), backup: None };
                Ok(self)
            }
            _ => self.skip(why_never_begun),
        }
    }

    /// Its backup is NORMAL after all, though it had ended without one.
    pub fn late(mut self, backup: BackupId) -> Result<Self, IllegalTransition> {
        if !matches!(self.state, State::Failed { .. } | State::Skipped { .. }) {
            return Err(self.illegal("a late backup"));
        }
        self.state = State::Completed { backup, late: true };
        Ok(self)
    }

    /// A person wants it tried again: `start_within` counts from now, and a look-up comes first.
    pub fn revive(mut self, now: &Now) -> Result<Self, IllegalTransition> {
        if !matches!(self.state, State::Failed { .. } | State::Skipped { .. }) {
            return Err(self.illegal("a retry"));
        }
        self.start_at = now.wall;
        self.setback = None;
        self.taken = None;
        self.state = if self.attempts == 0 {
            State::PLANNED
        } else {
            // Whatever became of the earlier attempts, a listing after settle says it before another is made.
            self.unsure = true;
            State::Creating {
                begun: now.mark(),
                begun_at: now.wall,
                ended: Some(now.mark()),
                looks: 0,
                looked: None,
            }
        };
        Ok(self)
    }

    fn track(&mut self, now: &Now, backup: BackupId) {
        let mark = now.mark();
        self.state = State::Tracking {
            backup,
            accepted_at: now.wall,
            seen: mark,
            polls: 0,
            polled: mark,
            missing: None,
        };
    }

    fn note(&mut self, class: Class, code: Option<String>, unknown: bool) {
        let before = self.setback.take();
        let failures =
            before.as_ref().filter(|before| before.class == class).map_or(0, |before| before.failures);
        let unknowns = if unknown { before.map_or(0, |before| before.unknown) + 1 } else { 0 };
        self.setback = Some(Setback { class, code, failures: failures + 1, unknown: unknowns });
    }

    /// After the setback that was noted last: another attempt later, or the end.
    fn retry_or_fail(&mut self, now: &Now, draw: u64, retry: &RetryPolicy, hint: Option<Duration>) {
        let setback = self.setback.clone().unwrap_or(Setback {
            class: Class::Ambiguous,
            code: None,
            failures: 1,
            unknown: 0,
        });
        let why = match setback.class {
            class if class.is_final() => Some(Failure::Refused(setback.clone())),
            _ if setback.unknown >= UNKNOWN_CODES => Some(Failure::Refused(setback.clone())),
            _ => None,
        };
        if let Some(why) = why {
            self.state = State::Failed { why, backup: None };
        } else if setback.class == Class::Quota {
            self.state = State::Absent { retry_at: now.wall, full: Some(Full::Undecided) };
        } else {
            self.wait(now, setback, later(now.wall, self.delay(draw, retry, hint)), None);
        }
    }

    /// Another attempt at `wanted`, or at the last chance; the end where that has passed.
    fn wait(&mut self, now: &Now, setback: Setback, wanted: Timestamp, full: Option<Full>) {
        let retry_at = if self.owes() { wanted } else { wanted.min(earlier(self.deadline(), LAST_CHANCE)) };
        self.state = if retry_at < now.wall {
            State::Failed { why: Failure::OutOfTime(setback), backup: None }
        } else {
            State::Absent { retry_at, full }
        };
    }

    fn delay(&self, draw: u64, retry: &RetryPolicy, hint: Option<Duration>) -> Duration {
        let (class, failures) =
            self.setback.as_ref().map_or((Class::Ambiguous, 1), |s| (s.class, s.failures));
        retry.backoff(class).delay(failures, draw, hint)
    }

    /// Ends a wait that has lasted `complete_within`, counted from `since`. It is asked after each answer, so
    /// that a daemon that was down all that time looks once before it gives up.
    fn give_up_waiting(&mut self, now: &Now, since: Timestamp, why: Failure) {
        if !self.state.is_ended() && now.wall > later(since, self.policy.complete_within) {
            self.state = State::Failed { why, backup: self.state.backup().cloned() };
        }
    }

    fn illegal(&self, news: &'static str) -> IllegalTransition {
        IllegalTransition { run: self.id.clone(), state: self.state.name(), news }
    }
}

/// `instant` moved on, as far as time goes.
pub(crate) fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(instant: Timestamp, by: Duration) -> Timestamp {
    instant.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
