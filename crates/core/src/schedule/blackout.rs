//! Blackouts: hours in which nothing may start.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days([bool; 7]);

impl Days {
    /// All seven.
    pub const ALL: Self = Self([true; 7]);

    /// These.
    #[must_use]
    pub fn of(days: &[Weekday]) -> Self {
        let mut all = [false; 7];
        for day in days {
            all[index(*day)] = true;
        }
        Self(all)
    }

    fn has(self, day: Weekday) -> bool {
        self.0[index(day)]
    }
}

fn index(day: Weekday) -> usize {
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

/// A stretch of local time, on days of the week, in which nothing may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blackout {
    /// From this time on.
    pub from: Time,
    /// Up to this time, not including it. No later than `from`: on the following day.
    pub to: Time,
    /// On these days; of a stretch over midnight, the day on which it begins.
    pub days: Days,
}

impl Blackout {
    /// The end of the window that `instant` lies in.
    fn end_at(&self, instant: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = instant.to_zoned(zone.clone());
        // The window that began today, and the one that began yesterday.
        [local.date(), local.date().checked_sub(1.day()).ok()?].into_iter().find_map(|begins| {
            let ends = if self.to > self.from { begins } else { begins.checked_add(1.day()).ok()? };
            // Of a time that is skipped or repeated, the library takes the side that widens the window least.
            let from = zone.to_timestamp(begins.to_datetime(self.from)).ok()?;
            let to = zone.to_timestamp(ends.to_datetime(self.to)).ok()?;
            (self.days.has(begins.weekday()) && from <= instant && instant < to).then_some(to)
        })
    }
}

/// How many windows may follow one another; more than a fortnight of them is a week without an hour to start in.
const WINDOWS: usize = 64;

/// `instant`, moved past every window that it lies in. Windows that leave no room at all move nothing: whoever
/// reads the configuration refuses them with [`Blackout::leave_room`].
#[must_use]
pub(super) fn defer(instant: Timestamp, blackouts: &[Blackout], zone: &TimeZone) -> Timestamp {
    let mut moved = instant;
    for _ in 0..WINDOWS {
        match blackouts.iter().find_map(|blackout| blackout.end_at(moved, zone)) {
            Some(end) => moved = end,
            None => return moved,
        }
    }
    instant
}

impl Blackout {
    /// Whether a week has an instant that lies in none of these.
    #[must_use]
    pub fn leave_room(blackouts: &[Self]) -> bool {
        // Minutes decide: windows begin and end on them.
        (0..7 * 24 * 60).any(|minute: i64| {
            let instant = Timestamp::from_second(minute * 60).unwrap_or(Timestamp::UNIX_EPOCH);
            blackouts.iter().all(|blackout| blackout.end_at(instant, &TimeZone::UTC).is_none())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(from: i8, to: i8, days: Days) -> Blackout {
        Blackout { from: Time::constant(from, 0, 0, 0), to: Time::constant(to, 0, 0, 0), days }
    }

    fn defer_utc(instant: &str, blackouts: &[Blackout]) -> Timestamp {
        defer(at(instant), blackouts, &TimeZone::UTC)
    }

    #[test]
    fn a_start_inside_a_window_moves_to_its_end() {
        let windows = [window(8, 18, Days::ALL)];
        assert_eq!(defer_utc("2026-11-24T08:00:00Z", &windows), at("2026-11-24T18:00:00Z"));
        assert_eq!(defer_utc("2026-11-24T07:59:59Z", &windows), at("2026-11-24T07:59:59Z"));
        assert_eq!(defer_utc("2026-11-24T18:00:00Z", &windows), at("2026-11-24T18:00:00Z"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        // 2026-11-24 is a Tuesday.
        let windows = [window(22, 6, Days::of(&[Weekday::Tuesday]))];
        assert_eq!(defer_utc("2026-11-25T01:00:00Z", &windows), at("2026-11-25T06:00:00Z"));
        assert_eq!(defer_utc("2026-11-24T01:00:00Z", &windows), at("2026-11-24T01:00:00Z"));
    }

    #[test]
    fn windows_that_touch_are_passed_together() {
        let windows = [window(8, 12, Days::ALL), window(12, 18, Days::ALL)];
        assert_eq!(defer_utc("2026-11-24T09:00:00Z", &windows), at("2026-11-24T18:00:00Z"));
    }

    #[test]
    fn a_week_without_room_is_recognised() {
        assert!(!Blackout::leave_room(&[window(0, 0, Days::ALL)]));
        assert!(!Blackout::leave_room(&[window(8, 20, Days::ALL), window(20, 8, Days::ALL)]));
        assert!(Blackout::leave_room(&[window(8, 7, Days::ALL)]));
        let on_all_days_but = |free: Weekday| {
            let days: Vec<Weekday> =
                Weekday::Monday.cycle_forward().take(7).filter(|day| *day != free).collect();
            window(0, 0, Days::of(&days))
        };
        for free in Weekday::Monday.cycle_forward().take(7) {
            assert!(Blackout::leave_room(&[on_all_days_but(free)]), "{free:?}");
        }
    }

    #[test]
    fn windows_are_local_time() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let moved = defer(at("2026-11-24T01:00:00Z"), &[window(8, 18, Days::ALL)], &zone);
        assert_eq!(moved, at("2026-11-24T10:00:00Z"));
    }
}
