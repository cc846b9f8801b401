//! Which of the due instants that have come are run, and which were missed.
//!
//! Responsible for what follows downtime: one run, or none, and one row that accounts for the rest. It refuses
//! to know why the instants were missed.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A due instant found later than this after its start is a missed one: nobody was there to start it in time.
const LATE: Duration = Duration::from_secs(60);

/// What a job does about due instants that passed while nobody could start them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// The latest one is run, if it may still start.
    #[default]
    RunOnce,
    /// None is.
    Skip,
}

/// Due instants in a row that were not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misses {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// How many.
    pub count: u32,
}

/// What becomes of the due instants that have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Those that are not run.
    pub misses: Option<Misses>,
    /// The one that is: its due instant, and when it starts.
    pub run: Option<(Timestamp, Timestamp)>,
}

/// Decides over `dues`: all due instants of one job on one disk after its watermark and up to `now`, in order.
///
/// `start_at` gives the instant at which a due one starts (spread and blackout added); `start_within` bounds
/// how long after that an attempt may begin.
pub fn catch_up(
    dues: impl IntoIterator<Item = Timestamp>,
    start_at: impl Fn(Timestamp) -> Timestamp,
    missed: Missed,
    start_within: Duration,
    now: Timestamp,
) -> CaughtUp {
    let mut misses: Option<Misses> = None;
    let mut latest = None;
    for due in dues {
        if let Some(overtaken) = latest.replace(due) {
            extend(&mut misses, overtaken);
        }
    }
    let Some(due) = latest else { return CaughtUp::default() };
    let start = start_at(due);
    let patience = match missed {
        Missed::RunOnce => start_within,
        Missed::Skip => start_within.min(LATE),
    };
    if now.duration_since(start)
        <= jiff::SignedDuration::try_from(patience).unwrap_or(jiff::SignedDuration::MAX)
    {
        CaughtUp { misses, run: Some((due, start)) }
    } else {
        extend(&mut misses, due);
        CaughtUp { misses, run: None }
    }
}

fn extend(misses: &mut Option<Misses>, due: Timestamp) {
    match misses {
        Some(misses) => {
            misses.to = due;
            misses.count = misses.count.saturating_add(1);
        }
        None => *misses = Some(Misses { from: due, to: due, count: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hourly(hours: i64, missed: Missed, now: i64) -> CaughtUp {
        let dues = (1..=hours).map(|hour| at(hour * HOUR));
        catch_up(dues, |due| due, missed, Duration::from_secs(6 * 3600), at(now))
    }

    #[test]
    fn a_due_instant_that_just_came_is_run() {
        for missed in [Missed::RunOnce, Missed::Skip] {
            let caught = hourly(1, missed, HOUR + 1);
            assert_eq!(caught, CaughtUp { misses: None, run: Some((at(HOUR), at(HOUR))) });
        }
    }

    #[test]
    fn after_downtime_the_latest_is_run_once_and_the_rest_is_one_row() {
        let caught = hourly(5, Missed::RunOnce, 5 * HOUR + 1800);
        assert_eq!(caught.run, Some((at(5 * HOUR), at(5 * HOUR))));
        assert_eq!(caught.misses, Some(Misses { from: at(HOUR), to: at(4 * HOUR), count: 4 }));
    }

    #[test]
    fn what_may_no_longer_start_is_missed() {
        let caught = hourly(1, Missed::RunOnce, HOUR + 6 * HOUR + 1);
        assert_eq!(
            caught,
            CaughtUp { misses: Some(Misses { from: at(HOUR), to: at(HOUR), count: 1 }), run: None }
        );
    }

    #[test]
    fn skip_runs_nothing_that_is_late() {
        let caught = hourly(2, Missed::Skip, 2 * HOUR + 1800);
        assert_eq!(
            caught,
            CaughtUp { misses: Some(Misses { from: at(HOUR), to: at(2 * HOUR), count: 2 }), run: None }
        );
    }

    #[test]
    fn lateness_counts_from_the_start_not_from_the_due_instant() {
        let spread = |due: Timestamp| due + jiff::SignedDuration::from_hours(2);
        let caught = catch_up([at(0)], spread, Missed::Skip, Duration::from_secs(60), at(2 * HOUR + 30));
        assert_eq!(caught.run, Some((at(0), at(2 * HOUR))));
    }

    proptest! {
        /// Invariant 1: each due instant is in exactly one place.
        #[test]
        fn every_due_instant_is_accounted_for_once(count in 0_i64..50, late in 0_i64..100_000, skip: bool) {
            let missed = if skip { Missed::Skip } else { Missed::RunOnce };
            let caught = hourly(count, missed, count * HOUR + late);
            let accounted = caught.misses.map_or(0, |misses| misses.count) + u32::from(caught.run.is_some());
            prop_assert_eq!(i64::from(accounted), count);
            if let (Some(misses), Some((due, _))) = (caught.misses, caught.run) {
                prop_assert!(misses.from <= misses.to && misses.to < due);
            }
        }
    }
}
