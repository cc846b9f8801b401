//! An instant as decisions see it: wall-clock time, and monotonic time since the present epoch began.
//!
//! Responsible for the one difference that survives restarts and clock steps: how long something has surely
//! lasted. It refuses to read a clock.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Now, as every decision takes it.
///
/// An *epoch* is a stretch of time over which the monotonic clock of one process can be trusted to have
/// counted: a new one begins when the process starts and when the wall clock steps. Its number comes from the
/// journal, so that no two epochs share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time.
    pub wall: Timestamp,
    /// The present epoch.
    pub epoch: u64,
    /// Monotonic time since the epoch began.
    pub up: Duration,
    /// Wall-clock time at which this process started.
    pub started: Timestamp,
}

/// A monotonic instant that can be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch it was taken in.
    epoch: u64,
    /// Milliseconds since that epoch began.
    up_ms: u64,
}

impl Now {
    /// This instant, to be written down.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { epoch: self.epoch, up_ms: u64::try_from(self.up.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The time that has surely passed since `mark`. A mark of an earlier epoch counts from the beginning of
    /// this one: what lies between cannot be measured, so the wait starts anew.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Duration {
        if mark.epoch == self.epoch {
            self.up.saturating_sub(Duration::from_millis(mark.up_ms))
        } else {
            self.up
        }
    }

    /// Whether `mark` was taken in the present epoch.
    #[must_use]
    pub fn is_of_this_epoch(&self, mark: Mark) -> bool {
        mark.epoch == self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(epoch: u64, up: u64) -> Now {
        Now {
            wall: Timestamp::UNIX_EPOCH,
            epoch,
            up: Duration::from_secs(up),
            started: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_wait_starts_anew_in_a_new_epoch() {
        let mark = now(1, 100).mark();
        assert_eq!(now(1, 130).since(mark), Duration::from_secs(30));
        assert_eq!(now(2, 7).since(mark), Duration::from_secs(7));
        assert_eq!(now(1, 90).since(mark), Duration::ZERO);
        assert!(now(1, 130).is_of_this_epoch(mark) && !now(2, 130).is_of_this_epoch(mark));
    }
}
