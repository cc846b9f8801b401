//! YAML as a tree in which every node knows its place.
//!
//! Responsible for what the typed reader needs and serde does not keep: positions, the text of scalars as
//! written (`0123` is not 123), and duplicate keys. The parser is serde-saphyr's own, taken at its events:
//! through serde it stops at the first mistake.

use std::collections::HashMap;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

use super::mistakes::{Mistakes, Place, holds_password, names_secret};

/// Aliases may multiply a file; a tree stops growing here.
const MOST_NODES: usize = 5_000_000;
/// Nothing that we read is nested deeper.
const DEEPEST: usize = 64;

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// A secret could stand here.
    pub(super) secret: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing: empty, `~` or `null`.
    Nothing,
    Text(Box<str>),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: Arc<str>,
}

impl Node {
    pub(super) fn text(place: Place, text: &str) -> Self {
        Self { place, value: Value::Text(text.into()), secret: holds_password(text) }
    }

    /// What it is, for a message; its text is not given away where a secret could stand.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Nothing => "nothing".to_owned(),
            Value::Text(_) if self.secret => "a text that is not shown".to_owned(),
            Value::Text(text) if text.chars().count() > 60 => {
                format!("`{}…`", text.chars().take(60).collect::<String>())
            }
            Value::Text(text) => format!("`{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    fn mark_secret(&mut self) {
        self.secret = true;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(Self::mark_secret),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.mark_secret()),
            Value::Nothing | Value::Text(_) => {}
        }
    }
}

/// A mapping or list that is still open.
enum Open {
    List(Place, usize, Vec<Node>),
    Map(Place, usize, Vec<(Key, Node)>, Option<Key>, HashMap<Arc<str>, Place>),
}

/// Reads a document. A file that is not YAML, or holds more than one document, adds to `mistakes`; what could be
/// read of it up to there is not used.
pub(super) fn parse(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let mut builder = Builder { mistakes, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    for event in Parser::new_from_str(text) {
        let (event, place) = match event {
            Ok((event, span)) => (event, place(span.start.line(), span.start.col() + 1)),
            Err(error) => {
                let at = error.marker();
                let what = plain(&error);
                let what = format!("not YAML: {what}{}", hint(&what));
                builder.mistakes.add(&place(at.line(), at.col() + 1), what);
                return None;
            }
        };
        builder.take(event, place)?;
    }
    if builder.root.is_none() {
        builder.mistakes.add(&place(1, 1), super::EMPTY);
    }
    builder.root
}

fn place(line: usize, column: usize) -> Place {
    let small = |number: usize| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
    Place::File(small(line), small(column))
}

/// The parser's message without the position that it appends: the place stands in front already.
fn plain(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let ends =
        [" at byte ", " at char ", " at line "].iter().filter_map(|position| text.find(position)).min();
    text[..ends.unwrap_or(text.len())].to_owned()
}

/// What to do about it, where the parser's own words do not say.
fn hint(what: &str) -> &'static str {
    if what.contains("anchor") {
        "; a text that begins with `*` or `&` needs quotes, such as `\"* * * * *\"`; `*name` stands for what `&name` marks before it"
    } else if what.contains("tabs") {
        "; expected spaces"
    } else if what.contains("unclosed quote") {
        ""
    } else {
        "; the cause may stand before this place"
    }
}

struct Builder<'m> {
    mistakes: &'m mut Mistakes,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Takes one event; none when reading on makes no sense.
    fn take(&mut self, event: Event<'_>, place: Place) -> Option<()> {
        if self.stack.len() > DEEPEST {
            self.mistakes.add(&place, format!("nested deeper than {DEEPEST} levels"));
            return None;
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let nothing =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let node = if nothing {
                    Node { place, value: Value::Nothing, secret: false }
                } else {
                    Node::text(place, &text)
                };
                self.nodes += 1;
                self.put(node, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.stack.push(Open::List(place, anchor, Vec::new()));
                Some(())
            }
            Event::MappingStart(_, anchor, _) => {
                self.stack.push(Open::Map(place, anchor, Vec::new(), None, HashMap::new()));
                Some(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (place, anchor, value) = match self.stack.pop()? {
                    Open::List(place, anchor, items) => (place, anchor, Value::List(items)),
                    Open::Map(place, anchor, entries, ..) => (place, anchor, Value::Map(entries)),
                };
                self.put(Node { place, value, secret: false }, anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    // What an alias brings counts like what stands in the file.
                    self.nodes += size(&node);
                    self.put(node, 0)
                }
                None => {
                    self.mistakes.add(
                        &place,
                        "an alias inside the value that it stands for; expected the value itself",
                    );
                    None
                }
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                self.mistakes.add(&place, "a second document; expected one");
                None
            }
            _ => Some(()),
        }
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, mut node: Node, anchor: usize) -> Option<()> {
        if self.nodes > MOST_NODES {
            self.mistakes.add(&node.place, format!("more than {MOST_NODES} values, aliases counted out"));
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, _, items)) => items.push(node),
            Some(Open::Map(_, _, entries, key @ Some(_), _)) => {
                if let Some(key) = key.take() {
                    if names_secret(&key.text) {
                        node.mark_secret();
                    }
                    entries.push((key, node));
                }
            }
            Some(Open::Map(_, _, _, key, seen)) => {
                let Value::Text(text) = node.value else {
                    self.mistakes
                        .add(&node.place, format!("a key must be a word, and this is {}", node.describe()));
                    return None;
                };
                let text: Arc<str> = (*text).into();
                if let Some(Place::File(line, _)) = seen.insert(Arc::clone(&text), node.place.clone()) {
                    self.mistakes
                        .add(&node.place, format!("key `{text}` a second time; the first is in line {line}"));
                }
                *key = Some(Key { place: node.place, text });
            }
        }
        Some(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Nothing | Value::Text(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| size(node)).sum::<usize>(),
    }
}
