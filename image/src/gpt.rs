//! The GUID partition table (UEFI Specification, 5.3): written, read and grown.
//!
//! A disk has two copies of the table, at its beginning and at its end. Growing writes the new second copy first,
//! then the new entries of the first copy *beside* the old ones, and then one sector: the first header, which points
//! at the new entries. So the first copy is valid at all times. It is the only copy that a kernel reads by default.

use crate::disk::{Disk, DiskError, Grown, Partition, read_at, write_at};
use crate::guid::Guid;
use crate::layout::{Role, SECTOR, Span};
use crate::mbr;

/// Type of the EFI system partition.
pub const ESP: Guid = Guid::new(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Type of the slots: basic data, which all systems know.
pub const SLOT: Guid = Guid::new(0xebd0_a0a2, 0xb9e5, 0x4433, 0x87c0_68b6_b726_99c7);
/// Type of the identity partition: Hearth's own.
pub const IDENTITY: Guid = Guid::new(0x68ea_7271, 0xb5a1, 0x4c5e, 0x9d3f_1c0d_e5e1_17d0);
/// Type of the data partition: Linux file system.
pub const DATA: Guid = Guid::new(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);

/// Returns the partition type of a role.
pub const fn kind(role: Role) -> Guid {
    match role {
        Role::Esp => ESP,
        Role::SlotA | Role::SlotB => SLOT,
        Role::Identity => IDENTITY,
        Role::Data => DATA,
    }
}

/// Bytes of the header that its checksum covers.
const HEADER: usize = 92;
const ENTRY: usize = 128;
/// The number of entries; the specification's minimum.
const ENTRIES: usize = 128;
const ARRAY: usize = ENTRY * ENTRIES;
const ARRAY_SECTORS: u64 = ARRAY as u64 / SECTOR;
/// The two places for the first copy's entries, in sectors. Growing alternates between them.
const PLACES: [u64; 2] = [2, 2 + ARRAY_SECTORS];
/// The first sector that partitions may use.
const FIRST_USABLE: u64 = 2048;

/// A used entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The partition's number, from 1.
    pub number: u32,
    /// The partition's type.
    pub kind: Guid,
    /// The partition's own GUID.
    pub guid: Guid,
    /// Position and length in bytes.
    pub span: Span,
    /// The partition's name, at most 36 UTF-16 code units.
    pub label: String,
    attributes: u64,
}

impl Entry {
    /// Creates an entry without attributes.
    pub fn new(number: u32, role: Role, guid: Guid, span: Span) -> Entry {
        Entry {
            number,
            kind: kind(role),
            guid,
            span,
            label: role.label().to_owned(),
            attributes: 0,
        }
    }
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt {
    /// The disk's GUID.
    pub guid: Guid,
    /// In the order of their numbers.
    pub entries: Vec<Entry>,
    /// Where the first copy's entries are, in sectors.
    place: u64,
}

/// Which copies of the table are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) first: bool,
    /// Valid, at the disk's end, and equal to the first.
    pub(crate) second: bool,
}

impl Gpt {
    /// Creates a new table.
    pub fn new(guid: Guid, entries: Vec<Entry>) -> Gpt {
        Gpt {
            guid,
            entries,
            place: PLACES[0],
        }
    }

    /// Writes both copies to a disk of `sectors` sectors.
    pub fn write(&self, disk: &mut impl Disk, sectors: u64) -> Result<(), DiskError> {
        let array = self.array();
        self.write_second(disk, sectors, &array)?;
        write_at(disk, self.place * SECTOR, &array)?;
        write_at(disk, SECTOR, &self.header(sectors, &array, Copy::First))?;
        write_at(disk, 0, &protective(sectors))
    }

    fn write_second(
        &self,
        disk: &mut impl Disk,
        sectors: u64,
        array: &[u8],
    ) -> Result<(), DiskError> {
        write_at(disk, (sectors - 1 - ARRAY_SECTORS) * SECTOR, array)?;
        let header = self.header(sectors, array, Copy::Second);
        write_at(disk, (sectors - 1) * SECTOR, &header)
    }

    fn array(&self) -> Vec<u8> {
        let mut array = vec![0; ARRAY];
        for entry in &self.entries {
            let at = (entry.number as usize - 1) * ENTRY;
            let Some(room) = array.get_mut(at..at + ENTRY) else {
                continue;
            };
            room[..16].copy_from_slice(&entry.kind.0);
            room[16..32].copy_from_slice(&entry.guid.0);
            room[32..40].copy_from_slice(&(entry.span.start / SECTOR).to_le_bytes());
            room[40..48].copy_from_slice(&(entry.span.end() / SECTOR - 1).to_le_bytes());
            room[48..56].copy_from_slice(&entry.attributes.to_le_bytes());
            for (unit, room) in entry.label.encode_utf16().zip(room[56..].chunks_mut(2)) {
                room.copy_from_slice(&unit.to_le_bytes());
            }
        }
        array
    }

    fn header(&self, sectors: u64, array: &[u8], copy: Copy) -> [u8; SECTOR as usize] {
        let last = sectors - 1;
        let (own, other, place) = match copy {
            Copy::First => (1, last, self.place),
            Copy::Second => (last, 1, last - ARRAY_SECTORS),
        };
        let mut header = [0; SECTOR as usize];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        header[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&FIRST_USABLE.to_le_bytes());
        header[48..56].copy_from_slice(&(last - ARRAY_SECTORS - 1).to_le_bytes());
        header[56..72].copy_from_slice(&self.guid.0);
        header[72..80].copy_from_slice(&place.to_le_bytes());
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(array).to_le_bytes());
        let sum = crc32fast::hash(&header[..HEADER]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    }

    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.entries.iter().map(partition).collect()
    }
}

fn partition(entry: &Entry) -> Partition {
    Partition {
        number: entry.number,
        label: entry.label.clone(),
        uuid: entry.guid.to_string(),
        span: entry.span,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    First,
    Second,
}

/// The protective MBR, which stops tools without GPT support from using the disk (UEFI Specification, 5.2.3).
fn protective(sectors: u64) -> [u8; SECTOR as usize] {
    let mut mbr = [0; SECTOR as usize];
    let count = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&count.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// Reads the table of a disk of `sectors` sectors, and reports which of its copies are valid. Returns `None` if no
/// copy is valid, or if only the second is and the disk has an MBR with partitions.
pub(crate) fn read(disk: &mut impl Disk, sectors: u64) -> Result<Option<(Gpt, Whole)>, DiskError> {
    // A smaller disk has no room for both copies.
    if sectors < FIRST_USABLE + ARRAY_SECTORS + 1 {
        return Ok(None);
    }
    let first = read_copy(disk, sectors, 1)?;
    let second = read_copy(disk, sectors, sectors - 1)?;
    Ok(match (first, second) {
        (Some((first, last)), second) => {
            let same = second.is_some_and(|(second, _)| {
                second.guid == first.guid && second.entries == first.entries
            });
            let whole = Whole {
                first: true,
                second: same && last == sectors - 1,
            };
            Some((first, whole))
        }
        (None, Some(_)) if mbr::is_table(disk)? => None,
        (None, Some((mut second, _))) => {
            second.place = PLACES[0];
            let whole = Whole {
                first: false,
                second: true,
            };
            Some((second, whole))
        }
        (None, None) => None,
    })
}

/// Reads the copy whose header is in sector `at`. Also returns the sector in which the other header should be.
fn read_copy(disk: &mut impl Disk, sectors: u64, at: u64) -> Result<Option<(Gpt, u64)>, DiskError> {
    let mut header = [0; SECTOR as usize];
    read_at(disk, at * SECTOR, &mut header)?;
    let Some((guid, place, sum, other)) = read_header(&header, at) else {
        return Ok(None);
    };
    if place < 2 || place > sectors - ARRAY_SECTORS {
        return Ok(None);
    }
    let mut array = vec![0; ARRAY];
    read_at(disk, place * SECTOR, &mut array)?;
    if crc32fast::hash(&array) != sum {
        return Ok(None);
    }
    let entries = (1..).zip(array.chunks_exact(ENTRY));
    let entries: Option<Vec<Entry>> = entries
        .filter(|(_, bytes)| bytes[..16] != Guid::NONE.0)
        .map(|(number, bytes)| read_entry(number, bytes))
        .collect();
    Ok(entries.map(|entries| {
        let table = Gpt {
            guid,
            entries,
            place,
        };
        (table, other)
    }))
}

/// Returns the disk's GUID, the sector of the entries, their checksum, and the sector of the other header.
fn read_header(header: &[u8; SECTOR as usize], at: u64) -> Option<(Guid, u64, u32, u64)> {
    let word = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let mut summed = *header;
    summed[16..20].fill(0);
    let good = header.starts_with(b"EFI PART")
        && word(12)? == HEADER as u32
        && word(16)? == crc32fast::hash(&summed[..HEADER])
        && long(24)? == at
        && word(80)? == ENTRIES as u32
        && word(84)? == ENTRY as u32;
    good.then_some(())?;
    let guid = Guid(*header.get(56..)?.first_chunk()?);
    Some((guid, long(72)?, word(88)?, long(32)?))
}

/// Returns `None` if the partition's sectors are impossible.
fn read_entry(number: u32, bytes: &[u8]) -> Option<Entry> {
    let long = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let guid = |at: usize| Some(Guid(*bytes.get(at..)?.first_chunk()?));
    let (first, last) = (long(32)?, long(40)?);
    // With a larger last sector, the size in bytes would overflow.
    if first < 2 || last < first || last >= u64::MAX / SECTOR {
        return None;
    }
    let units = bytes.get(56..)?.chunks_exact(2);
    let units = units
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|unit| *unit != 0);
    let label = char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Some(Entry {
        number,
        kind: guid(0)?,
        guid: guid(16)?,
        span: Span {
            start: first * SECTOR,
            len: (last - first + 1) * SECTOR,
        },
        label,
        attributes: long(48)?,
    })
}

/// Grows the data partition to byte `end`, if it ends before that.
pub(crate) fn grow(
    disk: &mut impl Disk,
    sectors: u64,
    mut table: Gpt,
    whole: Whole,
    end: u64,
) -> Result<Grown, DiskError> {
    let found = table.entries.iter().position(|entry| entry.kind == DATA);
    let found = found.ok_or(DiskError::Foreign("no partition for data"))?;
    let ends = table.entries.iter().map(|entry| entry.span.end());
    let last = ends.max().unwrap_or(0);
    let span = table.entries[found].span;
    if span.end() != last {
        return Err(DiskError::Foreign("the data is not the last partition"));
    }
    if last > (sectors - 1 - ARRAY_SECTORS) * SECTOR {
        return Err(DiskError::Foreign("the data lies beyond the disk's end"));
    }
    let grows = end > last;
    let wrote = grows || !whole.first || !whole.second;
    if wrote {
        if grows {
            table.entries[found].span.len = end - span.start;
        }
        let array = table.array();
        table.write_second(disk, sectors, &array)?;
        // The new entries go beside those in use, so that the first header always points at valid entries.
        if whole.first {
            table.place = match table.place == PLACES[0] {
                true => PLACES[1],
                false => PLACES[0],
            };
        }
        write_at(disk, table.place * SECTOR, &array)?;
        write_at(disk, SECTOR, &table.header(sectors, &array, Copy::First))?;
        write_at(disk, 0, &protective(sectors))?;
    }
    Ok(Grown {
        data: partition(&table.entries[found]),
        before: span.len,
        wrote,
    })
}
