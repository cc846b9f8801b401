//! `cargo bench --bench thousand_disks`: a thousand disks due at one instant, in real time, over TCP, the daemon
//! and the simulator as processes of their own. Prints what was seen and asserts what must hold at any speed;
//! figures are for people to compare.

#![expect(clippy::unwrap_used, reason = "a failure ends the benchmark")]

#[path = "../tests/process/mod.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod process;

use std::time::Duration;

use cbs_sim::Ledger;
use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};
use process::{Daemon, Setup, World};

const CREATE: &str = "CreateDiskBackup";
const DISKS: usize = 1_000;

fn main() {
    println!(
        "| case | accepted within | peak arrivals in any second | throttled | duplicates | missing | resident idle | resident at most | CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    // Ideal: 50 s. Nobody else uses the bucket.
    night(20, None);
    // Somebody else uses half of it, for a minute.
    night(10, Some(Duration::from_secs(60)));
}

/// All disks, once. The cloud allows `limit` calls a second; after `shared_for`, 20.
fn night(limit: u32, shared_for: Option<Duration>) {
    let start_at = next_minute();
    let civil = start_at.to_zoned(TimeZone::UTC);
    let schedule = format!("{} {} * * *", civil.minute(), civil.hour());
    let world = World::new(Setup { disks: DISKS, limit, rate_limit: 20, schedule, ..Setup::default() });
    let mut daemon = world.daemon_with_log("info");
    // What an idle daemon has.
    wait_until(start_at - SignedDuration::from_secs(1));
    let idle = resident(&daemon, "VmRSS:");
    let log = std::thread::scope(|scope| {
        if let Some(shared_for) = shared_for {
            let world = &world;
            scope.spawn(move || {
                sleep(shared_for);
                world.ask("POST", "/_sim/limits", r#"{"CreateDiskBackup": 20}"#);
            });
        }
        let mut log = Vec::new();
        let mut completed = 0;
        while completed < DISKS {
            let line = daemon.next().unwrap();
            completed += usize::from(line["event"] == "backup.completed");
            log.push(line);
        }
        log
    });
    let (most, cpu) = (resident(&daemon, "VmHWM:"), cpu(&daemon));
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));

    let ledger = world.ledger();
    let accepted = |ledger: &Ledger| {
        ledger.requests_of(CREATE).filter(|request| request.executed).map(|r| r.arrival).max()
    };
    let took = accepted(&ledger).unwrap().duration_since(start_at).as_secs_f64();
    let throttled = ledger.requests_of(CREATE).filter(|request| request.code.is_some()).count();
    let copies = world.copies();
    let duplicates = copies.iter().filter(|copies| **copies > 1).count();
    let missing = copies.iter().filter(|copies| **copies == 0).count();
    let peak = ledger.peak_arrivals_in_any_second(CREATE);
    let case = shared_for.map_or_else(
        || format!("limit {limit}/s"),
        |shared_for| format!("limit {limit}/s for {} s, then 20/s", shared_for.as_secs()),
    );
    println!(
        "| {case} | {took:.1} s | {peak} | {throttled} | {duplicates} | {missing} | {idle:.1} MiB | {most:.1} MiB | {cpu:.1} s |"
    );
    if shared_for.is_some() {
        rates(&ledger, start_at);
    }
    for line in
        log.iter().filter(|line| line["event"].as_str().is_some_and(|event| event.starts_with("lane.")))
    {
        println!("  {} {}", line["timestamp"], line["message"]);
    }
    assert_eq!((duplicates, missing), (0, 0));
}

/// Arrivals and refusals in each ten seconds.
fn rates(ledger: &Ledger, start_at: Timestamp) {
    let tens = |refused: bool| {
        let mut tens = Vec::new();
        for request in ledger.requests_of(CREATE).filter(|request| request.code.is_some() == refused) {
            let ten = usize::try_from(request.arrival.duration_since(start_at).as_secs() / 10).unwrap_or(0);
            tens.resize(tens.len().max(ten + 1), 0);
            tens[ten] += 1;
        }
        tens
    };
    println!("  accepted in each ten seconds: {:?}", tens(false));
    println!("  throttled in each ten seconds: {:?}", tens(true));
}

/// The beginning of a minute, far enough away for the processes to have started.
fn next_minute() -> Timestamp {
    let now = now().to_zoned(TimeZone::UTC).checked_add(12.seconds()).unwrap();
    now.checked_add(1.minute()).unwrap().with().second(0).subsec_nanosecond(0).build().unwrap().timestamp()
}

fn wait_until(instant: Timestamp) {
    sleep(Duration::try_from(instant.duration_since(now())).unwrap_or_default());
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// MiB, from the line of this name in the process's status.
fn resident(daemon: &Daemon, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let kib = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Seconds of processor time, user and system.
fn cpu(daemon: &Daemon) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
