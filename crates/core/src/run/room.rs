//! How a run makes room on a disk whose quota is full: the transitions of that part of its life.
//!
//! Responsible for what follows a decision of [`crate::quota`], and for the news of deletions and promotions. While
//! a run makes room it holds the disk, and no attempt of its own is in the air. It refuses to choose the point.

use std::time::Duration;

use super::{Failure, Freed, Freeing, Full, IllegalTransition, Look, Poll, Promoted, Run, Setback, Sighting};
use super::{State, Taken, VANISHED_AFTER, later};
use crate::id::{BackupId, RunId, SnapshotId};
use crate::moment::{Mark, Now};
use crate::retry::{Class, RetryPolicy};

/// The pause after the first question whether a deleted point is gone; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// No such pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What makes room, by [`crate::quota::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// This point goes.
    Delete {
        /// The point.
        point: BackupId,
        /// The run that made it.
        of: RunId,
        /// Why this one.
        why: Freed,
        /// How many good backups of ours stay on the disk.
        left: usize,
    },
    /// This point becomes a snapshot.
    Promote {
        /// The point.
        point: BackupId,
        /// The run that made it.
        of: RunId,
        /// How many other good backups of ours the disk has, snapshots included.
        left: usize,
    },
    /// It is becoming one already: by an earlier journal, or a run that gave up waiting.
    Adopt {
        /// The point.
        point: BackupId,
        /// The run that made it.
        of: RunId,
        /// The snapshot.
        snapshot: SnapshotId,
        /// How many other good backups of ours the disk has, snapshots included.
        left: usize,
    },
    /// The run's own backup is there.
    Found(BackupId, Sighting),
    /// Other hands must make it.
    Wait,
    /// None will be made.
    Fail(Failure),
    /// There was no complete listing to decide from.
    Unknown,
}

/// What the creation of a snapshot was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromotionReply {
    /// The cloud took it on.
    Accepted(SnapshotId),
    /// It did not, or may not have.
    Setback {
        /// The kind.
        class: Class,
        /// The code, where there was one.
        code: Option<String>,
        /// There was a code, and nobody knows it.
        unknown: bool,
        /// The server's wish for a pause.
        hint: Option<Duration>,
    },
}

/// What a look-up of a promotion's snapshot by its name showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromotionLook {
    /// A snapshot of the disk of exactly this name.
    Found(SnapshotId, Sighting),
    /// No such name in a complete listing.
    Nothing,
    /// The listing could not be completed.
    Incomplete,
}

impl Run {
    /// Whether an attempt may begin: none is in the air, and no room is being made.
    pub(super) fn may_begin(&self) -> bool {
        match &self.state {
            State::Planned { .. } | State::Absent { .. } => true,
            State::Freeing { step, .. } => *step == Freeing::Gone,
            State::Promoting { snapshot, .. } => snapshot.as_ref().is_some_and(|snapshot| snapshot.normal),
            _ => false,
        }
    }

    /// Whether it has deleted the last good backup of the disk, and so owes one, however late.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.owes)
    }

    /// It was decided what makes room. Where that is a deletion or a promotion, the result must be durable before its
    /// first byte leaves.
    pub fn make_room(
        mut self,
        now: &Now,
        room: Room,
        draw: u64,
        retry: &RetryPolicy,
    ) -> Result<Self, IllegalTransition> {
        let State::Absent { full: Some(Full::Undecided), .. } = self.state else {
            return Err(self.illegal("a decision about a full quota"));
        };
        let takes = match &room {
            Room::Delete { why: Freed::Unkept, .. } => false,
            Room::Delete { .. } | Room::Promote { .. } | Room::Adopt { .. } => true,
            _ => false,
        };
        if takes && self.taken.is_some() {
            return Err(self.illegal("a second point to make room"));
        }
        match room {
            Room::Delete { point, of, why, left } => {
                if why == Freed::Rotated {
                    self.taken = Some(Taken { point: point.clone(), owes: left == 0 });
                }
                self.state =
                    State::Freeing { point, of, why, step: Freeing::Asking, retry_at: now.wall, tries: 0 };
            }
            Room::Promote { point, of, .. } => {
                self.taken = Some(Taken { point: point.clone(), owes: false });
                self.state = promoting(now, point, of, None);
            }
            Room::Adopt { point, of, snapshot, .. } => {
                self.taken = Some(Taken { point: point.clone(), owes: false });
                self.state = promoting(now, point, of, Some(accepted(now, snapshot)));
            }
            Room::Found(backup, sighting) => {
                return self.looked(now, now.mark(), Look::Found(backup, sighting), draw, retry);
            }
            Room::Wait => {
                let wanted = later(now.wall, self.delay(draw, retry, None));
                let setback = self.last_setback();
                self.wait(now, setback, wanted, Some(Full::Waiting { since: now.wall }));
            }
            Room::Fail(why) => self.state = State::Failed { why, backup: None },
            Room::Unknown => {
                let wanted = later(now.wall, retry.backoff(Class::Unavailable).delay(1, draw, None));
                let setback = self.last_setback();
                self.wait(now, setback, wanted, Some(Full::Undecided));
            }
        }
        Ok(self)
    }

    /// A run that waits on a full disk learns that there is room.
    pub fn room_seen(mut self, now: &Now) -> Result<Self, IllegalTransition> {
        let State::Absent { full: Some(Full::Waiting { .. }), .. } = self.state else {
            return Err(self.illegal("room on the disk"));
        };
        self.state = State::Absent { retry_at: now.wall, full: None };
        Ok(self)
    }

    /// The deletion was answered: done (not found is done), or this class.
    pub fn delete_answered(
        mut self,
        now: &Now,
        answer: Result<(), Class>,
        draw: u64,
        retry: &RetryPolicy,
    ) -> Result<Self, IllegalTransition> {
        let over = now.wall > self.deadline() && !self.owes();
        let State::Freeing { step: step @ Freeing::Asking, retry_at, tries, .. } = &mut self.state else {
            return Err(self.illegal("the answer to a deletion"));
        };
        match answer {
            Ok(()) => (*step, *retry_at, *tries) = (Freeing::Deleted, now.wall, 0),
            Err(class) => {
                *tries += 1;
                *retry_at = later(now.wall, retry.backoff(class).delay(*tries, draw, None));
                // Without an answer of the cloud it may be gone: that is found out before the run ends.
                let refused = !matches!(class, Class::NotSent | Class::Unavailable | Class::Ambiguous);
                if refused && (over || class.is_final()) {
                    self.note(class, None, false);
                    let setback = self.last_setback();
                    self.state = State::Failed { why: Failure::OutOfTime(setback), backup: None };
                }
            }
        }
        Ok(self)
    }

    /// It was asked whether the deleted point is gone.
    pub fn gone_asked(mut self, now: &Now, gone: Option<bool>) -> Result<Self, IllegalTransition> {
        let State::Freeing { step: step @ Freeing::Deleted, retry_at, tries, .. } = &mut self.state else {
            return Err(self.illegal("whether a point is gone"));
        };
        if gone == Some(true) {
            (*step, *retry_at, *tries) = (Freeing::Gone, now.wall, 0);
        } else {
            let pause = FIRST_PAUSE.saturating_mul(1 << (*tries).min(10)).min(LONGEST_PAUSE);
            (*retry_at, *tries) = (later(now.wall, pause), *tries + 1);
        }
        Ok(self)
    }

    /// The creation of the snapshot was answered, or will not be.
    pub fn promotion_replied(
        mut self,
        now: &Now,
        reply: PromotionReply,
        draw: u64,
        retry: &RetryPolicy,
    ) -> Result<Self, IllegalTransition> {
        let State::Promoting { ended, snapshot: snapshot @ None, .. } = &mut self.state else {
            return Err(self.illegal("the answer to a promotion"));
        };
        match reply {
            PromotionReply::Accepted(id) => *snapshot = Some(accepted(now, id)),
            PromotionReply::Setback { class: Class::Ambiguous, .. } => *ended = Some(now.mark()),
            PromotionReply::Setback { class, code, unknown, hint } => {
                self.taken = None;
                // The point went by other hands: there may be room.
                if class == Class::Gone {
                    self.state = State::Absent { retry_at: now.wall, full: None };
                } else {
                    self.note(class, code, unknown);
                    self.retry_or_fail(now, draw, retry, hint);
                    if let State::Absent { retry_at, full } = &mut self.state {
                        *full = Some(Full::Undecided);
                        *retry_at = later(now.wall, retry.backoff(class).delay(1, draw, hint)).max(*retry_at);
                    }
                }
            }
        }
        Ok(self)
    }

    /// The disk's snapshots were listed, from `began` on, to find the one that the point becomes.
    pub fn promotion_looked(
        mut self,
        now: &Now,
        began: Mark,
        look: PromotionLook,
        draw: u64,
        retry: &RetryPolicy,
    ) -> Result<Self, IllegalTransition> {
        let settle = self.policy.settle;
        let settled = |since: Mark| now.since(since).saturating_sub(now.since(began)) >= settle;
        let State::Promoting { begun, begun_at, ended, looks, looked, snapshot, .. } = &mut self.state else {
            return Err(self.illegal("a look-up of a promotion"));
        };
        let begun_at = *begun_at;
        let nothing = look == PromotionLook::Nothing;
        match (look, snapshot) {
            (PromotionLook::Found(id, sighting), snapshot) => {
                *snapshot = Some(Promoted { normal: sighting == Sighting::Normal, ..accepted(now, id) });
                return Ok(self);
            }
            (_, Some(known)) => {
                let missing = known.missing.unwrap_or(0) + u32::from(nothing && settled(known.seen));
                (known.missing, known.polls, known.polled) = (Some(missing), known.polls + 1, now.mark());
                if missing >= VANISHED_AFTER {
                    self.not_promoted(now, draw, retry);
                }
            }
            (_, None) if nothing && settled(ended.unwrap_or(*begun)) => self.not_promoted(now, draw, retry),
            (_, None) => (*looks, *looked) = (*looks + 1, Some(now.mark())),
        }
        self.give_up_waiting(now, begun_at, Failure::PromotionIncomplete);
        Ok(self)
    }

    /// The snapshot was asked for by id.
    pub fn promotion_polled(mut self, now: &Now, poll: Poll) -> Result<Self, IllegalTransition> {
        let State::Promoting { begun_at, snapshot: Some(snapshot), .. } = &mut self.state else {
            return Err(self.illegal("a poll of a promotion"));
        };
        let begun_at = *begun_at;
        (snapshot.polls, snapshot.polled) = (snapshot.polls + 1, now.mark());
        match poll {
            Poll::Seen(sighting) => {
                (snapshot.seen, snapshot.missing) = (now.mark(), None);
                snapshot.normal = sighting == Sighting::Normal;
                if snapshot.normal {
                    return Ok(self);
                }
            }
            Poll::Missing => snapshot.missing = snapshot.missing.or(Some(0)),
            Poll::Unanswered => {}
        }
        self.give_up_waiting(now, begun_at, Failure::PromotionIncomplete);
        Ok(self)
    }

    /// Surely there is no snapshot: another decision follows, from a new listing.
    fn not_promoted(&mut self, now: &Now, draw: u64, retry: &RetryPolicy) {
        self.taken = None;
        let wanted = later(now.wall, retry.backoff(Class::Unavailable).delay(1, draw, None));
        let setback = self.last_setback();
        self.wait(now, setback, wanted, Some(Full::Undecided));
    }

    fn last_setback(&self) -> Setback {
        self.setback.clone().unwrap_or(Setback { class: Class::Quota, code: None, failures: 1, unknown: 0 })
    }
}

fn promoting(now: &Now, point: BackupId, of: RunId, snapshot: Option<Promoted>) -> State {
    State::Promoting {
        point,
        of,
        begun: now.mark(),
        begun_at: now.wall,
        ended: None,
        looks: 0,
        looked: None,
        snapshot,
    }
}

fn accepted(now: &Now, id: SnapshotId) -> Promoted {
    let mark = now.mark();
    Promoted { id, seen: mark, polls: 0, polled: mark, missing: None, normal: false }
}

#[cfg(test)]
mod tests;
