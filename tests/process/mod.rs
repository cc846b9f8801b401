//! The daemon and the simulator as processes of their own, talking over TCP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use cbs_sim::Ledger;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const KEY: &str = "the-secret-key-that-nobody-may-see";

/// A simulator, a configuration and a state directory.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    sim: Child,
    url: String,
    setup: Setup,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.sim.kill();
        let _ = self.sim.wait();
    }
}

/// What a world starts from.
pub(crate) struct Setup {
    /// How many disks there are, all in job `db`.
    pub(crate) disks: usize,
    /// What the cloud allows of each action in a second.
    pub(crate) limit: u32,
    /// What the daemon believes that to be.
    pub(crate) rate_limit: u32,
    /// In UTC. Never due by itself in the time of a test: there runs are asked for.
    pub(crate) schedule: String,
    /// What goes wrong, as the simulator reads it.
    pub(crate) faults: &'static str,
    /// What the first disk has already, as the simulator reads it.
    pub(crate) backups: &'static str,
    /// The job's `keep`, if it has one.
    pub(crate) keep: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            disks: 1,
            limit: 20,
            rate_limit: 20,
            schedule: "0 0 29 2 *".to_owned(),
            faults: "[]",
            backups: "[]",
            keep: "",
        }
    }
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Setup { disks, limit, faults, backups, .. } = setup;
        let backups = |number| if number == 0 { backups } else { "[]" };
        let listed = (0..disks)
            .map(|number| format!(r#"{{"id":"{}","quota":9,"backups":{}}}"#, disk(number), backups(number)));
        let world = format!(
            r#"{{"seed":3,"credentials":[{{"secret_id":"AKIDtest","secret_key":"{KEY}"}}],
                "rate_limits":{{"CreateDiskBackup":{limit},"DescribeDiskBackups":{limit}}},
                "timings":{{"create_ms":[200,600],"visible_ms":[0,300],"reply_ms":[1,10],"rollback_ms":[800,1500]}},
                "disks":[{}],"faults":{faults}}}"#,
            listed.collect::<Vec<_>>().join(",")
        );
        let state = folder.path().join("world.json");
        std::fs::write(&state, world).unwrap();
        let mut sim =
            Command::new(simulator()).arg("--state").arg(&state).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let world = Self { folder, sim, url, setup };
        world.configure(&(0..disks).map(disk).collect::<Vec<_>>().join(", "));
        world
    }

    /// Writes the daemon's configuration, with these disks.
    pub(crate) fn configure(&self, disks: &str) {
        let Setup { rate_limit, schedule, keep, .. } = &self.setup;
        let keep = if keep.is_empty() { String::new() } else { format!("    keep: {keep}\n") };
        let text = format!(
            "owner: ops1\ntimezone: UTC\nstate_dir: {}\nsettle: 2s\nretry:\n  \
             passing: {{ shortest: 100ms, first: 500ms, longest: 2s }}\n  \
             busy: {{ shortest: 100ms, first: 500ms, longest: 2s }}\n  \
             person: {{ shortest: 100ms, first: 500ms, longest: 2s }}\n\
             targets:\n  default: {{ region: ap-guangzhou, endpoint: \"{}\", rate_limit: {rate_limit}, call_timeout: 1s }}\n\
             jobs:\n  - name: db\n    disks: [{disks}]\n    schedule: \"{schedule}\"\n{keep}",
            self.state_dir().display(),
            self.url
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// How many disks there are.
    pub(crate) fn disks(&self) -> usize {
        self.setup.disks
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cbs-backupd"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env("TENCENTCLOUD_SECRET_ID", "AKIDtest")
            .env("TENCENTCLOUD_SECRET_KEY", KEY);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!contains_secret(&output.stdout) && !contains_secret(&output.stderr));
        output
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts the daemon; returns when it says that it is ready.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with_log("trace,hyper=info,hyper_util=info")
    }

    pub(crate) fn daemon_with_log(&self, level: &str) -> Daemon {
        let command = self.command(&["run", "--log-format", "json", "--log-level", level]);
        let mut daemon = Daemon::spawn(command);
        daemon.until("daemon.ready");
        daemon
    }

    /// The simulator's account.
    pub(crate) fn ledger(&self) -> Ledger {
        serde_json::from_slice(&self.ask("GET", "/_sim/ledger", "")).unwrap()
    }

    /// Asks the simulator itself.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        // HTTP/1.0: the end of the connection is the end of the body.
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let head = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        assert!(reply.starts_with(b"HTTP/1.0 2"), "{}", String::from_utf8_lossy(&reply));
        reply.split_off(head + 4)
    }

    /// How many backups each disk has.
    pub(crate) fn copies(&self) -> Vec<usize> {
        let ledger = self.ledger();
        (0..self.setup.disks).map(|number| ledger.backups_of(&disk(number)).count()).collect()
    }
}

/// A running daemon and its log.
pub(crate) struct Daemon {
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
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log, last: Value::Null }
    }

    /// Reads the log up to an event.
    pub(crate) fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self.next().unwrap_or_else(|| panic!("the log ended before {event}: {:?}", self.last));
            if line["event"] == event {
                return line;
            }
            self.last = line;
        }
    }

    /// The next line of the log.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.log.read_line(&mut line).unwrap();
        assert!(!contains_secret(line.as_bytes()), "{line}");
        (read > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// Starts a daemon that is to refuse: its exit code, and what it says.
pub(crate) fn refusal(command: Command) -> (Option<i32>, String) {
    let mut daemon = Daemon::spawn(command);
    let mut said = String::new();
    while daemon.log.read_line(&mut said).unwrap() > 0 {
        assert!(!said.contains("daemon.ready"), "it starts");
    }
    (daemon.exit_code(), said)
}

pub(crate) fn disk(number: usize) -> String {
    format!("disk-{number:08x}")
}

/// Whether the key stands in it, or anything that the simulator issued.
pub(crate) fn contains_secret(bytes: &[u8]) -> bool {
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    [KEY, "key-", "token-"].into_iter().any(|secret| holds(secret.as_bytes()))
}

/// Built beside the daemon's own binary, by `cargo test --workspace`.
pub(crate) fn simulator() -> PathBuf {
    let simulator = PathBuf::from(env!("CARGO_BIN_EXE_cbs-backupd")).with_file_name("cbs-sim");
    if !simulator.exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "-q", "-p", "cbs-sim", "--bin", "cbs-sim"]).status();
        assert!(built.unwrap().success());
    }
    simulator
}
