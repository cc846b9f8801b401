use std::collections::BTreeSet;

use jiff::SignedDuration;
use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

fn disk() -> DiskId {
    "disk-1a2b3c4d".parse().unwrap()
}

/// A NORMAL backup of `job`; its id says when it was due.
fn good(job: &str, due: Timestamp) -> Point {
    let id = due.strftime(&format!("dbp-{}%Y%m%d%H%M%S", job.replace('-', ""))).to_string();
    let name = due.strftime(&format!("ops1_{job}_%Y%m%dT%H%M%SZ")).to_string();
    let id = PointId::Backup(id.parse().unwrap());
    Point::of(&"ops1".parse().unwrap(), &disk(), id, &name, Sighting::Normal).unwrap()
}

fn unfinished(job: &str, due: Timestamp) -> Point {
    Point { sighting: Sighting::Unfinished, ..good(job, due) }
}

#[test]
fn a_reason_says_its_hour_with_the_zones_offset_and_its_age_in_the_largest_exact_unit() {
    let day = jiff::civil::date(2026, 11, 24);
    let hour = |offset| Bucket::Hour(day, 2, offset).to_string();
    assert_eq!(hour(8 * 3600), "hourly 2026-11-24T02+08:00");
    assert_eq!(hour(0), "hourly 2026-11-24T02+00:00");
    assert_eq!(hour(-12_600), "hourly 2026-11-24T02-03:30");
    let span = |seconds| Span(Duration::from_secs(seconds)).to_string();
    for (seconds, text) in [(0, "0s"), (1, "1s"), (90, "90s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")] {
        assert_eq!(span(seconds), text);
    }
}

/// Dailies at 02:30 in Shanghai, the last on the 24th.
fn dailies(count: i64) -> Vec<Point> {
    let last = at("2026-11-23T18:30:00Z");
    (0..count).map(|days| good("db", last - SignedDuration::from_hours(24 * days))).collect()
}

/// The verdicts as people read them, the newest first.
fn verdicts(points: &[Point], keep: &Keep, now: &str) -> Vec<String> {
    let rules = |_: &JobName| Some((keep.clone(), zone("Asia/Shanghai")));
    plan(points, &rules, at(now)).into_iter().map(|(_, verdict)| verdict.to_string()).collect()
}

#[test]
fn each_rule_says_what_it_keeps() {
    let now = "2026-11-24T01:00:00Z";
    let keep = Keep { last: 1, daily: 2, ..Keep::default() };
    assert_eq!(
        verdicts(&dailies(3), &keep, now),
        ["kept: last 1, daily 2026-11-24", "kept: daily 2026-11-23", "delete: not kept by any rule"]
    );
    let keep = Keep { within: Some(DAY), ..Keep::default() };
    assert_eq!(verdicts(&dailies(2), &keep, now), ["kept: within 1d", "delete: not kept by any rule"]);
    // The 23rd is a Monday.
    let keep = Keep { weekly: 2, monthly: 1, yearly: 1, ..Keep::default() };
    assert_eq!(
        verdicts(&dailies(4), &keep, now),
        [
            "kept: weekly 2026-W48, monthly 2026-11, yearly 2026",
            "delete: not kept by any rule",
            "kept: weekly 2026-W47",
            "delete: not kept by any rule"
        ]
    );
}

#[test]
fn the_week_and_the_year_are_the_iso_weeks_and_the_zones() {
    // 2027-01-01 is in week 53 of 2026; in Shanghai it has begun at 16:00 UTC.
    let points = [good("db", at("2026-12-31T15:59:00Z")), good("db", at("2026-12-31T16:00:00Z"))];
    let keep = Keep { weekly: 1, yearly: 2, ..Keep::default() };
    assert_eq!(
        verdicts(&points, &keep, "2027-01-01T00:00:00Z"),
        ["kept: weekly 2026-W53, yearly 2027", "kept: yearly 2026"]
    );
}

#[test]
fn an_hour_that_a_fold_repeats_is_two() {
    let points = ["2026-10-25T00:30:00Z", "2026-10-25T01:15:00Z", "2026-10-25T01:30:00Z"];
    let points = points.map(|due| good("db", at(due)));
    let keep = Keep { hourly: 2, ..Keep::default() };
    let rules = |_: &JobName| Some((keep.clone(), zone("Europe/Berlin")));
    let verdicts = plan(&points, &rules, at("2026-10-25T02:00:00Z")).into_iter();
    assert_eq!(
        verdicts.map(|(_, verdict)| verdict.to_string()).collect::<Vec<_>>(),
        [
            "kept: hourly 2026-10-25T02+01:00",
            "delete: not kept by any rule",
            "kept: hourly 2026-10-25T02+02:00"
        ]
    );
}

#[test]
fn days_without_a_backup_are_not_counted() {
    let points: Vec<Point> = dailies(30).into_iter().step_by(10).collect();
    let kept = verdicts(&points, &Keep { daily: 3, ..Keep::default() }, "2026-11-24T01:00:00Z");
    assert_eq!(kept, ["kept: daily 2026-11-24", "kept: daily 2026-11-14", "kept: daily 2026-11-04"]);
}

#[test]
fn what_is_not_normal_stays_and_counts_for_nothing() {
    let mut points = dailies(2);
    points.push(unfinished("db", at("2026-11-24T18:30:00Z")));
    let keep = Keep { last: 1, ..Keep::default() };
    assert_eq!(
        verdicts(&points, &keep, "2026-11-24T18:40:00Z"),
        ["refused: not NORMAL", "kept: last 1", "delete: not kept by any rule"]
    );
}

#[test]
fn the_newest_good_one_of_the_disk_stays_whichever_job_made_it() {
    let now = "2027-03-01T00:00:00Z";
    let mut points = dailies(2);
    assert_eq!(
        verdicts(&points, &Keep::NOTHING, now),
        ["refused: last good one", "delete: not kept by any rule"]
    );
    // With a newer one of another job, neither of the first is the last.
    points.push(good("web", at("2026-12-01T00:00:00Z")));
    let rules = |job: &JobName| {
        let keep = if job.as_str() == "web" { Keep::default() } else { Keep::NOTHING };
        Some((keep, TimeZone::UTC))
    };
    let verdicts: Vec<String> =
        plan(&points, &rules, at(now)).into_iter().map(|(_, verdict)| verdict.to_string()).collect();
    assert_eq!(
        verdicts,
        ["refused: its job has no `keep`", "delete: not kept by any rule", "delete: not kept by any rule"]
    );
}

#[test]
fn backups_of_a_job_that_is_gone_stay() {
    let verdicts = plan(&dailies(2), &|_| None, at("2027-03-01T00:00:00Z"));
    for (_, verdict) in verdicts {
        assert_eq!(verdict.to_string(), "refused: its job is gone");
    }
}

#[test]
fn twins_share_their_verdict_and_are_one_due_instant() {
    let mut points = dailies(3);
    let twin = PointId::Backup("dbp-twin".parse().unwrap());
    points.push(Point { id: twin, ..points[0].clone() });
    let keep = Keep { last: 2, ..Keep::default() };
    assert_eq!(
        verdicts(&points, &keep, "2026-11-24T01:00:00Z"),
        ["kept: last 1", "kept: last 1", "kept: last 2", "delete: not kept by any rule"]
    );
}

#[test]
fn a_point_is_read_as_written() {
    for text in ["dbp-1a2b", "snap-1a2b"] {
        assert_eq!(text.parse::<PointId>().unwrap().to_string(), text);
    }
    assert!("disk-1a2b".parse::<PointId>().is_err());
}

fn keeps() -> impl Strategy<Value = Keep> {
    let within = proptest::option::weighted(0.3, (0_u64..400).prop_map(|hours| DAY / 24 * hours as u32));
    (0_u32..4, within, 0_u32..4, 0_u32..4, 0_u32..4, 0_u32..4, 0_u32..3).prop_map(
        |(last, within, hourly, daily, weekly, monthly, yearly)| Keep {
            last,
            within,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        },
    )
}

/// A listing: due instants over some months, in clusters; two jobs, another owner's, names of no owner, every state.
fn listings() -> impl Strategy<Value = Vec<(String, Sighting)>> {
    let name = prop_oneof![
        8 => Just("ops1_db"),
        3 => Just("ops1_web"),
        2 => Just("ops1_gone"),
        2 => Just("ops2_db"),
        1 => Just("auto"),
        1 => Just("ops1_db_x"),
    ];
    let due = (0_i64..150, 0_i64..24, 0_i64..60).prop_map(|(day, hour, minute)| {
        at("2026-09-01T00:00:00Z") + SignedDuration::from_mins((day * 24 + hour) * 60 + minute)
    });
    let sighting = prop_oneof![5 => Just(Sighting::Normal), 1 => Just(Sighting::Unfinished)];
    let listed = (name, due, sighting).prop_map(|(name, due, sighting)| {
        (due.strftime(&format!("{name}_%Y%m%dT%H%M%SZ")).to_string(), sighting)
    });
    proptest::collection::vec(listed, 0..40)
}

fn points_of(listed: &[(String, Sighting)]) -> Vec<Point> {
    let owner: Owner = "ops1".parse().unwrap();
    let of = |(index, (name, sighting)): (usize, &(String, Sighting))| {
        let id = PointId::Backup(format!("dbp-{index}").parse().unwrap());
        Point::of(&owner, &disk(), id, name, *sighting)
    };
    listed.iter().enumerate().filter_map(of).collect()
}

fn deleted(points: &[Point], db: &Keep, web: &Keep, zone: &TimeZone, now: Timestamp) -> BTreeSet<PointId> {
    let rules = |job: &JobName| match job.as_str() {
        "db" => Some((db.clone(), zone.clone())),
        "web" => Some((web.clone(), zone.clone())),
        _ => None,
    };
    let delete = |(id, verdict)| (verdict == Verdict::Delete).then_some(id);
    plan(points, &rules, now).into_iter().filter_map(delete).collect()
}

fn zones() -> impl Strategy<Value = TimeZone> {
    prop_oneof![
        Just("Asia/Shanghai"),
        Just("Europe/Berlin"),
        Just("America/Santiago"),
        Just("Australia/Lord_Howe")
    ]
    .prop_map(zone)
}

proptest! {
    #[test]
    fn the_last_good_one_a_foreign_one_and_one_that_is_not_normal_are_never_deleted(
        listed in listings(), db in keeps(), web in keeps(), zone in zones(), later in 0_i64..200,
    ) {
        let now = at("2026-09-01T00:00:00Z") + SignedDuration::from_hours(24 * later);
        let points = points_of(&listed);
        let deleted = deleted(&points, &db, &web, &zone, now);
        for id in &deleted {
            let index: usize = id.to_string().strip_prefix("dbp-").unwrap().parse().unwrap();
            let (name, sighting) = &listed[index];
            prop_assert!(name.starts_with("ops1_db_2") || name.starts_with("ops1_web_2"), "{name}");
            prop_assert_eq!(*sighting, Sighting::Normal);
        }
        let good = points.iter().filter(|point| point.sighting == Sighting::Normal);
        let newest = good.clone().map(|point| point.run.due).max();
        if let Some(newest) = newest {
            prop_assert!(good.clone().any(|point| point.run.due == newest && !deleted.contains(&point.id)));
        }
    }

    #[test]
    fn a_larger_rule_never_deletes_more(
        listed in listings(), db in keeps(), more in keeps(), web in keeps(), zone in zones(),
    ) {
        prop_assume!(!db.is_empty());
        let now = at("2027-01-20T00:00:00Z");
        let larger = Keep {
            last: db.last + more.last,
            within: match (db.within, more.within) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            },
            hourly: db.hourly + more.hourly,
            daily: db.daily + more.daily,
            weekly: db.weekly + more.weekly,
            monthly: db.monthly + more.monthly,
            yearly: db.yearly + more.yearly,
        };
        let points = points_of(&listed);
        let (before, after) =
            (deleted(&points, &db, &web, &zone, now), deleted(&points, &larger, &web, &zone, now));
        prop_assert!(after.is_subset(&before));
    }

    #[test]
    fn after_the_deletions_there_are_none(
        listed in listings(), db in keeps(), web in keeps(), zone in zones(),
    ) {
        let now = at("2027-01-20T00:00:00Z");
        let mut points = points_of(&listed);
        let gone = deleted(&points, &db, &web, &zone, now);
        points.retain(|point| !gone.contains(&point.id));
        prop_assert!(deleted(&points, &db, &web, &zone, now).is_empty());
    }

    #[test]
    fn the_order_of_the_listing_does_not_matter(
        (listed, shuffled) in listings()
            .prop_map(|listed| points_of(&listed))
            .prop_flat_map(|points| (Just(points.clone()), Just(points).prop_shuffle())),
        db in keeps(),
    ) {
        let rules = |job: &JobName| (job.as_str() != "gone").then(|| (db.clone(), zone("Europe/Berlin")));
        let now = at("2027-01-20T00:00:00Z");
        prop_assert_eq!(plan(&listed, &rules, now), plan(&shuffled, &rules, now));
    }

    /// Each point has one verdict, and one that a rule keeps says which.
    #[test]
    fn each_point_has_its_verdict(listed in listings(), db in keeps()) {
        let points = points_of(&listed);
        let plan = plan(&points, &|_| Some((db.clone(), TimeZone::UTC)), at("2027-01-20T00:00:00Z"));
        let ids: BTreeSet<&PointId> = plan.iter().map(|(id, _)| id).collect();
        prop_assert_eq!(ids.len(), points.len());
        for (_, verdict) in &plan {
            if let Verdict::Kept(why) = verdict {
                prop_assert!(!why.0.is_empty());
            }
        }
    }
}
