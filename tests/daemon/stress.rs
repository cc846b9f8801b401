//! A journal that cannot be written: a full disk, one that fails, a file system that has become read-only.
//!
//! strace makes the daemon's own system calls fail, for as long as it is attached; it is told apart from the daemon by
//! nothing but the error. What the simulator's ledger holds decides whether a create left meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::process::{Daemon, Setup, World, disk, refusal};

const DISKS: usize = 20;

/// System calls of a running daemon that fail.
struct Fault {
    tracer: Child,
    said: BufReader<ChildStderr>,
}

impl Fault {
    /// From now on; `inject` as strace has it.
    fn strike(daemon: &Daemon, inject: &str) -> Self {
        let mut tracer = Command::new("strace")
            .args(["-f", "-e", "trace=pwrite64,fsync,fdatasync", "-e", &format!("inject={inject}")])
            .args(["-p", &daemon.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is needed: install Debian's package of that name");
        let said = BufReader::new(tracer.stderr.take().unwrap());
        let mut fault = Self { tracer, said };
        fault.until(" attached");
        fault
    }

    fn until(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let read = self.said.read_line(&mut line).unwrap();
            assert!(
                read > 0,
                "strace ended: it must be allowed to attach (root, or kernel.yama.ptrace_scope=0)"
            );
        }
    }

    /// Waits until so many more calls have failed.
    fn met(&mut self, times: usize) {
        (0..times).for_each(|_| self.until("(INJECTED)"));
    }

    /// The disk is good again.
    fn end(self) {
        let pid = self.tracer.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
        self.until_the_end();
    }

    /// It lasts as long as the daemon.
    fn until_the_end(mut self) {
        // strace must not wait for a reader of what it says.
        while self.said.read_line(&mut String::new()).unwrap() > 0 {}
        self.tracer.wait().unwrap();
    }
}

/// A tracer that nobody reads from holds its daemon, and would hold a test that has failed.
impl Drop for Fault {
    fn drop(&mut self) {
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

/// Reads the daemon's log on, up to an event.
fn read_to(daemon: &mut Daemon, log: &mut Vec<Value>, event: &str) {
    loop {
        log.push(daemon.next().unwrap_or_else(|| panic!("the log ended before {event}: {log:#?}")));
        if log.last().unwrap()["event"] == event {
            return;
        }
    }
}

fn said<'a>(log: &'a [Value], event: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["event"] == event).collect()
}

fn creates(world: &World) -> usize {
    world.ledger().requests_of("CreateDiskBackup").count()
}

/// A burst of backups in the middle of which a fault strikes.
struct Burst {
    world: World,
    daemon: Daemon,
    log: Vec<Value>,
    fault: Fault,
    /// Creates that had been sent by then.
    sent: usize,
}

impl Burst {
    fn struck_by(inject: &str) -> Self {
        let world = World::new(Setup { disks: DISKS, rate_limit: 5, ..Setup::default() });
        let disks: Vec<String> = (0..DISKS).map(disk).collect();
        let mut arguments = vec!["backup", "--no-wait", "--json"];
        arguments.extend(disks.iter().map(String::as_str));
        let (mut daemon, mut log) = (world.daemon_with_log("info"), Vec::new());
        world.json(&arguments);
        for _ in 0..3 {
            read_to(&mut daemon, &mut log, "backup.accepted");
        }
        let mut fault = Fault::strike(&daemon, inject);
        read_to(&mut daemon, &mut log, "journal.unwritable");
        // Intents that were durable before may still be on their way as calls.
        fault.met(10);
        let sent = creates(&world);
        assert!(sent < DISKS, "the fault came too late to hold anything back");
        Self { world, daemon, log, fault, sent }
    }
}

/// The fault lasts, and passes; nobody touches the daemon.
fn rides_out(inject: &str, says: &str) {
    let Burst { world, mut daemon, mut log, mut fault, sent } = Burst::struck_by(inject);
    // A person asks for one more, by a process whose disk is good.
    let asked = world.command(&["backup", "--no-wait", &disk(0)]).stdout(Stdio::null()).spawn();
    fault.met(20);
    assert_eq!(creates(&world), sent, "a create left without a durable intent");
    fault.end();

    read_to(&mut daemon, &mut log, "journal.writable");
    while said(&log, "backup.completed").len() < DISKS + 1 {
        read_to(&mut daemon, &mut log, "backup.completed");
    }
    assert!(asked.unwrap().wait().unwrap().success());
    daemon.signal("TERM");
    log.extend(std::iter::from_fn(|| daemon.next()));
    assert_eq!(daemon.exit_code(), Some(0));

    let message = said(&log, "journal.unwritable")[0]["message"].as_str().unwrap();
    assert!(message.contains(says) && message.contains("journal.sqlite3"), "{message}");
    let count = |event: &str| said(&log, event).len();
    assert_eq!((count("journal.unwritable"), count("journal.writable")), (1, 1));
    assert_eq!((count("backup.completed"), count("daemon.fault")), (DISKS + 1, 0));
    let copies: Vec<usize> = (0..DISKS).map(|number| if number == 0 { 2 } else { 1 }).collect();
    assert_eq!(world.copies(), copies);
    let history = world.json(&["history", "--json"]);
    assert!(history.as_array().unwrap().iter().all(|run| run["state"] == "completed"), "{history:#}");
}

#[test]
fn a_full_disk_is_ridden_out() {
    rides_out("pwrite64:error=ENOSPC", "free space");
}

#[test]
fn a_file_system_that_becomes_read_only_is_ridden_out() {
    rides_out("pwrite64:error=EROFS", "kernel's log");
}

#[test]
fn a_disk_that_fails_to_sync_is_ridden_out() {
    rides_out("fsync,fdatasync:error=EIO", "kernel's log");
}

/// What was accepted could not be recorded; the next daemon finds it by its name.
#[test]
fn a_stop_while_the_disk_is_full_loses_and_doubles_nothing() {
    let Burst { world, mut daemon, mut log, fault, .. } = Burst::struck_by("pwrite64:error=ENOSPC");
    daemon.signal("TERM");
    read_to(&mut daemon, &mut log, "daemon.stopping");
    fault.until_the_end();
    assert_eq!(daemon.exit_code(), Some(0));

    let mut daemon = world.daemon_with_log("info");
    loop {
        let status = world.json(&["status", "--json"]);
        if status["open"].as_object().unwrap().is_empty() {
            break;
        }
        daemon.until("backup.completed");
    }
    assert_eq!(world.copies(), [1; DISKS]);
}

/// The first attempt to open it meets a file system, or a mode, that lets nobody write; the second one only reads.
#[test]
fn a_file_that_may_only_be_read_is_refused_at_the_start() {
    let world = World::new(Setup::default());
    assert_eq!(world.run(&["backup", &disk(0)]).status.code(), Some(0));
    for (file, says) in [("journal.sqlite3", "must be writable"), ("lock", "failed to lock")] {
        let path = world.state_dir().join(file);
        let before = std::fs::read(&path).unwrap();
        let run = world.command(&["run", "--log-format", "json"]);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-P"]).arg(&path);
        strace.args(["-e", "inject=openat:error=EROFS:when=1"]).arg(run.get_program()).args(run.get_args());
        strace.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (code, said) = refusal(strace);
        assert_eq!(code, Some(74), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.contains(says) && last.contains(path.to_str().unwrap()), "{said}");
        assert!(std::fs::read(&path).unwrap() == before);
    }
}
