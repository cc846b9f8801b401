//! Temporary credentials over TCP: renewed while the daemon runs, and shown nowhere.

use crate::process::{Daemon, Setup, World, contains_secret, disk};

/// All there is to say, but for the bytes of the wire.
const LEVEL: &str = "trace,hyper=info,hyper_util=info";

/// So many backups, each with a credential that was not there before; and a log that says all there is to say.
fn backs_up_with(rounds: usize, source: impl Fn(&str) -> String) {
    let world = World::new(Setup::default());
    let role =
        r#"[{"arn":"qcs::cam::uin/100:roleName/backup","external_id":"of-ours","identity":"role/backup"}]"#;
    world.ask("POST", "/_sim/roles", role);
    world.ask("POST", "/_sim/machine", r#"{"role":"backup","life_s":3,"rotate_s":2}"#);
    let config = std::fs::read_to_string(world.config()).unwrap();
    let endpoint = config.split("endpoint: \"").nth(1).unwrap().split('"').next().unwrap();
    let credentials = format!("rate_limit: 20, credentials: {}", source(endpoint));
    std::fs::write(world.config(), config.replace("rate_limit: 20", &credentials)).unwrap();

    // The way to the cloud leads around the proxy by its address; nothing else would.
    let mut command = world.command(&["run", "--log-format", "json", "--log-level", LEVEL]);
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "127.0.0.1");
    // Each line that is read is looked through for secrets.
    let mut daemon = Daemon::spawn(command);
    daemon.until("daemon.ready");
    for number in 0..rounds {
        let refreshed = loop {
            let line = daemon.next().expect("a daemon that runs");
            assert_ne!(line["event"], "credentials.failed", "{line}");
            if line["event"] == "credentials.refreshed" {
                break line;
            }
        };
        let message = refreshed["message"].as_str().unwrap();
        assert!(message.contains(": a new credential; next renewal 20"), "{message}");
        world.json(&["backup", &disk(0), "--json", "--no-wait", "--request-id", &number.to_string()]);
        daemon.until("backup.completed");
    }
    daemon.signal("TERM");
    while daemon.next().is_some() {}
    for entry in std::fs::read_dir(world.state_dir()).unwrap() {
        assert!(!contains_secret(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    let ledger = world.ledger();
    for create in ledger.requests_of("CreateDiskBackup") {
        assert_eq!((create.identity.as_deref(), create.code.as_deref()), (Some("role/backup"), None));
    }
    assert_eq!(world.copies(), [rounds]);
}

#[test]
fn the_role_of_a_machine_is_renewed_over_tcp() {
    backs_up_with(3, |endpoint| {
        let endpoint = endpoint.replace("127.0.0.1", "localhost");
        format!("{{ source: cvm-role, endpoint: '{endpoint}' }}")
    });
}

#[test]
fn a_role_is_assumed_over_tcp() {
    backs_up_with(1, |endpoint| {
        format!(
            "{{ source: assume-role, role_arn: 'qcs::cam::uin/100:roleName/backup', external_id: of-ours, \
             endpoint: '{endpoint}' }}"
        )
    });
}
