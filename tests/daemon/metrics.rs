//! Metrics over a real connection: what they say, right after a restart too, and what those who ask cannot do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use cbs_backupd::metrics::table::{self, Type};
use cbs_backupd::report::Kind;

use crate::process::{Daemon, Setup, World, contains_secret, disk};

const LEVEL: &str = "info";
/// What needs more than this machine: credentials that end, and somebody to be notified.
const ELSEWHERE: [table::Metric; 2] = [table::CREDENTIAL_EXPIRY, table::NOTIFICATIONS];

/// Puts lines of configuration at the top, and an objective on its job.
fn configure(world: &World, lines: &str) {
    world.configure(&(0..world.disks()).map(disk).collect::<Vec<_>>().join(", "));
    let config = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), format!("{lines}\n{config}    objective: 26h\n")).unwrap();
}

/// Starts the daemon; where its metrics are once it is ready.
fn start(world: &World) -> (Daemon, String) {
    let mut daemon = Daemon::spawn(world.command(&["run", "--log-format", "json", "--log-level", LEVEL]));
    let (mut ready, mut place) = (false, None);
    while !ready || place.is_none() {
        let line = daemon.next().unwrap();
        ready |= line["event"] == "daemon.ready";
        if line["event"] == "metrics.listening" {
            place = Some(place_of(&line));
        }
    }
    (daemon, place.unwrap())
}

fn place_of(line: &serde_json::Value) -> String {
    let message = line["message"].as_str().unwrap();
    let place = message.strip_prefix("metrics on ").unwrap();
    place.trim_start_matches("http://").trim_end_matches("/metrics").to_owned()
}

/// Asks; the status and the body.
fn ask(place: &str, path: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: daemon\r\n{headers}\r\n");
    let mut reply = String::new();
    if let Some(path) = place.strip_prefix("unix:") {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut reply).unwrap();
    } else {
        let mut stream = TcpStream::connect(place).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut reply).unwrap();
    }
    assert!(!contains_secret(reply.as_bytes()));
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The samples of a page, by name and labels as they are written.
fn samples(place: &str) -> BTreeMap<String, f64> {
    let (status, body) = ask(place, "/metrics", "");
    assert_eq!(status, 200, "{body}");
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.strip_prefix("cbs_backupd_").unwrap().to_owned(), value.parse().unwrap())
    };
    body.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// The name of a series, and its labels with their values.
fn parts<'s>(series: &'s str) -> (&'s str, Vec<(&'s str, &'s str)>) {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let label = |text: &'s str| {
        let (name, value) = text.split_once('=').unwrap();
        (name, value.trim_matches('"'))
    };
    (name, labels.split(',').filter(|text| !text.is_empty()).map(label).collect())
}

#[test]
fn every_metric_is_given_and_none_besides_with_values_that_are_known_beforehand() {
    let fault = r#"[{"action":"CreateDiskBackup","which":{"nth":1},"effect":{"error":{"code":"InternalError"}}},
                    {"action":"CreateDiskBackup","which":{"nth":3},"effect":{"error":{"code":"InvalidParameter"}}}]"#;
    let world = World::new(Setup { disks: 2, faults: fault, ..Setup::default() });
    configure(&world, "metrics: { listen: \"127.0.0.1:0\" }");
    let (_daemon, place) = start(&world);
    assert_eq!(world.run(&["backup", "--job", "db", &disk(0)]).status.code(), Some(0));
    assert_eq!(world.run(&["backup", "--job", "db", &disk(1)]).status.code(), Some(1));
    assert_eq!(world.run(&["pause", "--job", "db"]).status.code(), Some(0));

    let found = until(&place, |found| {
        found.get(r#"runs_ended_total{job="db",outcome="failed",reason="refused"}"#) == Some(&1.0)
            && found.contains_key(&format!(r#"disk_backup_quota{{target="default",disk_id="{}"}}"#, disk(1)))
    });
    let mut given = BTreeSet::new();
    for series in found.keys() {
        let (name, labels) = parts(series);
        let metric = table::ALL.iter().find(|metric| match metric.kind {
            Type::Gauge => metric.name == name,
            Type::Counter => name.strip_suffix("_total") == Some(metric.name),
            Type::Histogram => ["_sum", "_count", "_bucket"]
                .iter()
                .any(|ending| name.strip_suffix(ending) == Some(metric.name)),
        });
        let metric = metric.unwrap_or_else(|| panic!("{series} is in no table"));
        given.insert(metric.name);
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).filter(|name| *name != "le").collect();
        assert_eq!(names, metric.labels, "{series}");
        for (label, value) in labels {
            let is_known = match label {
                "version" => value == env!("CARGO_PKG_VERSION"),
                "job" => value == "db",
                "disk_id" => (0..2).any(|number| value == disk(number)),
                "target" => value == "default",
                "event" => Kind::ALL.iter().any(|kind| kind.name() == value),
                "state" => {
                    "planned creating absent freeing promoting tracking".split(' ').any(|s| s == value)
                }
                "outcome" => {
                    "completed failed skipped accepted retry ambiguous".split(' ').any(|s| s == value)
                }
                "reason" => ["", "refused"].contains(&value),
                "action" => value.starts_with(|first: char| first.is_ascii_uppercase()),
                "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
                _ => false,
            };
            assert!(is_known, "{series}");
        }
    }
    let missing = table::ALL.iter().filter(|metric| !given.contains(metric.name));
    assert_eq!(missing.copied().collect::<Vec<_>>(), ELSEWHERE);

    let value = |series: &str| found[series];
    let disk_0 = disk(0);
    assert_eq!(value("ready"), 1.0);
    assert_eq!(value(r#"job_disks{job="db"}"#), 2.0);
    assert_eq!(value(r#"job_disks_without_good_backup{job="db"}"#), 1.0);
    assert_eq!(value(r#"job_disks_beyond_objective{job="db"}"#), 1.0, "a run has ended, and there is none");
    assert_eq!(value(r#"job_disks_failing{job="db"}"#), 1.0);
    assert_eq!(value(r#"job_paused{job="db"}"#), 1.0);
    assert_eq!(value(r#"job_objective_seconds{job="db"}"#), 93_600.0);
    assert_eq!(value(r#"runs_ended_total{job="db",outcome="completed",reason=""}"#), 1.0);
    assert_eq!(value(r#"attempts_total{target="default",outcome="accepted"}"#), 1.0);
    assert_eq!(value(r#"attempts_total{target="default",outcome="retry"}"#), 1.0);
    assert_eq!((value("start_lag_seconds_count"), value("completion_seconds_count")), (2.0, 1.0));
    assert_eq!(value(&format!(r#"disk_backup_quota{{target="default",disk_id="{disk_0}"}}"#)), 9.0);
    let age = value(&format!(r#"disk_last_good_backup_age_seconds{{job="db",disk_id="{disk_0}"}}"#));
    assert!((0.0..600.0).contains(&age), "{age}");
    assert!(value("journal_size_bytes") > 10_000.0);

    // The other format has the same series.
    let (_, open) = ask(&place, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(open.ends_with("\n# EOF\n") && open.contains("# TYPE cbs_backupd_events counter\n"));
    assert_eq!(open.lines().filter(|line| !line.starts_with('#')).count(), found.len());
    assert_eq!(ask(&place, "/healthz", ""), (200, "all tasks move\n".to_owned()));
    assert_eq!(ask(&place, "/readyz", ""), (200, "ready\n".to_owned()));
    assert_eq!(ask(&place, "/", "").0, 404);
}

/// Asks until it is so.
fn until(place: &str, is_so: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    loop {
        let found = samples(place);
        if is_so(&found) {
            return found;
        }
    }
}

#[test]
fn after_a_restart_the_last_success_is_known_before_anything_ran() {
    let world = World::new(Setup::default());
    configure(&world, "metrics: { listen: \"127.0.0.1:0\" }");
    let (mut daemon, place) = start(&world);
    assert_eq!(world.run(&["backup", "--job", "db", &disk(0)]).status.code(), Some(0));
    let last = format!(r#"disk_last_good_backup_timestamp_seconds{{job="db",disk_id="{}"}}"#, disk(0));
    let before = until(&place, |found| found.contains_key(&last))[&last];
    daemon.signal("KILL");
    daemon.exit_code();

    // Without the cloud: nothing can run.
    let faults = r#"[{"effect":{"timeout":{"executed":false}}}]"#;
    world.ask("POST", "/_sim/faults", faults);
    let (_daemon, place) = start(&world);
    let after = samples(&place);
    assert_eq!(after[&last], before);
    assert_eq!(after[r#"job_last_good_backup_timestamp_seconds{job="db"}"#], before);
    assert_eq!(after[r#"runs_ended_total{job="db",outcome="completed",reason=""}"#], 0.0);
    assert_eq!(after["ready"], 0.0);
    let (status, why) = ask(&place, "/readyz", "");
    assert_eq!((status, &*why), (503, "the clock is not confirmed: no cloud has answered yet\n"));
    until(&place, |found| found[r#"cloud_reachable{target="default"}"#] == 0.0);
}

#[test]
fn those_who_ask_for_nothing_or_never_read_delay_no_backup_and_hold_no_place() {
    let world = World::new(Setup { disks: 2, ..Setup::default() });
    configure(&world, "metrics: { listen: \"127.0.0.1:0\" }");
    let (_daemon, place) = start(&world);
    let connect = |said: &[u8]| {
        let mut stream = TcpStream::connect(&place).unwrap();
        stream.write_all(said).unwrap();
        stream
    };
    let stuck: Vec<TcpStream> = (0..40)
        .map(|number| match number % 3 {
            0 => connect(b""),
            1 => connect(b"GET /metrics HTTP/1.1\r\nHost:"),
            _ => connect(b"GET /metrics HTTP/1.1\r\nHost: daemon\r\n\r\n"),
        })
        .collect();
    assert_eq!(world.run(&["backup", &disk(0), &disk(1)]).status.code(), Some(0));
    // They are still there, and all the same others have their turn.
    assert_eq!(ask(&place, "/healthz", "").0, 200);
    drop(stuck);
    // A head without an end is not read to its end.
    let mut endless = connect(b"GET /metrics HTTP/1.1\r\n");
    let line = format!("X-Long: {}\r\n", "x".repeat(1000));
    let refused = (0..10_000).find_map(|_| endless.write_all(line.as_bytes()).err());
    assert!(refused.is_some(), "ten megabytes of it were taken");
}

#[test]
fn a_place_that_is_taken_stops_no_backup_and_is_used_once_it_is_free() {
    let world = World::new(Setup::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    configure(&world, &format!("metrics: {{ listen: \"{address}\" }}"));
    let mut daemon = Daemon::spawn(world.command(&["run", "--log-format", "json", "--log-level", LEVEL]));
    let mut said = BTreeMap::new();
    while !(said.contains_key("metrics.failed") && said.contains_key("daemon.ready")) {
        let line = daemon.next().unwrap();
        said.insert(line["event"].as_str().unwrap_or_default().to_owned(), line);
    }
    let message = said["metrics.failed"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(&format!("no metrics on {address}: ")), "{message}");
    assert!(message.contains("metrics.listen"), "{message}");
    assert_eq!(world.run(&["backup", &disk(0)]).status.code(), Some(0));
    drop(taken);
    assert_eq!(place_of(&daemon.until("metrics.listening")), address.to_string());
    assert_eq!(ask(&address.to_string(), "/readyz", "").0, 200);
}

#[test]
fn a_reload_brings_the_listener_moves_it_and_takes_it_away() {
    let world = World::new(Setup::default());
    let mut daemon = world.daemon_with_log(LEVEL);
    configure(&world, "metrics: { listen: \"127.0.0.1:0\" }");
    daemon.signal("HUP");
    let first = place_of(&daemon.until("metrics.listening"));
    until(&first, |found| found.keys().any(|series| series.starts_with("disk_backup")));

    // A socket that a daemon which was killed left behind is no hindrance; a file is.
    let socket = world.folder.path().join("metrics.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let listen = format!("unix:{}", socket.display());
    configure(&world, &format!("metrics: {{ listen: {listen}, per_disk: false }}"));
    daemon.signal("HUP");
    assert_eq!(place_of(&daemon.until("metrics.listening")), listen);
    assert!(TcpStream::connect(&first).is_err(), "the old place is left");
    let found = samples(&listen);
    assert!(!found.keys().any(|series| series.starts_with("disk_")), "{found:?}");
    assert_eq!(found[r#"job_disks{job="db"}"#], 1.0);

    configure(&world, "");
    daemon.signal("HUP");
    daemon.until("daemon.reloaded");
    daemon.signal("HUP");
    daemon.until("daemon.reloaded");
    assert!(!socket.exists(), "what was left behind");

    let file = world.folder.path().join("file");
    std::fs::write(&file, "of somebody").unwrap();
    configure(&world, &format!("metrics: {{ listen: unix:{} }}", file.display()));
    daemon.signal("HUP");
    daemon.until("metrics.failed");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody");
}
