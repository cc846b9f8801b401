//! What holds of every text that is read as a configuration. Tests and the fuzz target share it.

use std::collections::BTreeMap;

use cbs_backupd::config::Config;

/// Reads `text`, and panics unless a configuration comes out, or mistakes in one line each, at a place in the text.
pub(crate) fn read_or_say_where(text: &str) {
    let Err(errors) = Config::parse("config.yaml", text, &BTreeMap::new()) else { return };
    let shown = errors.to_string();
    let (mistakes, last) = shown.rsplit_once('\n').unwrap_or_default();
    let noun = if errors.count() == 1 { "mistake" } else { "mistakes" };
    assert_eq!(last, format!("{} {noun}; nothing of this configuration is used", errors.count()));
    // A line and its caret are indented; every other line is a mistake.
    let heads: Vec<&str> = mistakes.split('\n').filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(heads.len(), errors.count(), "{shown}");
    // YAML's lines: a carriage return alone ends one too.
    let text = text.replace("\r\n", "\n");
    let widths: Vec<usize> = text.split(['\n', '\r']).map(|line| line.chars().count()).collect();
    for head in heads {
        let place: Vec<&str> = head.splitn(4, ':').collect();
        let ["config.yaml", line, column, what] = place[..] else { panic!("no place: {head}") };
        let (line, column): (usize, usize) = (line.parse().unwrap_or(0), column.parse().unwrap_or(0));
        let width = line.checked_sub(1).and_then(|index| widths.get(index));
        assert!(width.is_some_and(|width| (1..=width + 1).contains(&column)), "outside the text: {head}");
        assert!(what.len() > 5 && !what.contains(char::is_control), "{what:?}");
    }
}
