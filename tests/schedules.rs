//! Every row of the tables of `docs/schedules.md` is carried out.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::run::{Policy, Skip, State, WhenFull};
use backup_core::schedule::Schedule;
use backup_core::{Facts, Now, Run, Step, next_step};
use cbs_backupd::app::Settings;
use cbs_backupd::config::{Config, Job};
use cbs_backupd::journal::{Change, Inventory, Watermark};
use cbs_backupd::tasks::plan::plan;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

const PAGE: &str = include_str!("../docs/schedules.md");
const DISK: &str = "disk-1a2b3c4d";

/// The rows of the table with this head, no fewer than are known to stand there.
fn table(head: &str, rows: usize) -> Vec<Vec<&'static str>> {
    let table =
        PAGE.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    let table: Vec<Vec<&str>> =
        table.map(|row| row.trim_matches(['|', ' ']).split(" | ").map(str::trim).collect()).collect();
    assert!(table.len() >= rows, "{} rows of `{head}`", table.len());
    table
}

/// What stands in backticks.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn word(cell: &'static str) -> &'static str {
    let [word] = words(cell)[..] else { panic!("not one word in backticks: {cell}") };
    word
}

fn local(wall: &str, zone: &TimeZone) -> Timestamp {
    zone.to_timestamp(wall.parse::<DateTime>().unwrap()).unwrap()
}

/// `13:00:00` of 2026-11-24 in UTC.
fn today(time: &str) -> Timestamp {
    local(&format!("2026-11-24 {time}"), &TimeZone::UTC)
}

fn show(instant: Timestamp, zone: &TimeZone, format: &str) -> String {
    instant.to_zoned(zone.clone()).strftime(format).to_string()
}

fn dues(cron: &str, zone: &str, after: Timestamp, count: usize, format: &str) -> Vec<String> {
    let schedule = Schedule::new(cron, zone, &TimeZoneDatabase::bundled()).unwrap();
    schedule.after(after).take(count).map(|due| show(due, schedule.zone(), format)).collect()
}

fn config(schedule: &str, zone: &str) -> (Config, Job) {
    let text = format!(
        "owner: ops1\ntimezone: {zone}\ntargets:\n  default: {{ region: ap-guangzhou }}\n\
         jobs:\n  - name: db\n    disks: [{DISK}]\n    schedule: {schedule}\n"
    );
    let config = Config::parse("schedules.yaml", &text, &BTreeMap::new())
        .unwrap_or_else(|errors| panic!("{schedule}: {errors}"));
    let job = config.jobs[0].clone();
    (config, job)
}

#[test]
fn expressions_are_due_as_said() {
    for row in table("| expression | due, in UTC | read as |", 14) {
        let expected = words(row[1]);
        assert_eq!(
            dues(word(row[0]), "UTC", today("12:00:00"), expected.len(), "%m-%d %H:%M"),
            expected,
            "{row:?}"
        );
    }
}

#[test]
fn expressions_are_refused_as_said() {
    for row in table("| expression | refused with |", 10) {
        let error = Schedule::new(word(row[0]), "UTC", &TimeZoneDatabase::bundled()).unwrap_err().to_string();
        assert!(error.contains(row[1]), "{row:?}: {error}");
    }
}

#[test]
fn changes_of_clocks_are_passed_as_said() {
    for row in table("| zone | expression | after | due | rule |", 9) {
        let after = word(row[2]).replace(' ', "T").parse().unwrap();
        let expected = words(row[3]);
        let found = dues(word(row[1]), word(row[0]), after, expected.len(), "%m-%d %H:%M%:z");
        assert_eq!(found, expected, "{row:?}");
    }
}

#[test]
fn runs_start_as_said() {
    for row in table("| schedule | zone | due | starts | why |", 13) {
        let (_, job) = config(word(row[0]), word(row[1]));
        let zone = job.schedule.zone();
        let due = local(word(row[2]), zone);
        assert_eq!(
            job.schedule.next_after(due - SignedDuration::from_secs(1)),
            Some(due),
            "not due: {row:?}"
        );
        let start = job.start_at(&DISK.parse().unwrap(), None, due);
        assert_eq!(show(start, zone, "%F %T"), word(row[3]), "{row:?}");
    }
}

#[test]
fn downtime_ends_as_said() {
    for row in table("| schedule | back at | run, and its start | missed |", 11) {
        let (config, job) = config(word(row[0]), "UTC");
        let mark = Watermark {
            job: job.name.clone(),
            disk: DISK.parse().unwrap(),
            schedule: job.schedule.to_string(),
            planned_through: today("12:00:00"),
            next_due: None,
        };
        let settings = Settings::new(Arc::new(config), BTreeMap::new(), &Inventory::default());
        let planned = plan(&settings, &job, &job.schedule, &mark, today(word(row[1])));
        let Change::Plan { rows, watermark } = planned else { panic!("{row:?}") };
        assert!(watermark.next_due.unwrap() > today(word(row[1])));
        let time = |instant| show(instant, &TimeZone::UTC, "%H:%M");
        let (mut run, mut missed) = ("-".to_owned(), "-".to_owned());
        for planned in &rows {
            match &planned.run.state {
                State::Skipped { why: Skip::Missed(misses) } => {
                    missed =
                        format!("{} from `{}` to `{}`", misses.count, time(misses.from), time(misses.to));
                }
                _ => {
                    let start = show(planned.run.start_at, &TimeZone::UTC, "%T");
                    run = format!("`{}`, `{start}`", time(planned.run.id.due));
                }
            }
        }
        assert_eq!([run.as_str(), missed.as_str()], row[2..], "{row:?}");
    }
}

#[test]
fn runs_are_held_and_ended_as_said() {
    let policy = Policy {
        start_within: Duration::from_secs(6 * 3600),
        complete_within: Job::COMPLETE_WITHIN,
        settle: Duration::from_secs(300),
        when_full: WhenFull::Wait,
    };
    let run = Run::planned(format!("db/{DISK}/20261124T023000Z").parse().unwrap(), today("02:30:00"), policy);
    for row in table("| in the way | at | what the daemon does |", 12) {
        let mut facts = Facts::default();
        match row[0] {
            "nothing" => {}
            "another backup of the disk, of whatever job" => facts.disk_busy = true,
            "a later run of this job on this disk has come to its start" => facts.superseded = true,
            "a pause" => facts.paused = true,
            blackout => {
                let end = blackout.strip_prefix("a blackout until ").unwrap();
                facts.held_until = Some(today(&format!("{end}:00")));
            }
        }
        let now = Now { wall: today(word(row[1])), epoch: 1, up: Duration::ZERO, started: today("00:00:00") };
        let step = match next_step(&run, &now, facts) {
            Step::Create => "an attempt".to_owned(),
            Step::Wait(wait) => format!("waits {} s", wait.as_secs()),
            Step::Skip(why) | Step::OutOfTime(why) => format!("skips it: {why}"),
            other => format!("{other:?}"),
        };
        assert_eq!(step, row[2], "{row:?}");
    }
}
