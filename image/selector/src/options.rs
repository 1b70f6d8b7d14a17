//! The load options that the firmware passes to a program; they may be any bytes.

/// The load option that requests a trial.
pub const TRYBOOT: &str = "tryboot";

/// Returns whether the load options request a trial: [`TRYBOOT`], in UTF-16 as UEFI tools write it or in ASCII, with
/// or without a terminating zero. Some firmware passes the whole boot entry, which ends with the options.
pub fn is_tryboot(options: &[u8]) -> bool {
    is_word(options) || of_entry(options).is_some_and(is_word)
}

/// Returns the optional data of a boot entry (EFI_LOAD_OPTION), which consists of attributes, the length of its
/// device paths, its name in UTF-16 with a zero, the device paths, and the optional data.
fn of_entry(bytes: &[u8]) -> Option<&[u8]> {
    /// The defined attributes: active, force reconnect, hidden, and category.
    const KNOWN: u32 = 0x1f0b;
    let (attributes, rest) = bytes.split_first_chunk::<4>()?;
    let (paths, rest) = rest.split_first_chunk::<2>()?;
    if u32::from_le_bytes(*attributes) & !KNOWN != 0 {
        return None;
    }
    let name = rest.chunks_exact(2).position(|unit| unit == [0, 0])?;
    let rest = rest.get((name + 1) * 2..)?;
    let (paths, data) = rest.split_at_checked(usize::from(u16::from_le_bytes(*paths)))?;
    is_path(paths).then_some(data)
}

/// Returns whether the bytes are device paths: nodes with their lengths, the last of which is the end node.
fn is_path(mut nodes: &[u8]) -> bool {
    const END: [u8; 4] = [0x7f, 0xff, 4, 0];
    while nodes != END {
        let length = match nodes {
            [_, _, low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
            _ => return false,
        };
        match nodes.get(length..) {
            Some(rest) if length >= 4 => nodes = rest,
            _ => return false,
        }
    }
    true
}

fn is_word(options: &[u8]) -> bool {
    let trimmed = |mut bytes: &[u8]| -> bool {
        while let [rest @ .., 0] = bytes {
            bytes = rest;
        }
        bytes == TRYBOOT.as_bytes()
    };
    let wide = options.len().is_multiple_of(2) && {
        let mut units = options.chunks_exact(2);
        let mut word = TRYBOOT.bytes();
        word.all(|byte| units.next() == Some(&[byte, 0])) && units.all(|unit| unit == [0, 0])
    };
    wide || trimmed(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    #[test]
    fn only_the_word_asks_for_a_trial() {
        let wide =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        for yes in [
            wide("tryboot"),
            wide("tryboot\0"),
            b"tryboot".to_vec(),
            b"tryboot\0".to_vec(),
        ] {
            assert!(is_tryboot(&yes), "{yes:?}");
        }
        // A whole boot entry: active, with a name, a path of one node, and the end node.
        let entry = |length: u8, word: &str| {
            let head = [1, 0, 0, 0, length, 0];
            let path = [4, 4, 6, 0, b'a', 0, 0x7f, 0xff, 4, 0];
            [&head[..], &wide("Hearth\0"), &path, &wide(word)].concat()
        };
        assert!(is_tryboot(&entry(10, "tryboot\0")));
        for (length, word) in [
            (10, ""),
            (10, "try"),
            (9, "tryboot"),
            (4, "tryboot"),
            (0, "tryboot"),
        ] {
            assert!(!is_tryboot(&entry(length, word)), "{length} {word}");
        }
        for length in 0..entry(10, "tryboot").len() {
            assert!(!is_tryboot(&entry(10, "tryboot")[..length]), "{length}");
        }
        for no in [
            Vec::new(),
            wide(""),
            wide("tryboo"),
            wide("tryboot 1"),
            wide("tryboot")[..13].to_vec(),
            wide("Tryboot"),
            b"tryboots".to_vec(),
            b" tryboot".to_vec(),
            [0; 16].to_vec(),
        ] {
            assert!(!is_tryboot(&no), "{no:?}");
        }
    }
}
