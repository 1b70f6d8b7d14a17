//! The manifest's notation for durations: a whole number and one unit, such as `10s`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use crate::fault::{Wrong, shown};

/// Units and their length in milliseconds, largest first as `print` needs them.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Regular expression for the texts that `parse` accepts.
pub(crate) const PATTERN: &str = "^[0-9]+(ms|s|m|h)$";

/// Parses `250ms`, `10s`, `5m`, `1h`.
pub(crate) fn parse(text: &str) -> Result<Duration, Wrong> {
    let wrong = || Wrong::new(format!("`{}` is not a duration", shown(text)));
    let advice = "write a whole number and `ms`, `s`, `m` or `h`, as `10s`";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if unit.starts_with('.') {
        return Err(wrong().hint("write a whole number of the next smaller unit, as `1500ms`"));
    }
    let (Some((_, millis)), false) = (
        UNITS.iter().find(|(name, _)| *name == unit),
        number.is_empty(),
    ) else {
        return Err(wrong().hint(advice));
    };
    // A number that overflows becomes the maximum, which the range check of every key rejects.
    let number = number.parse::<u64>().unwrap_or(u64::MAX);
    Ok(Duration::from_millis(number.saturating_mul(*millis)))
}

/// Parses a duration, such as `10s`, that is not part of a manifest. Returns `None` if it is invalid.
pub fn read(text: &str) -> Option<Duration> {
    parse(text).ok()
}

/// Formats a duration with the largest unit that needs no fraction.
pub fn print(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| millis.is_multiple_of(*size))
        .unwrap_or(("ms", 1));
    let unit = if millis == 0 { "s" } else { unit };
    format!("{}{unit}", millis / size)
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&print(*duration))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(|wrong| serde::de::Error::custom(wrong.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_they_are_read() {
        let check = |text: &str, millis: u64, printed: &str| {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(print(duration), printed);
        };
        check("10s", 10_000, "10s");
        check("250ms", 250, "250ms");
        check("1500ms", 1500, "1500ms");
        check("90s", 90_000, "90s");
        check("60s", 60_000, "1m");
        check("1h", 3_600_000, "1h");
        check("0h", 0, "0s");
        check("99999999999999999999h", u64::MAX, "18446744073709551615ms");
    }

    #[test]
    fn anything_else_is_refused_with_advice() {
        for text in [
            "", "10", "s", "10 s", "1.5s", "-1s", "10S", "10sec", "1m30s", "١s", "0x1s",
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.message.ends_with("is not a duration"), "{text}");
            assert!(wrong.hint.is_some(), "{text}");
        }
    }
}
