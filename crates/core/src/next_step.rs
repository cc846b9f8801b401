//! What follows for a run, now.
//!
//! Responsible for the one answer that the happy path, the retry, the lost reply and the restart share. It
//! refuses to remember anything: all that it knows is the run, the moment, and a few facts from the journal.

use std::time::Duration;

use jiff::Timestamp;

use crate::moment::{Mark, Now};
use crate::run::{Freeing, Full, Run, Skip, State};

/// A call that has not ended after this long will not: whoever made it is gone.
const CALL_CEILING: Duration = Duration::from_secs(120);
/// The first look after an ambiguous attempt; each later one waits three times as long: most of what was made shows at
/// once, and what does not is decided by the look after the settle …
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// … but no look waits longer than this after the last.
const LONGEST_LOOK_PAUSE: Duration = Duration::from_secs(120);
/// The first poll after acceptance; each later one waits twice as long: an end is seen within twice its time …
const FIRST_POLL: Duration = Duration::from_secs(3);
/// … and a minute at most.
const LONGEST_POLL_PAUSE: Duration = Duration::from_secs(60);
/// A run that a blackout holds is considered again as often as this: a reload may end the blackout.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// How often a run that is held by another, or by a pause, is considered again.
const HELD: Duration = Duration::from_secs(5);

/// What the journal knows besides the run itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Another run has an attempt or a backup under way on the same disk, or the disk is being put back to a backup.
    pub disk_busy: bool,
    /// A later run of the same job on the same disk may start.
    pub superseded: bool,
    /// The job or the disk is paused.
    pub paused: bool,
    /// The journal may know less than the cloud: it is new, or a copy of an older one.
    pub behind: bool,
    /// A blackout of the job holds it until then.
    pub held_until: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for so long; then ask again. Asking earlier is harmless.
    Wait(Duration),
    /// Begin an attempt: intent first, then the call.
    Create,
    /// The quota is full: list what the disk has, and decide what makes room.
    MakeRoom,
    /// Delete the point that makes room.
    Delete,
    /// List the disk's backups and look for this run's by name; of a promotion, its snapshots.
    Look,
    /// Ask for the backup by its id; of a promotion, for the snapshot; of a deletion, whether the point is gone.
    Poll,
    /// End as skipped.
    Skip(Skip),
    /// End for want of time; skipped for this reason if no attempt was ever made.
    OutOfTime(Skip),
    /// Nothing ever.
    Ended,
}

/// What follows for `run` at `now`.
#[must_use]
pub fn next_step(run: &Run, now: &Now, facts: Facts) -> Step {
    match &run.state {
        State::Planned { looked, retry_at } => match before_attempt(run, now, *retry_at, facts) {
            // Due in the time of an earlier process, of whose attempt the journal may not know. What that process
            // sent at its very end may need the settle to show.
            Step::Create if !looked && run.id.due < now.started => {
                let settle = if facts.behind { run.policy.settle } else { Duration::ZERO };
                match settle.saturating_sub(now.up) {
                    Duration::ZERO => Step::Look,
                    rest => Step::Wait(rest),
                }
            }
            step => step,
        },
        State::Absent { retry_at, full } => match before_attempt(run, now, Some(*retry_at), facts) {
            Step::Create if *full == Some(Full::Undecided) => Step::MakeRoom,
            step => step,
        },
        State::Freeing { step, retry_at, .. } => match (step, until(now, *retry_at)) {
            // At once, whatever the hour: one backup fewer is there than was before.
            (Freeing::Gone, Duration::ZERO) => Step::Create,
            (Freeing::Asking, Duration::ZERO) => Step::Delete,
            (Freeing::Deleted, Duration::ZERO) => Step::Poll,
            (_, rest) => Step::Wait(rest),
        },
        State::Promoting { snapshot: Some(snapshot), .. } if snapshot.normal => match facts.held_until {
            Some(end) => Step::Wait(until(now, end).min(LONGEST_HOLD)),
            None if facts.paused => Step::Wait(HELD),
            None => Step::Create,
        },
        State::Promoting { snapshot: Some(snapshot), .. } => {
            poll_or_wait(now, snapshot.polls, snapshot.polled, snapshot.missing)
        }
        State::Promoting { begun, ended, looks, looked, .. } => {
            unresolved(run, now, *begun, *ended, *looks, *looked)
        }
        State::Creating { begun, ended, looks, looked, .. } => {
            unresolved(run, now, *begun, *ended, *looks, *looked)
        }
        State::Tracking { polls, polled, missing, .. } => poll_or_wait(now, *polls, *polled, *missing),
        State::Completed { .. } | State::Failed { .. } | State::Skipped { .. } => Step::Ended,
    }
}

/// What stands before an attempt of a run that surely has no backup.
fn before_attempt(run: &Run, now: &Now, retry_at: Option<Timestamp>, facts: Facts) -> Step {
    let deadline = run.deadline();
    let not_before = retry_at.unwrap_or(run.start_at).max(run.start_at);
    if facts.superseded {
        return Step::Skip(Skip::Superseded);
    }
    if now.wall > deadline && !run.owes() {
        return Step::OutOfTime(match facts {
            Facts { paused: true, .. } => Skip::Paused,
            Facts { held_until: Some(_), .. } => Skip::Blackout,
            Facts { disk_busy: true, .. } => Skip::DiskBusy,
            _ => Skip::Late,
        });
    }
    if now.wall < not_before {
        return Step::Wait(until(now, not_before));
    }
    let over = if run.owes() { LONGEST_HOLD } else { until(now, deadline) + Duration::from_millis(1) };
    if let Some(end) = facts.held_until {
        return Step::Wait(until(now, end).min(over).min(LONGEST_HOLD));
    }
    if facts.paused || facts.disk_busy {
        return Step::Wait(HELD.min(over));
    }
    Step::Create
}

/// While a call may be under way, nothing; then looks for its effect.
fn unresolved(
    run: &Run,
    now: &Now,
    begun: Mark,
    ended: Option<Mark>,
    looks: u32,
    looked: Option<Mark>,
) -> Step {
    let answered = ended.is_some() || !now.is_of_this_epoch(begun) || now.since(begun) >= CALL_CEILING;
    if answered {
        look_or_wait(run, now, ended.unwrap_or(begun), looks, looked)
    } else {
        Step::Wait(CALL_CEILING - now.since(begun))
    }
}

/// After an acceptance: polls at growing intervals; looks, once asking by id has not found it.
fn poll_or_wait(now: &Now, polls: u32, polled: Mark, missing: Option<u32>) -> Step {
    let pause = FIRST_POLL.saturating_mul(1 << polls.min(10)).min(LONGEST_POLL_PAUSE);
    match pause.saturating_sub(now.since(polled)) {
        Duration::ZERO if missing.is_some() => Step::Look,
        Duration::ZERO => Step::Poll,
        rest => Step::Wait(to_whole_second(now, rest)),
    }
}

/// After an attempt that may have had its effect: looks at growing intervals, one of them as soon as the
/// settle is over, for that one may conclude that it had none.
fn look_or_wait(run: &Run, now: &Now, ended: Mark, looks: u32, looked: Option<Mark>) -> Step {
    let since_end = now.since(ended);
    let pause = FIRST_LOOK.saturating_mul(3_u32.pow(looks.min(10))).min(LONGEST_LOOK_PAUSE);
    let rest = pause.saturating_sub(now.since(looked.unwrap_or(ended)));
    let settle = run.policy.settle.saturating_sub(since_end);
    // A look that began before the settle was over could conclude nothing; the next one may.
    let conclusive_look_due = settle.is_zero()
        && looked.is_none_or(|looked| since_end.saturating_sub(now.since(looked)) < run.policy.settle);
    if conclusive_look_due || rest.is_zero() {
        Step::Look
    } else if settle.is_zero() {
        Step::Wait(to_whole_second(now, rest))
    } else {
        Step::Wait(to_whole_second(now, rest.min(settle)))
    }
}

/// What follows attempts waits for the end of a second: all that comes due in it is found at once, and of what was
/// accepted, one call asks for a hundred.
fn to_whole_second(now: &Now, rest: Duration) -> Duration {
    let at = now.up + rest;
    Duration::from_secs(at.as_secs() + u64::from(at.subsec_nanos() > 0)) - now.up
}

fn until(now: &Now, instant: Timestamp) -> Duration {
    Duration::try_from(instant.duration_since(now.wall)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
