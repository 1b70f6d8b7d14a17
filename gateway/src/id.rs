//! Request ids: unique within a gateway process, and very unlikely to be used by another one.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http::HeaderValue;

/// Generates the ids of one thread. The first eight digits are random and fixed at the start, the other eight are a
/// counter.
#[derive(Debug)]
pub struct Ids {
    prefix: u32,
    next: Cell<u32>,
}

impl Ids {
    /// Chooses a random prefix.
    pub fn new() -> Ids {
        // The standard library's hash keys come from the system's random source.
        Ids {
            prefix: RandomState::new().hash_one(0) as u32,
            next: Cell::new(1),
        }
    }

    /// Generates the next id.
    pub fn next(&self) -> Id {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let number = u64::from(self.prefix) << 32 | u64::from(count);
        Id(std::array::from_fn(|place| {
            DIGITS[(number >> (60 - 4 * place) & 15) as usize]
        }))
    }
}

/// A request's id: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id([u8; 16]);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// The id as a header value.
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("hexadecimal digits are visible")
    }
}

impl Default for Ids {
    fn default() -> Self {
        Ids::new()
    }
}
