//! Reads and writes systemd's "Native Journal Protocol": the fields of the entries in one message. Pure.
//!
//! A field is a line `NAME=value`. A field whose value may contain line breaks is the name alone on a line, the length
//! of the value as 64 bits little-endian, the value, and a line break. An empty line ends an entry.

/// Maximum length of a field's name in bytes.
const NAME: usize = 64;

/// Maximum number of fields of one entry.
const FIELDS: usize = 256;

/// One entry: names and values in their order. A name may occur more than once.
pub type Entry<'a> = Vec<(&'a str, &'a [u8])>;

/// Why the rest of a message was not read. The entries before it are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The message ends within a field.
    #[error("the message ends within a field")]
    Cut,
    /// A value is not followed by a line break.
    #[error("a value does not end where it says")]
    Unended,
    /// An entry has more than `FIELDS` fields.
    #[error("an entry has more than {FIELDS} fields")]
    TooMany,
}

/// Parses a message. Returns its entries, and what is wrong with the rest of it.
pub fn parse(message: &[u8]) -> (Vec<Entry<'_>>, Option<Fault>) {
    let mut entries = Vec::new();
    let mut entry = Entry::new();
    let mut rest = message;
    let fault = loop {
        if rest.is_empty() {
            break None;
        }
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            break Some(Fault::Cut);
        };
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            if !entry.is_empty() {
                entries.push(std::mem::take(&mut entry));
            }
            continue;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(place) => (&line[..place], &line[place + 1..]),
            None => match long_value(rest) {
                Ok((value, after)) => {
                    rest = after;
                    (line, value)
                }
                Err(fault) => break Some(fault),
            },
        };
        // Fields with other names are left out. Names that begin with `_` are reserved for what only the receiver
        // knows.
        if let Some(name) = sound(name) {
            if entry.len() == FIELDS {
                break Some(Fault::TooMany);
            }
            entry.push((name, value));
        }
    };
    if !entry.is_empty() {
        entries.push(entry);
    }
    (entries, fault)
}

/// Reads a value that follows its length. Returns the value and the bytes after it.
fn long_value(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(Fault::Cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| Fault::Cut)?;
    let value = rest.get(..length).ok_or(Fault::Cut)?;
    match rest[length..].split_first() {
        Some((b'\n', after)) => Ok((value, after)),
        Some(_) => Err(Fault::Unended),
        None => Err(Fault::Cut),
    }
}

/// The name as text, if it is valid for a field.
fn sound(name: &[u8]) -> Option<&str> {
    let of_field = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let sound = name.len() <= NAME
        && name.first().is_some_and(u8::is_ascii_uppercase)
        && name.iter().all(of_field);
    sound.then(|| std::str::from_utf8(name).ok()).flatten()
}

/// Appends one entry. Each value follows its length, so it may contain anything.
pub fn write(entry: &Entry<'_>, out: &mut Vec<u8>) {
    for (name, value) in entry {
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &[u8], expect: &[&[(&str, &str)]], fault: Option<Fault>) {
        let (entries, found) = parse(message);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let entries: Vec<Vec<(String, String)>> = entries
            .into_iter()
            .map(|entry| {
                entry
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect()
            })
            .collect();
        let expect: Vec<Vec<(String, String)>> = expect
            .iter()
            .map(|entry| {
                entry
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect()
            })
            .collect();
        assert_eq!(
            (entries, found),
            (expect, fault),
            "{}",
            message.escape_ascii()
        );
    }

    #[test]
    fn fields_are_lines_or_have_a_length() {
        check(b"", &[], None);
        check(b"\n\n", &[], None);
        check(
            b"MESSAGE=a=b\nPRIORITY=6\n",
            &[&[("MESSAGE", "a=b"), ("PRIORITY", "6")]],
            None,
        );
        check(
            b"MESSAGE\n\x03\0\0\0\0\0\0\0x\ny\nA=\n",
            &[&[("MESSAGE", "x\ny"), ("A", "")]],
            None,
        );
        check(
            b"A=1\n\nA=2\n\n\nA=3\n",
            &[&[("A", "1")], &[("A", "2")], &[("A", "3")]],
            None,
        );
    }

    #[test]
    fn names_that_are_not_a_senders_to_give_are_left_out() {
        let long = format!("{}=1\nOK_2=1\n", "A".repeat(65));
        check(long.as_bytes(), &[&[("OK_2", "1")]], None);
        check(b"_PID=1\n__X=1\n1A=1\na=1\nA-B=1\n=1\n.x=1\n", &[], None);
        check(b"_PID\n\x01\0\0\0\0\0\0\0x\nA=1\n", &[&[("A", "1")]], None);
    }

    #[test]
    fn what_comes_before_a_fault_is_kept() {
        let good: &[&[(&str, &str)]] = &[&[("A", "1")]];
        check(b"A=1\nB=2", good, Some(Fault::Cut));
        check(b"A=1\nB\n", good, Some(Fault::Cut));
        check(b"A=1\nB\n\x02\0\0\0\0\0\0\0x", good, Some(Fault::Cut));
        check(b"A=1\nB\n\x01\0\0\0\0\0\0\0x", good, Some(Fault::Cut));
        check(
            b"A=1\nB\n\x01\0\0\0\0\0\0\0xyz\n",
            good,
            Some(Fault::Unended),
        );
        check(
            b"A=1\nB\n\xff\xff\xff\xff\xff\xff\xff\xffx\n",
            good,
            Some(Fault::Cut),
        );
        let many = "A=1\n".repeat(FIELDS + 1);
        let (entries, fault) = parse(many.as_bytes());
        assert_eq!((entries[0].len(), fault), (FIELDS, Some(Fault::TooMany)));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let entry: Entry<'_> = vec![("MESSAGE", b"a\n\nb=\0"), ("X", b"")];
        let mut bytes = Vec::new();
        write(&entry, &mut bytes);
        write(&entry, &mut bytes);
        assert_eq!(parse(&bytes), (vec![entry.clone(), entry], None));
    }
}
