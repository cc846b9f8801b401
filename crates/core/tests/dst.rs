//! Due instants over DST changes, against a table written by hand from the zones' published rules.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use backup_core::schedule::{Schedule, ScheduleError};
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

fn new(cron: &str, zone: &str) -> Result<Schedule, ScheduleError> {
    Schedule::new(cron, zone, &TimeZoneDatabase::bundled())
}

fn dues(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let from: Timestamp = from.parse().unwrap();
    let schedule = new(cron, zone).unwrap();
    schedule
        .after(from)
        .take(count)
        .map(|due| due.to_zoned(schedule.zone().clone()).strftime("%m-%d %H:%M%:z").to_string())
        .collect()
}

#[test]
fn a_time_that_a_gap_skips_is_due_once_at_the_gaps_end() {
    let cases = [
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["03-08 03:00-04:00", "03-09 02:30-04:00"],
        ),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["03-29 03:00+02:00", "03-30 02:30+02:00"]),
        // A gap of half an hour.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T06:00:00Z",
            ["10-04 02:30+11:00", "10-05 02:15+11:00"],
        ),
        // A gap at midnight.
        (
            "0 0 * * *",
            "America/Sao_Paulo",
            "2018-11-03T12:00:00Z",
            ["11-04 01:00-02:00", "11-05 00:00-02:00"],
        ),
    ];
    for (cron, zone, from, expected) in cases {
        assert_eq!(dues(cron, zone, from, 2), expected, "{zone}");
    }
}

#[test]
fn a_time_that_a_fold_repeats_is_due_once_at_its_first_pass() {
    let cases = [
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            ["11-01 01:30-04:00", "11-02 01:30-05:00"],
        ),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["10-25 02:30+02:00", "10-26 02:30+01:00"]),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T06:00:00Z",
            ["04-05 01:45+11:00", "04-06 01:45+10:30"],
        ),
    ];
    for (cron, zone, from, expected) in cases {
        assert_eq!(dues(cron, zone, from, 2), expected, "{zone}");
    }
}

#[test]
fn an_interval_pattern_is_due_at_each_real_interval_in_both_passes() {
    assert_eq!(
        dues("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:59Z", 6),
        [
            "10-25 02:00+02:00",
            "10-25 02:30+02:00",
            "10-25 02:00+01:00",
            "10-25 02:30+01:00",
            "10-25 03:00+01:00",
            "10-25 03:30+01:00",
        ]
    );
    assert_eq!(
        dues("0 * * * *", "America/New_York", "2026-03-08T05:59:59Z", 3),
        ["03-08 01:00-05:00", "03-08 03:00-04:00", "03-08 04:00-04:00"]
    );
}

#[test]
fn a_gap_onto_a_time_that_is_due_anyway_is_due_once() {
    assert_eq!(
        dues("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 3),
        ["03-29 03:00+02:00", "03-30 02:00+02:00", "03-30 03:00+02:00"]
    );
}

/// The cron library alone dropped the first two and doubled the last two.
#[test]
fn several_times_of_day_keep_the_rules_too() {
    assert_eq!(
        dues("0 2,14 * * *", "America/New_York", "2026-03-07T23:00:00Z", 2),
        ["03-08 03:00-04:00", "03-08 14:00-04:00"]
    );
    assert_eq!(
        dues("*/15 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["03-29 03:00+02:00", "03-30 02:00+02:00"]
    );
    assert_eq!(
        dues("30 1,13 * * *", "America/New_York", "2026-11-01T04:00:00Z", 2),
        ["11-01 01:30-04:00", "11-01 13:30-05:00"]
    );
    assert_eq!(
        dues("*/30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", 3),
        ["11-01 01:00-04:00", "11-01 01:30-04:00", "11-02 01:00-05:00"]
    );
}

#[test]
fn a_zone_without_dst_is_even() {
    assert_eq!(
        dues("30 2 * * *", "Asia/Shanghai", "2026-11-24T00:00:00Z", 2),
        ["11-25 02:30+08:00", "11-26 02:30+08:00"]
    );
}

#[test]
fn days_of_month_and_week_are_an_or_as_in_cron() {
    // 2026-12-01 is a Tuesday; Mondays are the 7th, the 14th.
    assert_eq!(
        dues("0 0 1 * 1", "UTC", "2026-11-30T12:00:00Z", 3),
        ["12-01 00:00+00:00", "12-07 00:00+00:00", "12-14 00:00+00:00"]
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_the_field_named() {
    let field = |cron: &str| match new(cron, "UTC") {
        Err(ScheduleError::Field { field, .. }) => field.to_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(field("61 * * * *"), "minute");
    assert_eq!(field("0 24 * * *"), "hour");
    assert_eq!(field("0 0 32 * *"), "day-of-month");
    assert_eq!(field("0 0 * 13 *"), "month");
    assert_eq!(field("0 0 * * MOO"), "day-of-week");
    assert_eq!(new("0 0 0 * * *", "UTC"), Err(ScheduleError::Fields(6)));
    assert_eq!(new("@daily", "UTC"), Err(ScheduleError::Fields(1)));
    assert_eq!(new("0 0 30 2 *", "UTC"), Err(ScheduleError::Never));
    assert_eq!(new("0 0 31 4,6 *", "UTC"), Err(ScheduleError::Never));
    assert_eq!(new("0 0 * * *", "Asia/Shangai"), Err(ScheduleError::Zone("Asia/Shangai".to_owned())));
    assert!(new("0 0 29 2 *", "UTC").is_ok());
    // Due each hour, if it were let pass; a step as long as the field is a way to say `0`.
    assert_eq!(field("*/90 * * * *"), "minute");
    assert_eq!(field("0 0,*/25 * * *"), "hour");
    assert!(new("*/60 */24 * * *", "UTC").is_ok());
    assert_eq!(field("0 2,,3 * * *"), "hour");
}

fn cron() -> impl Strategy<Value = String> {
    let field = |max: u32| {
        prop_oneof![
            Just("*".to_owned()),
            (1..=max / 2).prop_map(|n| format!("*/{n}")),
            (0..max).prop_map(|n| n.to_string()),
            (0..max, 0..max).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        ]
    };
    (field(60), field(24), prop_oneof![Just("*".to_owned()), (1..=28_u32).prop_map(|n| n.to_string())])
        .prop_map(|(minute, hour, day)| format!("{minute} {hour} {day} * *"))
}

proptest! {
    #[test]
    fn due_instants_only_go_forward_and_hang_on_nothing_but_the_instant(
        cron in cron(),
        zone in prop_oneof![
            Just("America/New_York"), Just("Europe/Berlin"), Just("Australia/Lord_Howe"), Just("Asia/Shanghai"),
            Just("Africa/Casablanca"), Just("America/Sao_Paulo"), Just("Asia/Tehran"),
        ],
        from in 1_500_000_000_i64..1_900_000_000,
        part in 0.0..1.0_f64,
    ) {
        let schedule = new(&cron, zone).unwrap();
        let from = Timestamp::from_second(from).unwrap();
        let dues: Vec<Timestamp> = schedule.after(from).take(60).collect();
        prop_assert_eq!(dues.len(), 60);
        prop_assert!(dues[0] > from && dues.is_sorted_by(|a, b| a < b));
        // Asked from anywhere between two of them, the next is the same.
        for pair in dues.windows(2) {
            let gap = (pair[1].as_second() - pair[0].as_second() - 1) as f64;
            let between = Timestamp::from_second(pair[0].as_second() + (gap * part) as i64).unwrap();
            prop_assert_eq!(schedule.next_after(between), Some(pair[1]));
        }
    }
}
