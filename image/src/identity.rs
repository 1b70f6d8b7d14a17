//! A device's own identity: names and their values, stored twice in a separate partition. This module is pure; the
//! caller reads and writes the partition.
//!
//! Each half of the partition holds a copy with a generation number and a checksum. The valid copy with the higher
//! generation is the current one, and a write replaces the other. So an interrupted write changes nothing.

use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"hrthidn1";
/// Bytes before a copy's entries: magic, generation, length, and a checksum of these three and the entries.
const HEAD: usize = 8 + 8 + 4 + 4;

/// Where each copy begins in the partition.
const COPIES: [usize; 2] = [0, HALF];
const HALF: usize = 512 * 1024;

/// What a device keeps over every update, such as its own key, its administrators and the source of its updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Values by name. A name has 1 to 255 bytes.
    pub entries: BTreeMap<String, Vec<u8>>,
}

/// What an identity partition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The current identity; empty if no copy is valid.
    pub identity: Identity,
    /// The number of writes so far; 0 if no copy is valid.
    pub generation: u64,
    /// The copy that the next write replaces.
    next: usize,
}

/// Why an identity cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A name is empty or longer than 255 bytes.
    #[error("{0:?} is no name: it has from 1 to 255 bytes")]
    Name(String),
    /// The entries are larger than a copy.
    #[error("an identity of {0} bytes is more than its place on the disk, {HALF} bytes, can hold")]
    Room(usize),
}

/// Reads the partition's bytes.
pub fn read(partition: &[u8]) -> Held {
    let mut held = Held::default();
    for (copy, start) in COPIES.into_iter().enumerate() {
        let found = partition.get(start..).and_then(read_copy);
        let Some((generation, identity)) = found else {
            continue;
        };
        if generation > held.generation {
            held = Held {
                identity,
                generation,
                next: 1 - copy,
            };
        }
    }
    held
}

fn read_copy(bytes: &[u8]) -> Option<(u64, Identity)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let generation = u64::from_le_bytes(*head[8..].first_chunk()?);
    let length = u32::from_le_bytes(*head[16..].first_chunk()?);
    let sum = u32::from_le_bytes(*head[20..].first_chunk()?);
    let length = usize::try_from(length).ok()?;
    // The last generation number is invalid, because it has no successor. Devices that count from 1 never reach it.
    if !head.starts_with(MAGIC) || length > HALF - HEAD || generation == u64::MAX {
        return None;
    }
    let body = rest.get(..length)?;
    if checksum(&head[..20], body) != sum {
        return None;
    }
    Some((generation, parse(body)?))
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(body);
    sum.finalize()
}

fn parse(mut body: &[u8]) -> Option<Identity> {
    let mut entries = BTreeMap::new();
    while let Some((&name_len, rest)) = body.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        // `replace` accepts no empty name.
        if name.is_empty() {
            return None;
        }
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (value, rest) = rest.split_at_checked(len)?;
        entries.insert(String::from_utf8(name.to_vec()).ok()?, value.to_vec());
        body = rest;
    }
    Some(Identity { entries })
}

impl Held {
    /// Returns the bytes that replace the current identity, and their offset in the partition. Their length is a
    /// multiple of 512. The caller must sync them and read them back.
    pub fn replace(&self, identity: &Identity) -> Result<(u64, Vec<u8>), IdentityError> {
        let mut body = Vec::new();
        for (name, value) in &identity.entries {
            let name_len = u8::try_from(name.len()).ok().filter(|len| *len > 0);
            body.push(name_len.ok_or_else(|| IdentityError::Name(name.clone()))?);
            body.extend(name.as_bytes());
            let len = u32::try_from(value.len()).map_err(|_| IdentityError::Room(value.len()))?;
            body.extend(len.to_le_bytes());
            body.extend(value);
        }
        let length = u32::try_from(body.len()).ok();
        let length = length.filter(|_| body.len() <= HALF - HEAD);
        let length = length.ok_or(IdentityError::Room(body.len()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.generation + 1).to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum(&bytes, &body).to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        Ok((COPIES[self.next] as u64, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(entries: &[(&str, &[u8])]) -> Identity {
        let own = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
        Identity {
            entries: entries.iter().map(own).collect(),
        }
    }

    fn write(partition: &mut [u8], identity: &Identity) {
        let (at, bytes) = read(partition).replace(identity).unwrap();
        partition[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
    }

    #[test]
    fn what_was_written_last_is_read() {
        let mut partition = vec![0; 2 * HALF];
        assert_eq!(read(&partition), Held::default());
        for turn in 1..6u8 {
            let new = identity(&[("device.key", &[turn; 700]), ("root", b"")]);
            write(&mut partition, &new);
            let held = read(&partition);
            assert_eq!((held.generation, held.identity), (u64::from(turn), new));
        }
    }

    #[test]
    fn a_write_that_is_cut_off_after_any_sector_has_changed_nothing_or_everything() {
        let mut partition = vec![0; 2 * HALF];
        let (old, new) = (
            identity(&[("key", &[1; 3000])]),
            identity(&[("key", &[2; 2000]), ("more", b"x")]),
        );
        write(&mut partition, &identity(&[("older", b"")]));
        write(&mut partition, &old);
        let (at, bytes) = read(&partition).replace(&new).unwrap();
        let sectors = bytes.len() / 512;
        assert!(sectors > 3);
        for kept in 0u32..1 << sectors {
            // A disk may write the sectors in any order.
            let mut torn = partition.clone();
            for sector in (0..sectors).filter(|sector| kept & 1 << sector != 0) {
                let (from, to) = (sector * 512, at as usize + sector * 512);
                torn[to..to + 512].copy_from_slice(&bytes[from..from + 512]);
            }
            let whole = kept == (1 << sectors) - 1;
            let held = read(&torn);
            assert_eq!(held.identity, if whole { new.clone() } else { old.clone() });
            // The next write does not depend on the damaged copy.
            write(&mut torn, &new);
            assert_eq!(read(&torn).identity, new);
        }
    }

    #[test]
    fn any_bytes_are_read_and_what_does_not_fit_is_refused() {
        let mut partition = vec![0; 2 * HALF];
        write(&mut partition, &identity(&[("a", b"b")]));
        for cut in [0, 7, 8, 23, 24, 25, HALF - 1, HALF, HALF + 9] {
            read(&partition[..cut]);
        }
        partition[16..20].fill(0xff);
        assert_eq!(read(&partition), Held::default());
        let held = Held::default();
        let long = identity(&[("a", &vec![0; HALF])]);
        assert!(matches!(held.replace(&long), Err(IdentityError::Room(_))));
        let unnamed = identity(&[("", b"")]);
        assert!(matches!(
            held.replace(&unnamed),
            Err(IdentityError::Name(_))
        ));
    }
}
