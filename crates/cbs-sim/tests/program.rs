//! The simulator as a program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use cbs_sim::{Ledger, World};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/example-state.json");

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cbs-sim"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_example_state_is_a_world_and_shows_every_key() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let world: World = text.parse().unwrap();
    let written = serde_json::to_value(&world).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&written), keys(&shown));
    for section in ["timings", "choices"] {
        assert_eq!(keys(&written[section]), keys(&shown[section]));
    }
    assert_eq!(keys(&written["disks"][0]), keys(&shown["disks"][0]));
    assert_eq!(keys(&written["credentials"][1]), keys(&shown["credentials"][1]));
}

#[test]
fn it_says_where_it_listens_and_leaves_its_ledger_when_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger.json");
    let mut child = program(&["--state", EXAMPLE, "--ledger", ledger.to_str().unwrap()]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let port = first.strip_prefix("listening on http://127.0.0.1:").unwrap().trim_end();
    assert!(port.parse::<u16>().is_ok_and(|port| port != 0), "{first}");

    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let ledger: Ledger = serde_json::from_str(&std::fs::read_to_string(ledger).unwrap()).unwrap();
    assert_eq!((ledger.requests.len(), ledger.backups[0].backup_id.as_str()), (0, "dbp-0a0b0c0d"));
}

#[test]
fn a_wrong_state_file_is_refused_with_its_name_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    std::fs::write(&state, "{\n  \"disk\": []\n}").unwrap();
    let mut child = program(&["--state", state.to_str().unwrap()]);
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    for part in ["state.json", "unknown field `disk`", "line 2"] {
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[test]
fn it_waits_for_a_connection_to_end_when_it_may_open_no_more_files() {
    const FILES: usize = 32;
    let script = format!("ulimit -n {FILES}; exec \"$0\" --state \"$1\"");
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_cbs-sim"), EXAMPLE])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim_end().strip_prefix("listening on http://").unwrap();

    let open = || TcpStream::connect(address).unwrap();
    let others: Vec<_> = (0..FILES).map(|_| open()).collect();
    let mut last = open();
    last.write_all(b"GET /_sim/ledger HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
    let files = format!("/proc/{}/fd", child.id());
    while child.try_wait().unwrap().is_none() && std::fs::read_dir(&files).unwrap().count() < FILES {
        std::thread::yield_now();
    }
    drop(others);
    let mut answer = String::new();
    let read = last.read_to_string(&mut answer);
    let _ = child.kill();
    child.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{read:?}: {answer}");
}
