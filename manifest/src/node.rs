//! The parsed text: a tree of values with their positions.
//!
//! This module interprets scalars by YAML 1.2's core schema (`true`, `8080`, `null`) and knows no keys. A quoted scalar
//! is always text.

use crate::fault::At;

/// A value and its position.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    /// A scalar as written, without quotes; empty for lists and maps.
    pub(crate) raw: String,
    pub(crate) value: Value,
}

/// A parsed value.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Saturated on overflow; such a number is out of range for every key.
    Int(i128),
    Float(f64),
    /// `Node::raw` is the text.
    Text,
    List(Vec<Node>),
    /// Entries in the order of the text; each name occurs once.
    Map(Vec<(Name, Node)>),
    /// An invalid value whose error has already been reported.
    Broken,
}

/// A key of a map and its position.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) at: At,
    pub(crate) text: String,
}

impl Node {
    /// The value of a key, if this node is a map with that key.
    pub(crate) fn key(&self, name: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, node)| node)
    }

    /// The entries of a map; empty for other values.
    pub(crate) fn entries(&self) -> &[(Name, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for other values.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if this node is text.
    pub(crate) fn text(&self) -> Option<&str> {
        matches!(self.value, Value::Text).then_some(self.raw.as_str())
    }
}

/// Interprets a plain (unquoted) scalar by the core schema (YAML 1.2.2, section 10.3.2).
pub(crate) fn plain(raw: &str) -> Value {
    match raw {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let unsigned = raw.strip_prefix(['-', '+']).unwrap_or(raw);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if raw.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = raw.strip_prefix(prefix) {
            return match whole(digits, radix) {
                Some(number) => Value::Int(number),
                None => Value::Text,
            };
        }
    }
    if let Some(number) = whole(unsigned, 10) {
        return Value::Int(if raw.starts_with('-') {
            -number
        } else {
            number
        });
    }
    match is_float(unsigned).then(|| raw.parse()) {
        Some(Ok(number)) => Value::Float(number),
        _ => Value::Text,
    }
}

/// Parses digits of this radix, saturating on overflow. Returns `None` if the text is empty or has other characters.
fn whole(digits: &str, radix: u32) -> Option<i128> {
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0i128, |number, c| {
        let digit = c.to_digit(radix)?;
        Some(
            number
                .saturating_mul(i128::from(radix))
                .saturating_add(i128::from(digit)),
        )
    })
}

/// Whether the text matches `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`.
fn is_float(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        ),
        None => (text, None),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(before)
        && digits(after)
        && !(before.is_empty() && after.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        let check =
            |raw: &str, expect: &str| assert_eq!(format!("{:?}", plain(raw)), expect, "{raw}");
        for raw in ["", "~", "null", "Null", "NULL"] {
            check(raw, "Null");
        }
        check("true", "Bool(true)");
        check("FALSE", "Bool(false)");
        check("0", "Int(0)");
        check("-12", "Int(-12)");
        check("+12", "Int(12)");
        check("007", "Int(7)");
        check("0o17", "Int(15)");
        check("0xfF", "Int(255)");
        check("1.5", "Float(1.5)");
        check("1.", "Float(1.0)");
        check(".5", "Float(0.5)");
        check("-1e3", "Float(-1000.0)");
        check(".inf", "Float(inf)");
        check("-.INF", "Float(-inf)");
        check(".nan", "Float(NaN)");
        let text = [
            "yes", "off", "tRUE", "-", "+", ".", "0x", "0o8", "1e", "e1", "1_000", "1:30", "10s",
            "-0x1", "inf", "nan", "++1",
        ];
        for raw in text {
            check(raw, "Text");
        }
        check(&"9".repeat(60), &format!("Int({})", i128::MAX));
        check(
            &format!("-{}", "9".repeat(60)),
            &format!("Int({})", -i128::MAX),
        );
    }
}
