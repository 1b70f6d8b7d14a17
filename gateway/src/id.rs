//! Request ids: unique while a gateway lives, unlikely to meet those of another.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Makes the ids of one thread: eight digits drawn at start, eight counted up.
#[derive(Debug)]
pub struct Ids {
    prefix: u32,
    next: Cell<u32>,
}

impl Ids {
    /// Draws the prefix.
    pub fn new() -> Ids {
        // The standard library's hash keys come from the system's random source.
        Ids {
            prefix: RandomState::new().hash_one(0) as u32,
            next: Cell::new(1),
        }
    }

    /// The next id: 16 hexadecimal digits.
    pub fn next(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let number = u64::from(self.prefix) << 32 | u64::from(count);
        (0..16)
            .rev()
            .map(|digit| char::from(DIGITS[(number >> (4 * digit) & 15) as usize]))
            .collect()
    }
}

impl Default for Ids {
    fn default() -> Self {
        Ids::new()
    }
}
