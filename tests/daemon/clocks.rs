//! The wall clock of the real daemon is wrong, or is set while it runs. The cloud's is right throughout.
//!
//! libfaketime answers the daemon's questions for the wall clock, and leaves the monotonic one alone. Where a test
//! wants a backup to be due, it sets the clock to shortly before: within the five minutes that are tolerated.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;

use crate::process::{Daemon, Setup, World};

/// The schedule's period, in seconds.
const EVERY: i64 = 120;
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// A daemon whose wall clock is ahead of all others by what a file says, in seconds.
struct Displaced {
    daemon: Daemon,
    log: Vec<Value>,
    world: World,
}

impl Displaced {
    fn by(ahead: i64) -> Self {
        let schedule = format!("*/{} * * * *", EVERY / 60);
        let world = World::new(Setup { schedule, ..Setup::default() });
        let mut command = world.command(&["run", "--log-format", "json", "--log-level", "info"]);
        command
            .env("LD_PRELOAD", libfaketime())
            .env("FAKETIME_TIMESTAMP_FILE", world.folder.path().join("ahead"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        set(&world, ahead);
        let mut displaced = Self { daemon: Daemon::spawn(command), log: Vec::new(), world };
        let ready = displaced.until("daemon.ready");
        // Or nothing below would be shown.
        let says: Timestamp = ready["timestamp"].as_str().unwrap().parse().unwrap();
        assert!((says.as_second() - now() - ahead).abs() < 60, "libfaketime has no effect: {ready}");
        displaced
    }

    /// Sets the clock.
    fn set(&self, ahead: i64) {
        set(&self.world, ahead);
    }

    /// Sets the clock to so many seconds after an instant.
    fn set_to(&self, instant: i64, seconds: i64) {
        self.set(instant + seconds - now());
    }

    fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self.daemon.next();
            let line = line.unwrap_or_else(|| panic!("the log ended before {event}: {:#?}", self.log));
            self.log.push(line.clone());
            if line["event"] == event {
                return line;
            }
        }
    }

    fn said(&self, event: &str) -> usize {
        self.log.iter().filter(|line| line["event"] == event).count()
    }

    /// The clock is wrong, and stays so for a while: the cloud is asked again and again, and that is all.
    fn is_wrong(&mut self) {
        let planned = self.said("run.planned");
        self.until("clock.wrong");
        let requests = || self.world.ledger().requests.len();
        let (before, creates) = (requests(), self.creates());
        while requests() < before + 2 {}
        assert_eq!((self.said("run.planned"), self.creates()), (planned, creates));
    }

    /// The clock was set, within what is tolerated: an epoch has begun with it.
    fn is_believed_anew(&mut self, before: i64) {
        self.until("clock.stepped");
        while self.epoch() == before {}
    }

    fn epoch(&self) -> i64 {
        let journal = Connection::open(self.world.state_dir().join("journal.sqlite3")).unwrap();
        journal.query_row("SELECT number FROM epoch", [], |row| row.get(0)).unwrap()
    }

    fn creates(&self) -> usize {
        self.world.ledger().requests_of("CreateDiskBackup").count()
    }

    /// Stops it. Of these due instants, and of no others, there is a run; each made one backup with one create.
    fn has_made(mut self, dues: &[i64]) {
        self.daemon.signal("TERM");
        self.log.extend(std::iter::from_fn(|| self.daemon.next()));
        assert_eq!(self.daemon.exit_code(), Some(0));
        let history = self.world.json(&["history", "--json"]);
        let runs = history.as_array().unwrap().iter().rev();
        let runs: Vec<_> = runs.map(|run| (run["due"].as_str().unwrap(), &run["state"])).collect();
        let at = |second: &i64| Timestamp::from_second(*second).unwrap().to_string();
        let expected: Vec<String> = dues.iter().map(at).collect();
        assert!(runs.iter().all(|(_, state)| *state == "completed"), "{history:#}");
        assert_eq!(runs.iter().map(|(due, _)| *due).collect::<Vec<_>>(), expected, "{:#?}", self.log);
        assert_eq!((self.creates(), self.world.copies()), (dues.len(), vec![dues.len()]));
        assert_eq!(self.said("daemon.fault"), 0, "{:#?}", self.log);
    }
}

#[expect(clippy::disallowed_methods, reason = "the daemon's clock is set by the difference to the true one")]
fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The next due instant, by the true clock.
fn next_due() -> i64 {
    (now() / EVERY + 1) * EVERY
}

fn set(world: &World, ahead: i64) {
    let file = world.folder.path().join("ahead");
    // The daemon reads it at every look at the clock, and must not find half of it.
    fs::write(file.with_extension("new"), format!("{ahead:+}\n")).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
}

fn libfaketime() -> PathBuf {
    let folders = ["/usr/lib", "/usr/lib64"].into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    let folders = folders.flatten().map(|entry| entry.unwrap().path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("libfaketime is needed: install Debian's package faketime")
}

#[test]
fn a_clock_that_is_a_year_ahead_at_the_start_plans_and_makes_nothing_until_it_is_right() {
    let mut displaced = Displaced::by(YEAR);
    displaced.is_wrong();
    assert_eq!((displaced.said("run.planned"), displaced.creates()), (0, 0));
    let due = next_due();
    displaced.set_to(due, -3);
    displaced.until("clock.stepped");
    displaced.until("clock.right");
    displaced.until("backup.completed");
    displaced.has_made(&[due]);
}

#[test]
fn a_clock_that_jumps_by_an_hour_and_back_while_it_runs_makes_each_due_backup_once() {
    let first = next_due();
    let mut displaced = Displaced::by(first - 10 - now());
    displaced.until("backup.completed");
    // By the daemon's clock the first one is over; the second one is due in less than two minutes.
    for jump in [HOUR, -HOUR] {
        displaced.set_to(first, 10 + jump);
        displaced.until("clock.stepped");
        displaced.is_wrong();
        displaced.set_to(first, 10);
        displaced.until("clock.right");
    }
    // The same again within what is tolerated: before the first one, and to shortly before the second.
    for seconds in [-30, EVERY - 3] {
        let epoch = displaced.epoch();
        displaced.set_to(first, seconds);
        displaced.is_believed_anew(epoch);
    }
    displaced.until("backup.completed");
    displaced.has_made(&[first, first + EVERY]);
}
