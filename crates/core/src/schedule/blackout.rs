//! Blackouts: hours in which nothing may start.
//!
//! Responsible for the first instant outside of them, and for spread, which passes only there: what a blackout
//! holds does not start all at once at its end. It refuses to move due instants.

use std::time::Duration;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

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
    /// Whether this local time is inside.
    fn has(&self, wall: DateTime) -> bool {
        // The window that began today, and the one that began yesterday.
        [Some(wall.date()), wall.date().yesterday().ok()].into_iter().flatten().any(|begins| {
            let ends = if self.to > self.from { Some(begins) } else { begins.tomorrow().ok() };
            self.days.has(begins.weekday())
                && begins.to_datetime(self.from) <= wall
                && ends.is_none_or(|ends| wall < ends.to_datetime(self.to))
        })
    }

    /// How much of a week lies in none of these.
    #[must_use]
    pub fn room(blackouts: &[Self]) -> Duration {
        // Minutes decide: windows begin and end on them.
        let free = (0..7 * 24 * 60_i64).filter(|minute| {
            let wall = DateTime::constant(2026, 1, 5, 0, 0, 0, 0).saturating_add(minute.minutes());
            !blackouts.iter().any(|blackout| blackout.has(wall))
        });
        free.map(|_| Duration::from_mins(1)).sum()
    }
}

/// How far a start may be moved: a week has room, and a gap of the clock may swallow that of one.
const FARTHEST: SignedDuration = SignedDuration::from_hours(15 * 24);

/// The instant by which `offset` has passed since `instant` outside of the windows, itself outside of them.
///
/// Windows whose [`Blackout::room`] is shorter than `offset`, or none, move nothing: whoever reads the
/// configuration refuses them.
#[must_use]
pub(super) fn pass(
    instant: Timestamp,
    offset: Duration,
    blackouts: &[Blackout],
    zone: &TimeZone,
) -> Timestamp {
    let unmoved = crate::run::later(instant, offset);
    if blackouts.is_empty() {
        return unmoved;
    }
    let (mut at, mut rest) = (instant, offset);
    while at.duration_since(instant) < FARTHEST {
        let Some(boundary) = next_boundary(at, blackouts, zone) else { break };
        if is_free(at, blackouts, zone) {
            let start = crate::run::later(at, rest);
            if start < boundary {
                return start;
            }
            rest = Duration::try_from(start.duration_since(boundary)).unwrap_or_default();
        }
        at = boundary;
    }
    unmoved
}

/// Until when a run whose start was `start` is held at `now`: until the first instant outside of the windows.
///
/// A start that lies in a window itself holds nothing: a person asked for it, or the window came into the
/// configuration after the run was planned.
#[must_use]
pub fn held(now: Timestamp, start: Timestamp, blackouts: &[Blackout], zone: &TimeZone) -> Option<Timestamp> {
    (!is_free(now, blackouts, zone) && is_free(start, blackouts, zone))
        .then(|| pass(now, Duration::ZERO, blackouts, zone))
}

/// The clock on the wall decides, whatever it skips or repeats.
fn is_free(instant: Timestamp, blackouts: &[Blackout], zone: &TimeZone) -> bool {
    let wall = zone.to_datetime(instant);
    !blackouts.iter().any(|blackout| blackout.has(wall))
}

/// The first instant after `at` at which a window may begin or end.
fn next_boundary(at: Timestamp, blackouts: &[Blackout], zone: &TimeZone) -> Option<Timestamp> {
    let today = zone.to_datetime(at).date();
    // The day after tomorrow for zones that left a day out.
    let days = [Some(today), today.tomorrow().ok(), today.checked_add(2.days()).ok()];
    let times = blackouts.iter().flat_map(|blackout| [blackout.from, blackout.to]);
    let walls = times.flat_map(|time| days.into_iter().flatten().map(move |day| day.to_datetime(time)));
    let instants = walls.flat_map(|wall| {
        let instant = zone.to_ambiguous_timestamp(wall);
        [instant.earlier(), instant.later()]
    });
    let change = zone.following(at).next().map(|change| change.timestamp());
    instants.flatten().chain(change).filter(|boundary| *boundary > at).min()
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
        pass(at(instant), Duration::ZERO, blackouts, &TimeZone::UTC)
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
    fn the_room_of_a_week_is_what_no_window_covers() {
        let hours = |windows: &[Blackout]| Blackout::room(windows).as_secs() / 3600;
        assert_eq!(hours(&[]), 7 * 24);
        assert_eq!(hours(&[window(0, 0, Days::ALL)]), 0);
        assert_eq!(hours(&[window(8, 20, Days::ALL), window(20, 8, Days::ALL)]), 0);
        assert_eq!(hours(&[window(8, 7, Days::ALL)]), 7);
        let on_all_days_but = |free: Weekday| {
            let days: Vec<Weekday> =
                Weekday::Monday.cycle_forward().take(7).filter(|day| *day != free).collect();
            window(0, 0, Days::of(&days))
        };
        for free in Weekday::Monday.cycle_forward().take(7) {
            assert_eq!(hours(&[on_all_days_but(free)]), 24, "{free:?}");
        }
    }

    #[test]
    fn windows_are_local_time() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let moved = pass(at("2026-11-24T01:00:00Z"), Duration::ZERO, &[window(8, 18, Days::ALL)], &zone);
        assert_eq!(moved, at("2026-11-24T10:00:00Z"));
    }
}
