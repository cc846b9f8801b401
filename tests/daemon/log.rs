//! The log of the real binary: nobody reads it, nobody can; journald; its level.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use rusqlite::Connection;
use serde_json::Value;

use crate::process::{Daemon, KEY, Setup, World, contains_secret, disk};

/// How many lines are in the log of each run's end.
fn ends(lines: &[Value]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for line in lines.iter().filter(|line| line["event"] == "backup.completed") {
        *ends.entry(line["run"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ends
}

/// More than a pipe holds: each run says four lines.
const DISKS: usize = 300;

fn backup_of_all(world: &World) {
    let disks: Vec<String> = (0..DISKS).map(disk).collect();
    let mut arguments = vec!["backup", "--json"];
    arguments.extend(disks.iter().map(String::as_str));
    // It waits until all are good, and the daemon is to make them so without a reader.
    let runs = world.json(&arguments);
    assert!(runs.as_array().unwrap().iter().all(|run| run["state"] == "completed"), "{runs}");
    assert_eq!(world.copies(), [1; DISKS]);
}

/// How many runs are recorded as told.
fn recorded(world: &World) -> usize {
    let journal = Connection::open(world.state_dir().join("journal.sqlite3")).unwrap();
    let count: i64 =
        journal.query_row("SELECT count(*) FROM runs WHERE reported = 1", [], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

/// Nobody reads the log. All backups are made, commands are answered, the daemon stops when it is told to; and each run's
/// end is in the log once: what was not written waits in the journal for the next daemon.
#[test]
fn a_log_that_nobody_reads_delays_nothing_and_no_end_is_lost() {
    let world = World::new(Setup { disks: DISKS, limit: 200, rate_limit: 200, ..Setup::default() });
    let mut daemon = world.daemon_with_log("info");
    backup_of_all(&world);
    assert_eq!(world.json(&["status", "--json"])["running"], true);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
    // What the pipe took, and no more.
    let mut lines = daemon.rest();
    let told = ends(&lines).len();
    assert!(told < DISKS, "the pipe took it all: this tests nothing");
    assert!(recorded(&world) <= told);

    let mut daemon = Daemon::spawn(world.command(&["run", "--log-format", "json"]));
    while ends(&lines).len() < DISKS {
        lines.push(daemon.next().unwrap());
    }
    daemon.signal("TERM");
    lines.extend(daemon.rest());
    assert_eq!(recorded(&world), DISKS);
    let ends = ends(&lines);
    // Twice only what was written when the process ended, before that could be recorded.
    assert!(ends.values().filter(|times| **times > 1).count() <= told, "{ends:?}");
}

/// The same, and somebody comes and reads before the daemon ends: each run's end is there, exactly once.
#[test]
fn a_log_that_is_read_late_has_each_end_once() {
    let world = World::new(Setup { disks: DISKS, limit: 200, rate_limit: 200, ..Setup::default() });
    let mut daemon = world.daemon_with_log("info");
    backup_of_all(&world);
    assert!(recorded(&world) < DISKS, "the pipe took it all: this tests nothing");
    let mut lines = Vec::new();
    while ends(&lines).len() < DISKS {
        lines.push(daemon.next().unwrap());
    }
    daemon.signal("TERM");
    lines.extend(daemon.rest());
    assert_eq!(daemon.exit_code(), Some(0));
    assert_eq!(recorded(&world), DISKS);
    let ends = ends(&lines);
    assert_eq!((ends.len(), ends.values().max()), (DISKS, Some(&1)));
}

/// The reader has gone: every write fails from now on.
#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    let world = World::new(Setup::default());
    let mut child = {
        let mut command = world.command(&["run", "--log-format", "json"]);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    drop(child.stderr.take());
    // It holds the lock from its start on; a backup is made by it, or by the command itself before.
    while world.json(&["status", "--json"])["running"] != true {}
    assert_eq!(world.json(&["backup", &disk(0), "--json"])[0]["state"], "completed");
    assert_eq!(recorded(&world), 0, "nobody was told");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut daemon = Daemon::spawn(world.command(&["run", "--log-format", "json"]));
    daemon.until("backup.completed");
}

/// Under journald, but nobody listens there: JSON on standard error, and it is said.
#[test]
fn without_a_journald_the_log_goes_to_standard_error() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return println!("skipped: this machine has a journald");
    }
    let world = World::new(Setup::default());
    let path = world.folder.path().join("stderr");
    for (format, stream, falls_back) in
        [("journald", false, true), ("auto", true, true), ("auto", false, false)]
    {
        let stderr = std::fs::File::create(&path).unwrap();
        let about = stderr.metadata().unwrap();
        let stream = if stream { format!("{}:{}", about.dev(), about.ino()) } else { "1:1".to_owned() };
        let mut command = world.command(&["backup", &disk(0), "--log-format", format]);
        let output = command.env("JOURNAL_STREAM", stream).stderr(stderr).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let said = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ends(&lines).len(), 1, "{said}");
        assert_eq!(said.contains("journald cannot be reached"), falls_back, "{format} {said}");
    }
}

#[test]
fn the_level_is_changed_by_a_reload_and_by_a_command() {
    let world = World::new(Setup::default());
    let config = std::fs::read_to_string(world.config()).unwrap();
    let with_level =
        |level: &str| std::fs::write(world.config(), format!("{config}log: {{ level: {level} }}\n"));
    with_level("warn").unwrap();
    let mut daemon = Daemon::spawn(world.command(&["run", "--log-format", "json"]));
    while world.json(&["status", "--json"])["running"] != true {}
    let shown = |arguments: &[&str]| {
        let output = world.run(arguments);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    assert_eq!(shown(&["log-level"]), (Some(0), "warn, by configuration\n".to_owned()));

    with_level("info").unwrap();
    daemon.signal("HUP");
    assert_eq!(daemon.until("log.level")["message"], "logged from now on: info, by configuration");
    daemon.until("daemon.reloaded");
    with_level("loud").unwrap();
    daemon.signal("HUP");
    let rejected = daemon.until("daemon.reload_rejected");
    assert!(
        rejected["message"].as_str().unwrap().contains("`level`: expected a level (error, warn"),
        "{rejected}"
    );
    with_level("info").unwrap();

    let (code, said) = shown(&["log-level", "off,cbs_backupd=trace", "--for", "1h"]);
    assert!(code == Some(0) && said.starts_with("off,cbs_backupd=trace, by request until 20"), "{said}");
    let said = daemon.until("log.level");
    assert_eq!((&said["reason"], &said["level"]), (&"request".into(), &"INFO".into()));
    assert_eq!(shown(&["log-level", "--reset"]), (Some(0), "info, by configuration\n".to_owned()));
    daemon.until("log.level");
    // A request ends by itself.
    assert_eq!(shown(&["log-level", "error", "--for", "1s"]).0, Some(0));
    assert_eq!(daemon.until("log.level")["reason"], "request");
    assert_eq!(daemon.until("log.level")["message"], "logged from now on: info, by configuration");

    for (filter, named) in
        [("loud", "`loud` is no level"), ("cbs=", "`` is no level"), ("a b=info", "`a b` is no name")]
    {
        let (code, said) = shown(&["log-level", filter]);
        assert!(code == Some(2) && said.contains(named), "{said}");
        let (code, said) = shown(&["status", "--log-level", filter]);
        assert!(code == Some(2) && said.contains(named), "{said}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
    let (code, said) = shown(&["log-level"]);
    assert!(code == Some(1) && said.contains("no daemon runs"), "{said}");
}

/// Everything that any module says, the libraries' too.
#[test]
fn at_trace_level_no_secret_is_logged_and_neither_is_what_is_signed_with_it() {
    let world = World::new(Setup::default());
    let mut daemon = world.daemon_with_log("trace");
    assert_eq!(world.json(&["backup", &disk(0), "--json"])[0]["state"], "completed");
    daemon.signal("TERM");
    let lines = daemon.rest();
    assert_eq!(ends(&lines).len(), 1);
    let said: String = lines.iter().map(ToString::to_string).collect();
    assert!(said.contains("TRACE"), "the level is in force");
    assert!(!contains_secret(said.as_bytes()) && !said.contains(KEY));
    for word in ["Signature=", "TC3-HMAC-SHA256 Credential", "TENCENTCLOUD_SECRET_KEY"] {
        assert!(!said.contains(word), "{word}");
    }
}
