//! A disk's partitions, with a GPT or an MBR: reads the table, and grows the last partition to the disk's end.
//!
//! Growing survives a power cut at any write. The table is valid before and after each write, and the next attempt
//! writes what the interrupted one left out.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use crate::gpt;
use crate::layout::{self, MIB, Role, SECTOR, Span};
use crate::mbr;

/// Storage that can be read and written at any position, and synced.
pub trait Disk: Read + Write + Seek {
    /// Returns when everything written so far is durable.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A disk in memory.
impl Disk for Cursor<Vec<u8>> {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a disk's partition table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The disk cannot be read.
    #[error("cannot read the disk's partition table")]
    Read(#[source] io::Error),
    /// The disk cannot be written.
    #[error("cannot write the disk's partition table")]
    Write(#[source] io::Error),
    /// The disk has no valid table of either kind.
    #[error("the disk has no partition table that is whole")]
    NoTable,
    /// The table is valid, but does not have the layout of an appliance.
    #[error("the disk's partition table is not one of an appliance: {0}")]
    Foreign(&'static str),
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The number, from 1, as in `/dev/sda1`.
    pub number: u32,
    /// `esp`, `slot-a`, `slot-b`, `identity` or `data`, for both kinds of table.
    pub label: String,
    /// Linux's PARTUUID, in lower case.
    pub uuid: String,
    /// Position and length in bytes.
    pub span: Span,
}

/// The kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A GPT, for PCs with UEFI.
    Gpt,
    /// An MBR, for the Raspberry Pi.
    Mbr,
}

/// A disk's partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The kind of table.
    pub scheme: Scheme,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Returns the partition with this role.
    pub fn find(&self, role: Role) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.label == role.label())
    }
}

/// The result of [`grow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// The data partition after growing.
    pub data: Partition,
    /// Its length in bytes before growing.
    pub before: u64,
    /// Whether anything was written.
    pub wrote: bool,
}

/// Returns the length of a disk or file in bytes.
pub fn len(disk: &mut impl Disk) -> Result<u64, DiskError> {
    disk.seek(SeekFrom::End(0)).map_err(DiskError::Read)
}

/// Reads the partition table.
///
/// If the first copy of a GPT is damaged, the copy at the disk's end is used, unless sector 0 has an MBR with
/// partitions: then the copy at the end is a leftover of an earlier layout.
pub fn read(disk: &mut impl Disk) -> Result<Table, DiskError> {
    let sectors = len(disk)? / SECTOR;
    if let Some((table, _)) = gpt::read(disk, sectors)? {
        return Ok(Table {
            scheme: Scheme::Gpt,
            partitions: table.partitions(),
        });
    }
    let partitions = mbr::read(disk)?;
    Ok(Table {
        scheme: Scheme::Mbr,
        partitions,
    })
}

/// Grows the data partition to the disk's end, except for what [`layout::reserve`] leaves free, and moves the second
/// copy of a GPT to the disk's end. Never shrinks. Writes nothing if the table is already as it should be.
pub fn grow(disk: &mut impl Disk) -> Result<Grown, DiskError> {
    let len = len(disk)?;
    let sectors = len / SECTOR;
    let end = len.saturating_sub(layout::reserve(len)) / MIB * MIB;
    match gpt::read(disk, sectors)? {
        Some((table, whole)) => gpt::grow(disk, sectors, table, whole, end),
        None => mbr::grow(disk, end),
    }
}

pub(crate) fn read_at(disk: &mut impl Disk, at: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
    disk.seek(SeekFrom::Start(at))
        .and_then(|_| disk.read_exact(bytes))
        .map_err(DiskError::Read)
}

/// Writes, and returns when the bytes are durable.
pub(crate) fn write_at(disk: &mut impl Disk, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
    disk.seek(SeekFrom::Start(at))
        .and_then(|_| disk.write_all(bytes))
        .and_then(|()| disk.flush())
        .and_then(|()| disk.sync())
        .map_err(DiskError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Firmware;
    use crate::gpt::{Entry, Gpt};
    use crate::guid::Guid;

    /// A disk whose power fails: only `left` calls of `write_at` reach the disk, and the last of them writes only
    /// half of its sectors.
    struct Torn {
        disk: Cursor<Vec<u8>>,
        left: usize,
    }

    impl Read for Torn {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.disk.read(bytes)
        }
    }

    impl Seek for Torn {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.disk.seek(to)
        }
    }

    impl Write for Torn {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.left {
                0 => Err(io::Error::other("no power")),
                1 => {
                    // The disk writes each sector completely or not at all.
                    let sectors = bytes.len() / SECTOR as usize / 2;
                    self.disk.write_all(&bytes[..sectors * SECTOR as usize])?;
                    self.left = 0;
                    Err(io::Error::other("no power"))
                }
                _ => {
                    self.left -= 1;
                    self.disk.write(bytes)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Disk for Torn {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn image(firmware: Firmware, len: u64) -> Cursor<Vec<u8>> {
        let own = layout::image_len(firmware);
        let mut disk = Cursor::new(vec![0; own as usize]);
        match firmware {
            Firmware::Uefi => {
                let entries = Role::ALL.map(|role| {
                    let number = role.number(firmware);
                    let guid = Guid::of_hash([number as u8; 16]);
                    Entry::new(number, role, guid, layout::span(role, firmware))
                });
                let table = Gpt::new(Guid::of_hash([9; 16]), entries.to_vec());
                table.write(&mut disk, own / SECTOR).unwrap();
            }
            Firmware::Pi => mbr::write(&mut disk, 0x1234_abcd).unwrap(),
        }
        disk.get_mut().resize(len as usize, 0xee);
        disk
    }

    #[test]
    fn what_is_written_is_read_on_either_kind_of_table() {
        for firmware in [Firmware::Uefi, Firmware::Pi] {
            let mut disk = image(firmware, layout::image_len(firmware));
            let table = read(&mut disk).unwrap();
            for role in Role::ALL {
                let partition = table.find(role).unwrap();
                assert_eq!(partition.span, layout::span(role, firmware));
                assert_eq!(partition.number, role.number(firmware));
            }
            let uuid = match firmware {
                Firmware::Uefi => "05050505-0505-8505-8505-050505050505",
                Firmware::Pi => "1234abcd-06",
            };
            assert_eq!(table.find(Role::Data).unwrap().uuid, uuid);
        }
    }

    #[test]
    fn data_grows_to_the_end_but_for_the_reserve_and_once() {
        for firmware in [Firmware::Uefi, Firmware::Pi] {
            let mut disk = image(firmware, 200 * MIB);
            let before = read(&mut disk).unwrap();
            let grown = grow(&mut disk).unwrap();
            assert_eq!((grown.before, grown.wrote), (10 * MIB, true));
            assert_eq!(grown.data.span.end(), 150 * MIB);
            let after = read(&mut disk).unwrap();
            assert_eq!(after.find(Role::Data), Some(&grown.data));
            assert_eq!(after.partitions[..4], before.partitions[..4]);
            assert!(!grow(&mut disk).unwrap().wrote);
            // Grows again after the disk itself has grown.
            disk.get_mut().resize(400 * MIB as usize, 0);
            assert_eq!(grow(&mut disk).unwrap().data.span.end(), 300 * MIB);
        }
    }

    #[test]
    fn a_cut_of_power_at_any_write_leaves_a_table_that_is_whole_and_grows_next_time() {
        for firmware in [Firmware::Uefi, Firmware::Pi] {
            let fresh = image(firmware, 100 * MIB);
            let mut cuts = 0;
            for left in 1.. {
                let mut torn = Torn {
                    disk: fresh.clone(),
                    left,
                };
                let done = grow(&mut torn).is_ok();
                let mut disk = torn.disk;
                // The table that a kernel sees: kernels read only the first copy.
                let table = match firmware {
                    Firmware::Uefi => {
                        let (table, whole) =
                            gpt::read(&mut disk, 100 * MIB / SECTOR).unwrap().unwrap();
                        assert!(whole.first, "cut at {left}");
                        table.partitions()
                    }
                    Firmware::Pi => mbr::read(&mut disk).unwrap(),
                };
                let len = table[4].span.len;
                assert!(len == 10 * MIB || table[4].span.end() == 75 * MIB);
                let grown = grow(&mut disk).unwrap();
                assert_eq!(grown.data.span.end(), 75 * MIB);
                assert!(!grow(&mut disk).unwrap().wrote);
                if done {
                    break;
                }
                cuts += 1;
            }
            assert!(cuts >= 3, "{firmware:?}: {cuts}");
        }
    }

    #[test]
    fn a_broken_first_copy_is_made_anew_from_the_second() {
        let mut disk = image(Firmware::Uefi, 100 * MIB);
        grow(&mut disk).unwrap();
        let good = read(&mut disk).unwrap();
        disk.get_mut()[512 + 60] ^= 1;
        assert_eq!(read(&mut disk).unwrap(), good);
        assert!(grow(&mut disk).unwrap().wrote);
        let (_, whole) = gpt::read(&mut disk, 100 * MIB / SECTOR).unwrap().unwrap();
        assert!(whole.first && whole.second);
        let end = disk.get_ref().len() - 512;
        disk.get_mut()[512..1024].fill(0);
        disk.get_mut()[end..].fill(0);
        assert!(matches!(read(&mut disk), Err(DiskError::NoTable)));
    }

    #[test]
    fn an_mbr_is_not_overruled_by_what_an_earlier_table_has_left_at_the_end() {
        let mut earlier = image(Firmware::Uefi, 100 * MIB);
        grow(&mut earlier).unwrap();
        let fresh = image(Firmware::Pi, 100 * MIB);
        let own = layout::image_len(Firmware::Pi) as usize;
        let mut disk = earlier;
        disk.get_mut()[..own].copy_from_slice(&fresh.get_ref()[..own]);
        let table = read(&mut disk).unwrap();
        assert_eq!(table.scheme, Scheme::Mbr);
        assert_eq!(grow(&mut disk).unwrap().data.span.end(), 75 * MIB);
        assert_eq!(read(&mut disk).unwrap().scheme, Scheme::Mbr);
    }

    #[test]
    fn a_table_without_checksums_may_say_anything() {
        let mut disk = image(Firmware::Pi, 60 * MIB);
        let data = layout::span(Role::Data, Firmware::Pi).start as usize;
        let places = [
            0,
            layout::logical(Firmware::Pi) as usize,
            data - MIB as usize / 2,
        ];
        let sectors: Vec<Vec<u8>> = places
            .iter()
            .map(|at| disk.get_ref()[*at..at + 512].to_vec())
            .collect();
        let mut number = 0x9e37_79b9_u32;
        for _ in 0..3000 {
            for (at, sector) in places.iter().zip(&sectors) {
                disk.get_mut()[*at..at + 512].copy_from_slice(sector);
            }
            for _ in 0..3 {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = places[number as usize >> 8 & 1] + 446 + (number as usize >> 10) % 64;
                disk.get_mut()[at] = (number >> 24) as u8;
            }
            let before = read(&mut disk).ok();
            let grown = grow(&mut disk).ok();
            if let (Some(before), Some(grown)) = (before, grown) {
                let before = before.find(Role::Data).map(|data| data.span.len);
                assert!(before <= Some(grown.data.span.len));
            }
        }
    }

    #[test]
    fn a_disk_that_was_cut_short_or_is_none_of_ours_is_refused() {
        let mut disk = image(Firmware::Uefi, 40 * MIB);
        assert!(matches!(grow(&mut disk), Err(DiskError::Foreign(_))));
        let mut empty = Cursor::new(vec![0; 4 * MIB as usize]);
        assert!(matches!(grow(&mut empty), Err(DiskError::NoTable)));
        assert!(matches!(
            read(&mut Cursor::new(Vec::new())),
            Err(DiskError::Read(_))
        ));
    }
}
