use std::time::Duration;

use super::*;
use crate::run::Policy;
use crate::schedule::Schedule;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The run of `job` that is due on this day of November, at 18:30 UTC.
fn id(job: &str, day: u8) -> RunId {
    format!("{job}/disk-1a2b3c4d/202611{day:02}T183000Z").parse().unwrap()
}

fn run(when_full: WhenFull) -> Run {
    let policy = Policy {
        start_within: Duration::from_secs(6 * 3600),
        complete_within: Duration::from_secs(4 * 3600),
        settle: Duration::from_secs(300),
        when_full,
    };
    Run::planned(id("db", 24), at("2026-11-24T18:30:00Z"), policy)
}

/// What is there: `name` of a day and its state; ours have the id of their day.
struct There {
    points: Vec<Listed>,
    snapshots: Vec<ListedSnapshot>,
    known: BTreeMap<BackupId, RunId>,
    keep: Keep,
    room: Option<(u64, u64)>,
}

impl There {
    fn new(keep: Keep) -> Self {
        Self { points: Vec::new(), snapshots: Vec::new(), known: BTreeMap::new(), keep, room: None }
    }

    fn point(mut self, job: &str, day: u8, sighting: Sighting) -> Self {
        let backup: BackupId = format!("dbp-{}{day:02}", job.replace('-', "")).parse().unwrap();
        let run = id(job, day);
        let name = BackupName::of(&"ops1".parse().unwrap(), &run).to_string();
        self.points.insert(0, Listed { backup: backup.clone(), name, sighting });
        self.known.insert(backup, run);
        self
    }

    fn good(self, days: impl IntoIterator<Item = u8>) -> Self {
        days.into_iter().fold(self, |there, day| there.point("db", day, Sighting::Normal))
    }

    fn foreign(mut self, name: &str) -> Self {
        let backup = format!("dbp-x{}", self.points.len()).parse().unwrap();
        self.points.insert(0, Listed { backup, name: name.to_owned(), sighting: Sighting::Normal });
        self
    }

    fn snapshot(mut self, day: u8, sighting: Sighting) -> Self {
        let name = BackupName::of(&"ops1".parse().unwrap(), &id("db", day)).to_string();
        let snapshot = format!("snap-{day:02}").parse().unwrap();
        self.snapshots.push(ListedSnapshot { snapshot, name, sighting });
        self
    }

    fn decide(&self, run: &Run) -> Room {
        let rules = |job: &JobName| {
            (job.as_str() != "gone").then(|| {
                let keep = if job.as_str() == "db" { self.keep.clone() } else { Keep::default() };
                (keep, TimeZone::UTC)
            })
        };
        let shelf = Shelf {
            run,
            owner: &"ops1".parse().unwrap(),
            room: self.room,
            points: &self.points,
            snapshots: &self.snapshots,
            known: &self.known,
            rules: &rules,
        };
        decide(&shelf, at("2026-11-24T18:31:00Z"))
    }
}

fn delete(day: u8, why: Freed, left: usize) -> Room {
    Room::Delete { point: format!("dbp-db{day:02}").parse().unwrap(), of: id("db", day), why, left }
}

fn promote(day: u8, left: usize) -> Room {
    Room::Promote { point: format!("dbp-db{day:02}").parse().unwrap(), of: id("db", day), left }
}

const ROTATE: WhenFull = WhenFull::Rotate { allow_gap: false };
const ROTATE_ALL: WhenFull = WhenFull::Rotate { allow_gap: true };
const PROMOTE: WhenFull = WhenFull::Promote { keep: None };
const ALL: [WhenFull; 5] = [WhenFull::Wait, WhenFull::Fail, ROTATE, ROTATE_ALL, PROMOTE];

fn nothing() -> There {
    There::new(Keep::default())
}

#[test]
fn the_oldest_of_the_job_goes_and_the_last_good_one_only_where_a_gap_is_allowed() {
    assert_eq!(nothing().good([21, 22, 23]).decide(&run(ROTATE)), delete(21, Freed::Rotated, 2));
    let last = nothing().good([23]);
    assert_eq!(last.decide(&run(ROTATE)), Room::Fail(Failure::QuotaLastGood));
    assert_eq!(last.decide(&run(ROTATE_ALL)), delete(23, Freed::Rotated, 0));
    // One that is not NORMAL is no good one that stays.
    let last = last.point("web", 24, Sighting::Unfinished);
    assert_eq!(last.decide(&run(ROTATE)), Room::Fail(Failure::QuotaLastGood));
    assert_eq!(last.point("web", 24, Sighting::Normal).decide(&run(ROTATE)), delete(23, Freed::Rotated, 1));
}

#[test]
fn what_is_not_surely_of_the_job_never_goes() {
    let none = Room::Fail(Failure::QuotaHeldByOthers);
    let others = nothing()
        .foreign("auto_20261124")
        .foreign("ops2_db_20261123T183000Z")
        .foreign("ops1_db_20261122T183000Z")
        .foreign("by-hand")
        .point("web", 20, Sighting::Normal)
        .point("db", 21, Sighting::Unfinished);
    for when_full in [ROTATE, ROTATE_ALL, PROMOTE] {
        assert_eq!(nothing().decide(&run(when_full)), none, "{when_full:?}");
        // One that bears our mark and is in no run of the journal, and another job's.
        assert_eq!(others.decide(&run(when_full)), none, "{when_full:?}");
    }
    assert_eq!(others.good([22]).decide(&run(ROTATE)), delete(22, Freed::Rotated, 2));
}

#[test]
fn a_backup_of_the_runs_own_name_is_found_and_never_deleted() {
    for when_full in ALL {
        let there = nothing().good([22, 24]);
        let found = Room::Found("dbp-db24".parse().unwrap(), Sighting::Normal);
        assert_eq!(there.decide(&run(when_full)), found, "{when_full:?}");
    }
}

#[test]
fn of_two_of_the_runs_name_the_good_one_is_found() {
    let mut there = nothing().good([24]);
    let name = there.points[0].name.clone();
    let older = Listed { backup: "dbp-older".parse().unwrap(), name, sighting: Sighting::Unfinished };
    there.points.push(older);
    let found = Room::Found("dbp-db24".parse().unwrap(), Sighting::Normal);
    assert_eq!(there.decide(&run(WhenFull::Wait)), found);
}

#[test]
fn a_quota_that_is_not_full_fails_a_run_only_where_it_may_not_wait() {
    for when_full in ALL {
        let there = There { room: Some((80, 2)), ..nothing().good([22, 23]) };
        let expected = if when_full == WhenFull::Fail { Room::Fail(Failure::QuotaFull) } else { Room::Wait };
        assert_eq!(there.decide(&run(when_full)), expected, "{when_full:?}");
    }
}

#[test]
fn snapshots_join_retention_unless_they_have_a_deadline() {
    let keep = Keep { last: 2, ..Keep::default() };
    let there = || There::new(keep.clone()).good([21]).snapshot(22, Sighting::Normal);
    // The run's own and the snapshot are the last two.
    assert_eq!(there().decide(&run(PROMOTE)), delete(21, Freed::Unkept, 1));
    let deadline = WhenFull::Promote { keep: Some(Duration::from_secs(86_400)) };
    assert_eq!(there().decide(&run(deadline)), promote(21, 1));
}

#[test]
fn what_no_rule_would_keep_goes_first_whatever_the_policy() {
    let keep = Keep { last: 2, ..Keep::default() };
    for when_full in ALL {
        let run = run(when_full);
        let there = || There::new(keep.clone());
        assert_eq!(there().good([20, 22, 23]).decide(&run), delete(20, Freed::Unkept, 2), "{when_full:?}");
        // Two are kept: the new one, and the newest of those that are there.
        assert_eq!(there().good([22, 23]).decide(&run), delete(22, Freed::Unkept, 1), "{when_full:?}");
    }
    // The last good one stays, though no rule would keep it beside the new one.
    let one = Keep { last: 1, ..Keep::default() };
    assert_eq!(There::new(one.clone()).good([23]).decide(&run(WhenFull::Wait)), Room::Wait);
    assert_eq!(There::new(one).good([23]).decide(&run(ROTATE)), Room::Fail(Failure::QuotaLastGood));
    // A job that is gone keeps its backups.
    let gone = There::new(keep).point("gone", 1, Sighting::Normal).good([23]);
    assert_eq!(gone.decide(&run(WhenFull::Fail)), Room::Fail(Failure::QuotaFull));
}

#[test]
fn nothing_goes_for_a_refusal_that_the_clouds_own_figures_belie() {
    let keep = Keep { last: 1, ..Keep::default() };
    for (room, goes) in [
        (None, true),
        (Some((3, 3)), true),
        // The vendor's own may not be counted.
        (Some((3, 2)), true),
        (Some((4, 2)), false),
        (Some((4, 3)), true),
        // What is listed is there, whatever the count says.
        (Some((3, 0)), true),
        (Some((80, 0)), false),
    ] {
        for when_full in ALL {
            for keep in [&keep, &Keep::default()] {
                let there = There { room, ..There::new(keep.clone()).good([22, 23]) };
                let room_made = there.decide(&run(when_full));
                let makes = keep.last > 0 || !matches!(when_full, WhenFull::Wait | WhenFull::Fail);
                let goes = goes && makes;
                let is_taken = matches!(room_made, Room::Delete { .. } | Room::Promote { .. });
                assert_eq!(is_taken, goes, "{room:?} {when_full:?}");
            }
        }
    }
}

#[test]
fn no_second_point_is_taken_by_a_run() {
    for when_full in [ROTATE, PROMOTE] {
        let mut run = run(when_full);
        run.taken = Some(crate::run::Taken { point: "dbp-db20".parse().unwrap(), owes: false });
        assert_eq!(nothing().good([21, 22]).decide(&run), Room::Wait, "{when_full:?}");
    }
}

#[test]
fn a_point_is_never_promoted_twice() {
    let run = run(PROMOTE);
    assert_eq!(nothing().good([22, 23]).decide(&run), promote(22, 1));
    let adopted = Room::Adopt {
        point: "dbp-db22".parse().unwrap(),
        of: id("db", 22),
        snapshot: "snap-22".parse().unwrap(),
        left: 1,
    };
    assert_eq!(nothing().good([22, 23]).snapshot(22, Sighting::Unfinished).decide(&run), adopted);
    assert_eq!(nothing().good([22, 23]).snapshot(22, Sighting::Normal).decide(&run), promote(23, 2));
    assert_eq!(nothing().good([22]).snapshot(22, Sighting::Normal).decide(&run), Room::Wait);
    // Good snapshots are good backups.
    assert_eq!(nothing().good([23]).snapshot(22, Sighting::Normal).decide(&run), promote(23, 1));
    assert_eq!(nothing().good([23]).decide(&run), promote(23, 0));
}

fn daily() -> Schedule {
    Schedule::new("30 18 * * *", "UTC", &jiff::tz::TimeZoneDatabase::bundled()).unwrap()
}

fn expected(quota: u64, count: u64, have: u64, when_full: WhenFull, last: u32) -> Forecast {
    let (job, schedule, keep) = ("db".parse().unwrap(), daily(), Keep { last, ..Keep::default() });
    let now = at("2026-11-24T00:00:00Z");
    let coming = Coming::of(&schedule, &keep, now);
    forecast(quota, count, &[Demand { job: &job, coming: &coming, when_full, have }], now)
}

fn day(full: Option<&Full>) -> Option<i8> {
    full.map(|full| full.due.to_zoned(TimeZone::UTC).day())
}

#[test]
fn the_sum_is_what_is_kept_and_one_in_flight_and_the_vendors_own() {
    let enough = expected(5, 0, 0, WhenFull::Wait, 3);
    assert_eq!((enough.need.total, enough.is_warning, enough.first_full), (Some(5), false, None));
    // One less, and an old one has to go before each new one: on the 24th, 25th and 26th there is room.
    let tight = expected(4, 0, 0, WhenFull::Wait, 3);
    assert_eq!((day(tight.first_full.as_ref()), day(tight.breaks.as_ref())), (Some(27), None));
    assert!(tight.is_warning);
    let short = expected(3, 0, 0, WhenFull::Wait, 3);
    assert_eq!((day(short.first_full.as_ref()), day(short.breaks.as_ref())), (Some(26), Some(26)));
    assert_eq!(
        short.to_string(),
        "needed: 5 = 3 kept at most by db + 1 in flight + 1 for the vendor's own; the disk's quota is 3, and 0 are \
         there; the backup of db that is due at 2026-11-26T18:30:00Z finds it full, and nothing makes room for it"
    );
}

#[test]
fn a_job_that_keeps_everything_fills_any_quota_unless_it_makes_room() {
    let all = |quota, when_full| expected(quota, 0, 0, when_full, 0);
    assert_eq!(day(all(7, WhenFull::Wait).breaks.as_ref()), Some(30));
    assert_eq!(day(all(7, WhenFull::Fail).breaks.as_ref()), Some(30));
    assert!(!all(7, ROTATE).is_warning && all(7, ROTATE).first_full.is_some());
    assert!(!all(3, ROTATE).is_warning && !all(2, PROMOTE).is_warning);
    // The vendor's own takes the one place; without a gap there is no second to rotate into.
    assert!(all(2, ROTATE).is_warning && !all(2, ROTATE_ALL).is_warning);
    assert!(all(1, PROMOTE).is_warning && all(1, ROTATE_ALL).is_warning);
    for when_full in ALL {
        assert_eq!(day(all(0, when_full).breaks.as_ref()), Some(24), "{when_full:?}");
    }
}

#[test]
fn what_lies_months_ahead_is_not_close() {
    let far = expected(80, 0, 0, WhenFull::Wait, 0);
    assert!(far.is_warning && !far.is_soon);
    for days in 60..80 {
        let nearer = expected(80, 1 + days, days, WhenFull::Wait, 0);
        assert_eq!((nearer.is_warning, nearer.is_soon), (true, days >= 66), "{days}");
    }
    // Of a monthly job, the next few creates are close.
    let (job, schedule) = ("db".parse().unwrap(), {
        Schedule::new("30 18 1 * *", "UTC", &jiff::tz::TimeZoneDatabase::bundled()).unwrap()
    });
    let keep = Keep::default();
    let now = at("2026-11-24T00:00:00Z");
    let coming = Coming::of(&schedule, &keep, now);
    let demand = |have| Demand { job: &job, coming: &coming, when_full: WhenFull::Wait, have };
    for (have, is_soon) in [(2, false), (3, true), (4, true)] {
        let monthly = forecast(6, 1 + have, &[demand(have)], now);
        assert_eq!(monthly.is_soon, is_soon, "{have}");
    }
}

#[test]
fn what_is_there_counts_whoever_made_it() {
    // Three by hand, and two of ours.
    assert_eq!(day(expected(7, 5, 2, WhenFull::Wait, 3).breaks.as_ref()), None);
    assert_eq!(day(expected(5, 5, 2, WhenFull::Wait, 3).breaks.as_ref()), Some(24));
    assert_eq!(day(expected(6, 5, 2, WhenFull::Wait, 4).breaks.as_ref()), Some(25));
}

#[test]
fn what_a_rule_keeps_at_most() {
    let now = at("2026-11-24T00:00:00Z");
    let most = |keep: Keep| kept_at_most(&keep, &daily(), now);
    assert_eq!(most(Keep::default()), None);
    assert_eq!(most(Keep::NOTHING), Some(1));
    assert_eq!(most(Keep { last: 2, daily: 7, yearly: 1, ..Keep::default() }), Some(10));
    let within = Some(Duration::from_secs(10 * 86_400));
    assert_eq!(most(Keep { within, ..Keep::default() }), Some(10));
}
