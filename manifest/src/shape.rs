//! The types of the table of keys: shapes of values, keys, and rules for names and texts.
//!
//! The table itself is in `keys`.

use std::time::Duration;

use crate::fault::Wrong;

/// The type and range of a value.
pub(crate) enum Shape {
    /// A map with a fixed set of keys.
    Map(&'static [Key]),
    /// A map whose keys are names that the manifest's author chooses.
    Names {
        name: &'static NameRule,
        each: &'static Shape,
        least: usize,
        most: Option<usize>,
    },
    /// A list.
    List { each: &'static Shape, least: usize },
    /// `true` or `false`.
    Bool,
    /// A whole number, both bounds included.
    Whole { min: u64, max: u64 },
    /// A number with a fraction, both bounds included.
    Decimal { min: f64, max: f64 },
    /// Bytes, both bounds included.
    Size { min: u64, max: u64 },
    /// A duration, both bounds included.
    Duration { min: Duration, max: Duration },
    /// A name.
    Name(&'static NameRule),
    /// A string that `TextRule::read` accepts.
    Text(&'static TextRule),
    /// A resource: any JSON value, and references to secrets.
    Resource,
}

/// One key of a map.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) need: Need,
    pub(crate) doc: &'static str,
}

/// What applies when a key is absent.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// The key is required.
    Required,
    /// The default value, as YAML.
    Default(&'static str),
    /// The default is the value of another key of the same map.
    As(&'static str),
    /// The key stays absent. The text describes what that means.
    Absent(&'static str),
    /// The key must be absent: it is planned but not yet supported.
    NotYet,
}

/// Rule for valid names. A class is written as within `[...]` of a regular expression: single characters and ranges.
pub(crate) struct NameRule {
    /// Description for messages and the reference: "a function's name".
    pub(crate) what: &'static str,
    /// Placeholder for the name in paths of the reference.
    pub(crate) placeholder: &'static str,
    pub(crate) first: &'static str,
    pub(crate) rest: &'static str,
    pub(crate) longest: usize,
}

/// Rule for valid strings.
pub(crate) struct TextRule {
    /// Description for messages and the reference: "a domain".
    pub(crate) what: &'static str,
    /// Regular expression for the schema. It may accept more than `read` does.
    pub(crate) pattern: &'static str,
    /// Validates a string and returns its canonical form.
    pub(crate) read: fn(&str) -> Result<String, Wrong>,
    /// Returns a note about an accepted string, given in its canonical form.
    pub(crate) note: fn(&str) -> Option<Wrong>,
    /// Whether `{ secret: NAME }` is allowed instead of the string.
    pub(crate) secret: bool,
}

impl TextRule {
    /// Creates a rule without notes and without references to secrets.
    pub(crate) const fn new(
        what: &'static str,
        pattern: &'static str,
        read: fn(&str) -> Result<String, Wrong>,
    ) -> TextRule {
        TextRule {
            what,
            pattern,
            read,
            note: |_| None,
            secret: false,
        }
    }
}

impl NameRule {
    /// Whether `text` follows the rule.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let mut bytes = text.bytes();
        text.len() <= self.longest
            && bytes
                .next()
                .is_some_and(|b| in_class(self.first.as_bytes(), b))
            && bytes.all(|b| in_class(self.rest.as_bytes(), b))
    }

    /// Describes the rule in words.
    pub(crate) fn words(&self) -> String {
        let spaced = |class: &str| {
            let mut parts = Vec::new();
            let mut rest = class;
            while let Some(first) = rest.chars().next() {
                let range = rest.len() >= 3 && rest.as_bytes()[1] == b'-';
                let (part, after) = rest.split_at(if range { 3 } else { first.len_utf8() });
                parts.push(part);
                rest = after;
            }
            parts.join(" ")
        };
        let (first, rest) = (spaced(self.first), spaced(self.rest));
        format!(
            "it may hold `{rest}`, begins with `{first}`, and has at most {} characters",
            self.longest
        )
    }

    /// Formats the rule as a regular expression.
    pub(crate) fn pattern(&self) -> String {
        format!(
            "^[{}][{}]{{0,{}}}$",
            self.first,
            self.rest,
            self.longest - 1
        )
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    match class {
        [] => false,
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_class(rest, byte),
        [one, rest @ ..] => *one == byte || in_class(rest, byte),
    }
}

/// A required key.
pub(crate) const fn required(name: &'static str, shape: &'static Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        need: Need::Required,
        doc,
    }
}

/// A key with a default value, given as YAML.
pub(crate) const fn default(
    name: &'static str,
    shape: &'static Shape,
    yaml: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        need: Need::Default(yaml),
        doc,
    }
}

/// A key whose default is the value of another key of the same map.
pub(crate) const fn neighbour(
    name: &'static str,
    shape: &'static Shape,
    other: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        need: Need::As(other),
        doc,
    }
}

/// An optional key without a default value. `means` describes what its absence means.
pub(crate) const fn absent(
    name: &'static str,
    shape: &'static Shape,
    means: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        shape,
        need: Need::Absent(means),
        doc,
    }
}

/// A key that is planned but not yet supported.
pub(crate) const fn not_yet(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        shape: &Shape::Resource,
        need: Need::NotYet,
        doc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FUNCTION_NAME: NameRule = NameRule {
        what: "",
        placeholder: "",
        first: "a-z",
        rest: "a-z0-9_-",
        longest: 63,
    };
    static ENV_NAME: NameRule = NameRule {
        what: "",
        placeholder: "",
        first: "A-Za-z_",
        rest: "A-Za-z0-9_",
        longest: 255,
    };

    #[test]
    fn names_follow_their_classes() {
        let check = |rule: &NameRule, text: &str, expect: bool| {
            assert_eq!(rule.fits(text), expect, "{text}")
        };
        check(&FUNCTION_NAME, "a", true);
        check(&FUNCTION_NAME, "items_api-2", true);
        check(&FUNCTION_NAME, &"a".repeat(63), true);
        check(&FUNCTION_NAME, &"a".repeat(64), false);
        check(&FUNCTION_NAME, "", false);
        check(&FUNCTION_NAME, "1a", false);
        check(&FUNCTION_NAME, "-a", false);
        check(&FUNCTION_NAME, "Items", false);
        check(&FUNCTION_NAME, "a.b", false);
        check(&ENV_NAME, "LOG_LEVEL", true);
        check(&ENV_NAME, "_x9", true);
        check(&ENV_NAME, "9X", false);
        check(&ENV_NAME, "A-B", false);
        assert_eq!(FUNCTION_NAME.pattern(), "^[a-z][a-z0-9_-]{0,62}$");
    }
}
