//! Defaults and environment, laid over the file's tree.
//!
//! Responsible for scalars outside `jobs`, by the `config` crate: the file itself is never read by it, for it
//! knows no lines and turns `0123` into 123. A variable is named by its path: `CBS_BACKUPD__SETTLE`,
//! `CBS_BACKUPD__TARGETS__DEFAULT__RATE_LIMIT`.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{Environment, Map, Value as LayerValue};

use super::mistakes::{Mistakes, Place};
use super::tree::{Key, Node, Value};

const PREFIX: &str = "CBS_BACKUPD";
const SEPARATOR: &str = "__";

/// Values that a key has when nobody sets it.
const DEFAULTS: [(&str, &str); 5] = [
    ("state_dir", "/var/lib/cbs-backupd"),
    ("timezone", "UTC"),
    ("settle", "5m"),
    ("history_keep", "400d"),
    ("discover_every", "10m"),
];

/// The tree with the environment laid over it and the defaults under it.
pub(super) fn lay(mut tree: Node, environment: &BTreeMap<String, String>, mistakes: &mut Mistakes) -> Node {
    if let Value::Map(entries) = &mut tree.value {
        for (path, value) in collect(over(environment), mistakes) {
            let variable: Arc<str> = name(&path, environment).into();
            let place = Place::Environment(Arc::clone(&variable));
            if path.split('.').next() == Some("jobs") {
                mistakes.add(&place, "jobs are set in the file alone; expected a key outside `jobs`");
            } else if !set(entries, &path, &value, &place, true) {
                mistakes.add(&place, format!("`{path}` is not a single value; expected the path of one"));
            }
        }
        for (path, value) in collect(under(), mistakes) {
            set(entries, &path, &value, &Place::Default, false);
        }
    }
    tree
}

fn over(environment: &BTreeMap<String, String>) -> Environment {
    let ours = environment.iter().filter(|(name, _)| name.starts_with("CBS_BACKUPD__"));
    let ours: Map<String, String> = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
    Environment::with_prefix(PREFIX).prefix_separator(SEPARATOR).separator(SEPARATOR).source(Some(ours))
}

fn under() -> config::Config {
    let builder = DEFAULTS
        .iter()
        .try_fold(config::Config::builder(), |builder, (key, value)| builder.set_default(*key, *value));
    builder.and_then(|builder| builder.build()).unwrap_or_default()
}

fn collect(layer: impl config::Source, mistakes: &mut Mistakes) -> Vec<(String, String)> {
    match layer.collect() {
        Ok(values) => {
            let mut flat = Vec::new();
            for (path, value) in values {
                flatten(path, value, &mut flat);
            }
            flat.sort();
            flat
        }
        Err(error) => {
            mistakes.add(&Place::Default, format!("environment: {error}"));
            Vec::new()
        }
    }
}

fn flatten(path: String, value: LayerValue, flat: &mut Vec<(String, String)>) {
    match value.kind {
        config::ValueKind::Table(table) => {
            for (key, value) in table {
                flatten(format!("{path}.{key}"), value, flat);
            }
        }
        _ => flat.extend(value.into_string().ok().map(|text| (path, text))),
    }
}

/// The variable that gave a path; the layer has lower-cased it.
fn name(path: &str, environment: &BTreeMap<String, String>) -> String {
    let lower = format!("{PREFIX}{SEPARATOR}{}", path.replace('.', SEPARATOR)).to_lowercase();
    environment.keys().find(|name| name.to_lowercase() == lower).cloned().unwrap_or(lower)
}

/// Sets the value at a path; false where something on the way, or at its end, is not what it must be.
fn set(entries: &mut Vec<(Key, Node)>, path: &str, value: &str, place: &Place, replace: bool) -> bool {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let index = entries.iter().position(|(known, _)| &*known.text == key);
    let index = index.unwrap_or_else(|| {
        let value = if rest.is_some() { Value::Map(Vec::new()) } else { Value::Nothing };
        let node = Node { place: place.clone(), value, secret: super::mistakes::names_secret(key) };
        entries.push((Key { place: place.clone(), text: key.into() }, node));
        entries.len() - 1
    });
    let node = &mut entries[index].1;
    match (&mut node.value, rest) {
        (Value::Map(inner), Some(rest)) => set(inner, rest, value, place, replace),
        (Value::Nothing, None) => {
            *node = replaced(node, place, value);
            true
        }
        (Value::Text(_), None) => {
            if replace {
                *node = replaced(node, place, value);
            }
            true
        }
        _ => false,
    }
}

/// `value` in place of a node; a place where a secret could stand remains one.
fn replaced(node: &Node, place: &Place, value: &str) -> Node {
    let mut new = Node::text(place.clone(), value);
    new.secret |= node.secret;
    new
}
