//! `autoboot.txt`, which says which slot boots, in the format of the Raspberry Pi's firmware. Pure functions between
//! bytes and slots; callers read and write the disk.
//!
//! The format: lines of `key=value`, section names in brackets, and comments after `#`. Lines before any section and
//! in `[all]` always apply, lines in `[tryboot]` apply only if a trial was requested, and lines in any other section
//! never apply. The last line that applies wins. Keys other than `boot_partition` matter only to the Pi's firmware.

use core::fmt;

/// Maximum length of the file in bytes: the firmware of a Raspberry Pi reads no more, and one sector holds no more.
pub const LEN: usize = 512;

/// One of the two partitions that hold a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The first slot.
    A,
    /// The second slot.
    B,
}

impl Slot {
    /// The number of the slot's partition, from 1.
    pub const fn partition(self) -> u32 {
        match self {
            Slot::A => 2,
            Slot::B => 3,
        }
    }

    /// Returns the slot whose partition has this number.
    pub const fn of_partition(number: u32) -> Option<Slot> {
        match number {
            2 => Some(Slot::A),
            3 => Some(Slot::B),
            _ => None,
        }
    }

    /// The other slot.
    pub const fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// `a` or `b`.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why `autoboot.txt` selects no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutobootError {
    /// The file is longer than [`LEN`] bytes.
    Long(usize),
    /// `boot_partition` is not the number of a slot.
    Value {
        /// The line, from 1.
        line: usize,
    },
    /// No line that always applies sets `boot_partition`.
    Missing,
}

impl fmt::Display for AutobootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AutobootError::Long(bytes) => {
                write!(f, "autoboot.txt has {bytes} bytes, at most {LEN} are read")
            }
            AutobootError::Value { line } => write!(
                f,
                "autoboot.txt:{line}: boot_partition is 2 for slot a, or 3 for slot b"
            ),
            AutobootError::Missing => f.write_str("autoboot.txt has no boot_partition"),
        }
    }
}

impl core::error::Error for AutobootError {}

/// The contents of `autoboot.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autoboot {
    /// The slot that boots.
    pub default: Slot,
    /// The slot that boots once, if a trial was requested.
    pub trial: Slot,
}

impl Autoboot {
    /// The contents in a new image, and on every device after a commit: a trial boots the other slot.
    pub const fn committed(default: Slot) -> Autoboot {
        Autoboot {
            default,
            trial: default.other(),
        }
    }

    /// Parses the file. Without `[tryboot]`, a trial boots the default slot.
    pub fn parse(text: &[u8]) -> Result<Autoboot, AutobootError> {
        if text.len() > LEN {
            return Err(AutobootError::Long(text.len()));
        }
        let (mut default, mut trial) = (None, None);
        let mut section = Section::All;
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let text = plain(text);
            if let Some(name) = text.strip_prefix(b"[") {
                section = Section::of(name);
                continue;
            }
            let Some(value) = value_of(text, b"boot_partition") else {
                continue;
            };
            if section == Section::Other {
                continue;
            }
            let slot = number(value)
                .and_then(Slot::of_partition)
                .ok_or(AutobootError::Value { line })?;
            if section == Section::All {
                default = Some(slot);
            }
            trial = Some(slot);
        }
        match (default, trial) {
            (Some(default), Some(trial)) => Ok(Autoboot { default, trial }),
            _ => Err(AutobootError::Missing),
        }
    }

    /// Returns the file's text, padded to a whole sector, so that one write replaces the file in place.
    pub fn text(&self) -> [u8; LEN] {
        let mut text = [b'\n'; LEN];
        let digit = |slot: Slot| match slot {
            Slot::A => b"2",
            Slot::B => b"3",
        };
        let parts: [&[u8]; 6] = [
            b"[all]\ntryboot_a_b=1\nboot_partition=",
            digit(self.default),
            b"\n[tryboot]\nboot_partition=",
            digit(self.trial),
            b"\n",
            b"# Which slot boots: 2 is a, 3 is b. [tryboot] holds once, for a trial.\n",
        ];
        let mut at = 0;
        for part in parts {
            text[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        text
    }
}

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The slots, in the order in which to try them.
    pub slots: [Slot; 2],
    /// Whether the first slot is on trial: a trial was requested, and `[tryboot]` names another slot than the
    /// default.
    pub trial: bool,
}

/// Returns the slot that `autoboot.txt` selects, then the other. If the file is invalid, that is slot a, then b, so
/// that the device still boots.
pub fn choose(text: &[u8], tryboot: bool) -> Choice {
    let (wanted, trial) = match Autoboot::parse(text) {
        Ok(said) if tryboot => (said.trial, said.trial != said.default),
        Ok(said) => (said.default, false),
        Err(_) => (Slot::A, false),
    };
    Choice {
        slots: [wanted, wanted.other()],
        trial,
    }
}

/// When the lines of a section apply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    All,
    Tryboot,
    Other,
}

impl Section {
    /// Returns the section whose name and closing bracket are `name`.
    fn of(name: &[u8]) -> Section {
        match name {
            b"all]" => Section::All,
            b"tryboot]" => Section::Tryboot,
            _ => Section::Other,
        }
    }
}

/// Removes a line's comment and surrounding blanks. NUL counts as a blank, because files may be padded with it.
fn plain(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| *byte == b'#');
    let mut line = &line[..end.unwrap_or(line.len())];
    while let [rest @ .., b' ' | b'\t' | b'\r' | 0] = line {
        line = rest;
    }
    while let [b' ' | b'\t' | b'\r' | 0, rest @ ..] = line {
        line = rest;
    }
    line
}

/// Returns a line's value, if the line sets `key`.
fn value_of<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    (plain(&line[..equals]) == key).then(|| plain(&line[equals + 1..]))
}

/// Parses decimal digits and nothing else.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots that boot without a trial and with one, or the error.
    type Said = Result<(Slot, Slot), AutobootError>;

    #[track_caller]
    fn check(text: &str, expect: Said) {
        let said = Autoboot::parse(text.as_bytes()).map(|said| (said.default, said.trial));
        assert_eq!(said, expect, "{text:?}");
        let (default, trial) = expect.unwrap_or((Slot::A, Slot::A));
        let order = |slot: Slot, trial| Choice {
            slots: [slot, slot.other()],
            trial,
        };
        assert_eq!(
            choose(text.as_bytes(), false),
            order(default, false),
            "{text:?}"
        );
        assert_eq!(
            choose(text.as_bytes(), true),
            order(trial, default != trial),
            "{text:?}"
        );
    }

    #[test]
    fn the_grammar_is_that_of_the_pi() {
        use AutobootError::{Missing, Value};
        use Slot::{A, B};
        let table: [(&str, Said); 24] = [
            (
                "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n",
                Ok((A, B)),
            ),
            (
                "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n",
                Ok((B, A)),
            ),
            // No section, no final newline, no trial.
            ("boot_partition=3", Ok((B, B))),
            // The order of sections does not matter, the order of lines that apply does.
            (
                "[tryboot]\nboot_partition=2\n[all]\nboot_partition=3",
                Ok((B, B)),
            ),
            ("boot_partition=2\nboot_partition=3\n", Ok((B, B))),
            (
                "[tryboot]\nboot_partition=3\n[all]\n[tryboot]\n[all]\nboot_partition=2",
                Ok((A, A)),
            ),
            // Lines in other sections never apply.
            (
                "boot_partition=2\n[none]\nboot_partition=3\n[pi4]\nboot_partition=1\n",
                Ok((A, A)),
            ),
            ("[ALL]\nboot_partition=2", Err(Missing)),
            ("[all\nboot_partition=2", Err(Missing)),
            // Comments, blanks, carriage returns and zeros.
            (
                "# boot_partition=3\r\n [all] # always\r\n\tboot_partition = 2 # a\r\n",
                Ok((A, A)),
            ),
            ("boot_partition=3\n\0\0\0\0", Ok((B, B))),
            ("[all]#\nboot_partition=0003", Ok((B, B))),
            // Unknown keys, and lines that are not `key=value`.
            (
                "boot_partitions=3\nx\n=\n=3\nboot_partition=2\nboot_partition\n",
                Ok((A, A)),
            ),
            ("", Err(Missing)),
            ("\n\n[all]\n", Err(Missing)),
            ("[tryboot]\nboot_partition=3\n", Err(Missing)),
            ("boot_partition=", Err(Value { line: 1 })),
            ("boot_partition=1", Err(Value { line: 1 })),
            ("\nboot_partition=4", Err(Value { line: 2 })),
            ("boot_partition=2x", Err(Value { line: 1 })),
            ("boot_partition=-2", Err(Value { line: 1 })),
            ("boot_partition=4294967298", Err(Value { line: 1 })),
            (
                "boot_partition=2\n[tryboot]\nboot_partition=9",
                Err(Value { line: 3 }),
            ),
            ("boot_partition=2=3", Err(Value { line: 1 })),
        ];
        for (text, expect) in table {
            check(text, expect);
        }
    }

    #[test]
    fn a_text_that_is_too_long_or_no_text_boots_a_and_then_b() {
        let mut long = [b'\n'; LEN + 1];
        long[..16].copy_from_slice(b"boot_partition=3");
        assert_eq!(Autoboot::parse(&long), Err(AutobootError::Long(LEN + 1)));
        assert_eq!(choose(&long, false).slots, [Slot::A, Slot::B]);
        assert!(Autoboot::parse(&long[..LEN]).is_ok());
        let of_garbage = Choice {
            slots: [Slot::A, Slot::B],
            trial: false,
        };
        assert_eq!(choose(&[0xff; LEN], true), of_garbage);
    }

    #[test]
    fn what_is_written_is_one_sector_and_reads_the_same() {
        for default in [Slot::A, Slot::B] {
            for trial in [Slot::A, Slot::B] {
                let said = Autoboot { default, trial };
                let text = said.text();
                assert_eq!(Autoboot::parse(&text), Ok(said));
                assert!(text.starts_with(b"[all]\ntryboot_a_b=1\nboot_partition="));
                assert!(text.is_ascii() && text.ends_with(b"\n"));
            }
        }
        assert_eq!(Autoboot::committed(Slot::B).trial, Slot::A);
    }

    #[test]
    fn slots_have_the_numbers_of_their_partitions() {
        for slot in [Slot::A, Slot::B] {
            assert_eq!(Slot::of_partition(slot.partition()), Some(slot));
            assert_ne!(slot.other(), slot);
        }
    }
}
