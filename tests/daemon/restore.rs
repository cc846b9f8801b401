//! `restore` as a person types it: beside a daemon and without one.

use serde_json::{Value, json};

use super::process::{Setup, World, disk};

/// A disk that nothing is attached to, with a good backup; the backup's id.
fn prepared(world: &World, number: usize) -> String {
    let free = json!([{"id": disk(number), "state": "UNATTACHED", "name": "db-data"}]);
    world.ask("POST", "/_sim/disks", &free.to_string());
    let runs = world.json(&["backup", &disk(number), "--json"]);
    runs[0]["backup_id"].as_str().unwrap().to_owned()
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn rollbacks(world: &World) -> usize {
    world.ledger().requests_of("ApplyDiskBackup").count()
}

#[test]
fn a_disk_is_put_back_without_a_daemon_and_beside_one() {
    let world = World::new(Setup { disks: 2, ..Setup::default() });
    let backup = prepared(&world, 0);
    let id = disk(0);
    // Nobody is there to confirm it.
    let unasked = world.run(&["restore", &id, "--backup", &backup]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(stderr(&unasked).contains("--yes restores without being asked"), "{}", stderr(&unasked));
    assert_eq!(rollbacks(&world), 0);

    let output = world.run(&["restore", &id, "--backup", &backup, "--yes"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    for part in [
        format!("disk    {id} `db-data`, 50 GiB, UNATTACHED\n"),
        format!("backup  {backup} `ops1_db_"),
        ", NORMAL, ours, of job db, 0m old\n".to_owned(),
        format!("lost    everything written to {id} since 20"),
        format!("{id} to {backup}: completed\n"),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    for event in ["restore.requested", "restore.completed"] {
        assert!(stderr(&output).contains(event), "{}", stderr(&output));
    }

    let mut daemon = world.daemon();
    let done = world.json(&["restore", &id, "--backup", &backup, "--yes", "--json"]);
    assert_eq!((&done["state"], &done["reason"]), (&json!("completed"), &Value::Null));
    daemon.until("restore.requested");
    let line = daemon.until("restore.completed");
    assert_eq!((&line["disk_id"], &line["backup_id"]), (&json!(id), &json!(backup)));
    assert_eq!(rollbacks(&world), 2);

    let other = world.run(&["restore", &disk(1), "--backup", &backup, "--yes"]);
    assert_eq!(other.status.code(), Some(2));
    let word = format!("backup {backup} is of {id}, and a backup is put back onto its own disk alone");
    assert!(stderr(&other).contains(&word), "{}", stderr(&other));
    let alone = world.run(&["restore", &id, "--backup", &backup, "--yes", "--auto-start"]);
    assert_eq!(alone.status.code(), Some(2));
    assert_eq!(rollbacks(&world), 2);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn a_killed_daemon_finds_its_rollback_again() {
    let world = World::new(Setup::default());
    let backup = prepared(&world, 0);
    let mut daemon = world.daemon();
    let asked = world.json(&["restore", &disk(0), "--backup", &backup, "--yes", "--no-wait", "--json"]);
    assert!(asked["ended_at"].is_null(), "{asked}");
    daemon.until("restore.requested");
    daemon.signal("KILL");
    assert_eq!(daemon.exit_code(), None);
    let mut next = world.daemon();
    next.until("restore.completed");
    assert_eq!(rollbacks(&world), 1);
}

/// Runs a command on a terminal, and types an answer once it asks.
const ON_A_TERMINAL: &str = r#"
import os, pty, sys
answer, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
said, asked = b"", False
while True:
    try:
        more = os.read(terminal, 1024)
    except OSError:
        break
    if not more:
        break
    said += more
    if not asked and b"to restore it: " in said:
        asked = True
        os.write(terminal, answer.encode() + b"\n")
sys.stdout.write(said.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn on_a_terminal_the_disks_id_is_to_be_typed() {
    let world = World::new(Setup::default());
    let backup = prepared(&world, 0);
    let id = disk(0);
    for (answer, code, word, calls) in [
        ("yes", 2, "not confirmed: nothing was changed".to_owned(), 0),
        (&*id, 0, format!("{id} to {backup}: completed"), 1),
    ] {
        let command = world.command(&["restore", &id, "--backup", &backup]);
        let output = std::process::Command::new("python3")
            .args(["-c", ON_A_TERMINAL, answer])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}{}", stderr(&output));
        assert!(said.contains(&format!("Type {id} to restore it: ")) && said.contains(&word), "{said}");
        assert_eq!(said.contains("rolling back: "), calls > 0, "{said}");
        assert_eq!(rollbacks(&world), calls);
    }
}
