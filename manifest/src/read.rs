//! Parses bytes into a tree of nodes: checks size, encoding, YAML syntax and the YAML features that Hearth rejects.
//!
//! Rejected are anchors and aliases (and therefore alias bombs), tags, several documents and deep nesting. This module
//! knows no keys of the manifest. It keeps an explicit stack, so deep nesting uses no call stack.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use crate::fault::{At, Kind, Sink, Trail, Wrong, shown};
use crate::node::{Name, Node, Value, plain};

/// Maximum size of a text in bytes. A manifest of thousands of functions is much smaller.
pub(crate) const LARGEST: usize = 1024 * 1024;

/// Maximum nesting depth. The keys of the manifest reach depth 7; the rest is for the values in resources.
pub(crate) const DEEPEST: usize = 32;

/// Parses the text. Returns `None` after an error that prevents further parsing; the error is in `sink`.
pub(crate) fn tree(text: &[u8], sink: &mut Sink<'_>) -> Option<Node> {
    match decode(text).and_then(|text| Reader::new(sink).read(text)) {
        Ok(node) => Some(node),
        Err((at, wrong)) => {
            // A syntax error is reported alone, because it may have caused the other errors.
            sink.clear();
            sink.put(at, &Trail::Top, Kind::Syntax, wrong);
            None
        }
    }
}

type Fatal = (At, Wrong);

/// Decodes the text as UTF-8 and rejects control characters, as YAML does (1.2.2, section 5.1).
fn decode(text: &[u8]) -> Result<&str, Fatal> {
    if text.len() > LARGEST {
        return Err((At::START, Wrong::new("larger than 1 MiB")));
    }
    let (valid, bad_byte) = match std::str::from_utf8(text) {
        Ok(valid) => (valid, None),
        Err(error) => {
            let (valid, _) = text.split_at(error.valid_up_to());
            (
                std::str::from_utf8(valid).unwrap_or_default(),
                Some(error.valid_up_to()),
            )
        }
    };
    if let Some(offset) = bad_byte {
        return Err((
            place_of_end(valid),
            Wrong::new(format!("not UTF-8 at byte {offset}")),
        ));
    }
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some(offset) = valid.find(control) {
        let (before, after) = valid.split_at(offset);
        let code = after.chars().next().map_or(0, u32::from);
        return Err((
            place_of_end(before),
            Wrong::new(format!("a control character, U+{code:04X}")),
        ));
    }
    // A leading byte order mark is not part of the text and does not count as a column.
    let valid = valid.strip_prefix('\u{feff}').unwrap_or(valid);
    if valid.contains('\u{feff}') {
        let before = valid.split('\u{feff}').next().unwrap_or_default();
        return Err((
            place_of_end(before),
            Wrong::new("a byte order mark within the text"),
        ));
    }
    Ok(valid)
}

/// The position directly after a text.
fn place_of_end(text: &str) -> At {
    let mut at = At::START;
    let mut before = '\0';
    for c in text.chars() {
        match c {
            '\n' if before == '\r' => {}
            '\n' | '\r' => {
                at = At {
                    line: at.line + 1,
                    column: 1,
                }
            }
            _ => at.column += 1,
        }
        before = c;
    }
    at
}

fn place(marker: Marker) -> At {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    At {
        line: number(marker.line()),
        column: number(marker.col()).saturating_add(1),
    }
}

/// A list or map whose end has not been read.
struct Open {
    at: At,
    holds: Holds,
}

enum Holds {
    List(Vec<Node>),
    Map {
        entries: Vec<(Name, Node)>,
        /// The position of each key's first occurrence.
        places: HashMap<String, At>,
        /// The key whose value is read next.
        key: Option<Key>,
    },
}

/// A key whose value has not been read.
enum Key {
    Good(Name),
    /// The key was invalid, which has been reported; its value is dropped too.
    Dropped,
}

struct Reader<'s, 'f> {
    sink: &'s mut Sink<'f>,
    stack: Vec<Open>,
    root: Option<Node>,
}

impl<'s, 'f> Reader<'s, 'f> {
    fn new(sink: &'s mut Sink<'f>) -> Reader<'s, 'f> {
        Reader {
            sink,
            stack: Vec::new(),
            root: None,
        }
    }

    fn read(mut self, text: &str) -> Result<Node, Fatal> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| syntax(&error))?;
            let at = place(span.start);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err((at, Wrong::new("a second document; a manifest is one")));
                    }
                }
                Event::Alias(_) => {
                    self.put(at, aliases());
                    self.add(
                        Node {
                            at,
                            raw: String::new(),
                            value: Value::Broken,
                        },
                        false,
                    );
                }
                Event::Scalar(raw, style, anchor, tag) => {
                    self.left_out(at, anchor != 0, tag.is_some());
                    let value = if style == ScalarStyle::Plain {
                        plain(&raw)
                    } else {
                        Value::Text
                    };
                    self.add(
                        Node {
                            at,
                            raw: raw.into_owned(),
                            value,
                        },
                        style == ScalarStyle::Plain,
                    );
                }
                Event::SequenceStart(anchor, tag) => {
                    self.left_out(at, anchor != 0, tag.is_some());
                    self.open(at, Holds::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.left_out(at, anchor != 0, tag.is_some());
                    self.open(
                        at,
                        Holds::Map {
                            entries: Vec::new(),
                            places: HashMap::new(),
                            key: None,
                        },
                    )?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        match self.root {
            Some(Node {
                value: Value::Null, ..
            })
            | None => Err((
                At::START,
                Wrong::new("the manifest is empty")
                    .hint("it needs at least `service` and `functions`"),
            )),
            Some(root) => Ok(root),
        }
    }

    /// Reports an anchor or a tag, which Hearth rejects. The value itself is then read as if it had none.
    fn left_out(&mut self, at: At, anchor: bool, tag: bool) {
        if anchor {
            self.put(at, Wrong::new(ALIASES));
        }
        if tag {
            self.put(
                at,
                Wrong::new("tags are not supported").hint("quotes make a string: \"...\""),
            );
        }
    }

    fn open(&mut self, at: At, holds: Holds) -> Result<(), Fatal> {
        if self.stack.len() >= DEEPEST {
            return Err((at, too_deep()));
        }
        self.stack.push(Open { at, holds });
        Ok(())
    }

    fn close(&mut self) {
        // The parser guarantees that starts and ends are paired.
        if let Some(open) = self.stack.pop() {
            let value = match open.holds {
                Holds::List(items) => Value::List(items),
                Holds::Map { entries, .. } => Value::Map(entries),
            };
            self.add(
                Node {
                    at: open.at,
                    raw: String::new(),
                    value,
                },
                false,
            );
        }
    }

    /// Adds a complete value to the innermost open list or map: as an item, a key or the value of a key.
    fn add(&mut self, node: Node, is_plain: bool) {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        let at = node.at;
        match &mut open.holds {
            Holds::List(items) => items.push(node),
            Holds::Map {
                entries,
                places,
                key,
            } => match key.take() {
                None => match read_key(node, places) {
                    Ok(name) => *key = Some(Key::Good(name)),
                    Err(wrong) => {
                        *key = Some(Key::Dropped);
                        if let Some(wrong) = wrong {
                            self.put(at, wrong);
                        }
                    }
                },
                Some(Key::Dropped) => {}
                Some(Key::Good(name)) => {
                    let nothing = is_plain && node.raw.is_empty();
                    // An absent value has no position; errors about it point to its key.
                    let at = if nothing { name.at } else { node.at };
                    entries.push((name, Node { at, ..node }));
                }
            },
        }
    }

    /// Reports an error with the path of the innermost open list or map.
    fn put(&mut self, at: At, wrong: Wrong) {
        let mut trail = String::new();
        for open in &self.stack {
            match &open.holds {
                Holds::List(items) => trail.push_str(&format!("[{}]", items.len())),
                Holds::Map {
                    key: Some(Key::Good(name)),
                    ..
                } => {
                    if !trail.is_empty() {
                        trail.push('.');
                    }
                    trail.push_str(&shown(&name.text));
                }
                Holds::Map { .. } => {}
            }
        }
        self.sink
            .put(at, &Trail::Printed(&trail), Kind::Syntax, wrong);
    }
}

/// Reads a node as the key of a map. Returns `Err(None)` if an error of this node has already been reported.
fn read_key(node: Node, places: &mut HashMap<String, At>) -> Result<Name, Option<Wrong>> {
    let at = node.at;
    let text = match node.value {
        Value::Broken => return Err(None),
        Value::List(_) | Value::Map(_) => return Err(Some(Wrong::new("a key must be plain text"))),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text => node.raw,
    };
    match places.get(&text) {
        Some(first) => {
            let both = format!("at {first} and at {at}");
            Err(Some(Wrong::new(format!(
                "key `{}` appears twice, {both}",
                shown(&text)
            ))))
        }
        None => {
            places.insert(text.clone(), at);
            Ok(Name { at, text })
        }
    }
}

const ALIASES: &str = "anchors and aliases are not supported";

fn aliases() -> Wrong {
    Wrong::new(ALIASES).hint("put a value that starts with `*` in quotes: \"*.example.com\"")
}

fn too_deep() -> Wrong {
    Wrong::new(format!("nested deeper than {DEEPEST}"))
}

/// Converts an error of the YAML parser. Some errors get a message of their own.
fn syntax(error: &ScanError) -> Fatal {
    let wrong = match error.info() {
        info if info.contains("unknown anchor") => aliases(),
        info if info.contains("recursion limit") => too_deep(),
        info => Wrong::new(format!("not YAML: {}", shown(info))),
    };
    (place(*error.marker()), wrong)
}
