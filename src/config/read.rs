//! From the tree to the types: the whole of the file, section by section.

use std::time::Duration;

use backup_core::retry::{Backoff, RetryPolicy};

use super::fields::{Fields, absolute, duration, or, parsed, zone_name};
use super::mistakes::Mistakes;
use super::targets::{self, Targets};
use super::tree::{Node, Value};
use super::{Config, jobs, metrics, notify};
use crate::report::log::Filter;

/// Reads the whole; none where too little of it makes sense. All that is wrong is in `mistakes`.
pub(super) fn config(root: &Node, mistakes: &mut Mistakes) -> Option<Config> {
    if matches!(root.value, Value::Nothing) {
        mistakes.add(&root.place, super::EMPTY);
        return None;
    }
    let mut fields = Fields::of(root, "a mapping with `owner`, `targets` and `jobs`", mistakes)?;
    let owner = fields.required(
        "owner",
        "owner: ops1",
        mistakes,
        parsed("1 to 8 lower-case letters and digits: the mark of this installation in every backup's name"),
    );
    let state_dir = fields.optional("state_dir", mistakes, absolute);
    let zone = fields.optional("timezone", mistakes, zone_name);
    let settle = fields.optional("settle", mistakes, duration("1s", "1h"));
    let history_keep = fields.optional("history_keep", mistakes, duration("1d", "36500d"));
    let discover_every = fields.optional("discover_every", mistakes, duration("1m", "1d"));
    let guard = or(&mut fields, "guard", Duration::from_millis(1), mistakes, duration("0ms", "1s"));
    let log_level = match fields.node("log") {
        Some(node) => log(node, mistakes),
        None => Filter::default(),
    };
    let retry = match fields.node("retry") {
        Some(node) => retry(node, mistakes),
        None => RetryPolicy::default(),
    };
    let metrics = match fields.node("metrics") {
        Some(node) => metrics::metrics(node, mistakes).map(Some),
        None => Some(None),
    };
    let targets =
        required_section(&mut fields, "targets", "targets: { default: { region: ap-guangzhou } }", mistakes)
            .map(|node| targets::targets(node, mistakes));
    let notify = fields.node("notify").map(|node| notify::notifiers(node, mistakes)).unwrap_or_default();
    let jobs = required_section(
        &mut fields,
        "jobs",
        "jobs: [{ name: db, disks: [disk-1a2b3c4d], schedule: \"30 2 * * *\" }]",
        mistakes,
    )
    .map(|node| {
        // A missing zone or target has been said; here it must not make others.
        let none = Targets::new();
        let around = jobs::Around {
            targets: targets.as_ref().unwrap_or(&none),
            zone: zone.as_deref().unwrap_or("UTC"),
            notifiers: &notify,
        };
        jobs::jobs(node, around, mistakes)
    });
    fields.finish(mistakes);
    let targets = targets?.into_iter().map(|(name, target)| Some((name, target?))).collect::<Option<_>>()?;
    let notify = notify.into_iter().map(|(name, known)| Some((name, known?))).collect::<Option<_>>()?;
    Some(Config {
        owner: owner?,
        state_dir: state_dir?,
        settle: settle?,
        history_keep: history_keep?,
        discover_every: discover_every?,
        log_level,
        guard: guard?,
        retry,
        metrics: metrics?,
        targets,
        notify,
        jobs: jobs?,
    })
}

fn required_section<'n>(
    fields: &mut Fields<'n>,
    key: &'static str,
    example: &str,
    mistakes: &mut Mistakes,
) -> Option<&'n Node> {
    let node = fields.node(key);
    if node.is_none() {
        mistakes.add(fields.place(), format!("`{key}` is missing; expected such as `{example}`"));
    }
    node
}

/// What is logged; the default where that cannot be read, which is said.
fn log(node: &Node, mistakes: &mut Mistakes) -> Filter {
    let Some(mut fields) = Fields::of(node, "a mapping with `level`", mistakes) else {
        return Filter::default();
    };
    let level = or(&mut fields, "level", Filter::default(), mistakes, parsed(Filter::EXPECTED));
    fields.finish(mistakes);
    level.unwrap_or_default()
}

fn retry(node: &Node, mistakes: &mut Mistakes) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    let Some(mut fields) = Fields::of(node, "a mapping of kinds of setback, such as `busy`", mistakes) else {
        return policy;
    };
    for (key, backoff) in [
        ("throttled", &mut policy.throttled),
        ("busy", &mut policy.busy),
        ("quota", &mut policy.quota),
        ("scarce", &mut policy.scarce),
        ("person", &mut policy.person),
        ("passing", &mut policy.passing),
    ] {
        let Some(node) = fields.node(key) else { continue };
        let Some(mut waits) = Fields::of(node, "`{ shortest: 15s, first: 30s, longest: 10m }`", mistakes)
        else {
            continue;
        };
        let wait = duration("100ms", "1d");
        let shortest = waits.optional("shortest", mistakes, &wait).unwrap_or(backoff.shortest);
        let first = waits.optional("first", mistakes, &wait).unwrap_or(backoff.first);
        let longest = waits.optional("longest", mistakes, &wait).unwrap_or(backoff.longest);
        if shortest > first || first > longest {
            mistakes.add(waits.place(), format!("`{key}`: expected shortest <= first <= longest, found {shortest:?}, {first:?}, {longest:?}"));
        }
        waits.finish(mistakes);
        *backoff = Backoff { shortest, first, longest };
    }
    fields.finish(mistakes);
    policy
}
