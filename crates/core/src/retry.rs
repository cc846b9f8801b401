//! How long to wait before trying again.
//!
//! Responsible for the delay after a reply that did not do what was asked, by its class. It refuses to decide
//! *whether* to try again (that is [`crate::next_step()`]) and to draw the random number itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What kind of setback an attempt met: the cloud's codes and the network's failures in the few kinds that call
/// for different conduct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Refused for its rate; not executed.
    Throttled,
    /// The disk is at something else; not executed.
    Busy,
    /// The disk's backup quota is full; not executed.
    Quota,
    /// A limit of the account or the region; not executed.
    Scarce,
    /// The signature's time was off, even after a correction; not executed.
    Clock,
    /// The credential has expired, even after a refresh; not executed.
    Credentials,
    /// The credential may not do this; not executed.
    Refused,
    /// The request is wrong as it stands; not executed, and never will be.
    Permanent,
    /// The disk does not exist.
    Gone,
    /// The account or the disk is in arrears; not executed.
    Unpaid,
    /// It may have had its effect.
    Ambiguous,
    /// No byte of it left.
    NotSent,
    /// A read that could not be answered.
    Unavailable,
    /// The backup was accepted, and went away before it was NORMAL.
    Vanished,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Throttled,
        Self::Busy,
        Self::Quota,
        Self::Scarce,
        Self::Clock,
        Self::Credentials,
        Self::Refused,
        Self::Permanent,
        Self::Gone,
        Self::Unpaid,
        Self::Ambiguous,
        Self::NotSent,
        Self::Unavailable,
        Self::Vanished,
    ];

    /// The class as logs and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Scarce => "scarce",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Permanent => "permanent",
            Self::Gone => "gone",
            Self::Unpaid => "unpaid",
            Self::Ambiguous => "ambiguous",
            Self::NotSent => "not_sent",
            Self::Unavailable => "unavailable",
            Self::Vanished => "vanished",
        }
    }

    /// Whether another attempt may ever help.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Permanent | Self::Gone)
    }
}

/// The waits of one class: between `shortest` and a ceiling that starts at `first` and doubles up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// No wait is shorter.
    pub shortest: Duration,
    /// The ceiling of the first wait.
    pub first: Duration,
    /// The ceiling never passes this.
    pub longest: Duration,
}

impl Backoff {
    /// A backoff; all three in seconds.
    #[must_use]
    pub const fn seconds(shortest: u64, first: u64, longest: u64) -> Self {
        Self {
            shortest: Duration::from_secs(shortest),
            first: Duration::from_secs(first),
            longest: Duration::from_secs(longest),
        }
    }

    /// The wait after the `failures`th failure of this class in a row (from 1), drawn with `draw` (any number,
    /// evenly distributed) between `shortest` and the ceiling: full jitter, so that callers who failed together
    /// do not return together. A server's `hint` is a lower bound, itself bounded by `longest`.
    #[must_use]
    pub fn delay(&self, failures: u32, draw: u64, hint: Option<Duration>) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(1 << failures.saturating_sub(1).min(20))
            .min(self.longest)
            .max(self.shortest);
        // 32 bits of the draw are plenty for a delay, and exact in an f64.
        let part = f64::from((draw >> 32) as u32) / f64::from(u32::MAX);
        let drawn = self.shortest + (ceiling - self.shortest).mul_f64(part);
        drawn.max(hint.unwrap_or_default().min(self.longest))
    }
}

/// The backoff of each class, for the calls of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Throttled calls. The lane slows down besides.
    pub throttled: Backoff,
    /// A busy disk.
    pub busy: Backoff,
    /// A full quota: only a point that goes cures it.
    pub quota: Backoff,
    /// Limits of the account.
    pub scarce: Backoff,
    /// Refused or unpaid: a person must act; a slow probe finds out that they did.
    pub person: Backoff,
    /// All else: the network, the server, a look-up that found nothing.
    pub passing: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            throttled: Backoff::seconds(1, 2, 60),
            busy: Backoff::seconds(15, 30, 600),
            quota: Backoff::seconds(120, 300, 1800),
            scarce: Backoff::seconds(300, 600, 3600),
            person: Backoff::seconds(300, 600, 3600),
            passing: Backoff::seconds(1, 5, 300),
        }
    }
}

impl RetryPolicy {
    /// The backoff of a class.
    #[must_use]
    pub fn backoff(&self, class: Class) -> Backoff {
        match class {
            Class::Throttled => self.throttled,
            Class::Busy => self.busy,
            Class::Quota => self.quota,
            Class::Scarce => self.scarce,
            Class::Refused | Class::Unpaid | Class::Permanent | Class::Gone => self.person,
            Class::Clock
            | Class::Credentials
            | Class::Ambiguous
            | Class::NotSent
            | Class::Unavailable
            | Class::Vanished => self.passing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_class_is_written_alike_in_logs_and_in_the_journal() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }

    #[test]
    fn only_what_can_never_succeed_is_final() {
        let finals: Vec<Class> = Class::ALL.into_iter().filter(|class| class.is_final()).collect();
        assert_eq!(finals, [Class::Permanent, Class::Gone]);
    }

    #[test]
    fn the_ceiling_doubles_up_to_its_cap() {
        let busy = RetryPolicy::default().busy;
        let ceilings: Vec<u64> = (1..=7).map(|n| busy.delay(n, u64::MAX, None).as_secs()).collect();
        assert_eq!(ceilings, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(busy.delay(7, 0, None).as_secs(), 15);
    }

    #[test]
    fn a_hint_is_a_floor_and_has_a_cap() {
        let throttled = RetryPolicy::default().throttled;
        assert_eq!(throttled.delay(1, 0, Some(Duration::from_secs(30))).as_secs(), 30);
        assert_eq!(throttled.delay(1, 0, Some(Duration::from_secs(3000))).as_secs(), 60);
    }

    proptest! {
        #[test]
        fn a_delay_lies_between_its_bounds(class in 0..Class::ALL.len(), failures: u32, draw: u64, hint in proptest::option::of(0_u64..10_000)) {
            let backoff = RetryPolicy::default().backoff(Class::ALL[class]);
            let delay = backoff.delay(failures, draw, hint.map(Duration::from_secs));
            prop_assert!(delay >= backoff.shortest && delay <= backoff.longest);
        }

        #[test]
        fn more_failures_never_shorten_the_wait(failures in 1_u32..100, draw: u64) {
            let backoff = RetryPolicy::default().busy;
            prop_assert!(backoff.delay(failures + 1, draw, None) >= backoff.delay(failures, draw, None));
        }
    }
}
