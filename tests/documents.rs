//! What `docs/` says of events, waits, commands, options and exit codes is what the program does.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use backup_core::RunId;
use backup_core::catch_up::Misses;
use backup_core::retention::{Point, PointId, plan};
use backup_core::retry::{Class, RetryPolicy};
use backup_core::run::{Failure, Setback, Sighting, Skip};
use cbs_backupd::config::Config;
use cbs_backupd::metrics::table::ALL;
use cbs_backupd::report::event::{Kind, Level, Say};
use serde_json::Value;

/// The rows of the tables of a page that begin with a word in backticks, by their columns.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches(['|', ' ']).split(" | ").collect()).collect()
}

/// What stands in backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_event_is_documented_with_its_level() {
    let page = include_str!("../docs/events.md");
    let documented: Vec<(&str, &str)> =
        rows(page).iter().map(|columns| (columns[0].trim_matches('`'), columns[1])).collect();
    let level = |kind: &Kind| match kind.level() {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let written: Vec<(&str, &str)> = Kind::ALL.iter().map(|kind| (kind.name(), level(kind))).collect();
    assert_eq!(documented, written);
}

/// A section's level and how often it is said, its complete list of fields, and a line that could be one of it.
#[test]
fn every_event_has_its_section_with_its_fields_and_an_example() {
    let page = include_str!("../docs/events.md");
    let sections: BTreeMap<&str, &str> =
        page.split("\n### ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    assert_eq!(sections.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        let section = sections[kind.name()];
        let line = |start: &str| section.lines().find(|line| line.starts_with(start)).unwrap();
        let level = format!("{:?}", kind.level());
        assert!(line("Level ").starts_with(&format!("Level {}", level.to_lowercase())), "{}", kind.name());
        let said = match kind.said() {
            Say::Each => None,
            Say::Sparingly => Some("the same again at growing intervals"),
            Say::Owed => Some("never left out"),
            Say::Always => Some("whatever the log level"),
        };
        for word in ["the same again at growing intervals", "never left out", "whatever the log level"] {
            assert_eq!(line("Level ").contains(word), said == Some(word), "{}: {word}", kind.name());
        }
        let fields: BTreeSet<&str> = kind.fields().collect();
        assert_eq!(words(line("Fields: ")).collect::<BTreeSet<_>>(), fields, "{}", kind.name());
        assert!(section.contains(&format!("`journalctl CBS_EVENT={}`", kind.name())), "{}", kind.name());

        let example: serde_json::Map<String, Value> = serde_json::from_str(line("{")).unwrap();
        assert_eq!(example["event"], kind.name());
        assert_eq!(example["level"], level.to_uppercase(), "{}", kind.name());
        assert!(example["message"].is_string() && example["timestamp"].is_string());
        for name in example.keys() {
            let common = ["timestamp", "level", "message", "event"].contains(&name.as_str());
            assert!(common || fields.contains(name.as_str()), "{}: `{name}`", kind.name());
        }
    }
}

#[test]
fn every_field_is_explained() {
    let page = include_str!("../docs/events.md");
    let table = page.split("\n## ").find(|section| section.starts_with("Fields\n")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let explained: BTreeSet<&str> =
        rows.flat_map(|row| row.trim_start_matches("| ").split(" |").next().unwrap().split(", ")).collect();
    assert_eq!(explained, Kind::ALL.iter().flat_map(|kind| kind.fields()).collect());
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels_and_no_other() {
    let page = include_str!("../docs/metrics.md");
    let of_metrics = rows(page).into_iter().filter(|columns| columns[0].starts_with("`cbs_backupd_"));
    let documented: Vec<String> = of_metrics.map(|columns| columns.join(" | ")).collect();
    let written = ALL.iter().map(|metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(" ") };
        let kind = format!("{:?}", metric.kind).to_lowercase();
        format!("`{}` | {kind} | {labels} | {}", metric.full_name(), metric.help)
    });
    assert_eq!(documented, written.collect::<Vec<_>>());
}

#[test]
fn every_reason_is_documented_with_its_outcome() {
    let page = rows(include_str!("../docs/metrics.md"));
    let documented = |outcome: &str| -> Vec<&str> {
        let of_outcome = page.iter().filter(|columns| columns.get(1) == Some(&outcome));
        of_outcome.map(|columns| columns[0].trim_matches('`')).collect()
    };
    assert_eq!(documented("failed"), Failure::NAMES);
    assert_eq!(documented("skipped"), Skip::NAMES);
}

#[test]
fn every_class_is_documented_with_its_waits() {
    let page = rows(include_str!("../docs/setbacks.md"));
    let documented: BTreeSet<&str> = page.iter().map(|columns| columns[0].trim_matches('`')).collect();
    assert_eq!(documented, Class::ALL.iter().map(|class| class.as_str()).collect());
    let policy = RetryPolicy::default();
    let mut waits = 0;
    for columns in page {
        let class =
            Class::ALL.into_iter().find(|class| class.as_str() == columns[0].trim_matches('`')).unwrap();
        // `busy`: 15s, 30s, 10m
        let Some((_, three)) = columns.last().unwrap().split_once("`: ") else { continue };
        let backoff = policy.backoff(class);
        let shown = [backoff.shortest, backoff.first, backoff.longest].map(|wait| match wait.as_secs() {
            seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
            seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
            seconds => format!("{seconds}s"),
        });
        assert_eq!(three, shown.join(", "), "{class:?}");
        waits += 1;
    }
    assert!(waits >= 5);
}

/// Its sections, by the titles of their headings.
fn sections(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("### ")).collect()
}

#[test]
fn every_class_and_exit_code_has_its_section_in_troubleshooting() {
    let sections = sections(include_str!("../docs/troubleshoot.md"));
    let classes = Class::ALL.iter().map(|class| format!("`{}`", class.as_str()));
    // Rows that begin with a number are those of the exit codes.
    let codes = include_str!("../docs/stability.md").lines().filter_map(|line| {
        let code = line.strip_prefix("| ")?.split(' ').next()?;
        code.parse::<u8>().ok().filter(|code| *code != 0)
    });
    let wanted: BTreeSet<String> = classes.chain(codes.map(|code| format!("Exit code {code}"))).collect();
    assert!(wanted.len() >= 19);
    assert_eq!(sections, wanted.iter().map(String::as_str).collect());
}

/// One of each kind. A new variant does not compile until it is here.
fn reasons() -> Vec<String> {
    let setback = Setback { class: Class::Permanent, code: Some("CODE".to_owned()), failures: 1, unknown: 0 };
    let (from, to) = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
    let failures = [
        Failure::Refused(setback.clone()),
        Failure::OutOfTime(setback),
        Failure::QuotaFull,
        Failure::QuotaHeldByOthers,
        Failure::QuotaLastGood,
        Failure::PromotionIncomplete,
        Failure::Incomplete,
        Failure::Vanished,
        Failure::OutcomeUnknown,
    ];
    let skips = [
        Skip::Missed(Misses { from, to, count: 2 }),
        Skip::Late,
        Skip::Paused,
        Skip::Blackout,
        Skip::DiskBusy,
        Skip::Superseded,
        Skip::Removed,
    ];
    for failure in &failures {
        match failure {
            Failure::Refused(_) | Failure::OutOfTime(_) | Failure::QuotaFull | Failure::QuotaHeldByOthers => {
            }
            Failure::QuotaLastGood | Failure::PromotionIncomplete | Failure::Incomplete => {}
            Failure::Vanished | Failure::OutcomeUnknown => {}
        }
    }
    for skip in &skips {
        match skip {
            Skip::Missed(_) | Skip::Late | Skip::Paused | Skip::Blackout => {}
            Skip::DiskBusy | Skip::Superseded | Skip::Removed => {}
        }
    }
    failures.iter().map(ToString::to_string).chain(skips.iter().map(ToString::to_string)).collect()
}

#[test]
fn every_reason_of_a_run_is_in_troubleshooting() {
    let page = include_str!("../docs/troubleshoot.md");
    let rows = rows(page);
    let row = |reason: &str| {
        let first = |columns: &&Vec<&str>| columns[0].trim_matches('`').replace("CLASS", "permanent");
        let fits = rows.iter().filter(|columns| reason.starts_with(&first(columns)));
        fits.map(|columns| columns[0]).max_by_key(|first| first.len())
    };
    let reasons = reasons();
    let found: BTreeSet<&str> = reasons
        .iter()
        .map(|reason| row(reason).unwrap_or_else(|| panic!("`{reason}` is not in docs/troubleshoot.md")))
        .collect();
    assert_eq!(found.len(), reasons.len(), "each has a row of its own");
}

fn sources(folder: &std::path::Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn what_commands_are_said_to_refuse_with_is_in_the_program() {
    let page = include_str!("../docs/troubleshoot.md");
    let (_, refusals) = page.split_once("## Commands that refuse").unwrap();
    let mut all = String::new();
    for folder in ["src", "crates/core/src"] {
        sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut all);
    }
    let mut seen = 0;
    for row in refusals.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let first = row.split(" | ").next().unwrap();
        for message in words(first).filter(|message| message.contains(' ')) {
            // What stands in capitals is filled in.
            let filled =
                ["JOB", "DISK", "RUN", "ID"].iter().fold(message.to_owned(), |m, word| m.replace(word, "\0"));
            for part in filled.split('\0').map(str::trim).filter(|part| !part.is_empty()) {
                assert!(all.contains(part), "nothing says `{part}`, of `{message}`");
            }
            seen += 1;
        }
    }
    assert!(seen >= 8);
}

fn help(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_cbs-backupd")).args(arguments).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The long options in a help text, but those that every command has.
fn options(help: &str) -> BTreeSet<&str> {
    let options = help.lines().map(str::trim_start).filter(|line| line.starts_with("--"));
    let options = options.filter_map(|line| line.split(' ').next());
    options.filter(|option| !["--config", "--log-format", "--log-level"].contains(option)).collect()
}

#[test]
fn every_command_and_option_is_documented_and_no_other() {
    let page = rows(include_str!("../docs/stability.md"));
    let name = |word: &'static str| word.trim_matches('`').split(' ').next().unwrap();
    let documented: BTreeMap<&str, BTreeSet<&str>> =
        page.iter().map(|columns| (name(columns[0]), words(columns[1]).map(name).collect())).collect();
    let all = help(&[]);
    let commands: BTreeSet<&str> = all
        .lines()
        .skip_while(|line| *line != "Commands:")
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert_eq!(documented.keys().copied().collect::<BTreeSet<_>>(), commands);
    for (command, known) in documented {
        let text = help(&[command]);
        assert_eq!(options(&text), known, "{command}");
    }
}

/// The message that `docs/notifications.md` shows is what a webhook gets.
#[test]
fn the_example_of_a_webhook_is_what_it_gets() {
    use backup_core::notify::Condition;
    use cbs_backupd::notify::message::{ConditionNews, JobNews, Listed, ListedDisk, Message};

    let page = include_str!("../docs/notifications.md");
    let (_, rest) = page.split_once("```json\n").unwrap();
    let shown: serde_json::Value = serde_json::from_str(rest.split_once("```").unwrap().0).unwrap();
    let disk = |id: &str, due: Option<&str>, reason: Option<&str>| ListedDisk {
        disk_id: id.parse().unwrap(),
        due: due.map(|due| due.parse().unwrap()),
        reason: reason.map(ToOwned::to_owned),
    };
    let reason = Some("refused: permanent (InvalidParameter)");
    let job = JobNews {
        job: "db-nightly".parse().unwrap(),
        disks: 601,
        is_reminder: false,
        failed: Listed {
            count: 600,
            disks: vec![disk("disk-1a2b3c4d", Some("2026-11-24T18:30:00Z"), reason)],
        },
        beyond_objective: Listed::default(),
        recovered: Listed { count: 1, disks: vec![disk("disk-5e6f7a8b", None, None)] },
    };
    let daemon = ConditionNews {
        condition: Condition::Credentials,
        target: Some("default".to_owned()),
        is_over: false,
        is_reminder: false,
        message: "AuthFailure.SecretIdNotFound".to_owned(),
    };
    let id = shown["id"].as_str().unwrap().to_owned();
    let (owner, at) = ("ops1".parse().unwrap(), "2026-11-24T18:31:07Z".parse().unwrap());
    let message = Message::about(id, owner, at, vec![job], vec![daemon]);
    assert_eq!(serde_json::to_value(message).unwrap(), shown);
}

/// The worked example of `docs/retention.md`: its rules, its backups, its instant.
#[test]
fn the_example_of_retention_is_what_the_plan_says() {
    let page = include_str!("../docs/retention.md");
    let (_, job) = page.split_once("```yaml config.yaml\n").unwrap();
    let (job, _) = job.split_once("```").unwrap();
    let config = Config::parse("example.yaml", job, &BTreeMap::new()).unwrap();
    let job = &config.jobs[0];
    let zone = job.schedule.zone();
    let [from, now] = ["2026-09-01T00:00", "2026-11-24T12:00"]
        .map(|local| zone.to_timestamp(local.parse().unwrap()).unwrap());
    let date = |due| zone.to_datetime(due).date().to_string();
    let dues = job.schedule.after(from).take_while(|due| *due < now).filter(|due| date(*due) != "2026-11-22");
    let points: Vec<Point> = dues
        .map(|due| Point {
            id: PointId::Backup(format!("dbp-{}", date(due).replace('-', "")).parse().unwrap()),
            run: RunId { job: job.name.clone(), disk: "disk-1".parse().unwrap(), due },
            sighting: Sighting::Normal,
        })
        .collect();
    let plan = plan(&points, &|_| Some((job.keep.clone(), zone.clone())), now);
    let verdicts: BTreeMap<String, String> =
        plan.iter().map(|(id, verdict)| (id.to_string(), verdict.to_string())).collect();
    let mut seen = 0;
    for columns in rows(page).iter().filter(|columns| columns[0].starts_with("`2026")) {
        let id = format!("dbp-{}", columns[0].trim_matches('`').replace('-', ""));
        assert_eq!(verdicts[&id], columns[1], "{id}");
        seen += usize::from(columns[1].starts_with("kept"));
    }
    assert_eq!(
        seen,
        verdicts.values().filter(|verdict| verdict.starts_with("kept")).count(),
        "all that is kept"
    );
}
