//! The `targets` section.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_core::TargetName;

use super::credentials::credentials;
use super::fields::{Expected, Fields, NAME, add, duration, number, or, text, wrong};
use super::mistakes::Mistakes;
use super::tree::{Node, Value};
use super::{CredentialSource, Target};

/// Targets by name; one whose own values are wrong is none, so that jobs may still name it.
pub(super) type Targets = BTreeMap<TargetName, Option<Target>>;

pub(super) fn targets(node: &Node, mistakes: &mut Mistakes) -> Targets {
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
    fields.finish(mistakes);
    Some(Target {
        region: region?,
        endpoint: endpoint?,
        credentials: credentials?,
        rate_limit: rate_limit?,
        connect_timeout: connect_timeout?,
        call_timeout: call_timeout?,
    })
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

pub(super) fn endpoint(node: &Node) -> Result<String, Expected> {
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
