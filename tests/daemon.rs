//! The real binary, over TCP, against the simulator as a program: signals, commands beside a running daemon and
//! without one, crashes, secrets.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;

const KEY: &str = "the-secret-key-that-nobody-may-see";

/// A simulator, a configuration and a state directory.
struct World {
    folder: TempDir,
    sim: Child,
    url: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.sim.kill();
        let _ = self.sim.wait();
    }
}

impl World {
    fn new(disks: usize, limit: u32, faults: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<String> = (0..disks).map(disk).collect();
        let state = folder.path().join("world.json");
        let listed = ids.iter().map(|id| format!(r#"{{"id":"{id}"}}"#)).collect::<Vec<_>>().join(",");
        let world = format!(
            r#"{{"seed":3,"credentials":[{{"secret_id":"AKIDtest","secret_key":"{KEY}"}}],
                "rate_limits":{{"CreateDiskBackup":{limit},"DescribeDiskBackups":{limit}}},
                "timings":{{"create_ms":[200,600],"visible_ms":[0,300],"reply_ms":[1,10]}},
                "disks":[{listed}],"faults":{faults}}}"#
        );
        std::fs::write(&state, world).unwrap();
        let mut sim =
            Command::new(simulator()).arg("--state").arg(&state).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let world = Self { folder, sim, url };
        world.configure(&format!("[{}]", ids.join(", ")), limit);
        world
    }

    fn configure(&self, disks: &str, limit: u32) {
        // Never due by itself in the time of a test: runs are asked for.
        let text = format!(
            "owner: ops1\nstate_dir: {}\nsettle: 2s\nretry:\n  passing: {{ shortest: 100ms, first: 500ms, longest: 2s }}\n  \
             busy: {{ shortest: 100ms, first: 500ms, longest: 2s }}\n\
             targets:\n  default: {{ region: ap-guangzhou, endpoint: \"{}\", rate_limit: {limit}, call_timeout: 1s }}\n\
             jobs:\n  - name: db\n    disks: {disks}\n    schedule: \"0 0 29 2 *\"\n",
            self.folder.path().join("state").display(),
            self.url
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cbs-backupd"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env("TENCENTCLOUD_SECRET_ID", "AKIDtest")
            .env("TENCENTCLOUD_SECRET_KEY", KEY);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!contains_secret(&output.stdout) && !contains_secret(&output.stderr));
        output
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts the daemon; returns when it says that it is ready.
    fn daemon(&self) -> Daemon {
        self.daemon_with_log("trace,hyper=info,hyper_util=info")
    }

    fn daemon_with_log(&self, level: &str) -> Daemon {
        let mut command = self.command(&["run", "--log-format", "json", "--log-level", level]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Daemon { child, log, last: Value::Null };
        daemon.until("daemon.ready");
        daemon
    }

    fn ledger(&self) -> Value {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /_sim/ledger HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let body = reply.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap()
    }

    /// How many backups each of the disks has.
    fn copies(&self, disks: usize) -> Vec<usize> {
        let ledger = self.ledger();
        let backups = ledger["backups"].as_array().unwrap();
        (0..disks).map(|n| backups.iter().filter(|backup| backup["disk_id"] == disk(n)).count()).collect()
    }
}

/// A running daemon and its log.
struct Daemon {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    last: Value,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Reads the log up to an event.
    fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self.next().unwrap_or_else(|| panic!("the log ended before {event}: {:?}", self.last));
            if line["event"] == event {
                return line;
            }
            self.last = line;
        }
    }

    /// The next line of the log.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.log.read_line(&mut line).unwrap();
        assert!(!contains_secret(line.as_bytes()), "{line}");
        (read > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

fn disk(number: usize) -> String {
    format!("disk-{number:08x}")
}

fn contains_secret(bytes: &[u8]) -> bool {
    bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes())
}

/// Built beside the daemon's own binary, by `cargo test --workspace`.
fn simulator() -> PathBuf {
    let simulator = PathBuf::from(env!("CARGO_BIN_EXE_cbs-backupd")).with_file_name("cbs-sim");
    if !simulator.exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "-q", "-p", "cbs-sim", "--bin", "cbs-sim"]).status();
        assert!(built.unwrap().success());
    }
    simulator
}

const LOST_REPLY: &str =
    r#"[{"action":"CreateDiskBackup","which":{"nth":1},"effect":{"timeout":{"executed":true}}}]"#;

#[test]
fn a_backup_without_a_daemon_is_followed_to_its_end_through_a_lost_reply() {
    let world = World::new(2, 20, LOST_REPLY);
    let output = world.run(&["backup", &disk(0), "--json", "--request-id", "once"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("backup.adopted"));
    let runs: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&runs[0]["state"], &runs[0]["attempts"]), (&"completed".into(), &1.into()));
    // A repeat with the same id waits for the same run.
    let again = world.json(&["backup", &disk(0), "--json", "--request-id", "once"]);
    assert_eq!(again[0]["run"], runs[0]["run"]);
    assert_eq!(world.copies(2), [1, 0]);
    let history = world.json(&["history", "--json"]);
    assert_eq!((history.as_array().unwrap().len(), &history[0]["backup_id"]), (1, &runs[0]["backup_id"]));
    // The journal holds no secret.
    for entry in std::fs::read_dir(world.folder.path().join("state")).unwrap() {
        assert!(!contains_secret(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
}

#[test]
fn commands_work_beside_a_running_daemon() {
    let world = World::new(3, 20, "[]");
    let mut daemon = world.daemon();
    let held = world.run(&["run"]);
    assert_eq!(held.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&held.stderr).contains(&format!("process {}", daemon.child.id())));

    let runs = world.json(&["backup", &disk(0), &disk(1), "--json"]);
    assert!(runs.as_array().unwrap().iter().all(|run| run["state"] == "completed"), "{runs}");
    daemon.until("backup.completed");
    let status = world.json(&["status", "--json"]);
    assert_eq!((&status["running"], &status["late"]), (&true.into(), &Value::Array(vec![])));

    // A paused disk's run waits; resumed, it goes on.
    assert_eq!(world.run(&["pause", "--disk", &disk(2)]).status.code(), Some(0));
    let waiting = world.json(&["backup", &disk(2), "--json", "--no-wait"]);
    assert_eq!(waiting[0]["state"], "planned");
    daemon.until("run.planned");
    assert_eq!(world.copies(3), [1, 1, 0]);
    assert_eq!(world.run(&["resume", "--disk", &disk(2)]).status.code(), Some(0));
    while daemon.until("backup.completed")["disk_id"] != disk(2) {}
    assert_eq!(world.copies(3), [1, 1, 1]);

    let refused = world.run(&["retry", waiting[0]["run"].as_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("only one that failed or was skipped"));
    daemon.signal("TERM");
    daemon.until("daemon.stopping");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn a_failed_run_can_be_tried_again() {
    let fault =
        r#"[{"action":"CreateDiskBackup","which":{"nth":1},"effect":{"error":{"code":"InvalidParameter"}}}]"#;
    let world = World::new(1, 20, fault);
    let failed = world.run(&["backup", &disk(0), "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    let runs: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(runs[0]["state"], "failed");
    assert_eq!(
        world.run(&["status"]).status.code(),
        Some(0),
        "a run of no configured schedule is nobody's lateness"
    );
    let again = world.json(&["retry", runs[0]["run"].as_str().unwrap(), "--json"]);
    assert_eq!((&again[0]["state"], &again[0]["run"]), (&"completed".into(), &runs[0]["run"]));
    assert_eq!(world.copies(1), [1]);
}

#[test]
fn a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let world = World::new(2, 20, "[]");
    let mut daemon = world.daemon();
    world.configure("[disk-00000000, DISK]", 20);
    daemon.signal("HUP");
    let rejected = daemon.until("daemon.reload_rejected");
    assert!(rejected["message"].as_str().unwrap().contains("expected a disk id"), "{rejected}");
    world.configure("[disk-00000000]", 20);
    daemon.signal("HUP");
    assert_eq!(daemon.until("daemon.reloaded")["message"], "1 jobs on 1 disks");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn kill_9_at_ten_random_moments_leaves_exactly_one_backup_of_each_of_a_thousand_disks() {
    const DISKS: usize = 1_000;
    let world = World::new(DISKS, 200, "[]");
    let disks: Vec<String> = (0..DISKS).map(disk).collect();
    let mut arguments = vec!["backup", "--no-wait", "--json"];
    arguments.extend(disks.iter().map(String::as_str));
    let mut daemon = world.daemon_with_log("info");
    // Beside a log that is read: a daemon whose log nobody takes stands still.
    std::thread::scope(|scope| {
        let taken_up = scope.spawn(|| world.json(&arguments));
        daemon.until("run.planned");
        taken_up.join().unwrap();
    });
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..10 {
        // Wherever the log happens to be: while a call is on its way, between the reply and its record, at a
        // look-up, at rest.
        for _ in 0..random.random_range(1..DISKS / 4) {
            daemon.next();
        }
        daemon.signal("KILL");
        daemon.child.wait().unwrap();
        daemon = world.daemon_with_log("info");
    }
    loop {
        let status = world.json(&["status", "--json"]);
        let open = status["open"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        if open == 0 {
            break;
        }
        for _ in 0_u64..open {
            daemon.until("backup.completed");
        }
    }
    assert_eq!(world.copies(DISKS), [1; DISKS]);
    let history = world.json(&["history", "--json", "--limit", "10000"]);
    assert!(history.as_array().unwrap().iter().all(|run| run["state"] == "completed"));
    assert_eq!(history.as_array().unwrap().len(), DISKS);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn bad_configuration_and_bad_usage_have_their_exit_codes() {
    let world = World::new(1, 20, "[]");
    world.configure("[]", 20);
    let output = world.run(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`disks` is empty"));
    assert_eq!(world.run(&["check"]).status.code(), Some(78));
    assert_eq!(world.run(&["backup"]).status.code(), Some(2));
}
