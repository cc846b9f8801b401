//! Whatever the file holds: reading it never panics, and gives a configuration, or mistakes that each have a place.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};

#[path = "support/places.rs"]
mod places;
use places::read_or_say_where;

/// The good files and the faulty ones: what there is to be changed.
fn files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = ["config", "tests/config/bad"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// A change that a hand may make to a file.
#[derive(Clone, Debug)]
enum Slip {
    Insert(Index, String),
    Delete(Index, usize),
    Repeat(Index),
    Drop(Index),
    Move(Index, Index),
    Indent(Index, usize),
    Replace(Index, String),
}

/// What may stand where a value, or a part of one, should.
fn scrap() -> impl Strategy<Value = String> {
    let words: Vec<&str> =
        "~ null true 0 -1 1e9 0x10 99999999999999999999 5m 1d1d disk-1 [] {} [[ } | >- \" ' é ... --- \\n \
                            \"\\n\" \"\\e[2J\" secret %YAML"
            .split(' ')
            .collect();
    let spaced: &[&str] = &[
        "", ": ", "- ", "# ", "&a ", "*a", "<<: *a", "!!str ", "!x ", "a: 1", "? a", "\t", "\r", "\u{feff}",
        "\u{85}", "\u{2028}", "\0",
    ];
    prop_oneof![2 => select(words).prop_map(str::to_owned), 2 => select(spaced).prop_map(str::to_owned), 1 => "\\PC{0,6}"]
}

fn slip() -> impl Strategy<Value = Slip> {
    let at = any::<Index>;
    prop_oneof![
        (at(), scrap()).prop_map(|(at, put)| Slip::Insert(at, put)),
        (at(), 1_usize..40).prop_map(|(at, count)| Slip::Delete(at, count)),
        at().prop_map(Slip::Repeat),
        at().prop_map(Slip::Drop),
        (at(), at()).prop_map(|(from, to)| Slip::Move(from, to)),
        (at(), 0_usize..9).prop_map(|(at, spaces)| Slip::Indent(at, spaces)),
        (at(), scrap()).prop_map(|(at, value)| Slip::Replace(at, value)),
    ]
}

impl Slip {
    fn make(&self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        match self {
            Self::Insert(at, put) => {
                let at = at.index(chars.len() + 1);
                chars.splice(at..at, put.chars());
                return chars.into_iter().collect();
            }
            Self::Delete(at, count) => {
                let at = at.index(chars.len() + 1);
                chars.drain(at..(at + count).min(chars.len()));
                return chars.into_iter().collect();
            }
            Self::Repeat(at) => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at].clone());
            }
            Self::Drop(at) => drop(lines.remove(at.index(lines.len()))),
            Self::Move(from, to) => {
                let line = lines.remove(from.index(lines.len()));
                lines.insert(to.index(lines.len() + 1), line);
            }
            Self::Indent(at, spaces) => {
                let at = at.index(lines.len());
                lines[at] = format!("{}{}", " ".repeat(*spaces), lines[at].trim_start());
            }
            Self::Replace(at, value) => {
                let at = at.index(lines.len());
                if let Some((key, _)) = lines[at].split_once(": ") {
                    lines[at] = format!("{key}: {value}");
                }
            }
        }
        lines.join("\n")
    }
}

/// YAML in one line, of the words that a configuration knows.
fn yaml() -> impl Strategy<Value = String> {
    let words: Vec<&str> = "owner state_dir timezone settle guard retry busy shortest first longest targets default region \
                            endpoint credentials source file path profile rate_limit call_timeout jobs name target disks \
                            schedule cron missed start_within spread blackout from to days complete_within objective \
                            when_full keep select metrics listen per_disk secret_key"
        .split_whitespace()
        .collect();
    let values: Vec<&str> =
        "ops1,/var/lib,Asia/Shanghai,5m,90s,20,ap-guangzhou,https://a,environment,disk-1,30 2 * * *,\
                             0 0 30 2 *,run-once,\"08:00\",mon,wait,~,-1,\"\\n\",default"
            .split(',')
            .collect();
    let leaf = prop_oneof![4 => select(values).prop_map(str::to_owned), 1 => scrap()];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        let entry = (select(words.clone()), inner.clone()).prop_map(|(key, value)| format!("{key}: {value}"));
        prop_oneof![
            3 => prop::collection::vec(entry, 0..8).prop_map(|entries| format!("{{ {} }}", entries.join(", "))),
            1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        read_or_say_where(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_signs_of_yaml(text in "[ \\n:\\-\\[\\]{},#&*!|>'\"a-z0-9~@%?\\\\\\t\\r]{0,120}") {
        read_or_say_where(&text);
    }

    #[test]
    fn any_yaml_of_known_words(text in yaml()) {
        read_or_say_where(&text);
    }

    #[test]
    fn any_slips_of_a_hand(file in select(files()), slips in prop::collection::vec(slip(), 1..4)) {
        read_or_say_where(&slips.iter().fold(file, |text, slip| slip.make(&text)));
    }
}
