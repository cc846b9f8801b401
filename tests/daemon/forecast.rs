//! `forecast` as a person types it.

use serde_json::json;

use super::process::{Setup, World, disk};

fn setup() -> Setup {
    Setup { disks: 2, schedule: "0 2 * * *".to_owned(), ..Setup::default() }
}

#[test]
fn a_forecast_needs_neither_a_cloud_nor_a_daemon() {
    let world = World::new(setup());
    let from = ["--from", "2026-11-24T00:00:00Z", "--days", "3"];
    let plain = world.run(&[&["forecast"][..], &from].concat());
    let said = String::from_utf8(plain.stdout).unwrap();
    assert_eq!(plain.status.code(), Some(0), "{said}");
    for part in [
        " Tue 2026-11-24  2    2     0       0        0        2     2      02:00:00  0s\n",
        " Thu 2026-11-26  2    2     0       0        0        6     2      02:00:00  0s\n",
        &format!("\n02        2  {}\n", "█".repeat(50)),
        "No quota is known",
        "Nothing breaks.",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(world.ledger().requests.is_empty());
    assert!(!world.state_dir().exists());

    let broken = world.run(&[&["forecast", "--quota", "2"][..], &from].concat());
    let said = String::from_utf8(broken.stdout).unwrap();
    assert_eq!(broken.status.code(), Some(1), "{said}");
    assert!(said.contains("2 of ours + 0 of others + this one = 3, and the quota is 2"), "{said}");
    assert!(!said.contains("No quota is known"));
    assert_eq!(world.run(&["forecast", "--days", "0"]).status.code(), Some(2));
    assert_eq!(world.run(&["forecast", "--takes", "soon"]).status.code(), Some(2));
}

#[test]
fn online_it_begins_from_what_the_cloud_has_beside_a_daemon_and_without_one() {
    let world = World::new(setup());
    let others = json!([{"id": disk(1), "quota": 4, "backups": [
        {"id": "dbp-other001", "name": "by-hand", "created": "2026-01-01T00:00:00Z"},
        {"id": "dbp-other002", "name": "by-hand", "created": "2026-01-02T00:00:00Z"},
    ]}]);
    world.ask("POST", "/_sim/disks", &others.to_string());
    world.json(&["backup", &disk(1), "--json"]);
    let foreseen = || world.json(&["forecast", "--online", "--days", "3", "--json"]);
    let check = |foreseen: &serde_json::Value| {
        // Disk 0 has room for three of its own; disk 1 for one more besides the three that it has.
        assert_eq!(foreseen["problems"].as_array().unwrap().len(), 1, "{foreseen:#}");
        let problem = &foreseen["problems"][0];
        assert_eq!((&problem["disk_id"], &problem["kind"]), (&json!(disk(1)), &json!("quota_full")));
        let why = "quota full: 2 of ours + 2 of others + this one = 5, and the quota is 4";
        assert_eq!(problem["why"], why);
    };
    check(&foreseen());
    let mut daemon = world.daemon();
    check(&foreseen());
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}
