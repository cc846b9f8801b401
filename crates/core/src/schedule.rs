//! Schedules: when a job is due, and when its runs start.
//!
//! Responsible for due instants in the job's own zone, over DST changes too, and for spread and blackout, which
//! move the start and never the due instant. It refuses expressions with seconds, and those that never come.
//!
//! A local time that a DST gap skips is due once, at the gap's end; one that a fold repeats is due once, at its
//! first pass; interval patterns (`*/30 * * * *`, hourly ones) are due at each real interval, both passes. Every case
//! is in `docs/schedules.md`, whose tables a test carries out.

mod blackout;
mod spread;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

pub use blackout::{Blackout, Days, held};
pub use spread::offset;

use crate::id::JobName;

/// What a schedule's text keeps apart: cron expression, zone.
const SEPARATOR: char = '@';

/// A cron expression in a time zone. Cheap to clone.
///
/// Its text, `30 2 * * *@Asia/Shanghai`, is what a watermark keeps.
#[derive(Clone)]
pub struct Schedule(Arc<Inner>);

struct Inner {
    text: String,
    cron: Cron,
    /// It matches every hour: it is due at each real interval rather than at times of day.
    is_interval: bool,
    zone: TimeZone,
    zone_name: String,
}

/// Why a schedule makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error(
        "a cron expression has five fields (minute hour day-of-month month day-of-week), and this has {0}"
    )]
    Fields(usize),
    /// A field that cannot be read.
    #[error("the {field} field `{text}` makes no sense: {why}; it goes {}", range(field))]
    Field {
        /// The field's name.
        field: &'static str,
        /// As written.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// It never comes.
    #[error("it never comes: no year has such a day")]
    Never,
    /// Not a zone.
    #[error("there is no time zone `{0}`")]
    Zone(String),
}

const FIELDS: [&str; 5] = ["minute", "hour", "day-of-month", "month", "day-of-week"];

/// How many values each has.
const SIZES: [u32; 5] = [60, 24, 31, 12, 7];

/// What a field holds, for whoever put something else there.
fn range(field: &str) -> &'static str {
    match field {
        "minute" => "from 0 to 59",
        "hour" => "from 0 to 23",
        "day-of-month" => "from 1 to 31",
        "month" => "from 1 to 12, or jan to dec",
        "day-of-week" => "from 0 to 7 (both Sunday), or sun to sat",
        _ => "by the ranges of its fields",
    }
}

/// What the library lets pass, and whoever wrote it cannot have meant.
fn slip(text: &str, size: u32) -> Option<String> {
    let step = |item: &str| item.split_once('/')?.1.parse::<u32>().ok();
    let long = text.split(',').filter_map(step).find(|step| *step > size);
    match long {
        // `*/90` would be due each hour, at its minute 0.
        Some(step) => Some(format!("a step of {step} is longer than all {size} of them")),
        None => {
            text.split(',').any(str::is_empty).then(|| "nothing stands before or after a comma".to_owned())
        }
    }
}

/// The library's reason, without what only the library's authors understand.
fn reason(error: &CronError) -> String {
    match error {
        CronError::IllegalCharacters(_) => "a character has no place here".to_owned(),
        error => error.to_string().trim_start_matches("Component error: ").trim_end_matches('.').to_owned(),
    }
}

impl Schedule {
    /// Reads a cron expression of five fields, due in the zone of this IANA name by the rules of `zones`.
    ///
    /// # Errors
    /// Says which field is at fault, or that the zone is unknown, or that no instant matches.
    pub fn new(cron: &str, zone: &str, zones: &TimeZoneDatabase) -> Result<Self, ScheduleError> {
        let time_zone = zones.get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let fields: Vec<&str> = cron.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(ScheduleError::Fields(fields.len()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        // One at a time first, so that the message can name the one at fault.
        for (index, (name, text)) in FIELDS.iter().zip(&fields).enumerate() {
            let mut alone = ["*"; FIELDS.len()];
            alone[index] = text;
            if let Some(why) = slip(text, SIZES[index]) {
                return Err(ScheduleError::Field { field: name, text: (*text).to_owned(), why });
            }
            parser.parse(&alone.join(" ")).map_err(|error| ScheduleError::Field {
                field: name,
                text: (*text).to_owned(),
                why: reason(&error),
            })?;
        }
        let normal = fields.join(" ");
        let cron = parser.parse(&normal).map_err(|error| ScheduleError::Field {
            field: "whole",
            text: normal.clone(),
            why: error.to_string(),
        })?;
        let text = format!("{normal}{SEPARATOR}{zone}");
        let is_interval = (0..24).all(|hour| cron.pattern.hour_match(hour).unwrap_or(false));
        let schedule =
            Self(Arc::new(Inner { text, cron, is_interval, zone: time_zone, zone_name: zone.to_owned() }));
        // The longest wait of an expression that comes at all is from one 29 February to the next over 2100.
        schedule.next_after(Timestamp::UNIX_EPOCH).map(|_| schedule.clone()).ok_or(ScheduleError::Never)
    }

    /// Reads back what [`Self::as_str`] gave.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn read(text: &str, zones: &TimeZoneDatabase) -> Result<Self, ScheduleError> {
        let (cron, zone) = text.split_once(SEPARATOR).ok_or_else(|| ScheduleError::Zone(String::new()))?;
        Self::new(cron, zone, zones)
    }

    /// The first due instant strictly after `instant`, in whole seconds; none where time ends.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        // To the second below: the library would look from the fraction on.
        let below = instant.as_nanosecond().div_euclid(1_000_000_000);
        let whole = Timestamp::from_second(i64::try_from(below).ok()?).ok()?;
        let local = whole.to_zoned(self.0.zone.clone());
        if self.0.is_interval {
            let next = self.0.cron.find_next_occurrence(&local, false).ok()?.timestamp();
            return (next > instant).then_some(next);
        }
        // Times of day: the library finds them on the wall clock, and each is placed on the time line here. It
        // would itself drop those of a gap, and repeat those of a fold, wherever an expression names several.
        let mut wall = local.datetime();
        loop {
            wall = self.0.cron.find_next_occurrence(&wall, false).ok()?;
            let next = self.place(wall)?;
            if next > instant {
                return Some(next);
            }
        }
    }

    /// The instant of a local time: the gap's end where it is skipped, the first pass where it is repeated.
    fn place(&self, wall: DateTime) -> Option<Timestamp> {
        let ambiguous = self.0.zone.to_ambiguous_timestamp(wall);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                let before =
                    ambiguous.earlier().ok()?.saturating_sub(jiff::SignedDuration::from_hours(1)).ok()?;
                let before = before.min(ambiguous.later().ok()?);
                self.0.zone.following(before).next().map(|change| change.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        }
    }

    /// All due instants strictly after `instant`, in order.
    pub fn after(&self, instant: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(instant), |due| self.next_after(*due))
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.0.zone
    }

    /// The zone's IANA name.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.0.zone_name
    }

    /// The cron expression, its fields one space apart.
    #[must_use]
    pub fn cron(&self) -> &str {
        self.0.text.split(SEPARATOR).next().unwrap_or_default()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

/// When a run that is due at `due` starts: once the offset of `id` within `spread` has passed outside of blackouts. `id`
/// is the disk's or, where disks of one instance start together, the instance's.
#[must_use]
pub fn start_at(
    due: Timestamp,
    job: &JobName,
    id: &str,
    spread: Duration,
    blackouts: &[Blackout],
    zone: &TimeZone,
) -> Timestamp {
    blackout::pass(due, offset(job, id, spread), blackouts, zone)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({})", self.0.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Time;

    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule::new(cron, zone, &TimeZoneDatabase::bundled()).unwrap()
    }

    #[test]
    fn what_the_library_lets_pass_and_nobody_means_is_refused() {
        let read = |cron: &str| Schedule::new(cron, "UTC", &TimeZoneDatabase::bundled());
        let why = |cron: &str| match read(cron) {
            Err(ScheduleError::Field { field, why, .. }) => format!("{field}: {why}"),
            other => panic!("{cron}: {other:?}"),
        };
        assert_eq!(why("*/90 2 * * *"), "minute: a step of 90 is longer than all 60 of them");
        assert_eq!(why("0 1,,2 * * *"), "hour: nothing stands before or after a comma");
        // A step over all of them is an odd way to say the first.
        assert!(read("*/60 2 * * *").is_ok());
    }

    #[test]
    fn its_text_is_all_of_it() {
        let nightly = schedule(" 30  2 * * * ", "Asia/Shanghai");
        assert_eq!(nightly.as_str(), "30 2 * * *@Asia/Shanghai");
        assert_eq!((nightly.cron(), nightly.zone_name()), ("30 2 * * *", "Asia/Shanghai"));
        assert_eq!(nightly.to_string(), nightly.as_str());
        assert_eq!(format!("{nightly:?}"), "Schedule(30 2 * * *@Asia/Shanghai)");
        assert_eq!(Schedule::read(nightly.as_str(), &TimeZoneDatabase::bundled()), Ok(nightly.clone()));
        assert_ne!(nightly, schedule("30 2 * * *", "UTC"));
        assert_ne!(nightly, schedule("31 2 * * *", "Asia/Shanghai"));
    }

    #[test]
    fn a_faulty_field_is_named_with_its_range() {
        for (cron, expected) in [
            (
                "60 * * * *",
                "the minute field `60` makes no sense: Number out of bounds; it goes from 0 to 59",
            ),
            ("* 24 * * *", "the hour field `24` makes no sense: Number out of bounds; it goes from 0 to 23"),
            (
                "* * 0 * *",
                "the day-of-month field `0` makes no sense: Number out of bounds; it goes from 1 to 31",
            ),
            (
                "* * * 13 *",
                "the month field `13` makes no sense: Number out of bounds; it goes from 1 to 12, or jan to dec",
            ),
            (
                "* * * * 8",
                "the day-of-week field `8` makes no sense: Number out of bounds; it goes from 0 to 7 (both Sunday), or sun to sat",
            ),
        ] {
            let error = Schedule::new(cron, "UTC", &TimeZoneDatabase::bundled()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn the_next_instant_is_found_from_a_nanosecond_before() {
        let hourly = schedule("0 * * * *", "UTC");
        for due in [-3600, 0, 1_795_543_200].map(|second| Timestamp::from_second(second).unwrap()) {
            assert_eq!(hourly.next_after(due - jiff::SignedDuration::from_nanos(1)), Some(due));
        }
    }

    #[test]
    fn a_run_starts_after_its_spread_and_outside_the_blackout() {
        let (job, disk) = ("db".parse().unwrap(), "disk-1a2b3c4d");
        let half_past_two: Timestamp = "2026-11-24T02:30:00Z".parse().unwrap();
        let spread = Duration::from_secs(1800);
        let start = |blackouts: &[Blackout]| {
            start_at(half_past_two, &job, disk, spread, blackouts, &TimeZone::UTC).to_string()
        };
        // 372 s, the disk's own offset in half an hour; 72 s of it after the blackout.
        assert_eq!(start(&[]), "2026-11-24T02:36:12Z");
        let window =
            Blackout { from: Time::constant(2, 35, 0, 0), to: Time::constant(4, 0, 0, 0), days: Days::ALL };
        assert_eq!(start(&[window]), "2026-11-24T04:01:12Z");
    }
}
