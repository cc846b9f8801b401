//! Due instants of two years against croniter's: an oracle that shares neither code nor time zone library with
//! ours. `survivors` does the same for what is kept.
//!
//! `instants.txt` is what `instants.py` writes. Where croniter's rules are not ours, `differences.txt`, written by
//! hand, says what ours lacks (`-`) and has besides (`+`), and why.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod survivors;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use backup_core::schedule::Schedule;
use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};

/// Cron expression and zone.
type Key = (String, String);
/// Minutes since 1970.
type Minutes = BTreeSet<i64>;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle");
const PERIOD: [&str; 2] = ["2026-01-01T00:00Z", "2028-01-01T00:00Z"];
const NEAR: i64 = 2 * 24 * 60;

fn minute(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second() / 60
}

fn columns(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}

/// What croniter has due besides and instead, by hand.
#[derive(Default)]
struct Difference {
    theirs: Minutes,
    ours: Minutes,
}

fn differences() -> BTreeMap<Key, Difference> {
    let mut all: BTreeMap<Key, Difference> = BTreeMap::new();
    for line in
        include_str!("differences.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let [cron, zone, instants, reason] = columns(line)[..] else { panic!("not four columns: {line}") };
        assert!(!reason.is_empty(), "no reason: {line}");
        let difference = all.entry((cron.to_owned(), zone.to_owned())).or_default();
        for instant in instants.split(' ') {
            let side = if instant.starts_with('-') { &mut difference.theirs } else { &mut difference.ours };
            assert!(side.insert(minute(&instant[1..])), "twice: {line}");
        }
    }
    all
}

fn ours(cron: &str, zone: &str) -> Minutes {
    let [from, to] = PERIOD.map(|end| end.parse::<Timestamp>().unwrap());
    let schedule = Schedule::new(cron, zone, &TimeZoneDatabase::bundled()).unwrap();
    let dues: Vec<Timestamp> =
        schedule.after(from - SignedDuration::from_secs(1)).take_while(|due| *due < to).collect();
    assert!(dues.is_sorted_by(|a, b| a < b), "{cron} {zone}");
    dues.into_iter().map(|due| due.as_second() / 60).collect()
}

fn check(instants: &Minutes) -> i64 {
    instants.iter().fold(0, |check, minute| (check * 31 + minute) % ((1 << 31) - 1))
}

/// Reads an instant and steps such as `2026-03-27T01:00Z 96x60`.
fn read_near(text: &str) -> Minutes {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let Some(first) = words.next().filter(|word| *word != "-") else { return Minutes::new() };
    let mut instants = vec![minute(first)];
    for word in words {
        let (count, step) = word.split_once('x').unwrap();
        for _ in 0..count.parse().unwrap() {
            instants.push(instants.last().unwrap() + step.parse::<i64>().unwrap());
        }
    }
    instants.into_iter().collect()
}

/// The instants at which the zone's offset changes in the period.
fn changes(zone: &str) -> Vec<i64> {
    let [from, to] = PERIOD.map(|end| end.parse::<Timestamp>().unwrap());
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let changes = zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < to);
    changes.map(|at| at.as_second() / 60).collect()
}

fn show(minutes: &Minutes) -> String {
    let show = |minute: &i64| Timestamp::from_second(minute * 60).unwrap().strftime("%FT%H:%MZ").to_string();
    minutes.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn due_instants_are_croniters_but_for_the_differences() {
    let mut differences = differences();
    let mut rows = 0;
    let mut faults = Vec::new();
    for line in include_str!("instants.txt").lines() {
        let [cron, zone, count, expected, near] = columns(line)[..] else {
            panic!("not five columns: {line}")
        };
        rows += 1;
        let difference = differences.remove(&(cron.to_owned(), zone.to_owned())).unwrap_or_default();
        let ours = ours(cron, zone);
        assert!(difference.ours.is_subset(&ours) && difference.theirs.is_disjoint(&ours), "{cron} | {zone}");
        // What croniter should have, if the differences are all there are.
        let theirs: Minutes = ours.difference(&difference.ours).chain(&difference.theirs).copied().collect();
        let changes = changes(zone);
        let windows: Vec<Minutes> = near.split(',').map(read_near).filter(|_| !changes.is_empty()).collect();
        assert_eq!(windows.len(), changes.len(), "{zone} changes its offset at other times than croniter's");
        for (change, window) in changes.iter().zip(&windows) {
            let theirs: Minutes = theirs.range(change - NEAR..=change + NEAR).copied().collect();
            if theirs != *window {
                faults.push(format!(
                    "{cron} | {zone} | croniter alone: {} | ours alone: {}",
                    show(&(window - &theirs)),
                    show(&(&theirs - window)),
                ));
            }
        }
        if (theirs.len().to_string(), check(&theirs).to_string()) != (count.to_owned(), expected.to_owned()) {
            faults.push(format!("{cron} | {zone} | {} instants, croniter has {count}", theirs.len()));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(differences.is_empty(), "differences of no row: {:?}", differences.keys());
    assert!(rows >= 150);
}

/// Run after a change of `instants.py`, or of the zones' rules.
#[test]
#[ignore = "takes python3, a package index, and a minute; writes instants.txt anew"]
fn instants_txt_is_what_croniter_says() {
    let folder = Path::new(FOLDER);
    let instants = vendor_clients::run(env!("CARGO_TARGET_TMPDIR"), folder.join("instants.py"), &[], "");
    if instants != include_str!("instants.txt") {
        fs::write(folder.join("instants.txt"), instants).unwrap();
        panic!("instants.txt was another; it is written anew");
    }
}
