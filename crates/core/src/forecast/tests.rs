use jiff::civil::Time;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::*;
use crate::catch_up::Missed;
use crate::id::JobName;
use crate::retention::Keep;
use crate::run::Policy;
use crate::schedule::{Blackout, Days, Schedule};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A job, and what it is made of.
struct Parts {
    name: JobName,
    disks: Vec<DiskId>,
    schedule: Schedule,
    keep: Keep,
    blackout: Vec<Blackout>,
}

impl Parts {
    fn new(disks: usize, cron: &str) -> Self {
        Self {
            name: "db".parse().unwrap(),
            disks: (0..disks).map(|disk| format!("disk-{disk:08x}").parse().unwrap()).collect(),
            schedule: Schedule::new(cron, "UTC", &TimeZoneDatabase::bundled()).unwrap(),
            keep: Keep::default(),
            blackout: Vec::new(),
        }
    }

    fn keeping(self, last: u32) -> Self {
        Self { keep: Keep { last, ..Keep::default() }, ..self }
    }

    fn job(&self) -> Job<'_> {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let policy = Policy {
            start_within: hours(6),
            complete_within: hours(24),
            settle: 5 * MINUTE,
            when_full: WhenFull::Wait,
        };
        Job {
            name: &self.name,
            disks: self.disks.iter().map(|disk| OnJob { disk, spread_by: disk.as_str() }).collect(),
            lane: 0,
            schedule: &self.schedule,
            missed: Missed::RunOnce,
            spread: Duration::ZERO,
            blackout: &self.blackout,
            policy,
            objective: None,
            keep: &self.keep,
        }
    }

    fn job_when_full(&self, when_full: WhenFull) -> Job<'_> {
        let job = self.job();
        Job { policy: Policy { when_full, ..job.policy }, ..job }
    }
}

static OWNER: std::sync::LazyLock<crate::id::Owner> = std::sync::LazyLock::new(|| "ops1".parse().unwrap());

fn scene(jobs: Vec<Job<'_>>, days: u32) -> Scene<'_> {
    let from = at("2026-11-24T00:00:00Z");
    Scene {
        owner: &OWNER,
        jobs,
        lanes: vec![Duration::from_millis(50)],
        disks: BTreeMap::new(),
        from,
        until: from + DAY * days,
        takes: MINUTE,
        settle: 5 * MINUTE,
        zone: TimeZone::UTC,
    }
}

fn run(scene: &Scene<'_>) -> Forecast {
    forecast(scene, &mut |_| {})
}

/// The same quota for every disk, and nothing of others.
fn with_quota(mut scene: Scene<'_>, quota: u64) -> Scene<'_> {
    for job in &scene.jobs {
        for disk in &job.disks {
            scene.disks.insert(disk.disk.clone(), Disk { quota: Some(quota), ..Disk::default() });
        }
    }
    scene
}

fn dates(forecast: &Forecast, of: impl Fn(&Day) -> usize) -> Vec<usize> {
    forecast.days.iter().map(of).collect()
}

#[test]
fn ten_thousand_disks_at_two_take_eight_minutes_and_twenty_seconds() {
    let parts = Parts::new(10_000, "0 2 * * *");
    let forecast = run(&scene(vec![parts.job()], 1));
    let [day] = &forecast.days[..] else { panic!("{:?}", forecast.days) };
    assert_eq!((day.due, day.completed, day.peak_queue), (10_000, 10_000, 10_000));
    assert_eq!(day.peak_at, Some(at("2026-11-24T02:00:00Z")));
    // The first at once, the 9,999 others 50 ms apart; with the guard of 1 ms, 51 ms.
    assert_eq!(day.drained_at, Some(at("2026-11-24T02:08:19.95Z")));
    assert_eq!(day.longest_wait, Duration::from_millis(499_950));
    let guarded = Scene { lanes: vec![Duration::from_millis(51)], ..scene(vec![parts.job()], 1) };
    assert_eq!(run(&guarded).days[0].drained_at, Some(at("2026-11-24T02:08:29.949Z")));
    assert_eq!(forecast.hours, [Hour { from: at("2026-11-24T02:00:00Z"), due: 10_000 }]);
    assert_eq!((forecast.problems.len(), forecast.open), (0, 0));
}

#[test]
fn spread_and_blackout_move_starts_as_they_do_for_the_daemon() {
    let mut parts = Parts::new(100, "0 2 * * *");
    let (from, to) = (Time::constant(2, 10, 0, 0), Time::constant(4, 0, 0, 0));
    parts.blackout = vec![Blackout { from, to, days: Days::ALL }];
    let job = Job { spread: 30 * MINUTE, ..parts.job() };
    let starts: Vec<Timestamp> = parts
        .disks
        .iter()
        .map(|disk| {
            let due = at("2026-11-24T02:00:00Z");
            start_at(due, &parts.name, disk.as_str(), job.spread, job.blackout, &TimeZone::UTC)
        })
        .collect();
    let mut good = Vec::new();
    forecast(&scene(vec![job], 1), &mut |news| good.push(news.at));
    assert_eq!(good.len(), 100);
    let last = *starts.iter().max().unwrap();
    assert!(last > at("2026-11-24T04:00:00Z"));
    let made_last = good.iter().max().unwrap().duration_since(last).as_secs();
    assert!((60..62).contains(&made_last), "{made_last} s after the last start");
}

#[test]
fn retention_keeps_a_quota_from_breaking_and_without_it_the_day_is_named() {
    let parts = Parts::new(2, "0 2 * * *").keeping(3);
    // Three kept and one under way: four are needed.
    let enough = run(&with_quota(scene(vec![parts.job()], 7), 4));
    assert_eq!(enough.problems, []);
    assert_eq!(dates(&enough, |day| day.kept), [2, 4, 6, 6, 6, 6, 6]);
    assert_eq!(dates(&enough, |day| day.deleted), [0, 0, 0, 2, 2, 2, 2]);

    let mut told = Vec::new();
    forecast(&with_quota(scene(vec![parts.job()], 7), 4), &mut |news| told.push(news));
    let gone = told.iter().find(|news| news.what == What::Deleted).unwrap();
    // The settle after the fourth is good, the first goes.
    assert_eq!((gone.at, gone.left), (at("2026-11-27T02:06:00Z"), 3));
    assert_eq!(gone.run.to_string(), "db/disk-00000000/20261124T020000Z");

    let short = run(&with_quota(scene(vec![parts.job()], 7), 2));
    let [first, second] = &short.problems[..] else { panic!("{:?}", short.problems) };
    assert_eq!((first.disk.as_str(), second.disk.as_str()), ("disk-00000000", "disk-00000001"));
    assert_eq!(first.due, at("2026-11-26T02:00:00Z"));
    assert_eq!(first.trouble, Trouble::QuotaFull { quota: 2, ours: 2, others: 0 });
    assert_eq!(first.times, 5);
    assert_eq!(
        first.trouble.to_string(),
        "quota full: 2 of ours + 0 of others + this one = 3, and the quota is 2"
    );
    assert_eq!(dates(&short, |day| day.completed), [2, 2, 0, 0, 0, 0, 0]);
    assert_eq!(dates(&short, |day| day.failed), [0, 0, 2, 2, 2, 2, 2]);
}

#[test]
fn the_points_of_others_and_those_that_exist_count() {
    let parts = Parts::new(1, "0 2 * * *").keeping(2);
    let mut scene = with_quota(scene(vec![parts.job()], 3), 4);
    let disk = parts.disks[0].clone();
    let due = at("2026-11-23T02:00:00Z");
    let point = Point {
        id: PointId::Backup("dbp-old".parse().unwrap()),
        run: RunId { job: parts.name.clone(), disk: disk.clone(), due },
        sighting: Sighting::Normal,
    };
    scene.disks.insert(disk.clone(), Disk { quota: Some(4), others: 1, points: vec![point.clone()] });
    let fits = run(&scene);
    assert_eq!(fits.problems, []);
    assert_eq!(dates(&fits, |day| day.kept), [2, 2, 2]);
    scene.disks.insert(disk, Disk { quota: Some(4), others: 3, points: vec![point] });
    let full = run(&scene);
    assert_eq!(full.problems[0].trouble, Trouble::QuotaFull { quota: 4, ours: 1, others: 3 });
    assert_eq!(full.problems[0].due, at("2026-11-24T02:00:00Z"));
}

#[test]
fn each_policy_makes_room_in_its_way() {
    let parts = Parts::new(1, "0 2 * * *");
    let with = |when_full, quota| {
        let job = parts.job_when_full(when_full);
        run(&with_quota(scene(vec![job], 4), quota))
    };
    let rotated = with(WhenFull::Rotate { allow_gap: false }, 2);
    assert_eq!(rotated.problems, []);
    assert_eq!(dates(&rotated, |day| day.deleted), [0, 0, 1, 1]);
    assert_eq!(dates(&rotated, |day| day.kept), [1, 2, 2, 2]);
    // The last good one goes only where a gap is allowed.
    assert_eq!(with(WhenFull::Rotate { allow_gap: false }, 1).problems[0].times, 3);
    assert_eq!(with(WhenFull::Rotate { allow_gap: true }, 1).problems, []);
    let promoted = with(WhenFull::Promote { keep: None }, 1);
    assert_eq!(promoted.problems, []);
    assert_eq!(dates(&promoted, |day| day.promoted), [0, 1, 1, 1]);
    assert_eq!(dates(&promoted, |day| day.kept), [1, 2, 3, 4]);
    assert_eq!(dates(&with(WhenFull::Fail, 1), |day| day.failed), [0, 1, 1, 1]);
    assert_eq!(with(WhenFull::Rotate { allow_gap: true }, 0).problems[0].times, 4);
}

#[test]
fn what_no_rule_keeps_once_the_run_is_good_makes_room_under_every_policy() {
    let parts = Parts::new(1, "0 2 * * *").keeping(3);
    for when_full in [
        WhenFull::Wait,
        WhenFull::Fail,
        WhenFull::Rotate { allow_gap: false },
        WhenFull::Promote { keep: None },
    ] {
        let job = parts.job_when_full(when_full);
        let forecast = run(&with_quota(scene(vec![job], 6), 3));
        assert_eq!(forecast.problems, [], "{when_full:?}");
        assert_eq!(dates(&forecast, |day| day.deleted), [0, 0, 0, 1, 1, 1], "{when_full:?}");
        assert_eq!(dates(&forecast, |day| day.promoted), [0; 6], "{when_full:?}");
    }
    // Never the only good one.
    let parts = Parts::new(1, "0 2 * * *").keeping(1);
    let only = run(&with_quota(scene(vec![parts.job()], 2), 1));
    assert_eq!(only.problems[0].trouble, Trouble::QuotaFull { quota: 1, ours: 1, others: 0 });
}

#[test]
fn a_run_that_waits_for_room_ends_with_its_time_or_when_the_next_one_comes() {
    let parts = Parts::new(1, "0 */4 * * *");
    let forecast = run(&with_quota(scene(vec![parts.job()], 1), 1));
    // The runs of four to twenty hours; each but the last is overtaken by the next, four hours later.
    let day = &forecast.days[0];
    assert_eq!((day.due, day.completed, day.failed, day.skipped, forecast.open), (5, 1, 0, 3, 1));
    let kinds: Vec<(&str, u32)> =
        forecast.problems.iter().map(|problem| (problem.trouble.name(), problem.times)).collect();
    assert_eq!(kinds, [("quota_full", 4), ("superseded", 3)]);
}

#[test]
fn a_queue_that_outlasts_start_within_makes_runs_late() {
    let parts = Parts::new(300, "0 2 * * *");
    let mut job = parts.job();
    job.policy.start_within = Duration::from_secs(10);
    let forecast = run(&scene(vec![job], 1));
    // One at once and 20 a second for ten seconds.
    assert_eq!((forecast.days[0].completed, forecast.days[0].skipped), (201, 99));
    assert_eq!(forecast.problems.len(), 99);
    assert!(forecast.problems.iter().all(|problem| problem.trouble == Trouble::Late));
}

#[test]
fn runs_that_overlap_are_superseded() {
    let parts = Parts::new(1, "*/10 * * * *");
    let scene = Scene { takes: 25 * MINUTE, ..scene(vec![parts.job()], 1) };
    let forecast = run(&scene);
    let day = &forecast.days[0];
    assert_eq!(day.due, 143, "not the first, which is due at the beginning itself, and not one at the end");
    assert!(day.completed < 60 && day.skipped > 80, "{day:?}");
    assert_eq!(forecast.problems[0].trouble, Trouble::Superseded);
    assert_eq!(day.completed + day.skipped + forecast.open, day.due);
}

#[test]
fn an_objective_that_the_schedule_cannot_meet_is_named() {
    let parts = Parts::new(1, "0 2 * * *");
    let with = |hours: u64| {
        let job = Job { objective: Some(Duration::from_secs(hours * 3600)), ..parts.job() };
        run(&scene(vec![job], 3)).problems
    };
    assert_eq!(with(25), []);
    let [problem] = &with(23)[..] else { panic!("{:?}", with(23)) };
    assert_eq!(problem.trouble.name(), "objective");
    assert_eq!((problem.due, problem.times), (at("2026-11-25T02:00:00Z"), 2));
    assert_eq!(problem.trouble.to_string(), "objective: the last good backup grows 24h old, and may be 23h");
}

#[test]
fn days_and_hours_are_those_of_the_zone() {
    let parts = Parts::new(1, "30 18 * * *");
    let shanghai = TimeZoneDatabase::bundled().get("Asia/Shanghai").unwrap();
    let forecast = run(&Scene { zone: shanghai, ..scene(vec![parts.job()], 2) });
    let dates: Vec<String> = forecast.days.iter().map(|day| format!("{} {}", day.date, day.due)).collect();
    assert_eq!(dates, ["2026-11-24 0", "2026-11-25 1", "2026-11-26 1"]);
    assert_eq!(forecast.hours[0].from, at("2026-11-24T18:00:00Z"));
}

#[test]
fn every_due_run_ends_in_one_way() {
    for (disks, cron, quota, keep) in [
        (20, "*/7 * * * *", 3, 2),
        (50, "0 * * * *", 2, 5),
        (5, "*/30 * * * *", 1, 1),
        (1_000, "15 3 * * *", 7, 3),
    ] {
        let parts = Parts::new(disks, cron).keeping(keep);
        let mut made = 0;
        let forecast = forecast(&with_quota(scene(vec![parts.job()], 2), quota), &mut |news| {
            made += usize::from(news.what == What::Good)
        });
        let sum = |of: fn(&Day) -> usize| forecast.days.iter().map(of).sum::<usize>();
        assert_eq!(
            sum(|day| day.due),
            sum(|day| day.completed + day.failed + day.skipped) + forecast.open,
            "{cron}"
        );
        assert_eq!(sum(|day| day.completed), made);
        assert_eq!(forecast.hours.iter().map(|hour| hour.due).sum::<usize>(), sum(|day| day.due));
    }
}
