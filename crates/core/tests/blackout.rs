//! Blackouts and spread, by what a user sees on the clock.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::time::Duration;

use backup_core::schedule::{self, Blackout, Days};
use jiff::civil::{Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// `22:00-06:00`, on all days.
fn window(text: &str) -> Blackout {
    let time = |text: &str| format!("{text}:00").parse::<Time>().unwrap();
    let (from, to) = text.split_once('-').unwrap();
    Blackout { from: time(from), to: time(to), days: Days::ALL }
}

fn start_spread(
    due: Timestamp,
    disk: &str,
    spread: Duration,
    blackouts: &[Blackout],
    zone: &TimeZone,
) -> Timestamp {
    schedule::start_at(due, &"db".parse().unwrap(), disk, spread, blackouts, zone)
}

/// A local time with its offset to a local time with its offset.
fn start(due: &str, blackouts: &[Blackout], name: &str) -> String {
    let zone = zone(name);
    let start = start_spread(due.parse().unwrap(), "disk-1", Duration::ZERO, blackouts, &zone);
    start.to_zoned(zone).strftime("%FT%H:%M%:z").to_string()
}

#[test]
fn over_a_change_of_the_clock_the_time_that_it_shows_decides() {
    for (due, blackout, expected) in [
        // The gap of 2026-03-29 in Berlin: 02:00+01:00 is 03:00+02:00.
        ("2026-03-29T03:10+02:00", "02:30-04:00", "2026-03-29T04:00+02:00"),
        ("2026-03-29T01:30+01:00", "22:00-02:30", "2026-03-29T03:00+02:00"),
        ("2026-03-29T03:00+02:00", "02:15-02:45", "2026-03-29T03:00+02:00"),
        // The fold of 2026-10-25: 03:00+02:00 is 02:00+01:00.
        ("2026-10-25T02:15+01:00", "01:00-02:30", "2026-10-25T02:30+01:00"),
        ("2026-10-25T01:30+02:00", "01:00-02:30", "2026-10-25T02:30+02:00"),
        ("2026-10-25T02:45+02:00", "02:30-02:50", "2026-10-25T02:50+02:00"),
        ("2026-10-25T02:45+01:00", "02:30-02:50", "2026-10-25T02:50+01:00"),
        ("2026-10-25T02:45+02:00", "02:30-04:00", "2026-10-25T02:00+01:00"),
    ] {
        assert_eq!(start(due, &[window(blackout)], "Europe/Berlin"), expected, "{due} {blackout}");
    }
    // A gap at midnight: Friday begins at 01:00.
    let friday = Blackout { days: Days::of(&[Weekday::Friday]), ..window("00:00-06:00") };
    assert_eq!(start("2026-04-24T01:00+03:00", &[friday], "Africa/Cairo"), "2026-04-24T06:00+03:00");
    assert_eq!(start("2026-04-23T23:59+02:00", &[friday], "Africa/Cairo"), "2026-04-23T23:59+02:00");
}

#[test]
fn many_short_windows_are_passed_like_a_long_one() {
    let workdays: Vec<Weekday> = Weekday::Monday.cycle_forward().take(6).collect();
    let hours = (0..24).map(|hour| Blackout {
        days: Days::of(&workdays),
        ..window(&format!("{hour:02}:00-{:02}:00", (hour + 1) % 24))
    });
    // Monday to Sunday.
    assert_eq!(start("2026-11-23T00:30+00:00", &hours.collect::<Vec<_>>(), "UTC"), "2026-11-29T00:00+00:00");
}

#[test]
fn disks_that_a_blackout_holds_start_spread_after_it() {
    let due = "2026-11-24T12:00Z".parse().unwrap();
    let starts = |blackouts: &[Blackout]| -> Vec<SignedDuration> {
        let start = |disk| {
            start_spread(due, &format!("disk-{disk}"), Duration::from_secs(1800), blackouts, &TimeZone::UTC)
        };
        (0..20).map(|disk| start(disk).duration_since(due)).collect()
    };
    let offsets = starts(&[]);
    // Due inside: the same offsets from the window's end on.
    let inside = starts(&[window("08:00-18:00")]);
    assert!(
        offsets.iter().zip(&inside).all(|(offset, start)| *start == *offset + SignedDuration::from_hours(6))
    );
    // Due before: those that reach the window go on after it.
    let across = starts(&[window("12:10-18:00")]);
    let ten = SignedDuration::from_mins(10);
    for (offset, start) in offsets.iter().zip(across) {
        let expected = if *offset < ten { *offset } else { *offset + SignedDuration::from_mins(350) };
        assert_eq!(start, expected);
    }
}

#[test]
fn a_run_is_held_in_a_window_unless_it_starts_in_it() {
    let at = |time: &str| format!("2026-11-24T{time}Z").parse::<Timestamp>().unwrap();
    let held = |now, start| schedule::held(at(now), at(start), &[window("08:00-18:00")], &TimeZone::UTC);
    assert_eq!(held("08:00:00", "07:59:59"), Some(at("18:00:00")));
    assert_eq!(held("17:59:59", "02:30:00"), Some(at("18:00:00")));
    assert_eq!(held("07:59:59", "02:30:00"), None);
    assert_eq!(held("18:00:00", "02:30:00"), None);
    // A person asked for it at nine.
    assert_eq!(held("09:30:00", "09:00:00"), None);
}

#[test]
fn a_start_that_spread_puts_on_a_windows_beginning_is_inside() {
    // The offset of this disk is 372 s.
    let start = |due: &str| {
        let half_an_hour = Duration::from_secs(1800);
        let due = due.parse().unwrap();
        start_spread(due, "disk-1a2b3c4d", half_an_hour, &[window("02:35-04:00")], &TimeZone::UTC).to_string()
    };
    assert_eq!(start("2026-11-24T02:28:47Z"), "2026-11-24T02:34:59Z");
    assert_eq!(start("2026-11-24T02:28:48Z"), "2026-11-24T04:00:00Z");
}

fn blackouts() -> impl Strategy<Value = Vec<Blackout>> {
    let time = || (0_i8..24, 0_i8..4).prop_map(|(hour, quarter)| Time::constant(hour, quarter * 15, 0, 0));
    let days =
        proptest::sample::subsequence(Weekday::Monday.cycle_forward().take(7).collect::<Vec<_>>(), 1..=7);
    let one =
        (time(), time(), days).prop_map(|(from, to, days)| Blackout { from, to, days: Days::of(&days) });
    proptest::collection::vec(one, 0..3)
}

proptest! {
    /// Of one disk, the later due instant never starts before the earlier one; without spread, a start is the first
    /// instant outside the blackout, which starts at itself.
    #[test]
    fn starts_keep_the_order_of_their_due_instants(
        blackouts in blackouts(),
        zone_name in prop_oneof![
            Just("Europe/Berlin"), Just("Australia/Lord_Howe"), Just("Africa/Cairo"), Just("Asia/Shanghai")
        ],
        // Around changes of 2026, and anywhere.
        from in prop_oneof![
            1_774_656_000_i64..1_774_828_800, 1_792_800_000_i64..1_793_000_000, 1_767_225_600_i64..1_830_297_600
        ],
        apart in 0_i64..100_000,
        spread in 0_u64..40_000,
    ) {
        let zone = zone(zone_name);
        let [earlier, later] = [from, from + apart].map(|second| Timestamp::from_second(second).unwrap());
        let start = |due, spread| start_spread(due, "disk-1", Duration::from_secs(spread), &blackouts, &zone);
        prop_assume!(Blackout::room(&blackouts) >= Duration::from_secs(spread.max(60)));
        prop_assert!(start(earlier, spread) <= start(later, spread));
        prop_assert!(start(earlier, spread) >= earlier);
        let first = start(earlier, 0);
        prop_assert_eq!(start(first, 0), first);
        if earlier < first {
            let before = first - SignedDuration::from_secs(1);
            prop_assert_eq!(start(before, 0), first);
        }
        let spread_start = start(earlier, spread);
        prop_assert_eq!(start(spread_start, 0), spread_start);
    }
}
