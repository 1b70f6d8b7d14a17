//! What the firmware hands a program when it starts it: its load options, which may be any bytes.

/// The word that asks for a trial.
pub const TRYBOOT: &str = "tryboot";

/// Whether they ask for a trial: the word, in UTF-16 as UEFI's tools write it or in plain bytes, with or
/// without a zero at its end.
pub fn is_tryboot(options: &[u8]) -> bool {
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
