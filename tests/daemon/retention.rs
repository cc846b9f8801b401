//! `backups` and `prune`, with and without a daemon.

use serde_json::Value;

use crate::process::{Setup, World, disk};

const OLD: &str = r#"[
    {"id":"dbp-a","name":"ops1_db_20260301T023000Z","created":"2026-03-01T02:30:01Z"},
    {"id":"dbp-b","name":"ops1_db_20260302T023000Z","created":"2026-03-02T02:30:01Z"},
    {"id":"dbp-c","name":"ops1_db_20260303T023000Z","created":"2026-03-03T02:30:01Z"},
    {"id":"dbp-d","name":"ops1_old_20260101T023000Z","created":"2026-01-01T02:30:01Z"},
    {"id":"dbp-e","name":"before the upgrade","created":"2026-02-01T00:00:00Z"}
]"#;

fn world() -> World {
    World::new(Setup { backups: OLD, keep: "{ last: 1, monthly: 1 }", ..Setup::default() })
}

fn there(world: &World) -> Vec<String> {
    world.ledger().backups_of(&disk(0)).map(|backup| backup.backup_id.clone()).collect()
}

/// One property of each that is listed.
fn each<'a>(listed: &'a Value, key: &str) -> Vec<&'a Value> {
    listed.as_array().unwrap().iter().map(|item| &item[key]).collect()
}

#[test]
fn prune_without_a_daemon_shows_and_does_what_the_rules_say() {
    let world = world();
    let shown = world.run(&["prune", "--dry-run"]);
    let table = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    for line in [
        "dbp-c   ops1_db_20260303T023000Z   NORMAL  kept: last 1, monthly 2026-03",
        "dbp-b   ops1_db_20260302T023000Z   NORMAL  delete: not kept by any rule",
        "dbp-d   ops1_old_20260101T023000Z  NORMAL  refused: its job is gone",
        "2 of 4 would be deleted",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    assert!(!table.contains("dbp-e"), "another's: {table}");
    assert_eq!(there(&world).len(), 5);

    let done = world.run(&["prune"]);
    let table = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(table.contains("deleted: not kept by any rule") && table.contains("2 of 4 deleted"), "{table}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("retention.deleted"));
    assert_eq!(there(&world), ["dbp-c", "dbp-d", "dbp-e"]);
    // Once more: nothing is left to do.
    let again = world.json(&["prune", "--json"]);
    assert_eq!(each(&again, "delete"), [&Value::Bool(false); 2]);
}

#[test]
fn backups_and_prune_go_through_a_running_daemon() {
    let world = world();
    let mut daemon = world.daemon();
    // By itself, and the command is of the same mind.
    for _ in 0..2 {
        daemon.until("retention.deleted");
    }
    let listed = world.json(&["backups", "--json"]);
    assert_eq!(each(&listed, "kind"), ["ours", "other", "orphan"]);
    assert_eq!(each(&listed, "size_gib"), [50, 50, 50]);
    let table = world.run(&["backups", "--disk", &disk(0)]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for part in ["dbp-c   db          NORMAL", "old (gone)", "before the upgrade"] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    let planned = world.json(&["prune", "--dry-run", "--orphans", "--json"]);
    assert_eq!(each(&planned, "verdict"), ["kept: last 1, monthly 2026-03", "delete: its job is gone"]);
    let done = world.json(&["prune", "--orphans", "--json"]);
    assert_eq!(each(&done, "deleted"), [&Value::Null, &Value::Bool(true)]);
    assert_eq!(daemon.until("retention.deleted")["backup_id"], "dbp-d");
    assert_eq!(there(&world), ["dbp-c", "dbp-e"]);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn without_a_cloud_prune_gives_up_and_lets_go_of_the_lock() {
    let world = world();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let nowhere: Vec<String> = config
        .lines()
        .map(|line| match line.split_once("http://127.0.0.1:") {
            Some((before, after)) => {
                format!(
                    "{before}http://127.0.0.1:1{}",
                    after.trim_start_matches(|c: char| c.is_ascii_digit())
                )
            }
            None => line.to_owned(),
        })
        .collect();
    std::fs::write(world.config(), nowhere.join("\n")).unwrap();
    let output = world.run(&["prune"]);
    assert_eq!(output.status.code(), Some(74));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no reply of the cloud has confirmed the clock"), "{said}");
    // It was not for nothing: the next daemon does it.
    std::fs::write(world.config(), config).unwrap();
    let mut daemon = world.daemon();
    daemon.until("retention.deleted");
}
