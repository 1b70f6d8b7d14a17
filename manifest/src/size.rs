//! The manifest's notation for sizes: a whole number of bytes, or of one unit such as `32KiB`.

use serde::{Deserialize, Deserializer, Serializer};

use crate::fault::{Wrong, shown};

/// Units and their size in bytes. The binary units come first, largest first as `print` needs them. Decimal units are
/// parsed but never printed.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
];

/// Regular expression for the texts that `parse` accepts.
pub(crate) const PATTERN: &str = "^[0-9]+(B|KiB|MiB|GiB|KB|MB|GB)?$";

/// Parses a size, such as `32KiB`, that is not part of a manifest. Returns `None` if it is invalid.
pub fn read(text: &str) -> Option<u64> {
    parse(text).ok()
}

/// Parses `1024`, `32KiB`, `10MB`.
pub(crate) fn parse(text: &str) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "B" } else { unit };
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, bytes)) if !number.is_empty() => {
            // A number that overflows becomes the maximum, which the range check of every key rejects.
            Ok(number
                .parse::<u64>()
                .unwrap_or(u64::MAX)
                .saturating_mul(*bytes))
        }
        _ => Err(Wrong::new(format!("`{}` is not a size", shown(text))).hint(
            "write a whole number and `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB` or `GB`, as `32KiB`",
        )),
    }
}

/// Formats a size with the largest binary unit that needs no fraction.
pub fn print(bytes: u64) -> String {
    let fits = |size: u64| bytes > 0 && bytes.is_multiple_of(size);
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| fits(*size))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&print(*bytes))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(|wrong| serde::de::Error::custom(wrong.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_they_are_read() {
        let check = |text: &str, bytes: u64, printed: &str| {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
            assert_eq!(print(bytes), printed);
        };
        check("0", 0, "0B");
        check("1000", 1000, "1000B");
        check("1024B", 1024, "1KiB");
        check("32KiB", 32 << 10, "32KiB");
        check("10MiB", 10 << 20, "10MiB");
        check("1GiB", 1 << 30, "1GiB");
        check("1024GiB", 1 << 40, "1024GiB");
        check("1KB", 1000, "1000B");
        check("2MB", 2_000_000, "2000000B");
        check("1GB", 1_000_000_000, "1000000000B");
        check("99999999999999999999GiB", u64::MAX, "18446744073709551615B");
    }

    #[test]
    fn anything_else_is_refused_with_advice() {
        for text in [
            "", "KiB", "32 KiB", "32kib", "32K", "1.5MiB", "-1", "1TiB", "0x10",
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.message.ends_with("is not a size"), "{text}");
            assert!(wrong.hint.is_some(), "{text}");
        }
    }
}
