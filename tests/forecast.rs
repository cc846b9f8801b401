//! What a forecast says is what a daemon then does, in a simulated cloud and under a paused clock.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::forecast::{Disk as Assumed, Forecast, Trouble, forecast};
use backup_core::run::State;
use backup_core::{DiskId, RunId};
use cbs_backupd::app::Idle;
use cbs_backupd::config::Config;
use cbs_backupd::fleet::Fleet;
use cbs_backupd::forecast::{assumed, scene, zone};
use cbs_backupd::journal::Inventory;
use cbs_backupd::report::Kind;
use cbs_backupd::simulate::{Beginning, Network, Tamper, World, key};
use cbs_sim::{Disk, Timings};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const START: &str = "2026-11-24T00:00:00Z";
const DAY: Duration = Duration::from_secs(24 * 3600);
const TAKES: Duration = Duration::from_secs(30);

/// A configuration, the quota of each of its disks, and how long it is watched.
struct Case {
    jobs: &'static str,
    disks: usize,
    quota: u32,
    days: u32,
}

fn disk(number: usize) -> String {
    format!("disk-{number:08x}")
}

impl Case {
    fn config(&self) -> Config {
        let all: Vec<String> = (0..self.disks).map(disk).collect();
        let jobs = self.jobs.replace("ALL", &all.join(", "));
        let text = format!(
            "owner: ops1\nsettle: 30s\ntimezone: UTC\ntargets:\n  default: {{ region: ap-guangzhou }}\njobs:\n{jobs}"
        );
        Config::parse("forecast.yaml", &text, &BTreeMap::new()).unwrap()
    }

    fn forecast(&self) -> Forecast {
        let config = self.config();
        let from: Timestamp = START.parse().unwrap();
        let fleet = Fleet::resolve(&config, &Inventory::default());
        let disks = assumed(&config, &fleet, Some(self.quota.into()));
        let scene = scene(&config, &fleet, disks, (from, from + DAY * self.days), TAKES, zone(&config));
        forecast(&scene, &mut |_| {})
    }

    /// What the daemon does: for each day how many runs are due and how many of them complete, and the first run that
    /// finds each quota full.
    async fn simulate(&self) -> (BTreeMap<Date, (usize, usize)>, BTreeMap<DiskId, Timestamp>) {
        let create = u64::try_from(TAKES.as_millis()).unwrap();
        let disks = (0..self.disks).map(|number| Disk { quota: self.quota, ..Disk::new(&disk(number)) });
        let world = World::new(Beginning {
            start: START.parse().unwrap(),
            config: self.config(),
            cloud: cbs_sim::World {
                credentials: vec![key(0)],
                timings: Timings { create_ms: (create, create), reply_ms: (5, 5), ..Timings::default() },
                disks: disks.collect(),
                ..cbs_sim::World::default()
            },
            network: Network::default(),
            seed: 1,
            idle: Idle { hop: Duration::from_secs(3600), watch: Duration::from_secs(3600) },
            keep_events: true,
            listener: None,
            tamper: Tamper::default(),
        })
        .unwrap();
        let daemon = world.start(&Arc::default()).await.unwrap();
        // To the end of the last day; what is under way then has half an hour.
        tokio::time::sleep(DAY * self.days + Duration::from_secs(1800)).await;
        daemon.stop().await;
        assert_eq!(world.witness.objections(), Vec::<String>::new());
        let until: Timestamp = START.parse::<Timestamp>().unwrap() + DAY * self.days;
        let mut days: BTreeMap<Date, (usize, usize)> = BTreeMap::new();
        for row in world.rows(None).await.unwrap().into_iter().filter(|row| row.run.id.due < until) {
            let (due, completed) = days.entry(TimeZone::UTC.to_datetime(row.run.id.due).date()).or_default();
            *due += 1;
            *completed += usize::from(matches!(row.run.state, State::Completed { .. }));
        }
        let mut full = BTreeMap::new();
        for event in world.log.events().iter().filter(|event| event.kind == Kind::QuotaFull) {
            let run: RunId = event.fields.run.as_ref().unwrap().parse().unwrap();
            full.entry(run.disk).or_insert(run.due);
        }
        (days, full)
    }
}

#[tokio::test(start_paused = true)]
async fn a_forecast_is_what_the_daemon_then_does() {
    for case in [
        // It breaks on the fourth day.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *' }\n",
            disks: 5,
            quota: 3,
            days: 6,
        },
        // Two are kept and one is under way: it never does.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', keep: { last: 2 } }\n",
            disks: 5,
            quota: 3,
            days: 6,
        },
        // More are to be kept than there is room for.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', keep: { last: 3 }, when_full: fail }\n",
            disks: 5,
            quota: 2,
            days: 5,
        },
        // Every six hours: the last two, and the newest of each of three days.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '0 */6 * * *', keep: { last: 2, daily: 3 } }\n",
            disks: 3,
            quota: 5,
            days: 5,
        },
        // Two jobs on the same disks, with and without an end.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', keep: { last: 2 } }\n  \
                     - { name: web, disks: [ALL], schedule: '0 12 * * *', keep: { last: 3 } }\n",
            disks: 2,
            quota: 7,
            days: 6,
        },
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', when_full: fail }\n  \
                     - { name: web, disks: [ALL], schedule: '0 12 * * *', when_full: fail }\n",
            disks: 2,
            quota: 5,
            days: 4,
        },
        // What no rule keeps once the run is good makes room; the oldest is rotated, or promoted.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', keep: { last: 3 } }\n",
            disks: 2,
            quota: 3,
            days: 6,
        },
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', when_full: rotate }\n",
            disks: 2,
            quota: 2,
            days: 5,
        },
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *', when_full: promote }\n",
            disks: 2,
            quota: 2,
            days: 5,
        },
        // A queue.
        Case {
            jobs: "  - { name: db, disks: [ALL], schedule: '30 2 * * *' }\n",
            disks: 40,
            quota: 1,
            days: 2,
        },
    ] {
        println!("{}quota {}, {} days", case.jobs, case.quota, case.days);
        let (days, full) = case.simulate().await;
        let expected = case.forecast();
        let foreseen: BTreeMap<Date, (usize, usize)> =
            expected.days.iter().map(|day| (day.date, (day.due, day.completed))).collect();
        assert_eq!(foreseen, days);
        let mut breaks: BTreeMap<DiskId, Timestamp> = BTreeMap::new();
        // The earliest comes first.
        for problem in &expected.problems {
            if matches!(problem.trouble, Trouble::QuotaFull { .. }) {
                breaks.entry(problem.disk.clone()).or_insert(problem.due);
            }
        }
        // Where the daemon fails at once, it says so in the run's end rather than by `quota.full`.
        if case.jobs.contains("fail") {
            let first_bad = days.iter().find(|(_, (due, completed))| completed < due).map(|(date, _)| *date);
            let foreseen = breaks.values().min().map(|due| TimeZone::UTC.to_datetime(*due).date());
            assert_eq!(foreseen, first_bad);
        } else if expected.problems.is_empty() {
            // Where room is made the daemon says both: that the quota was full, and what went.
            assert!(days.values().all(|(due, completed)| due == completed));
        } else {
            assert_eq!(breaks, full);
        }
    }
}

#[test]
fn ten_thousand_disks_for_a_week_are_foreseen_in_seconds() {
    let case = Case {
        jobs: "  - { name: db, disks: [ALL], schedule: '0 2 * * *', keep: { last: 3 } }\n",
        disks: 10_000,
        quota: 4,
        days: 7,
    };
    let config = case.config();
    let from: Timestamp = START.parse().unwrap();
    let fleet = Fleet::resolve(&config, &Inventory::default());
    let disks = assumed(&config, &fleet, Some(4));
    let scene = scene(&config, &fleet, disks, (from, from + DAY * 7), TAKES, zone(&config));
    let forecast = forecast(&scene, &mut |_| {});
    assert!(forecast.days.iter().all(|day| (day.due, day.completed) == (10_000, 10_000)));
    // 9,999 times 1 s / 20 and the guard of 1 ms.
    let drained = forecast.days[0].drained_at.unwrap();
    assert_eq!(drained.to_string(), "2026-11-24T02:08:29.949Z");
    assert_eq!((forecast.problems.len(), forecast.days[6].kept), (0, 30_000));
}

#[test]
fn targets_that_share_a_caller_and_a_host_share_a_lane() {
    let text = "owner: ops1\ntargets:\n  one: { region: ap-guangzhou }\n  two: { region: ap-guangzhou, rate_limit: 10 }\n  \
                three: { region: ap-shanghai }\njobs:\n\
                \x20 - { name: a, target: one, disks: [disk-1], schedule: '0 2 * * *' }\n\
                \x20 - { name: b, target: two, disks: [disk-2], schedule: '0 2 * * *' }\n\
                \x20 - { name: c, target: three, disks: [disk-3], schedule: '0 2 * * *' }\n";
    let config = Config::parse("lanes.yaml", text, &BTreeMap::new()).unwrap();
    let from: Timestamp = START.parse().unwrap();
    let fleet = Fleet::resolve(&config, &Inventory::default());
    let disks: BTreeMap<DiskId, Assumed> = assumed(&config, &fleet, None);
    let scene = scene(&config, &fleet, disks, (from, from + DAY), TAKES, zone(&config));
    assert_eq!(scene.lanes, [Duration::from_millis(101), Duration::from_millis(51)]);
    let lanes: Vec<usize> = scene.jobs.iter().map(|job| job.lane).collect();
    assert_eq!(lanes, [0, 0, 1]);
    assert_eq!(forecast(&scene, &mut |_| {}).days[0].peak_queue, 2);
}
