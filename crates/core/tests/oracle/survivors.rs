//! What a year of backups leaves behind, against a reckoning that shares neither code nor method with ours:
//! `survivors.txt` is what `survivors.py` writes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use backup_core::run::Sighting;
use backup_core::schedule::Schedule;
use backup_core::{
    RunId,
    retention::{Keep, Point, PointId, Verdict, plan},
};
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::{FOLDER, columns};

fn keep(text: &str) -> Keep {
    let mut keep = Keep::default();
    for rule in text.split(' ') {
        let (rule, count) = rule.split_once('=').unwrap();
        let count: u32 = count.parse().unwrap();
        match rule {
            "last" => keep.last = count,
            "within" => keep.within = Some(Duration::from_secs(u64::from(count) * 3600)),
            "hourly" => keep.hourly = count,
            "daily" => keep.daily = count,
            "weekly" => keep.weekly = count,
            "monthly" => keep.monthly = count,
            "yearly" => keep.yearly = count,
            other => panic!("{other}"),
        }
    }
    keep
}

fn is_made(index: usize) -> bool {
    index % 11 != 3 && !(180..200).contains(&index)
}

/// What is left after each backup that is made, in turn.
fn survivors(dues: impl Iterator<Item = Timestamp>, keep: &Keep, zone: &TimeZone) -> Vec<Vec<Timestamp>> {
    let mut there: Vec<Point> = Vec::new();
    let mut all = Vec::new();
    for (index, due) in dues.enumerate().filter(|(index, _)| is_made(*index)) {
        let run = RunId { job: "db".parse().unwrap(), disk: "disk-1a2b3c4d".parse().unwrap(), due };
        let id = PointId::Backup(format!("dbp-{index}").parse().unwrap());
        there.push(Point { id, run, sighting: Sighting::Normal });
        let now = due + SignedDuration::from_mins(20);
        for (id, verdict) in plan(&there, &|_| Some((keep.clone(), zone.clone())), now) {
            if verdict == Verdict::Delete {
                there.retain(|point| point.id != id);
            }
        }
        all.push(there.iter().map(|point| point.run.due).collect());
    }
    all
}

#[test]
fn what_a_year_of_backups_leaves_is_what_counting_says() {
    let mut rows = 0;
    for line in include_str!("survivors.txt").lines() {
        let [cron, zone_name, first, days, rules, made, check, left] = columns(line)[..] else {
            panic!("not eight columns: {line}")
        };
        let zones = TimeZoneDatabase::bundled();
        let (zone, schedule) =
            (zones.get(zone_name).unwrap(), Schedule::new(cron, zone_name, &zones).unwrap());
        let first: Date = first.parse().unwrap();
        let end = first.checked_add(days.parse::<i64>().unwrap().days()).unwrap();
        let [from, to] = [first, end].map(|date| date.to_zoned(zone.clone()).unwrap().timestamp());
        let dues = schedule.after(from - SignedDuration::from_secs(1)).take_while(|due| *due < to);
        let all = survivors(dues, &keep(rules), &zone);
        let ours =
            all.iter().flatten().fold(0, |check, due| (check * 31 + due.as_second() / 60) % ((1 << 31) - 1));
        let last: Vec<String> =
            all.last().unwrap().iter().map(|due| due.strftime("%FT%H:%MZ").to_string()).collect();
        assert_eq!(last.join(" "), left, "{cron} | {zone_name} | {rules}");
        assert_eq!((all.len().to_string(), ours.to_string()), (made.to_owned(), check.to_owned()), "{line}");
        rows += 1;
    }
    assert!(rows >= 40);
}

/// Run after a change of `survivors.py`, or of the zones' rules.
#[test]
#[ignore = "takes python3 and a package index; writes survivors.txt anew"]
fn survivors_txt_is_what_counting_says() {
    let folder = Path::new(FOLDER);
    let survivors = vendor_clients::run(env!("CARGO_TARGET_TMPDIR"), folder.join("survivors.py"), &[], "");
    if survivors != include_str!("survivors.txt") {
        fs::write(folder.join("survivors.txt"), survivors).unwrap();
        panic!("survivors.txt was another; it is written anew");
    }
}
