//! The master boot record, as the Raspberry Pi's firmware reads it. Partitions 1 to 3 are the counterpart of the ESP
//! and the two slots. Partition 4 is an extended partition that contains identity (5) and data (6), for which an MBR
//! has no room. A sector before each of these two, the extended boot record, describes it.
//!
//! Growing writes one sector at a time, from the outside to the inside: the extended partition, the link to its
//! second partition, then the data partition. The table is valid after each write.

use crate::board::Firmware;
use crate::disk::{Disk, DiskError, Grown, Partition, read_at, write_at};
use crate::layout::{self, Role, SECTOR, Span};

/// FAT with LBA.
const FAT: u8 = 0x0c;
/// An extended partition with LBA. Inside it, the link to the next sector has the older type (`LINK`).
const FRAME: u8 = 0x0f;
const LINK: u8 = 0x05;
const LINUX: u8 = 0x83;
/// No file system.
const RAW: u8 = 0xda;
/// The protective entry in front of a GPT, which covers the whole disk.
const WHOLE: u8 = 0xee;

type Sector = [u8; SECTOR as usize];

/// A partition's entry: type, first sector and number of sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    kind: u8,
    start: u32,
    sectors: u32,
}

impl Entry {
    const NONE: Entry = Entry {
        kind: 0,
        start: 0,
        sectors: 0,
    };

    /// Creates an entry. Its first sector counts from byte `from`.
    fn new(kind: u8, span: Span, from: u64) -> Entry {
        Entry {
            kind,
            start: count(span.start - from),
            sectors: count(span.len),
        }
    }

    fn span(self, from: u64) -> Span {
        Span {
            start: from + u64::from(self.start) * SECTOR,
            len: u64::from(self.sectors) * SECTOR,
        }
    }
}

/// Converts bytes to sectors. A table cannot express more than 2 TiB.
fn count(bytes: u64) -> u32 {
    u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX)
}

fn entry(sector: &Sector, index: usize) -> Entry {
    let at = 446 + 16 * index;
    let word = |at: usize| {
        u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]])
    };
    Entry {
        kind: sector[at + 4],
        start: word(at + 8),
        sectors: word(at + 12),
    }
}

fn set(sector: &mut Sector, index: usize, entry: Entry) {
    let at = 446 + 16 * index;
    // Cylinder, head and sector: the value for "out of range", as all tools write it with LBA.
    let beyond = [0xfe, 0xff, 0xff];
    sector[at..at + 16].fill(0);
    if entry != Entry::NONE {
        sector[at + 1..at + 4].copy_from_slice(&beyond);
        sector[at + 4] = entry.kind;
        sector[at + 5..at + 8].copy_from_slice(&beyond);
        sector[at + 8..at + 12].copy_from_slice(&entry.start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&entry.sectors.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
}

/// Writes the table of an image. `signature` is the disk's number.
pub fn write(disk: &mut impl Disk, signature: u32) -> Result<(), DiskError> {
    let span = |role| layout::span(role, Firmware::Pi);
    let frame = layout::logical(Firmware::Pi);
    let gap = layout::gap(Firmware::Pi);
    let (identity, data) = (span(Role::Identity), span(Role::Data));
    let second = data.start - gap;

    let mut last = [0; SECTOR as usize];
    set(&mut last, 0, Entry::new(LINUX, data, second));
    write_at(disk, second, &last)?;

    let mut first = [0; SECTOR as usize];
    set(&mut first, 0, Entry::new(RAW, identity, frame));
    let rest = Span {
        start: second,
        len: data.end() - second,
    };
    set(&mut first, 1, Entry::new(LINK, rest, frame));
    write_at(disk, frame, &first)?;

    let mut mbr = [0; SECTOR as usize];
    mbr[440..444].copy_from_slice(&signature.to_le_bytes());
    for (index, role) in [Role::Esp, Role::SlotA, Role::SlotB]
        .into_iter()
        .enumerate()
    {
        set(&mut mbr, index, Entry::new(FAT, span(role), 0));
    }
    let whole = Span {
        start: frame,
        len: data.end() - frame,
    };
    set(&mut mbr, 3, Entry::new(FRAME, whole, 0));
    write_at(disk, 0, &mbr)
}

/// Returns whether the disk has an MBR with partitions, and not the protective MBR of a GPT.
pub(crate) fn is_table(disk: &mut impl Disk) -> Result<bool, DiskError> {
    let mbr = match sector(disk, 0) {
        Ok(mbr) => mbr,
        Err(DiskError::NoTable) => return Ok(false),
        Err(error) => return Err(error),
    };
    let kinds = [0, 1, 2, 3].map(|index| entry(&mbr, index).kind);
    Ok(kinds.iter().any(|kind| *kind != 0) && !kinds.contains(&WHOLE))
}

/// The sectors that describe partitions, and their positions in bytes.
struct Sectors {
    mbr: Sector,
    frame: u64,
    first: Sector,
    second: u64,
    last: Sector,
}

impl Sectors {
    fn read(disk: &mut impl Disk) -> Result<Sectors, DiskError> {
        let mbr = sector(disk, 0)?;
        if entry(&mbr, 0).kind != FAT || entry(&mbr, 3).kind != FRAME {
            return Err(DiskError::NoTable);
        }
        let frame = entry(&mbr, 3).span(0).start;
        let first = sector(disk, frame)?;
        if entry(&first, 1).kind != LINK {
            return Err(DiskError::Foreign("not two partitions in the frame"));
        }
        let second = entry(&first, 1).span(frame).start;
        let last = sector(disk, second)?;
        if entry(&last, 1) != Entry::NONE {
            return Err(DiskError::Foreign("more than two partitions in the frame"));
        }
        Ok(Sectors {
            mbr,
            frame,
            first,
            second,
            last,
        })
    }

    fn partitions(&self) -> Vec<Partition> {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| self.mbr[at + index]));
        let spans = [
            entry(&self.mbr, 0).span(0),
            entry(&self.mbr, 1).span(0),
            entry(&self.mbr, 2).span(0),
            entry(&self.first, 0).span(self.frame),
            entry(&self.last, 0).span(self.second),
        ];
        let all = Role::ALL.into_iter().zip(spans);
        all.map(|(role, span)| {
            let number = role.number(Firmware::Pi);
            Partition {
                number,
                label: role.label().to_owned(),
                uuid: format!("{:08x}-{number:02x}", word(440)),
                span,
            }
        })
        .collect()
    }
}

fn sector(disk: &mut impl Disk, at: u64) -> Result<Sector, DiskError> {
    let mut sector = [0; SECTOR as usize];
    read_at(disk, at, &mut sector)?;
    match sector[510..] {
        [0x55, 0xaa] => Ok(sector),
        _ => Err(DiskError::NoTable),
    }
}

pub(crate) fn read(disk: &mut impl Disk) -> Result<Vec<Partition>, DiskError> {
    Ok(Sectors::read(disk)?.partitions())
}

/// Grows the data partition to byte `end`, if it ends before that.
pub(crate) fn grow(disk: &mut impl Disk, end: u64) -> Result<Grown, DiskError> {
    let mut sectors = Sectors::read(disk)?;
    let span = entry(&sectors.last, 0).span(sectors.second);
    // A table cannot express more.
    let end = end.min(u64::from(u32::MAX) * SECTOR);
    let mut wrote = false;
    let mut stretch = |disk: &mut _, at: u64, sector: &mut Sector, index: usize, from: u64| {
        let old = entry(sector, index);
        let wanted = count(end.saturating_sub(old.span(from).start));
        if wanted <= old.sectors {
            return Ok(());
        }
        wrote = true;
        let new = Entry {
            sectors: wanted,
            ..old
        };
        set(sector, index, new);
        write_at(disk, at, sector)
    };
    stretch(disk, 0, &mut sectors.mbr, 3, 0)?;
    stretch(disk, sectors.frame, &mut sectors.first, 1, sectors.frame)?;
    stretch(disk, sectors.second, &mut sectors.last, 0, sectors.second)?;
    let data = sectors.partitions().pop();
    Ok(Grown {
        data: data.ok_or(DiskError::NoTable)?,
        before: span.len,
        wrote,
    })
}
