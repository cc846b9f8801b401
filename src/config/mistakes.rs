//! What is wrong with a configuration: all of it, each with its place.
//!
//! Responsible for collecting mistakes and for how they are shown. It refuses to show a line in which a secret
//! could stand.

use std::fmt;
use std::sync::Arc;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the file: line and column, from 1.
    File(u32, u32),
    /// In an environment variable.
    Environment(Arc<str>),
    /// Nowhere: it is a default.
    Default,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    place: Place,
    what: String,
    secret: bool,
}

/// Mistakes, as they are found.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds one: what is wrong, and what was expected.
    pub(super) fn add(&mut self, place: &Place, what: impl Into<String>) {
        self.0.push(Mistake { place: place.clone(), what: what.into(), secret: false });
    }

    /// Adds one at a place where a secret could stand: the line is not shown.
    pub(super) fn add_unshown(&mut self, place: &Place, what: impl Into<String>) {
        self.0.push(Mistake { place: place.clone(), what: what.into(), secret: true });
    }

    /// `value`, or all that is wrong, shown with the lines of `text`.
    pub(super) fn or<T>(mut self, name: &str, text: &str, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                self.0.sort();
                self.0.dedup();
                Err(ConfigErrors::show(name, text, &self.0))
            }
        }
    }
}

/// All that is wrong with a configuration, ready to be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown}")]
pub struct ConfigErrors {
    shown: String,
    count: usize,
}

impl ConfigErrors {
    /// A file that could not be read at all.
    pub(super) fn unreadable(name: &str, why: impl fmt::Display) -> Self {
        Self { shown: format!("{name}: {why}"), count: 1 }
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    fn show(name: &str, text: &str, mistakes: &[Mistake]) -> Self {
        use fmt::Write as _;
        let lines = lines(text);
        let mut shown = String::new();
        for Mistake { place, what, secret } in mistakes {
            let what = visible(what);
            // Writing to a String cannot fail.
            let _ = match place {
                Place::File(line, column) => writeln!(shown, "{name}:{line}:{column}: {what}"),
                Place::Environment(variable) => writeln!(shown, "environment variable {variable}: {what}"),
                Place::Default => writeln!(shown, "{name}: {what}"),
            };
            if let Place::File(line, column) = place
                && !secret
                && let Some(snippet) = snippet(&lines, *line, *column)
            {
                shown.push_str(&snippet);
            }
        }
        let count = mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        let _ = write!(shown, "{count} {noun}; nothing of this configuration is used");
        Self { shown, count }
    }
}

/// The lines as YAML counts them: a carriage return alone ends one too.
fn lines(text: &str) -> Vec<&str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).collect()
}

/// `text` without anything that a terminal obeys, or that would make two lines of one: the file decides what
/// stands in it.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}

/// Controls, and the signs that break a line or turn the direction of writing.
fn obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The longest part of a line that is shown.
const WIDTH: usize = 100;

/// The line and a caret under the place; nothing where a secret could stand.
fn snippet(lines: &[&str], line: u32, column: u32) -> Option<String> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let text = lines.get(index).filter(|line| !line.trim().is_empty())?;
    // A value may stand on the lines after its key.
    if lines[index.saturating_sub(2)..=index].iter().any(|line| looks_secret(line)) {
        return None;
    }
    let before = usize::try_from(column).ok()?.saturating_sub(1);
    let skipped = before.saturating_sub(WIDTH / 2);
    let shown: String =
        text.chars().skip(skipped).take(WIDTH).map(|c| if obeyed(c) { ' ' } else { c }).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    Some(format!("  {number} | {shown}\n  {margin} | {}^\n", " ".repeat(before - skipped)))
}

/// Whether a secret may stand under a key. The addresses of hooks and pings are secrets.
pub(super) fn names_secret(key: &str) -> bool {
    ["url", "ping"].contains(&key) || looks_secret(key)
}

/// Whether a text names, or may hold, a secret.
pub(super) fn looks_secret(text: &str) -> bool {
    if holds_password(text) || holds_address(text) {
        return true;
    }
    let text = text.to_ascii_lowercase();
    ["secret", "token", "password", "passwd", "credential", "akid", "_key", "apikey", "api-key"]
        .iter()
        .any(|word| text.contains(word))
}

/// Whether a line may hold the address of a hook or a ping: under its key, or one with more than a host.
fn holds_address(text: &str) -> bool {
    let is_end = |c: char| c.is_whitespace() || ['/', '"', '\'', ',', '}', ']'].contains(&c);
    let has_path = |rest: &str| {
        rest.find(is_end).is_some_and(|end| {
            rest[end..].strip_prefix('/').is_some_and(|path| !path.starts_with(is_end) && !path.is_empty())
        })
    };
    if text.split("://").skip(1).any(has_path) {
        return true;
    }
    let is_of_a_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let holds = |key: &str| {
        text.match_indices(key).any(|(at, _)| {
            let rest = text[at + key.len()..].trim_start_matches(['"', '\'']);
            !text[..at].ends_with(is_of_a_word) && rest.trim_start().starts_with(':')
        })
    };
    holds("url") || holds("ping")
}

/// Whether a text looks like a URL with a user, `https://root:hunter2@host`.
pub(super) fn holds_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}
