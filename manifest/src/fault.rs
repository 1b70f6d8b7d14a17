//! Errors in a manifest: position, message and hint.
//!
//! This module defines their printed form and their order. It does not depend on YAML or on the keys. The number of
//! errors is bounded: a text with more than a hundred errors yields the first hundred and the number of the others.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Maximum number of errors that are reported.
const TOLD: usize = 100;

/// An error in a manifest, or a note about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Name of the file, as passed to `parse`.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Path of the value, such as `functions.items.routes[0]`; empty at the top of the manifest.
    pub path: String,
    /// Kind of the error.
    pub kind: Kind,
    /// Description of the error: lower case, no full stop.
    pub message: String,
    /// How to fix the error, if that is known.
    pub hint: Option<String>,
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The text is not valid YAML, or uses a YAML feature that Hearth rejects.
    Syntax,
    /// The map has no such key.
    UnknownKey,
    /// A required key is missing.
    Missing,
    /// A value has the wrong type or violates the rules of its key.
    Value,
    /// The key is planned but not yet supported.
    Unsupported,
    /// Two parts of the manifest contradict each other.
    Conflict,
    /// Not an error: a note about an accepted value.
    Note,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) if hint.ends_with('?') => write!(f, ", {hint}"),
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// All errors of a manifest, ordered by position. There is at least one.
///
/// `Display` prints one line for each error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Faults {
    /// The first hundred errors.
    pub faults: Vec<Fault>,
    /// Number of further errors.
    pub more: usize,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// A position in the text: line and column, both counted from 1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl At {
    /// The first position of a text.
    pub(crate) const START: At = At { line: 1, column: 1 };
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The path from the top of the manifest to a value. It is built on the stack and formatted only for an error.
#[derive(Clone, Copy)]
pub(crate) enum Trail<'a> {
    Top,
    Key(&'a Trail<'a>, &'a str),
    Item(&'a Trail<'a>, usize),
    /// A path that is already formatted.
    Printed(&'a str),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trail::Top => Ok(()),
            Trail::Key(Trail::Top, name) => f.write_str(&shown(name)),
            Trail::Key(above, name) => write!(f, "{above}.{}", shown(name)),
            Trail::Item(above, index) => write!(f, "{above}[{index}]"),
            Trail::Printed(text) => f.write_str(text),
        }
    }
}

/// The error of a single value. The caller adds its position.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    /// An error without a hint.
    pub(crate) fn new(message: impl Into<String>) -> Wrong {
        Wrong {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds a hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Wrong {
        Wrong {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Formats text of the manifest for a message: escapes control characters and truncates long text.
pub(crate) fn shown(text: &str) -> String {
    /// Maximum number of characters. This is enough to recognise a value and keeps a message on one line.
    const LONGEST: usize = 64;
    let mut cut = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            // `escape_debug` would escape these too, which is confusing within back-ticks.
            '"' | '\'' | '\\' => cut.push(c),
            _ => cut.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        cut.push('…');
    }
    cut
}

/// Collects errors: keeps the first hundred by position and counts the others.
pub(crate) struct Sink<'a> {
    file: &'a str,
    kept: BTreeMap<(At, usize), Fault>,
    seen: usize,
}

impl<'a> Sink<'a> {
    /// Creates an empty sink for this file.
    pub(crate) fn new(file: &'a str) -> Sink<'a> {
        Sink {
            file,
            kept: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Adds an error.
    pub(crate) fn put(&mut self, at: At, trail: &Trail<'_>, kind: Kind, wrong: Wrong) {
        let place = (at, self.seen);
        self.seen += 1;
        if self.kept.len() == TOLD
            && self
                .kept
                .last_key_value()
                .is_some_and(|(last, _)| place > *last)
        {
            return;
        }
        let fault = Fault {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            path: trail.to_string(),
            kind,
            message: wrong.message,
            hint: wrong.hint,
        };
        self.kept.insert(place, fault);
        if self.kept.len() > TOLD {
            self.kept.pop_last();
        }
    }

    /// Removes all errors.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.seen = 0;
    }

    /// Whether no error was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Returns the errors, ordered by position.
    pub(crate) fn finish(self) -> Faults {
        let more = self.seen - self.kept.len();
        Faults {
            faults: self.kept.into_values().collect(),
            more,
        }
    }
}
