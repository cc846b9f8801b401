//! The real binary, over TCP, against the simulator as a program: signals, commands beside a running daemon and
//! without one, crashes, secrets.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

#[path = "daemon/check.rs"]
mod check;
#[path = "daemon/clocks.rs"]
mod clocks;
#[path = "daemon/credentials.rs"]
mod credentials;
#[path = "daemon/damage.rs"]
mod damage;
#[path = "daemon/forecast.rs"]
mod forecast;
#[path = "daemon/log.rs"]
mod log;
#[path = "daemon/metrics.rs"]
mod metrics;
#[path = "daemon/notify.rs"]
mod notify;
#[path = "daemon/online.rs"]
mod online;
mod process;
#[path = "daemon/restore.rs"]
mod restore;
#[path = "daemon/retention.rs"]
mod retention;
#[path = "daemon/stress.rs"]
mod stress;

use process::{KEY, Setup, World, contains_secret, disk};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

const LOST_REPLY: &str =
    r#"[{"action":"CreateDiskBackup","which":{"nth":1},"effect":{"timeout":{"executed":true}}}]"#;

#[test]
fn a_backup_without_a_daemon_is_followed_to_its_end_through_a_lost_reply() {
    let world = World::new(Setup { disks: 2, faults: LOST_REPLY, ..Setup::default() });
    let output = world.run(&["backup", &disk(0), "--json", "--request-id", "once"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("backup.adopted"));
    let runs: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&runs[0]["state"], &runs[0]["attempts"]), (&"completed".into(), &1.into()));
    // A repeat with the same id waits for the same run.
    let again = world.json(&["backup", &disk(0), "--json", "--request-id", "once"]);
    assert_eq!(again[0]["run"], runs[0]["run"]);
    assert_eq!(world.copies(), [1, 0]);
    let history = world.json(&["history", "--json"]);
    assert_eq!((history.as_array().unwrap().len(), &history[0]["backup_id"]), (1, &runs[0]["backup_id"]));
    // The journal holds no secret.
    for entry in std::fs::read_dir(world.state_dir()).unwrap() {
        assert!(!contains_secret(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
}

#[test]
fn commands_work_beside_a_running_daemon() {
    let world = World::new(Setup { disks: 3, ..Setup::default() });
    let mut daemon = world.daemon();
    let held = world.run(&["run"]);
    assert_eq!(held.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&held.stderr).contains(&format!("process {}", daemon.id())));

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
    assert_eq!(world.copies(), [1, 1, 0]);
    assert_eq!(world.run(&["resume", "--disk", &disk(2)]).status.code(), Some(0));
    while daemon.until("backup.completed")["disk_id"] != disk(2) {}
    assert_eq!(world.copies(), [1, 1, 1]);

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
    let world = World::new(Setup { faults: fault, ..Setup::default() });
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
    assert_eq!(world.copies(), [1]);
}

#[test]
fn a_credential_that_fails_is_said_once_and_so_is_that_it_is_good_again() {
    let world = World::new(Setup::default());
    let file = world.folder.path().join("credentials");
    std::fs::write(&file, "[default]\nsecret_id = AKIDtest\nsecret_key = of-yesterday\n").unwrap();
    let config = std::fs::read_to_string(world.config()).unwrap();
    let source = format!("credentials: {{ source: file, path: {} }}", file.display());
    let config = config.replace("rate_limit: 20", &format!("rate_limit: 20, {source}"));
    std::fs::write(world.config(), config).unwrap();
    let mut daemon = world.daemon_with_log("info");
    let failed = daemon.until("credentials.failed");
    assert!(failed["message"].as_str().unwrap().contains("AuthFailure.SignatureFailure"), "{failed}");
    world.json(&["backup", &disk(0), "--no-wait", "--json"]);
    daemon.until("backup.retry");
    std::fs::write(&file, format!("[default]\nsecret_id = AKIDtest\nsecret_key = {KEY}\n")).unwrap();
    let events: Vec<_> =
        std::iter::from_fn(|| daemon.next()).take_while(|line| line["event"] != "backup.completed").collect();
    let said = |name: &str| events.iter().filter(|line| line["event"] == name).count();
    assert_eq!((said("credentials.failed"), said("credentials.refreshed")), (0, 1), "{events:#?}");
}

#[test]
fn a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let world = World::new(Setup { disks: 2, ..Setup::default() });
    let mut daemon = world.daemon();
    world.configure("disk-00000000, DISK");
    daemon.signal("HUP");
    let rejected = daemon.until("daemon.reload_rejected");
    assert!(rejected["message"].as_str().unwrap().contains("expected a disk id"), "{rejected}");
    world.configure("disk-00000000");
    daemon.signal("HUP");
    assert_eq!(daemon.until("daemon.reloaded")["message"], "1 job on 1 disk");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn kill_9_at_ten_random_moments_leaves_exactly_one_backup_of_each_of_a_thousand_disks() {
    const DISKS: usize = 1_000;
    let world = World::new(Setup { disks: DISKS, limit: 200, rate_limit: 200, ..Setup::default() });
    let disks: Vec<String> = (0..DISKS).map(disk).collect();
    let mut arguments = vec!["backup", "--no-wait", "--json"];
    arguments.extend(disks.iter().map(String::as_str));
    let mut daemon = world.daemon_with_log("info");
    world.json(&arguments);
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
        assert_eq!(daemon.exit_code(), None);
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
    assert_eq!(world.copies(), [1; DISKS]);
    let history = world.json(&["history", "--json", "--limit", "10000"]);
    assert!(history.as_array().unwrap().iter().all(|run| run["state"] == "completed"));
    assert_eq!(history.as_array().unwrap().len(), DISKS);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn bad_configuration_and_bad_usage_have_their_exit_codes() {
    let world = World::new(Setup::default());
    world.configure("");
    let output = world.run(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`disks` is empty"));
    assert_eq!(world.run(&["check"]).status.code(), Some(78));
    assert_eq!(world.run(&["backup"]).status.code(), Some(2));
}
