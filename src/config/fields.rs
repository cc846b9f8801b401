//! Reads a mapping field by field and keeps count of what is wrong.
//!
//! Responsible for the part that all sections share: missing and unknown keys, wrong kinds of value, and values
//! that make no sense, each said with what was expected.

use std::path::PathBuf;
use std::time::Duration;

use super::mistakes::{Mistakes, Place, looks_secret};
use super::tree::{Key, Node, Value};
use crate::zones;

/// How jobs and targets are named.
pub(super) const NAME: &str = "a name of 1 to 32 lower-case letters, digits and hyphens";

/// Keys that are easily put one level too high or too low, with their place.
const PLACES: [(&str, &[&str]); 8] = [
    (
        "at the top of the file",
        &[
            "owner",
            "state_dir",
            "settle",
            "history_keep",
            "discover_every",
            "guard",
            "retry",
            "metrics",
            "notify",
        ],
    ),
    ("in a target", &["region", "endpoint", "credentials", "rate_limit", "connect_timeout", "call_timeout"]),
    (
        "in a job",
        &[
            "disks",
            "select",
            "exclude",
            "max_loss",
            "priority",
            "was",
            "complete_within",
            "objective",
            "when_full",
            "allow_gap",
            "promoted_keep",
            "keep",
            "ping",
        ],
    ),
    ("under `schedule`", &["cron", "missed", "start_within", "spread", "together", "blackout"]),
    ("under `select`", &["tags", "any_tags", "zone", "project", "instance", "usage", "state"]),
    (
        "in a notifier",
        &["kind", "url", "url_file", "template", "gather", "remind", "every", "server", "from", "to"],
    ),
    ("under `metrics`", &["listen", "per_disk"]),
    ("under `keep`", &["last", "within", "hourly", "daily", "weekly", "monthly", "yearly"]),
];

/// Where a key stands, if it is one of [`PLACES`].
fn place_of(key: &str) -> Option<&'static str> {
    PLACES.iter().find(|(_, keys)| keys.contains(&key)).map(|(place, _)| *place)
}

/// What a value could not be read as: said as "expected {this}".
pub(super) type Expected = String;

/// A mapping that is being read.
pub(super) struct Fields<'n> {
    place: Place,
    secret: bool,
    entries: &'n [(Key, Node)],
    taken: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of `node`, which must be a mapping of what `what` names.
    pub(super) fn of(node: &'n Node, what: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                Some(Self { place: node.place.clone(), secret: node.secret, entries, taken: Vec::new() })
            }
            _ => {
                add(mistakes, node, format!("expected {what}, found {}", node.describe()));
                None
            }
        }
    }

    /// Where the mapping stands.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The node of a key, if it is there.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        if !self.taken.contains(&key) {
            self.taken.push(key);
        }
        self.entries.iter().find(|(known, _)| &*known.text == key).map(|(_, node)| node)
    }

    /// The value of a key; none where it is missing or wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> Option<T> {
        let node = self.node(key)?;
        read(node).map_err(|expected| wrong(mistakes, key, node, &expected)).ok()
    }

    /// The same; a missing key is a mistake. `example` shows one.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mistakes: &mut Mistakes,
        read: impl FnOnce(&Node) -> Result<T, Expected>,
    ) -> Option<T> {
        if self.entries.iter().all(|(known, _)| &*known.text != key) {
            self.taken.push(key);
            mistakes.add(&self.place, format!("`{key}` is missing; expected a line such as `{example}`"));
            return None;
        }
        self.optional(key, mistakes, read)
    }

    /// Says which keys mean nothing here.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        for (key, node) in self.entries {
            if self.taken.contains(&&*key.text) {
                continue;
            }
            let text = &key.text;
            let elsewhere = format!("{text}_file");
            let what = if self.taken.contains(&&*elsewhere) {
                format!(
                    "`{text}` does not stand in this file; expected `{elsewhere}`, `{text}_env` or `{text}_credential`"
                )
            } else if looks_secret(text) {
                format!(
                    "unknown key `{text}`; secrets never stand in this file: expected `credentials: {{ source: … }}`"
                )
            } else if &**text == "<<" {
                "`<<` merges nothing here; expected the keys themselves".to_owned()
            } else {
                match (place_of(text), nearest(text, &self.taken)) {
                    (Some(place), _) => format!("`{text}` does not stand here; expected it {place}"),
                    (None, Some(near)) => format!("unknown key `{text}`; did you mean `{near}`?"),
                    (None, None) => {
                        format!("unknown key `{text}`; expected one of {}", self.taken.join(", "))
                    }
                }
            };
            if self.secret || node.secret || looks_secret(text) {
                mistakes.add_unshown(&key.place, what);
            } else {
                mistakes.add(&key.place, what);
            }
        }
    }
}

/// Adds a mistake about a node.
pub(super) fn add(mistakes: &mut Mistakes, node: &Node, what: String) {
    if node.secret {
        mistakes.add_unshown(&node.place, what);
    } else {
        mistakes.add(&node.place, what);
    }
}

/// Adds the mistake of a value that is not what was expected.
pub(super) fn wrong(mistakes: &mut Mistakes, key: &str, node: &Node, expected: &str) {
    add(mistakes, node, format!("`{key}`: expected {expected}, found {}", node.describe()));
}

/// The known word that is most like `word`, if one is.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) =
        known.iter().map(|known| (strsim::damerau_levenshtein(word, known), *known)).min()?;
    (distance <= 1 + near.len() / 4).then_some(near)
}

/// A text, as written.
pub(super) fn text(node: &Node) -> Result<&str, Expected> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err("a text".to_owned()),
    }
}

/// Yes or no.
pub(super) fn flag(node: &Node) -> Result<bool, Expected> {
    match text(node) {
        Ok("true") => Ok(true),
        Ok("false") => Ok(false),
        _ => Err("`true` or `false`".to_owned()),
    }
}

/// Something that is read from a text; `expected` says what.
pub(super) fn parsed<T: std::str::FromStr>(expected: &str) -> impl Fn(&Node) -> Result<T, Expected> {
    move |node| text(node).ok().and_then(|text| text.parse().ok()).ok_or_else(|| expected.to_owned())
}

/// A whole number within bounds.
pub(super) fn number(least: u32, most: u32) -> impl Fn(&Node) -> Result<u32, Expected> {
    move |node| {
        let digits = text(node).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number =
            digits.and_then(|text| text.parse().ok()).filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("a whole number from {least} to {most}"))
    }
}

/// A duration within bounds, such as `90s`, `5m`, `1h30m`, `400d`.
pub(super) fn duration(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&Node) -> Result<Duration, Expected> {
    move |node| {
        let bounds = (parse_duration(least), parse_duration(most));
        let found = text(node).ok().and_then(parse_duration);
        found
            .filter(|found| {
                bounds.0.is_none_or(|least| *found >= least) && bounds.1.is_none_or(|most| *found <= most)
            })
            .ok_or_else(|| {
                format!("a duration from {least} to {most}, written such as `90s`, `5m`, `1h30m` or `7d`")
            })
    }
}

/// `1h30m`: numbers with units d, h, m, s, ms, the greatest first.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest, mut least, mut total) = (text, 0, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let number: u64 = rest[..digits].parse().ok()?;
        let index = UNITS.iter().position(|(unit, _)| *unit == &rest[digits..unit_end])?;
        if index < least {
            return None;
        }
        least = index + 1;
        total = total.checked_add(number.checked_mul(UNITS[index].1)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(total))
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

/// A path from the root.
pub(super) fn absolute(node: &Node) -> Result<PathBuf, Expected> {
    let path = PathBuf::from(text(node)?);
    if path.is_absolute() { Ok(path) } else { Err("an absolute path".to_owned()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_the_greatest_first() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("400d", 34_560_000_000),
            ("1ms", 1),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "5", "m", "5 m", "30m1h", "1h1h", "-5m", "1.5h", "5M", "99999999999999999999s", "5m3", "é"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        assert_eq!(nearest("start_wihtin", &["start_within", "spread"]), Some("start_within"));
        assert_eq!(nearest("colour", &["start_within", "spread"]), None);
    }
}
