//! What the table of keys is written in: shapes of values, keys, and rules for names and texts.
//!
//! Knows no key by name; the table itself is in `keys`.

use std::time::Duration;

use crate::fault::Wrong;

/// What a value must look like.
pub(crate) enum Shape {
    /// A map of known keys.
    Map(&'static [Key]),
    /// A map of names that the author chooses.
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
    /// A resource: anything JSON can say, and references to secrets.
    Resource,
}

/// One key of a map.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) need: Need,
    pub(crate) doc: &'static str,
}

/// What holds when a key is absent.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// It must be there.
    Required,
    /// This YAML is read in its place.
    Default(&'static str),
    /// The value of its neighbour is taken.
    As(&'static str),
    /// It stays absent; what that means, in a few words.
    Absent(&'static str),
    /// It must be absent: planned, and refused until it does what it says.
    NotYet,
}

/// Which names are good ones. A class is written as within `[...]` of a regular expression: single
/// characters and ranges.
pub(crate) struct NameRule {
    /// "a function's name"
    pub(crate) what: &'static str,
    /// How the reference writes it.
    pub(crate) placeholder: &'static str,
    pub(crate) first: &'static str,
    pub(crate) rest: &'static str,
    pub(crate) longest: usize,
}

/// Which strings are good ones.
pub(crate) struct TextRule {
    /// "a domain"
    pub(crate) what: &'static str,
    /// What the schema says about it; may allow more than `read` does.
    pub(crate) pattern: &'static str,
    /// The string in its canonical form, or why it is none.
    pub(crate) read: fn(&str) -> Result<String, Wrong>,
    /// What is worth saying about a string that was accepted, in its canonical form.
    pub(crate) note: fn(&str) -> Option<Wrong>,
    /// Whether `{ secret: NAME }` is allowed in its place.
    pub(crate) secret: bool,
}

impl TextRule {
    /// A rule without notes and secrets.
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
    /// Whether `text` is such a name.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let mut bytes = text.bytes();
        text.len() <= self.longest
            && bytes
                .next()
                .is_some_and(|b| in_class(self.first.as_bytes(), b))
            && bytes.all(|b| in_class(self.rest.as_bytes(), b))
    }

    /// The same in words.
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

    /// The same as a regular expression.
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

/// A key that must be there.
pub(crate) const fn required(name: &'static str, shape: &'static Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        need: Need::Required,
        doc,
    }
}

/// A key with a default, in YAML.
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

/// A key whose default is the value of another one of its map.
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

/// A key that may stay absent.
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

/// A key that is planned.
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
