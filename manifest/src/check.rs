//! Validates a tree of nodes against the table of keys: unknown, missing and not yet supported keys, types, ranges and
//! the rules for texts.
//!
//! The result is JSON in the manifest's notation, with every default filled in. Rules between several keys are in
//! `rules`.

use serde_json::{Map, Number, Value as Json, json};

use crate::fault::{At, Kind, Sink, Trail, Wrong, shown};
use crate::keys::SECRET_REFERENCE;
use crate::node::{Name, Node, Value};
use crate::secret::SECRET;
use crate::shape::{Key, NameRule, Need, Shape, TextRule};
use crate::stray::unknown;
use crate::{duration, read, size};

/// Validates a whole file against its table. Returns `None` if there were errors.
pub(crate) fn file<'f>(
    table: &'static Shape,
    root: &Node,
    faults: &mut Sink<'f>,
    notes: &mut Sink<'f>,
) -> Option<Json> {
    Check { faults, notes }.value(table, root, root.at, &Trail::Top)
}

/// Parses a default value of the table.
pub(crate) fn default(shape: &'static Shape, yaml: &str) -> Json {
    let (mut faults, mut notes) = (Sink::new("the table"), Sink::new("the table"));
    let json = read::tree(yaml.as_bytes(), &mut faults).and_then(|node| {
        Check {
            faults: &mut faults,
            notes: &mut notes,
        }
        .value(shape, &node, node.at, &Trail::Top)
    });
    json.expect("the table's defaults follow the table, which a test reads whole")
}

struct Check<'c, 'f> {
    faults: &'c mut Sink<'f>,
    notes: &'c mut Sink<'f>,
}

impl Check<'_, '_> {
    /// Validates a value. `owner` is the position of its key, where missing keys and entries are reported.
    fn value(
        &mut self,
        shape: &'static Shape,
        node: &Node,
        owner: At,
        trail: &Trail<'_>,
    ) -> Option<Json> {
        if matches!(node.value, Value::Broken) {
            return None;
        }
        let wrong = match shape {
            Shape::Map(keys) => match &node.value {
                Value::Map(entries) => return self.map(keys, entries, owner, trail),
                _ => expected("a map of keys", node),
            },
            Shape::Names {
                name,
                each,
                least,
                most,
            } => match &node.value {
                Value::Map(entries) => {
                    self.count(entries.len(), *least, *most, owner, trail);
                    return self.names(name, each, entries, trail);
                }
                _ => expected("a map of names", node),
            },
            Shape::List { each, least } => match &node.value {
                Value::List(items) => {
                    self.count(items.len(), *least, None, owner, trail);
                    return self.list(each, items, trail);
                }
                _ => {
                    let wrong = expected("a list", node);
                    if is_scalar(node) && !matches!(node.value, Value::Null) {
                        wrong.hint(format!("write [{}]", quoted(node)))
                    } else {
                        wrong
                    }
                }
            },
            Shape::Bool => match (&node.value, node.raw.to_ascii_lowercase().as_str()) {
                (Value::Bool(on), _) => return Some(Json::Bool(*on)),
                (Value::Text, "yes" | "on" | "true") => {
                    expected("`true` or `false`", node).hint("write `true`")
                }
                (Value::Text, "no" | "off" | "false") => {
                    expected("`true` or `false`", node).hint("write `false`")
                }
                _ => expected("`true` or `false`", node),
            },
            Shape::Whole { min, max } => match &node.value {
                Value::Int(number) => match within(*number, *min, *max, u64::to_string) {
                    Ok(number) => return Some(Json::from(number)),
                    Err(wrong) => wrong,
                },
                Value::Text
                    if !node.raw.is_empty() && node.raw.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    expected("a whole number", node).hint("write it without quotes")
                }
                _ => expected("a whole number", node),
            },
            Shape::Decimal { min, max } => {
                let number = match &node.value {
                    Value::Int(number) => Ok(*number as f64),
                    Value::Float(number) => Ok(*number),
                    _ => Err(expected("a number", node)),
                };
                match number.and_then(|number| match (*min..=*max).contains(&number) {
                    true => Number::from_f64(number).ok_or_else(|| expected("a number", node)),
                    false => Err(Wrong::new(format!(
                        "expected {min} to {max}, found {number}"
                    ))),
                }) {
                    Ok(number) => return Some(Json::Number(number)),
                    Err(wrong) => wrong,
                }
            }
            Shape::Size { min, max } => {
                let bytes = match &node.value {
                    Value::Int(number) => Ok(*number),
                    Value::Text => size::parse(&node.raw).map(i128::from),
                    _ => Err(expected("a size", node).hint("such as `32KiB`")),
                };
                match bytes.and_then(|bytes| within(bytes, *min, *max, |bytes| size::print(*bytes)))
                {
                    Ok(bytes) => return Some(Json::String(size::print(bytes))),
                    Err(wrong) => wrong,
                }
            }
            Shape::Duration { min, max } => match &node.value {
                Value::Text => match duration::parse(&node.raw)
                    .and_then(|found| within(found, *min, *max, |found| duration::print(*found)))
                {
                    Ok(found) => return Some(Json::String(duration::print(found))),
                    Err(wrong) => wrong,
                },
                Value::Int(_) => expected("a duration", node).hint("write its unit too, as `10s`"),
                _ => expected("a duration", node).hint("such as `10s`"),
            },
            Shape::Name(rule) => match &node.value {
                Value::Text if rule.fits(&node.raw) => return Some(Json::String(node.raw.clone())),
                Value::Text => bad_name(rule, &node.raw),
                _ => expected_string(node),
            },
            Shape::Text(rule) => return self.text(rule, node, trail),
            Shape::Resource => return self.resource(node, trail),
        };
        self.faults.put(node.at, trail, Kind::Value, wrong);
        None
    }

    fn map(
        &mut self,
        keys: &'static [Key],
        entries: &[(Name, Node)],
        owner: At,
        trail: &Trail<'_>,
    ) -> Option<Json> {
        let mut whole = true;
        let mut found = Map::new();
        // Required keys that a misspelled key was probably meant to be; they are not reported as missing too.
        let mut meant = Vec::new();
        for (name, node) in entries {
            let Some(key) = keys.iter().find(|key| key.name == name.text) else {
                let (wrong, near) = unknown(keys, &name.text, trail);
                self.faults.put(name.at, trail, Kind::UnknownKey, wrong);
                meant.extend(near);
                whole = false;
                continue;
            };
            let below = Trail::Key(trail, key.name);
            if matches!(key.need, Need::NotYet) {
                let wrong = Wrong::new(format!("`{}` is not yet supported", key.name));
                self.faults.put(
                    name.at,
                    &below,
                    Kind::Unsupported,
                    wrong.hint("leave it out"),
                );
                whole = false;
                continue;
            }
            match self.value(key.shape, node, name.at, &below) {
                Some(json) => {
                    found.insert(key.name.to_owned(), json);
                }
                None => whole = false,
            }
        }
        for key in keys {
            if entries.iter().any(|(name, _)| name.text == key.name) {
                continue;
            }
            match key.need {
                Need::Required if !meant.contains(&key.name) => {
                    self.faults.put(
                        owner,
                        trail,
                        Kind::Missing,
                        Wrong::new(format!("missing key `{}`", key.name)),
                    );
                    whole = false;
                }
                Need::Default(yaml) => {
                    found.insert(key.name.to_owned(), default(key.shape, yaml));
                }
                Need::As(other) => {
                    if let Some(json) = found.get(other) {
                        let json = at_least(key.shape, json.clone());
                        found.insert(key.name.to_owned(), json);
                    }
                }
                Need::Required | Need::Absent(_) | Need::NotYet => {}
            }
        }
        whole.then_some(Json::Object(found))
    }

    fn names(
        &mut self,
        rule: &NameRule,
        each: &'static Shape,
        entries: &[(Name, Node)],
        trail: &Trail<'_>,
    ) -> Option<Json> {
        let mut whole = true;
        let mut found = Map::new();
        for (name, node) in entries {
            if !rule.fits(&name.text) {
                self.faults
                    .put(name.at, trail, Kind::Value, bad_name(rule, &name.text));
                whole = false;
            }
            match self.value(each, node, name.at, &Trail::Key(trail, &name.text)) {
                Some(json) => {
                    found.insert(name.text.clone(), json);
                }
                None => whole = false,
            }
        }
        whole.then_some(Json::Object(found))
    }

    fn list(&mut self, each: &'static Shape, items: &[Node], trail: &Trail<'_>) -> Option<Json> {
        let mut whole = true;
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match self.value(each, item, item.at, &Trail::Item(trail, index)) {
                Some(json) => found.push(json),
                None => whole = false,
            }
        }
        whole.then_some(Json::Array(found))
    }

    fn count(
        &mut self,
        found: usize,
        least: usize,
        most: Option<usize>,
        owner: At,
        trail: &Trail<'_>,
    ) {
        if found < least {
            self.faults.put(
                owner,
                trail,
                Kind::Value,
                Wrong::new(format!("expected at least {least} entry")),
            );
        }
        if let Some(most) = most.filter(|most| found > *most) {
            let wrong = Wrong::new(format!("expected at most {most} entries, found {found}"));
            self.faults.put(owner, trail, Kind::Value, wrong);
        }
    }

    fn text(&mut self, rule: &TextRule, node: &Node, trail: &Trail<'_>) -> Option<Json> {
        let (kind, wrong) = match &node.value {
            Value::Text => match (rule.read)(&node.raw) {
                Ok(text) => {
                    if let Some(note) = (rule.note)(&text) {
                        self.notes.put(node.at, trail, Kind::Note, note);
                    }
                    return Some(Json::String(text));
                }
                Err(wrong) => (Kind::Value, wrong),
            },
            Value::Map(entries) if rule.secret && is_reference(entries) => {
                return self.reference(entries, trail);
            }
            Value::Null | Value::List(_) | Value::Map(_) | Value::Broken => {
                (Kind::Value, expected(rule.what, node))
            }
            // Suggest quotes only if the quoted text would be valid.
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => match (rule.read)(&node.raw) {
                Ok(_) => (Kind::Value, expected_string(node)),
                Err(wrong) => (
                    Kind::Value,
                    Wrong {
                        hint: wrong.hint,
                        ..expected(rule.what, node)
                    },
                ),
            },
        };
        self.faults.put(node.at, trail, kind, wrong);
        None
    }

    /// Validates a reference to a secret, `{ secret: NAME }`.
    fn reference(&mut self, entries: &[(Name, Node)], trail: &Trail<'_>) -> Option<Json> {
        let (name, node) = entries.first()?;
        let trail = Trail::Key(trail, &name.text);
        let json = self.value(&SECRET_REFERENCE, node, node.at, &trail)?;
        Some(json!({ SECRET: json }))
    }

    /// Converts any value to JSON. The recursion is bounded, because `read` limits the depth of the tree.
    fn resource(&mut self, node: &Node, trail: &Trail<'_>) -> Option<Json> {
        let (kind, wrong) = match &node.value {
            Value::Null => return Some(Json::Null),
            Value::Bool(on) => return Some(Json::Bool(*on)),
            Value::Int(number) => {
                match u64::try_from(*number)
                    .map(Number::from)
                    .or_else(|_| i64::try_from(*number).map(Number::from))
                {
                    Ok(number) => return Some(Json::Number(number)),
                    Err(_) => (
                        Kind::Value,
                        Wrong::new("a number of more than 64 bits").hint("write it as a string"),
                    ),
                }
            }
            Value::Float(number) => match Number::from_f64(*number) {
                Some(number) => return Some(Json::Number(number)),
                None => (
                    Kind::Value,
                    Wrong::new(format!("`{}` is not a finite number", shown(&node.raw))),
                ),
            },
            Value::Text => {
                if node.raw.ends_with("...") {
                    let note = Wrong::new(
                        "a placeholder, not an address; the function will use what it has built in",
                    );
                    self.notes.put(node.at, trail, Kind::Note, note);
                }
                return Some(Json::String(node.raw.clone()));
            }
            Value::List(items) => return self.list(&Shape::Resource, items, trail),
            Value::Map(entries) if is_reference(entries) => return self.reference(entries, trail),
            Value::Map(entries) => {
                let mut found = Map::new();
                for (name, node) in entries {
                    let json = self.resource(node, &Trail::Key(trail, &name.text));
                    found.insert(name.text.clone(), json.unwrap_or_default());
                }
                return Some(Json::Object(found));
            }
            Value::Broken => return None,
        };
        self.faults.put(node.at, trail, kind, wrong);
        None
    }
}

/// Whether a map is `{ secret: NAME }`.
fn is_reference(entries: &[(Name, Node)]) -> bool {
    matches!(entries, [(name, _)] if name.text == SECRET)
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.value, Value::List(_) | Value::Map(_) | Value::Broken)
}

/// Formats a scalar as a quoted string.
fn quoted(node: &Node) -> String {
    format!("\"{}\"", shown(&node.raw))
}

fn expected(what: &str, node: &Node) -> Wrong {
    let found = match &node.value {
        Value::Null | Value::Broken => "nothing".to_owned(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => format!("`{}`", shown(&node.raw)),
        Value::Text => format!("the string {}", quoted(node)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    };
    Wrong::new(format!("expected {what}, found {found}"))
}

/// The error for a value that must be a string. Plain `8080`, `true` and `null` are not strings in YAML, and converting
/// them silently would hide that.
fn expected_string(node: &Node) -> Wrong {
    let wrong = expected("a string", node);
    if is_scalar(node) && !node.raw.is_empty() {
        wrong.hint(format!("write {} in quotes", quoted(node)))
    } else {
        wrong
    }
}

fn bad_name(rule: &NameRule, text: &str) -> Wrong {
    let wrong = Wrong::new(format!("`{}` is not {}", shown(text), rule.what));
    wrong.hint(rule.words())
}

/// The value of another key as a default for this key, raised to this key's minimum.
fn at_least(shape: &Shape, json: Json) -> Json {
    match (shape, json.as_u64()) {
        (Shape::Whole { min, .. }, Some(number)) => Json::from(number.max(*min)),
        _ => json,
    }
}

/// Checks that a number is within its bounds. The error names the bounds.
fn within<N, B>(found: N, min: B, max: B, print: impl Fn(&B) -> String) -> Result<B, Wrong>
where
    N: Copy,
    B: Copy + PartialOrd + TryFrom<N>,
{
    match B::try_from(found) {
        Ok(found) if (min..=max).contains(&found) => Ok(found),
        _ => Err(Wrong::new(format!(
            "out of range: {} to {} are allowed",
            print(&min),
            print(&max)
        ))),
    }
}
