//! `status --check` as Nagios runs it.

use crate::process::{Setup, World, disk};

/// The exit code, and the line.
fn check(world: &World, arguments: &[&str]) -> (i32, String) {
    let output = world.run(&[&["status", "--check"], arguments].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.code().unwrap(), said.trim_end().to_owned())
}

#[test]
fn one_line_and_one_code_say_how_everything_stands() {
    let fault =
        r#"[{"action":"CreateDiskBackup","which":{"nth":3},"effect":{"error":{"code":"InvalidParameter"}}}]"#;
    let world = World::new(Setup { disks: 2, faults: fault, ..Setup::default() });
    let figures = "|disks=2 fresh=0 without=2 beyond=0;;0 late=0;;0 failing=0;0 paused=0;0";
    let stopped = format!("CRITICAL - 0 of 2 disks have a fresh backup; no daemon runs{figures}");
    assert_eq!(check(&world, &[]), (2, stopped), "nothing was ever written");

    let _daemon = world.daemon_with_log("info");
    assert_eq!(world.run(&["backup", "--job", "db", &disk(0), &disk(1)]).status.code(), Some(0));
    let (code, line) = check(&world, &["--job", "db"]);
    assert!(line.starts_with("OK - 2 of 2 disks have a fresh backup|disks=2 fresh=2 "), "{line}");
    assert_eq!(code, 0, "{line}");
    assert_eq!(world.run(&["pause", "--disk", &disk(0)]).status.code(), Some(0));
    let (code, line) = check(&world, &[]);
    assert_eq!(code, 1, "{line}");
    assert!(line.contains(&format!("; db {}: paused|", disk(0))), "{line}");
    assert_eq!(world.run(&["resume", "--disk", &disk(0)]).status.code(), Some(0));
    // Nobody said how old a backup may be: a failure is all there will be.
    assert_eq!(world.run(&["backup", "--job", "db", &disk(1)]).status.code(), Some(1));
    let (code, line) = check(&world, &[]);
    assert_eq!(code, 2, "{line}");
    assert!(line.contains(&format!("; db {}: last run failed|", disk(1))), "{line}");
}

#[test]
fn what_cannot_be_known_is_unknown() {
    let world = World::new(Setup::default());
    assert_eq!(check(&world, &["--job", "web"]), (3, "UNKNOWN - there is no job `web`".to_owned()));
    let config = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), config.replace("jobs:", "jobz:").replace("owner:", "ownr:")).unwrap();
    let (code, line) = check(&world, &[]);
    assert_eq!(code, 3);
    assert!(line.starts_with("UNKNOWN - ") && line.contains("config.yaml:1:1: "), "{line}");
    std::fs::write(world.config(), config).unwrap();

    std::fs::create_dir_all(world.state_dir()).unwrap();
    std::fs::write(world.state_dir().join("journal.sqlite3"), "no database of anybody | at all").unwrap();
    let (code, line) = check(&world, &[]);
    assert_eq!(code, 3);
    assert!(
        line.starts_with("UNKNOWN - journal ") && line.contains(" is damaged ") && !line.contains('|'),
        "{line}"
    );
}
