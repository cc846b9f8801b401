//! The policies under `config/cam` are what CAM reads, and allow what the client calls and no more.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cbs::Action;
use serde_json::Value;

fn documents() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cam");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let json = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    json.map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
    })
    .collect()
}

/// One text, or a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|text| text.as_str().unwrap()).collect(),
        other => panic!("{other} is neither a text nor a list of texts"),
    }
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The actions of a document, without `name/`.
fn actions(document: &Value) -> Vec<&str> {
    let statements = document["statement"].as_array().unwrap();
    let all = statements.iter().flat_map(|statement| texts(&statement["action"]));
    all.map(|action| action.strip_prefix("name/").unwrap_or_else(|| panic!("{action} lacks `name/`")))
        .collect()
}

#[test]
fn every_document_has_the_shape_of_a_policy() {
    let documents = documents();
    assert!(documents.len() >= 8, "{:?}", documents.keys());
    for (name, document) in &documents {
        assert_eq!(keys(document), BTreeSet::from(["version", "statement"]), "{name}");
        assert_eq!(document["version"], "2.0", "{name}");
        let statements = document["statement"].as_array().unwrap();
        assert!(!statements.is_empty(), "{name}");
        for statement in statements {
            let trust = name.starts_with("trust-");
            let mut expected =
                BTreeSet::from(["effect", "action", if trust { "principal" } else { "resource" }]);
            if keys(statement).contains("condition") {
                assert!(statement["condition"].is_object(), "{name}");
                expected.insert("condition");
            }
            assert_eq!(keys(statement), expected, "{name}");
            assert_eq!(statement["effect"], "allow", "{name}");
            for action in actions(document) {
                let (product, action) = action.split_once(':').unwrap();
                assert!(["cvm", "sts"].contains(&product), "{name}: {product}");
                assert!(
                    action.chars().all(|c| c.is_ascii_alphanumeric()),
                    "{name}: {action} may have no wildcard"
                );
            }
            let named = if trust { &statement["principal"] } else { &statement["resource"] };
            let resources: Vec<&str> = match named {
                Value::Object(principals) => principals
                    .iter()
                    .filter(|(kind, _)| *kind != "service")
                    .flat_map(|(_, value)| texts(value))
                    .collect(),
                resource => texts(resource),
            };
            for resource in resources.into_iter().filter(|resource| *resource != "*") {
                let segments: Vec<&str> = resource.splitn(6, ':').collect();
                let [qcs, project, product, region, account, what] = segments[..] else {
                    panic!("{name}: {resource} has not six segments")
                };
                assert_eq!((qcs, project, region), ("qcs", "", ""), "{name}: {resource}");
                assert!(["cvm", "cam"].contains(&product), "{name}: {resource}");
                assert!(account.starts_with("uin/${") && account.ends_with('}'), "{name}: {resource}");
                assert!(!what.is_empty(), "{name}: {resource}");
            }
        }
    }
}

#[test]
fn the_policies_together_allow_what_is_called_and_nothing_else() {
    let documents = documents();
    let mut allowed: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, document) in documents.iter().filter(|(name, _)| !name.starts_with("trust-")) {
        for action in actions(document) {
            let twice = allowed.insert(action, name);
            assert_eq!(twice, None, "{action} is in two documents");
        }
    }
    let allowed: BTreeSet<&str> = allowed.into_keys().collect();
    let called: BTreeSet<String> = Action::ALL
        .iter()
        .map(|action| action.as_str())
        .map(|action| format!("cvm:{action}"))
        .chain(["sts:AssumeRole".to_owned()])
        .collect();
    assert_eq!(allowed, called.iter().map(String::as_str).collect());
}

#[test]
fn the_page_says_what_each_document_allows() {
    let page = include_str!("../config/cam/README.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<String, BTreeSet<&str>> = rows
        .map(|row| {
            let columns: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
            let name = columns[0].trim_matches('`').strip_suffix(".json").unwrap().to_owned();
            (
                name,
                columns[2]
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|word| word.trim_start_matches("sts:"))
                    .collect(),
            )
        })
        .collect();
    let documents = documents();
    let written: BTreeMap<String, BTreeSet<&str>> = documents
        .iter()
        .map(|(name, document)| {
            let bare = actions(document).into_iter().map(|action| action.split_once(':').unwrap().1);
            (name.clone(), bare.collect())
        })
        .collect();
    assert_eq!(documented, written);
}
