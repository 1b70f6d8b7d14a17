//! The texts of a request's head. They are not copied: all of them share the memory of the encoded head.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use hearth_protocol::head::Pair;

/// A text that shares its memory with the other texts of its request. Dereferences to `str`.
#[derive(Clone)]
pub struct Text {
    all: Arc<[u8]>,
    range: Place,
}

/// The position of a text in the shared memory. A head is at most as long as a frame, so 32 bits suffice.
type Place = Range<u32>;

impl Text {
    /// A text that was decoded from `all`. It is copied only if the codec had to allocate it, for example to resolve
    /// escapes.
    pub(crate) fn within(all: &Arc<[u8]>, text: &str) -> Text {
        match place(all, text) {
            Some(range) => Text {
                all: Arc::clone(all),
                range,
            },
            None => Text::from(text),
        }
    }

    /// The text as a `str`.
    pub fn as_str(&self) -> &str {
        read(&self.all, &self.range)
    }
}

/// The position of `text` in `all`, if it borrows from there.
fn place(all: &[u8], text: &str) -> Option<Place> {
    let start = text.as_ptr().addr().checked_sub(all.as_ptr().addr())?;
    let end = start + text.len();
    (end <= all.len()).then_some(start as u32..end as u32)
}

/// The text at `place`, which must come from a `str` in the same memory.
fn read<'a>(all: &'a [u8], place: &Place) -> &'a str {
    let bytes = &all[place.start as usize..place.end as usize];
    std::str::from_utf8(bytes).expect("places are those of texts")
}

/// Names and values that share their memory.
#[derive(Clone, Default)]
pub(crate) struct Pairs {
    all: Arc<[u8]>,
    places: Vec<(Place, Place)>,
}

impl Pairs {
    /// Pairs that were decoded from `all`. All of them are copied if the codec had to allocate one of their texts.
    pub(crate) fn within(all: &Arc<[u8]>, pairs: &[Pair<'_>]) -> Pairs {
        let places = pairs
            .iter()
            .map(|(name, value)| Some((place(all, name)?, place(all, value)?)));
        match places.collect() {
            Some(places) => Pairs {
                all: Arc::clone(all),
                places,
            },
            None => Pairs::copied(pairs.iter().map(|(name, value)| (&**name, &**value))),
        }
    }

    fn copied<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Pairs {
        let mut all = Vec::new();
        let mut add = |text: &str| {
            let start = all.len() as u32;
            all.extend_from_slice(text.as_bytes());
            start..all.len() as u32
        };
        let places = pairs.map(|(name, value)| (add(name), add(value))).collect();
        Pairs {
            all: all.into(),
            places,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |place| read(&self.all, place);
        self.places
            .iter()
            .map(move |(name, value)| (text(name), text(value)))
    }

    /// A copy with one more pair.
    pub(crate) fn with(&self, name: &str, value: &str) -> Pairs {
        Pairs::copied(self.iter().chain([(name, value)]))
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
            all: Arc::from(text.as_bytes()),
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
