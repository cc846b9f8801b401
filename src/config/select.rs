//! `disks`, `select` and `exclude` of a job: which disks it is about.

use std::collections::HashMap;

use backup_core::selection::{Conditions, Pattern, Selection, Tag};
use backup_core::{DiskId, InstanceId};

use super::Disks;
use super::fields::{Expected, Fields, add, parsed, text, wrong};
use super::mistakes::{Mistakes, Place};
use super::tree::{Node, Value};

const DISK: &str = "a disk id (`disk-` and lower-case letters and digits, such as `disk-1a2b3c4d`)";
const INSTANCE: &str = "an instance id, such as `ins-1a2b3c4d`";
/// The states of a disk, as the vendor has them but for their case.
const STATES: [&str; 8] =
    ["attached", "unattached", "attaching", "detaching", "expanding", "rollbacking", "torecycle", "dumping"];

/// The disks of a job; none where they make no sense.
pub(super) fn which(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Disks> {
    let (listed, select, exclude) = (fields.node("disks"), fields.node("select"), fields.node("exclude"));
    let which = match (listed, select) {
        (Some(node), None) => disks(node, mistakes).map(Disks::Listed),
        (None, Some(node)) => {
            let of = conditions(node, "select", mistakes);
            let (but_disks, but) = exclude.map(|node| excluded(node, mistakes)).unwrap_or_default();
            of.map(|of| Disks::Selected(Box::new(Selection { of, but_disks, but })))
        }
        (Some(_), Some(node)) => {
            add(mistakes, node, "`select` and `disks` in one job; expected one of them".to_owned());
            None
        }
        (None, None) => {
            let what = "`disks` is missing; expected a line such as `disks: [disk-1a2b3c4d]`, or `select: { tags: { backup: nightly } }`";
            mistakes.add(fields.place(), what);
            None
        }
    };
    if let (None, Some(node)) = (select, exclude) {
        add(mistakes, node, "`exclude` goes with `select` alone; expected that, or no `exclude`".to_owned());
    }
    which
}

fn disks(node: &Node, mistakes: &mut Mistakes) -> Option<Vec<DiskId>> {
    let Value::List(items) = &node.value else {
        wrong(mistakes, "disks", node, "a list of disk ids such as `[disk-1a2b3c4d]`");
        return None;
    };
    if items.is_empty() {
        add(mistakes, node, "`disks` is empty; expected at least one disk id".to_owned());
    }
    let mut seen: HashMap<DiskId, &Place> = HashMap::with_capacity(items.len());
    let mut disks = Vec::with_capacity(items.len());
    for item in items {
        match parsed::<DiskId>(DISK)(item) {
            Ok(disk) => match seen.insert(disk.clone(), &item.place) {
                Some(Place::File(line, _)) => {
                    add(
                        mistakes,
                        item,
                        format!("disk `{disk}` a second time in this job; the first is in line {line}"),
                    );
                }
                _ => disks.push(disk),
            },
            Err(expected) => wrong(mistakes, "disks", item, &expected),
        }
    }
    Some(disks)
}

/// Ids, and conditions, of disks that are left out.
fn excluded(node: &Node, mistakes: &mut Mistakes) -> (Vec<DiskId>, Vec<Conditions>) {
    const EXAMPLE: &str = "a list of disk ids and conditions such as `[disk-1a2b3c4d, { name: \"tmp-*\" }]`";
    let (mut but_disks, mut but) = (Vec::new(), Vec::new());
    let Value::List(items) = &node.value else {
        wrong(mistakes, "exclude", node, EXAMPLE);
        return (but_disks, but);
    };
    for item in items {
        match &item.value {
            Value::Map(_) => but.extend(conditions(item, "exclude", mistakes)),
            _ => match parsed::<DiskId>(DISK)(item) {
                Ok(disk) => but_disks.push(disk),
                Err(expected) => {
                    wrong(mistakes, "exclude", item, &format!("{expected}, or a mapping of conditions"));
                }
            },
        }
    }
    (but_disks, but)
}

/// Conditions on a disk, at least one.
fn conditions(node: &Node, key: &str, mistakes: &mut Mistakes) -> Option<Conditions> {
    let mut fields =
        Fields::of(node, "a mapping of conditions such as `{ tags: { backup: nightly } }`", mistakes)?;
    let conditions = Conditions {
        tags: tags(&mut fields, "tags", mistakes),
        any_tags: tags(&mut fields, "any_tags", mistakes),
        zones: any(&mut fields, "zone", mistakes, word),
        projects: any(&mut fields, "project", mistakes, |node| {
            let digits = text(node).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|text| text.parse().ok()).ok_or_else(|| "the number of a project".to_owned())
        }),
        instances: any(&mut fields, "instance", mistakes, parsed::<InstanceId>(INSTANCE)),
        names: any(&mut fields, "name", mistakes, |node| word(node).map(Pattern::new)),
        usages: any(&mut fields, "usage", mistakes, |node| match text(node) {
            Ok("system") => Ok("SYSTEM_DISK".to_owned()),
            Ok("data") => Ok("DATA_DISK".to_owned()),
            _ => Err("`system` or `data`".to_owned()),
        }),
        states: any(&mut fields, "state", mistakes, |node| {
            let state = text(node).ok().map(str::to_lowercase).filter(|text| STATES.contains(&&**text));
            state.map(|text| text.to_uppercase()).ok_or_else(|| format!("one of {}", STATES.join(", ")))
        }),
    };
    fields.finish(mistakes);
    if let Value::Map(entries) = &node.value
        && entries.is_empty()
    {
        let all = if key == "select" { "; for all disks: `select: { name: \"*\" }`" } else { "" };
        add(mistakes, node, format!("`{key}` names no condition; expected at least one{all}"));
    }
    Some(conditions)
}

/// `{ KEY: VALUE, KEY: [VALUE, VALUE] }`
fn tags(fields: &mut Fields<'_>, key: &'static str, mistakes: &mut Mistakes) -> Vec<Tag> {
    let Some(node) = fields.node(key) else { return Vec::new() };
    let entries = match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => {
            wrong(mistakes, key, node, "tags such as `{ backup: nightly, stage: [live, test] }`");
            return Vec::new();
        }
    };
    // Unlike all else, a tag's value may be empty.
    let value = |node: &Node| {
        text(node).map(str::to_owned).map_err(|_| "a tag's value, or a list of them".to_owned())
    };
    let tag = |(name, node): &(super::tree::Key, Node), mistakes: &mut Mistakes| Tag {
        key: name.text.to_string(),
        values: one_or_many(node, key, mistakes, value),
    };
    entries.iter().map(|entry| tag(entry, mistakes)).collect()
}

/// The values of a condition, any of which is enough; none where it is not set.
fn any<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    mistakes: &mut Mistakes,
    read: impl Fn(&Node) -> Result<T, Expected>,
) -> Vec<T> {
    fields.node(key).map(|node| one_or_many(node, key, mistakes, read)).unwrap_or_default()
}

/// A value, or a list of them.
fn one_or_many<T>(
    node: &Node,
    key: &str,
    mistakes: &mut Mistakes,
    read: impl Fn(&Node) -> Result<T, Expected>,
) -> Vec<T> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() {
        add(mistakes, node, format!("`{key}` is empty; expected at least one value"));
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        match read(item) {
            Ok(value) => values.push(value),
            Err(expected) => wrong(mistakes, key, item, &expected),
        }
    }
    values
}

fn word(node: &Node) -> Result<String, Expected> {
    text(node).ok().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(|| "a text".to_owned())
}
