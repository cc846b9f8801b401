//! `cargo bench --bench ten_thousand_disks`: ten thousand disks of three accounts in four regions, found by their tag
//! and due at one instant, in real time, over TCP, the daemon and the simulator as processes of their own. Prints what
//! was seen and asserts what must hold at any speed; figures are for people to compare.

#![expect(clippy::unwrap_used, reason = "a failure ends the benchmark")]

#[path = "../tests/process/mod.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod process;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use process::{Daemon, KEY, simulator};

const DISKS: usize = 10_000;
const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
/// By whatever name it is called, the simulator counts a local caller's requests in one bucket: four times the limit of
/// one region.
const REGIONS: [(&str, &str); 4] = [
    ("ap-guangzhou", "127.0.0.1"),
    ("ap-shanghai", "127.0.0.2"),
    ("ap-beijing", "127.0.0.3"),
    ("ap-singapore", "127.0.0.4"),
];
/// What the daemon may have at most.
const MOST_MIB: f64 = 64.0;

struct Simulator(Child);

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("world.json"), world()).unwrap();
    let mut simulator = Command::new(simulator());
    simulator.arg("--state").arg(path("world.json")).args(["--listen", "0.0.0.0:0"]).stdout(Stdio::piped());
    let mut simulator = Simulator(simulator.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(simulator.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().rsplit(':').next().unwrap().parse().unwrap();

    let start_at = next_minute();
    let keys = ACCOUNTS.map(|a| format!("[{a}]\nsecret_id = AKID-{a}\nsecret_key = {KEY}\n"));
    std::fs::write(path("credentials"), keys.concat()).unwrap();
    std::fs::write(path("config.yaml"), config(folder.path(), port, start_at)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cbs-backupd"));
    command.args(["run", "--log-format", "json", "--config"]).arg(path("config.yaml"));
    let mut daemon = Daemon::spawn(command);

    let (mut joined, mut requested, mut completed) = (0, 0, 0);
    let (mut idle, mut last) = (0.0, start_at);
    while completed < DISKS {
        let line = daemon.next().unwrap();
        match line["event"].as_str() {
            Some("disk.joined") => joined += 1,
            Some("run.planned") if idle == 0.0 => idle = resident(&daemon, "VmRSS:"),
            Some("backup.requested") => {
                requested += 1;
                last = line["timestamp"].as_str().unwrap().parse().unwrap();
            }
            Some("backup.completed") => completed += 1,
            Some("backup.failed" | "daemon.fault" | "discover.failed" | "lane.throttled") => panic!("{line}"),
            _ => {}
        }
    }
    let most = resident(&daemon, "VmHWM:");
    println!(
        "| disks | asked for within | resident when due | resident at most | of that, the program's file | CPU |"
    );
    println!("|---|---|---|---|---|---|");
    println!(
        "| {joined} | {:.1} s | {idle:.1} MiB | {most:.1} MiB | {:.1} MiB | {:.1} s |",
        last.duration_since(start_at).as_secs_f64(),
        resident(&daemon, "RssFile:"),
        cpu(&daemon)
    );
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
    assert_eq!((joined, requested), (DISKS, DISKS));
    assert!(most < MOST_MIB, "{most:.1} MiB");
}

fn world() -> String {
    let limit = 20 * REGIONS.len();
    let keys =
        ACCOUNTS.map(|a| format!(r#"{{"secret_id":"AKID-{a}","secret_key":"{KEY}","identity":"{a}"}}"#));
    let disks = (0..DISKS).map(|number| {
        let (account, (region, _)) = (ACCOUNTS[number % 3], REGIONS[number / 3 % 4]);
        format!(
            r#"{{"id":"disk-{number:08x}","name":"data-{number}","account":"{account}","region":"{region}","instances":["ins-{number:08x}"],"tags":{{"backup":"nightly","team":"storage"}}}}"#
        )
    });
    format!(
        r#"{{"seed":3,"credentials":[{}],"rate_limits":{{"CreateDiskBackup":{limit},"DescribeDiskBackups":{limit},"DescribeDisks":400}},
            "timings":{{"create_ms":[20000,40000],"visible_ms":[0,300],"reply_ms":[1,10]}},"disks":[{}]}}"#,
        keys.join(","),
        disks.collect::<Vec<_>>().join(",")
    )
}

fn config(folder: &std::path::Path, port: u16, start_at: Timestamp) -> String {
    let civil = start_at.to_zoned(TimeZone::UTC);
    let (minute, hour) = (civil.minute(), civil.hour());
    let (mut targets, mut jobs) = (String::new(), String::new());
    let file = folder.join("credentials").display().to_string();
    for account in ACCOUNTS {
        for (region, address) in REGIONS {
            let name = format!("{account}-{region}");
            writeln!(
                targets,
                "  {name}: {{ region: {region}, endpoint: \"http://{address}:{port}\", credentials: {{ source: file, path: {file}, profile: {account} }} }}"
            )
            .unwrap();
            writeln!(
                jobs,
                "  - {{ name: {name}, target: {name}, select: {{ tags: {{ backup: nightly }} }}, schedule: \"{minute} {hour} * * *\" }}"
            )
            .unwrap();
        }
    }
    let state_dir = folder.join("state").display().to_string();
    format!("owner: ops1\ntimezone: UTC\nstate_dir: {state_dir}\ntargets:\n{targets}jobs:\n{jobs}")
}

/// The beginning of a minute, far enough away for all disks to have been listed.
fn next_minute() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let now = Timestamp::now().to_zoned(TimeZone::UTC).checked_add(Duration::from_secs(30)).unwrap();
    now.checked_add(1.minute()).unwrap().with().second(0).subsec_nanosecond(0).build().unwrap().timestamp()
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
