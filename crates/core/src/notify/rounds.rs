//! What a dead man's switch is told of the rounds of a job.
//!
//! Responsible for `start`, `success` and `fail`, each once a round. A round is a due instant of a job, on all of its
//! disks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A round, as far as its runs have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The due instant.
    pub due: Timestamp,
    /// How many runs have not ended, or are not planned yet.
    pub open: u64,
    /// How many ended without a good backup.
    pub failed: u64,
}

impl Round {
    /// What there is to say of it.
    #[must_use]
    pub fn says(&self) -> Said {
        match (self.open, self.failed) {
            (0, 0) => Said::Success,
            (0, _) => Said::Fail,
            _ => Said::Start,
        }
    }
}

/// What is said of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It has begun.
    Start,
    /// All its runs ended with a good backup.
    Success,
    /// One or more ended without.
    Fail,
}

/// What was told of a job's rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldRounds {
    /// Of rounds up to this one nothing more is told, save of those below.
    pub since: Timestamp,
    /// Rounds of which something was told, and more may be.
    pub said: BTreeMap<Timestamp, Said>,
}

impl ToldRounds {
    /// Nothing was, and nothing is to be told of what was due up to `now`.
    #[must_use]
    pub fn begin(now: Timestamp) -> Self {
        Self { since: now, said: BTreeMap::new() }
    }

    /// The due instant of the first round that matters.
    #[must_use]
    pub fn from(&self) -> Timestamp {
        self.said.keys().next().map_or(self.since, |first| (*first).min(self.since))
    }

    /// The same without rounds that there are not any more: nothing can be told of them.
    #[must_use]
    pub fn of_these(&self, rounds: &[Round]) -> Self {
        let mut all = self.said.clone();
        all.retain(|due, _| rounds.iter().any(|round| round.due == *due));
        Self { since: self.since, said: all }
    }

    /// After this was told, too. What has ended before the last round is forgotten.
    #[must_use]
    pub fn after(&self, due: Timestamp, said: Said) -> Self {
        let mut all = self.said.clone();
        all.insert(due, said);
        let last = all.keys().next_back().copied();
        all.retain(|due, said| *said == Said::Start || Some(*due) == last);
        Self { since: self.since.max(due), said: all }
    }
}

/// What is to be told next of these rounds, which are in their order.
///
/// Of rounds that came and went while nobody could be told, the last alone is told of: the others are not news. The end
/// of one whose begin was told is told in any case; and where a failed one is mended later, that is said too.
#[must_use]
pub fn next_ping(told: &ToldRounds, rounds: &[Round]) -> Option<(Timestamp, Said)> {
    let is_new = |round: &&Round| round.due > told.since && !told.said.contains_key(&round.due);
    let last_ended = rounds.iter().filter(is_new).rfind(|round| round.says() != Said::Start);
    rounds.iter().find_map(|round| {
        let says = round.says();
        let is_told = match told.said.get(&round.due) {
            // One that is open again, since it is tried again, has begun before.
            Some(said) => says != Said::Start && says != *said,
            None => {
                is_new(&round)
                    && (says == Said::Start || last_ended.is_some_and(|last| last.due == round.due))
            }
        };
        is_told.then_some((round.due, says))
    })
}
