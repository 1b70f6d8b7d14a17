//! Faults: what is wrong with a manifest, where, and what would be right.
//!
//! Owns their form in print and their order; knows nothing about YAML or about keys. It refuses to
//! grow without end: a text of rubbish yields the first hundred faults and a count of the rest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many faults are told. Whoever has more of them wants to fix these first.
const TOLD: usize = 100;

/// One thing that is wrong with a manifest, or worth saying about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file's name, as given to `parse`.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Where in the manifest: `functions.items.routes[0]`; empty at its top.
    pub path: String,
    /// What sort of fault this is.
    pub kind: Kind,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What would be right, where that is known.
    pub hint: Option<String>,
}

/// Sorts of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The text is not YAML, or uses what Hearth leaves out of YAML.
    Syntax,
    /// A key nobody knows.
    UnknownKey,
    /// A required key is not there.
    Missing,
    /// A value of the wrong type or outside its rules.
    Value,
    /// Planned, and refused until it does what it says.
    Unsupported,
    /// Two places of the manifest contradict each other.
    Conflict,
    /// Not a fault: accepted, yet worth saying.
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

/// All faults of a manifest, in the order of their places. Never empty.
///
/// Printed as one line for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Faults {
    /// The first hundred.
    pub faults: Vec<Fault>,
    /// How many more there are.
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

/// A place in the text: line and column, both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl At {
    /// Where every text begins.
    pub(crate) const START: At = At { line: 1, column: 1 };
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The way from the top of the manifest to a value, built on the stack and printed only for a fault.
#[derive(Clone, Copy)]
pub(crate) enum Trail<'a> {
    Top,
    Key(&'a Trail<'a>, &'a str),
    Item(&'a Trail<'a>, usize),
    /// One that was printed before.
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

/// A refusal of one value by whoever reads it; the place is added by the caller.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    /// A refusal without advice.
    pub(crate) fn new(message: impl Into<String>) -> Wrong {
        Wrong {
            message: message.into(),
            hint: None,
        }
    }

    /// The same with advice.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Wrong {
        Wrong {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Text from the manifest as it may stand in a message: no control characters, not too long.
pub(crate) fn shown(text: &str) -> String {
    /// Enough to recognise a value by; a message stays one line.
    const LONGEST: usize = 64;
    let mut cut = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            // `escape_debug` would escape these too, which only confuses beside back-ticks.
            '"' | '\'' | '\\' => cut.push(c),
            _ => cut.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        cut.push('…');
    }
    cut
}

/// Collects faults, keeps the first hundred by place and counts the others.
pub(crate) struct Sink<'a> {
    file: &'a str,
    kept: BTreeMap<(At, usize), Fault>,
    seen: usize,
}

impl<'a> Sink<'a> {
    /// An empty one for this file.
    pub(crate) fn new(file: &'a str) -> Sink<'a> {
        Sink {
            file,
            kept: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Takes a fault in.
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

    /// Forgets all that was taken in.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.seen = 0;
    }

    /// Whether nothing was taken in.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// What was taken in, by place.
    pub(crate) fn finish(self) -> Faults {
        let more = self.seen - self.kept.len();
        Faults {
            faults: self.kept.into_values().collect(),
            more,
        }
    }
}
