//! The man pages, the table of keys, the readers of the configuration and its sample say the same.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cbs_backupd::config::Config;
use cbs_backupd::config::keys::{Key, Kind, SECTIONS, Section, Unset};
use serde_json::{Value, json};

const REFRESH: &str = "write the pages anew by `cargo run -- man man`";

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_committed_pages_are_those_that_the_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let done =
        Command::new(env!("CARGO_BIN_EXE_cbs-backupd")).arg("man").arg(folder.path()).status().unwrap();
    assert!(done.success());
    let (written, committed) = (files(folder.path()), files(&root("man")));
    assert_eq!(written.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>(), "{REFRESH}");
    for (name, page) in written {
        assert!(page == committed[&name], "man/{name} is not what the program writes: {REFRESH}");
    }
}

/// A command without a row in `src/cli/manual.rs` has a page that says little.
#[test]
fn every_page_has_every_part() {
    for (name, page) in files(&root("man")).into_iter().filter(|(name, _)| name.ends_with(".8")) {
        for part in ["DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            let heading = [format!(".SH {part}\n"), format!(".SH \"{part}\"\n")];
            assert!(
                heading.iter().any(|heading| page.contains(heading)),
                "man/{name} has no {part}: add a row to src/cli/manual.rs"
            );
        }
    }
}

/// A configuration in which every section of the table stands.
fn base() -> Value {
    json!({
        "owner": "ops1",
        "log": { "level": "info" },
        "metrics": {},
        "notify": {
            "chat": { "kind": "webhook", "url_env": "CHAT" },
            "post": { "kind": "mail", "server": "smtp.example.com", "from": "a@example.com", "to": ["b@example.com"] },
            "alive": { "kind": "ping", "url_env": "ALIVE" },
        },
        "retry": { "busy": {} },
        "targets": { "default": { "region": "ap-guangzhou", "credentials": { "source": "environment" } } },
        "jobs": [{
            "name": "db",
            "select": { "name": "*" },
            "schedule": { "cron": "30 2 * * *", "blackout": [{ "from": "08:00", "to": "18:00" }] },
            "keep": { "last": 3 },
            "ping": { "url_env": "DB" },
        }],
    })
}

/// Where a section stands in [`base`].
fn pointer(path: &str) -> String {
    let path = path.replace("NAME", "default").replace("KIND", "busy").replace("[]", ".0");
    let path = path.replace("WEBHOOK", "chat").replace("MAIL", "post").replace("PING", "alive");
    if path.is_empty() { path } else { format!("/{}", path.replace('.', "/")) }
}

/// [`base`] with `key` of a section set to `value`, in YAML, or without it.
fn with(section: &Section, key: &Key, value: Option<&str>) -> String {
    const MARK: &str = "the value";
    let mut config = base();
    let mapping = config.pointer_mut(&pointer(section.path)).unwrap().as_object_mut().unwrap();
    if let Some((beside, word)) = key.goes_with {
        mapping.insert(beside.to_owned(), json!(word));
        if word == "assume-role" {
            mapping.insert("role_arn".to_owned(), json!("qcs::cam::uin/1:roleName/x"));
        }
    }
    match value {
        Some(_) => mapping.insert(key.name.to_owned(), json!(MARK)),
        None => mapping.remove(key.name),
    };
    // JSON is YAML.
    config.to_string().replace(&format!("\"{MARK}\""), value.unwrap_or_default())
}

/// Whether a key is the only one of its mapping in [`base`].
fn stands_alone(section: &Section, key: &Key) -> bool {
    let mapping =
        base().pointer(&pointer(section.path)).and_then(Value::as_object).cloned().unwrap_or_default();
    mapping.keys().eq([key.name])
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse("config.yaml", text, &BTreeMap::new()).map_err(|errors| errors.to_string())
}

fn all_keys() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

/// Secrets are in a file, or elsewhere: one row of the table for all.
fn stands_elsewhere(key: &str) -> bool {
    key == "url" || key.ends_with("_env") || key.ends_with("_credential")
}

/// The readers name the keys that they know to whoever uses another.
#[test]
fn the_table_has_the_keys_that_the_readers_know_and_no_other() {
    for section in SECTIONS {
        let mut config = base();
        let mapping = config.pointer_mut(&pointer(section.path)).expect("a section that base() lacks");
        mapping.as_object_mut().unwrap().insert("qqqqqqqq".to_owned(), json!(1));
        let errors = parse(&config.to_string()).unwrap_err();
        let known =
            errors.lines().find_map(|line| line.split_once("unknown key `qqqqqqqq`; expected one of "));
        let known = known.expect(&errors).1.split(", ").filter(|key| !stands_elsewhere(key));
        let known: BTreeSet<&str> = known.collect();
        let table: BTreeSet<&str> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(table, known, "section `{}` of src/config/keys.rs, and its reader", section.path);
    }
}

#[test]
fn what_the_table_says_is_expected_is_what_the_readers_expect() {
    let mut compared = 0;
    for (section, key) in all_keys() {
        let Some(expected) = key.kind.expected() else { continue };
        let expected = format!("`{}`: expected {expected}, found", key.name);
        let said: Vec<String> = ["{}", "'???'"]
            .iter()
            .filter_map(|wrong| parse(&with(section, key, Some(wrong))).err())
            .collect();
        assert!(said.iter().any(|said| said.contains(&expected)), "{expected}\n{}", said.join("\n"));
        compared += 1;
    }
    assert!(compared >= 40);
}

#[test]
fn what_the_table_says_of_a_missing_key_is_what_the_readers_do() {
    let mut compared = 0;
    for (section, key) in all_keys() {
        let without = parse(&with(section, key, None));
        match key.default {
            Unset::Required => {
                let missing = format!("`{}` is missing", key.name);
                assert!(without.unwrap_err().contains(&missing), "{}: {missing}", section.path);
            }
            Unset::Is(default) => {
                let said =
                    parse(&with(section, key, Some(default))).unwrap_or_else(|errors| panic!("{errors}"));
                assert_eq!(
                    format!("{said:?}"),
                    format!("{:?}", without.unwrap()),
                    "{}.{}",
                    section.path,
                    key.name
                );
                compared += 1;
            }
            Unset::Means(what) if !what.starts_with("required") && !stands_alone(section, key) => {
                drop(without.unwrap_or_else(|errors| panic!("{}.{}: {errors}", section.path, key.name)));
            }
            // Another key, or any other rule or condition, stands in for it.
            Unset::Means(_) => {}
        }
    }
    assert!(compared >= 25);
}

/// The keys of a YAML tree, each with the path of its section as the table writes it.
fn keys_of(value: &Value, path: &str, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys_of(item, &format!("{path}[]"), found)),
        Value::Object(entries) => {
            for (name, value) in entries {
                let any = match path {
                    "targets" => Some("NAME".to_owned()),
                    "retry" => Some("KIND".to_owned()),
                    "notify" => value["kind"].as_str().map(str::to_uppercase),
                    // Tags are named by whoever made them.
                    "jobs[].select.tags" | "jobs[].select.any_tags" => continue,
                    _ => None,
                };
                if !["targets", "notify"].contains(&path) {
                    found.insert((path.to_owned(), name.clone()));
                }
                let below = any.unwrap_or_else(|| name.clone());
                let below = if path.is_empty() { below } else { format!("{path}.{below}") };
                // The same keys in another place.
                let below = below.replace(".credentials.from", ".credentials").replace("exclude[]", "select");
                keys_of(value, &below, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_sample_has_every_key_and_no_other() {
    let sample: Value = serde_saphyr::from_str(include_str!("../config/config.yaml")).unwrap();
    let mut found = BTreeSet::new();
    keys_of(&sample, "", &mut found);
    let found: BTreeSet<(String, String)> =
        found.into_iter().map(|(path, name)| (path.replace("exclude[]", "select"), name)).collect();
    let table: BTreeSet<(String, String)> =
        all_keys().map(|(section, key)| (section.path.to_owned(), key.name.to_owned())).collect();
    assert_eq!(found, table, "config/config.yaml, and src/config/keys.rs");
}

/// What the sample says of a key: the comment of one of its lines, and those right above it.
fn comments(sample: &str, name: &str) -> Vec<String> {
    let lines: Vec<&str> = sample.lines().collect();
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let of = |index: usize| {
        let above = lines[..index].iter().rev().take_while(|line| is_comment(line));
        let own = lines[index].split_once(" # ").map_or("", |(_, comment)| comment);
        let above: Vec<&str> = above.map(|line| line.trim_start_matches(['#', ' '])).collect();
        above.into_iter().rev().chain([own]).collect::<Vec<_>>().join(" ")
    };
    let holds =
        |line: &str| !is_comment(line) && line.split([' ', '{', '-']).any(|word| word == format!("{name}:"));
    (0..lines.len()).filter(|index| holds(lines[*index])).map(of).collect()
}

#[test]
fn the_sample_says_the_range_and_the_default_of_each_key() {
    let sample = include_str!("../config/config.yaml");
    let mut compared = 0;
    for (section, key) in all_keys() {
        // The waits have one range, and are their own defaults (`tests/config.rs`).
        let said = match section.path {
            "retry.KIND" => comments(sample, "retry"),
            _ => comments(sample, key.name),
        };
        let says = |what: &str| {
            let what = what.to_lowercase();
            assert!(
                said.iter().any(|said| said.to_lowercase().contains(&what)),
                "{}: `{what}` is not said in config/config.yaml: {said:?}",
                key.name
            );
        };
        match key.kind {
            Kind::Duration(least, most) => says(&format!("{least} to {most}")),
            Kind::Number(least, most) if section.path != "jobs[].keep" => says(&format!("{least} to {most}")),
            _ => {}
        }
        match (key.default, key.kind) {
            (Unset::Is(default), Kind::Words(words)) if words.len() > 2 || default != "false" => {
                says(&format!("{default} (default)"))
            }
            (Unset::Is(default), Kind::Duration(..) | Kind::Number(..) | Kind::Single(_)) => {
                says(&format!("default {default}"))
            }
            _ => continue,
        }
        compared += 1;
    }
    assert!(compared >= 15);
}
