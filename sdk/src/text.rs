//! Text of a request's head, kept together in one piece of memory.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A piece of text that shares its memory with the rest of its request. Reads as a `&str`.
#[derive(Clone)]
pub struct Text {
    all: Arc<str>,
    range: Range<u32>,
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.all[self.range.start as usize..self.range.end as usize]
    }
}

/// Collects texts, then makes them share.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    text: String,
}

/// A text in an [`Arena`], before it can be read.
pub(crate) type Place = Range<u32>;

impl Arena {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
    }

    /// Adds a text. A head is at most a frame long, so places fit into 32 bits.
    pub(crate) fn add(&mut self, text: &str) -> Place {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        start..self.text.len() as u32
    }

    /// All that was added, in one allocation.
    pub(crate) fn share(&self) -> Arc<str> {
        Arc::from(self.text.as_str())
    }
}

impl Text {
    pub(crate) fn new(all: &Arc<str>, range: Place) -> Text {
        Text {
            all: Arc::clone(all),
            range,
        }
    }
}

/// Names and values that share their memory.
#[derive(Clone)]
pub(crate) struct Pairs {
    all: Arc<str>,
    places: Vec<(Place, Place)>,
}

impl Pairs {
    pub(crate) fn new(all: &Arc<str>, places: Vec<(Place, Place)>) -> Pairs {
        Pairs {
            all: Arc::clone(all),
            places,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |place: &Place| &self.all[place.start as usize..place.end as usize];
        self.places
            .iter()
            .map(move |(name, value)| (text(name), text(value)))
    }

    /// The same with one more.
    pub(crate) fn with(&self, name: &str, value: &str) -> Pairs {
        let mut arena = Arena::default();
        let all = self.iter().chain([(name, value)]);
        let places = all
            .map(|(name, value)| (arena.add(name), arena.add(value)))
            .collect();
        Pairs::new(&arena.share(), places)
    }
}

impl Default for Pairs {
    fn default() -> Self {
        Pairs {
            all: Arc::from(""),
            places: Vec::new(),
        }
    }
}

impl PartialEq for Pairs {
    fn eq(&self, other: &Pairs) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Pairs {}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text {
            all: Arc::from(text),
            range: 0..text.len() as u32,
        }
    }
}

impl From<&Text> for String {
    fn from(text: &Text) -> String {
        text.as_str().to_owned()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
