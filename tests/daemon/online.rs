//! `check --online`: what jobs resolve to, by the cloud.

use serde_json::Value;

use crate::process::{Setup, World, disk};

/// A job that names disks, one of them unknown; one that selects all; two that select none.
fn configure(world: &World) {
    world.configure(&format!("{}, disk-unknown", disk(0)));
    let mut text = std::fs::read_to_string(world.config()).unwrap();
    text.push_str(
        "  - name: all\n    select: { name: \"*\" }\n    exclude: [disk-00000001]\n    schedule: \"0 0 29 2 *\"\n",
    );
    text.push_str("  - name: none\n    select: { tags: { backup: never } }\n    schedule: \"0 0 29 2 *\"\n");
    text.push_str("  - name: also\n    select: { name: \"?*\" }\n    schedule: \"0 0 29 2 *\"\n");
    std::fs::write(world.config(), text).unwrap();
}

#[test]
fn what_jobs_resolve_to_is_asked_of_the_cloud_through_the_daemon_and_without_one() {
    let world = World::new(Setup { disks: 150, ..Setup::default() });
    configure(&world);
    for with_daemon in [false, true] {
        let daemon = with_daemon.then(|| world.daemon());
        let output = world.run(&["check", "--online", "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        if !with_daemon {
            // For the time; for the job that names disks; two pages for the two that want all; for the one that wants
            // none.
            assert_eq!(world.ledger().requests_of("DescribeDisks").count(), 1 + 1 + 2 + 1);
        }
        let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
        let online = |job: usize| &checked["jobs"][job]["online"];
        assert_eq!(online(0)["unknown"], Value::from(["disk-unknown"].as_slice()));
        let found = &online(0)["disks"][0];
        assert_eq!((&found["disk_id"], &found["state"]), (&disk(0).into(), &"ATTACHED".into()));
        assert_eq!((&found["backup_quota"], &found["backup_count"]), (&9.into(), &0.into()));
        let all = online(1)["disks"].as_array().unwrap();
        assert_eq!(all.len(), 149);
        assert!(all.iter().all(|found| found["disk_id"] != *disk(1)));
        assert_eq!(online(2)["disks"].as_array().unwrap().len(), 0);
        // The simulator's disks have no name.
        assert_eq!(online(3)["disks"].as_array().unwrap().len(), 0);

        let shown = world.run(&["check", "--online"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        for line in [
            "online: the cloud does not know disk-unknown in target default",
            "online: 149 disks",
            "online: 0 of 9 backups on 149 disks",
            "online: no disk meets the conditions",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        drop(daemon);
    }
    // No backup was asked for by any of it; and the file's jobs alone are no mistake.
    assert_eq!(world.ledger().requests_of("CreateDiskBackup").count(), 0);
    assert_eq!(world.run(&["check"]).status.code(), Some(0));
}

#[test]
fn a_target_that_does_not_answer_is_said_and_the_others_are_shown() {
    let world = World::new(Setup { disks: 2, ..Setup::default() });
    let mut text = std::fs::read_to_string(world.config()).unwrap();
    text =
        text.replace("jobs:\n", "  dead: { region: ap-shanghai, endpoint: \"http://127.0.0.1:9\" }\njobs:\n");
    text.push_str(
        "  - name: far\n    target: dead\n    select: { name: \"*\" }\n    schedule: \"0 0 29 2 *\"\n",
    );
    std::fs::write(world.config(), text).unwrap();
    let output = world.run(&["check", "--online", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked["jobs"][0]["online"]["disks"].as_array().unwrap().len(), 2);
    let problem = checked["jobs"][1]["online"]["problem"].as_str().unwrap();
    assert!(problem.contains("DescribeDisks failed"), "{problem}");
}
