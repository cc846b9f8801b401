//! From the tree to the types: every section of the file, and every rule that a value must keep.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backup_core::TargetName;
use backup_core::retry::{Backoff, RetryPolicy};

use super::fields::{Expected, Fields, add, duration, nearest, number, parsed, text, wrong};
use super::mistakes::Mistakes;
use super::tree::{Node, Value};
use super::{Config, CredentialSource, Target, jobs};
use crate::zones;

pub(super) const NAME: &str = "a name of 1 to 32 lower-case letters, digits and hyphens";

const SOURCES: [&str; 2] = ["environment", "file"];
const SOURCES_LATER: [&str; 6] = ["auto", "tccli", "systemd", "cvm-role", "assume-role", "tke-oidc"];

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
    let guard = or(&mut fields, "guard", Duration::from_millis(1), mistakes, duration("0ms", "1s"));
    let retry = match fields.node("retry") {
        Some(node) => retry(node, mistakes),
        None => RetryPolicy::default(),
    };
    let targets =
        required_section(&mut fields, "targets", "targets: { default: { region: ap-guangzhou } }", mistakes)
            .map(|node| targets(node, mistakes));
    let jobs = required_section(
        &mut fields,
        "jobs",
        "jobs: [{ name: db, disks: [disk-1a2b3c4d], schedule: \"30 2 * * *\" }]",
        mistakes,
    )
    .map(|node| {
        // A missing zone or target has been said; here it must not make others.
        let none = Targets::new();
        jobs::jobs(node, targets.as_ref().unwrap_or(&none), zone.as_deref().unwrap_or("UTC"), mistakes)
    });
    fields.finish(&[], mistakes);
    let targets = targets?.into_iter().map(|(name, target)| Some((name, target?))).collect::<Option<_>>()?;
    Some(Config {
        owner: owner?,
        state_dir: state_dir?,
        settle: settle?,
        history_keep: history_keep?,
        guard: guard?,
        retry,
        targets,
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

fn absolute(node: &Node) -> Result<PathBuf, Expected> {
    let path = PathBuf::from(text(node)?);
    if path.is_absolute() { Ok(path) } else { Err("an absolute path".to_owned()) }
}

/// The name of a zone that exists.
pub(super) fn zone_name(node: &Node) -> Result<String, Expected> {
    let expected = || "an IANA time zone, such as `Asia/Shanghai`".to_owned();
    let name = text(node).map_err(|_| expected())?;
    let database = &zones::in_force().database;
    if database.get(name).is_ok() {
        return Ok(name.to_owned());
    }
    let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(nearest(name, &known)
        .map_or_else(expected, |near| format!("an IANA time zone (did you mean `{near}`?)")))
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
        waits.finish(&[], mistakes);
        *backoff = Backoff { shortest, first, longest };
    }
    fields.finish(&[], mistakes);
    policy
}

/// Targets by name; one whose own values are wrong is none, so that jobs may still name it.
pub(super) type Targets = BTreeMap<TargetName, Option<Target>>;

fn targets(node: &Node, mistakes: &mut Mistakes) -> Targets {
    let mut targets = Targets::new();
    let Value::Map(entries) = &node.value else {
        add(
            mistakes,
            node,
            format!(
                "`targets`: expected a mapping such as `default: {{ region: ap-guangzhou }}`, found {}",
                node.describe()
            ),
        );
        return targets;
    };
    if entries.is_empty() {
        add(
            mistakes,
            node,
            "`targets` is empty; expected at least one, such as `default: { region: ap-guangzhou }`"
                .to_owned(),
        );
    }
    for (key, node) in entries {
        let read = target(node, mistakes);
        match key.text.parse() {
            Ok(name) => {
                targets.insert(name, read);
            }
            Err(_) => mistakes.add(&key.place, format!("target `{}`: expected {NAME}", key.text)),
        }
    }
    targets
}

fn target(node: &Node, mistakes: &mut Mistakes) -> Option<Target> {
    let mut fields = Fields::of(node, "a mapping with `region`", mistakes)?;
    let region = fields.required("region", "region: ap-guangzhou", mistakes, region);
    let endpoint = match fields.node("endpoint") {
        Some(node) => endpoint(node).map_err(|expected| wrong(mistakes, "endpoint", node, &expected)).ok(),
        None => region.as_ref().map(|region| format!("https://cbs.{region}.tencentcloudapi.com")),
    };
    let credentials = match fields.node("credentials") {
        Some(node) => credentials(node, mistakes),
        None => Some(CredentialSource::Environment),
    };
    let rate_limit = or(&mut fields, "rate_limit", 20, mistakes, number(1, 1000));
    let connect_timeout =
        or(&mut fields, "connect_timeout", Duration::from_secs(5), mistakes, duration("100ms", "1m"));
    let call_timeout =
        or(&mut fields, "call_timeout", Duration::from_secs(15), mistakes, duration("500ms", "100s"));
    fields.finish(&[], mistakes);
    Some(Target {
        region: region?,
        endpoint: endpoint?,
        credentials: credentials?,
        rate_limit: rate_limit?,
        connect_timeout: connect_timeout?,
        call_timeout: call_timeout?,
    })
}

/// The value of a key, or `default` where it is not set; none where it is wrong.
pub(super) fn or<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    default: T,
    mistakes: &mut Mistakes,
    read: impl FnOnce(&Node) -> Result<T, Expected>,
) -> Option<T> {
    match fields.node(key) {
        None => Some(default),
        Some(node) => read(node).map_err(|expected| wrong(mistakes, key, node, &expected)).ok(),
    }
}

fn region(node: &Node) -> Result<String, Expected> {
    let fits = |text: &&str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text(node)
        .ok()
        .filter(fits)
        .map(str::to_owned)
        .ok_or_else(|| "a region, such as `ap-guangzhou`".to_owned())
}

fn endpoint(node: &Node) -> Result<String, Expected> {
    let expected = || "scheme and host, such as `https://cbs.ap-guangzhou.tencentcloudapi.com`".to_owned();
    let text = text(node).map_err(|_| expected())?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(expected)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let host = host.strip_suffix('/').unwrap_or(host);
    if host.is_empty() || !host.bytes().all(fits) {
        return Err(expected());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn credentials(node: &Node, mistakes: &mut Mistakes) -> Option<CredentialSource> {
    let mut fields = Fields::of(node, "a mapping such as `{ source: environment }`", mistakes)?;
    let source = fields.required("source", "source: environment", mistakes, |node| {
        let word = text(node).unwrap_or_default();
        if SOURCES.contains(&word) {
            Ok(word == "file")
        } else if SOURCES_LATER.contains(&word) {
            Err(format!("`environment` or `file`: `{word}` is not carried out by this version yet"))
        } else {
            Err("`environment` or `file`".to_owned())
        }
    });
    let file = source == Some(true);
    let path = file.then(|| fields.optional("path", mistakes, absolute)).flatten();
    let profile = file
        .then(|| {
            or(&mut fields, "profile", "default".to_owned(), mistakes, |node| text(node).map(str::to_owned))
        })
        .flatten();
    fields.finish(&[], mistakes);
    match source? {
        true => Some(CredentialSource::File { path, profile: profile? }),
        false => Some(CredentialSource::Environment),
    }
}
