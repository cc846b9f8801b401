//! How often the same thing is said again.
//!
//! Responsible for that alone: the first time at once, then at growing intervals, with the count of what was not said in
//! between. It refuses to know what is said; whoever asks decides what is the same, and what must be said each time.

use std::collections::BTreeMap;
use std::time::Duration;

/// The same is said again a minute later at the earliest; then after two, after four,
const SHORTEST: Duration = Duration::from_secs(60);
/// and each hour in the end. What was not heard for so long is new.
const LONGEST: Duration = Duration::from_secs(3600);
/// How many things are remembered at most, the latest heard; a forgotten one is new.
const MOST: usize = 1 << 15;

/// What was heard, and when it was said.
#[derive(Debug)]
pub struct Repetition<K> {
    /// Heard since the generations were last changed,
    young: BTreeMap<K, Heard>,
    /// and before. When the young are half of all, they become the old, and the old are forgotten.
    old: BTreeMap<K, Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    said_at: Duration,
    heard_at: Duration,
    interval: Duration,
    hushed: u64,
}

/// Whether something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Say it.
    Say {
        /// How often it was not said since it last was.
        repeated: u64,
    },
    /// It was said not long ago.
    Hush,
}

impl<K> Default for Repetition<K> {
    fn default() -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new() }
    }
}

impl<K: Ord> Repetition<K> {
    /// Hears something at `now`, by a clock that never goes back.
    pub fn hear(&mut self, what: K, now: Duration) -> Verdict {
        let known = self.young.remove(&what).or_else(|| self.old.remove(&what));
        let (verdict, heard) = match known {
            None => (Verdict::Say { repeated: 0 }, said(now, SHORTEST)),
            Some(heard) if now.saturating_sub(heard.heard_at) >= LONGEST => {
                (Verdict::Say { repeated: heard.hushed }, said(now, SHORTEST))
            }
            Some(heard) if now.saturating_sub(heard.said_at) >= heard.interval => {
                (Verdict::Say { repeated: heard.hushed }, said(now, LONGEST.min(heard.interval * 2)))
            }
            Some(heard) => (Verdict::Hush, Heard { heard_at: now, hushed: heard.hushed + 1, ..heard }),
        };
        if self.young.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(what, heard);
        verdict
    }
}

fn said(now: Duration, interval: Duration) -> Heard {
    Heard { said_at: now, heard_at: now, interval, hushed: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAY: Verdict = Verdict::Say { repeated: 0 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_is_said_at_once_and_others_besides() {
        let mut repetition = Repetition::default();
        assert_eq!(repetition.hear("a", at(0)), SAY);
        assert_eq!(repetition.hear("b", at(1)), SAY);
        assert_eq!(repetition.hear("a", at(1)), Verdict::Hush);
    }

    #[test]
    fn intervals_grow_to_an_hour_and_none_that_was_hushed_is_missing_from_the_counts() {
        let mut repetition = Repetition::default();
        let mut said = Vec::new();
        for second in 0..=6 * 3600 {
            if let Verdict::Say { repeated } = repetition.hear("a", at(second)) {
                said.push((second / 60, repeated));
            }
        }
        let minutes: Vec<u64> = said.iter().map(|(minute, _)| *minute).collect();
        assert_eq!(minutes, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303]);
        let all: u64 = said.iter().map(|(_, repeated)| repeated + 1).sum();
        assert_eq!(all, 303 * 60 + 1);
    }

    #[test]
    fn what_was_not_heard_for_an_hour_is_new_and_says_what_was_hushed() {
        let mut repetition = Repetition::default();
        for second in [0, 60, 61, 62] {
            repetition.hear("a", at(second));
        }
        assert_eq!(repetition.hear("a", at(62 + 3600)), Verdict::Say { repeated: 2 });
        assert_eq!(repetition.hear("a", at(62 + 3659)), Verdict::Hush);
        assert_eq!(repetition.hear("a", at(62 + 3660)), Verdict::Say { repeated: 1 });
    }

    #[test]
    fn an_event_of_every_hour_is_said_each_time() {
        let mut repetition = Repetition::default();
        for hour in 0..10 {
            assert_eq!(repetition.hear("a", at(hour * 3600)), SAY, "{hour}");
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_heard_again_and_again_is_not_forgotten() {
        let mut repetition = Repetition::default();
        repetition.hear(u32::MAX, at(0));
        for number in 0..1_000_000 {
            repetition.hear(number, at(1));
            if number % 1_000 == 0 {
                assert_eq!(repetition.hear(u32::MAX, at(1)), Verdict::Hush);
            }
            assert!(repetition.young.len() + repetition.old.len() <= MOST);
        }
    }
}
