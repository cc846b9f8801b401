//! A cron expression, a zone and a second, in three lines: due instants come in order and once each, and from
//! wherever one asks.

#![no_main]

use backup_core::schedule::Schedule;
use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;

const DUES: usize = 40;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let (Some(cron), Some(zone), Some(from)) = (lines.next(), lines.next(), lines.next()) else { return };
    let Some(from) = from.parse().ok().and_then(|second| Timestamp::from_second(second).ok()) else { return };
    let zones = TimeZoneDatabase::bundled();
    let Ok(schedule) = Schedule::new(cron, zone, &zones) else { return };
    assert_eq!(Schedule::read(schedule.as_str(), &zones).as_ref(), Ok(&schedule));

    let dues: Vec<Timestamp> = schedule.after(from).take(DUES).collect();
    let mut before = from;
    for due in dues {
        assert!(due > before, "{schedule}: {due} after {before}");
        assert_eq!(due.subsec_nanosecond(), 0, "{schedule}: {due}");
        let between = before + before.duration_until(due) / 2;
        for instant in [between, due - SignedDuration::from_secs(1), due - SignedDuration::from_nanos(1)] {
            assert_eq!(schedule.next_after(instant), Some(due), "{schedule}: from {instant}, after {before}");
        }
        before = due;
    }
});
