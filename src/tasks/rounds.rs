//! Listings that go round, one of a target at a time.
//!
//! Responsible for targets that fail: each by itself, its listings ever rarer, and said once. What is listed, and what
//! follows from it, belongs to the task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::TargetName;

/// After a listing that failed; after each that fails in a row, twice as long …
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// … but no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How listings, and the records of what they show, go; by the monotonic clock.
#[derive(Clone, Default)]
pub struct Rounds(Arc<Mutex<Targets>>);

#[derive(Default)]
struct Targets {
    busy: BTreeSet<TargetName>,
    /// When the last listing failed, and how many have in a row.
    failed: BTreeMap<TargetName, (Duration, u32)>,
    /// Where it was said that they fail.
    said: BTreeSet<TargetName>,
}

impl Rounds {
    /// Whether a listing of the target is under way.
    #[must_use]
    pub fn is_busy(&self, target: &TargetName) -> bool {
        self.targets().busy.contains(target)
    }

    /// How long until another listing is worth its call.
    #[must_use]
    pub fn rest(&self, target: &TargetName, mono: Duration) -> Duration {
        self.targets().failed.get(target).map_or(Duration::ZERO, |(failed, times)| {
            let pause = SHORTEST_PAUSE.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_PAUSE);
            failed.saturating_add(pause).saturating_sub(mono)
        })
    }

    /// A listing begins.
    #[must_use]
    pub fn begin(&self, target: &TargetName) -> Turn {
        self.targets().busy.insert(target.clone());
        Turn { rounds: self.clone(), target: target.clone() }
    }

    /// The target has no failure to mend any more; whether it was said that it had.
    pub fn recovered(&self, target: &TargetName) -> bool {
        self.targets().said.remove(target)
    }

    fn targets(&self) -> MutexGuard<'_, Targets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listing that is under way, until it is dropped.
pub struct Turn {
    rounds: Rounds,
    /// The target.
    pub target: TargetName,
}

impl Turn {
    /// It failed; whether that is to be said.
    #[must_use]
    pub fn fail(&self, mono: Duration) -> bool {
        let mut targets = self.rounds.targets();
        let times = targets.failed.get(&self.target).map_or(0, |(_, times)| *times);
        targets.failed.insert(self.target.clone(), (mono, times + 1));
        targets.said.insert(self.target.clone())
    }

    /// It brought all that it was for.
    pub fn succeed(&self) {
        self.rounds.targets().failed.remove(&self.target);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.rounds.targets().busy.remove(&self.target);
    }
}
