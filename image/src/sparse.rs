//! The pristine data file system without its empty blocks. A device recreates its data partition from it.
//!
//! The format is a magic number, the length of the file system (u64), and a record for each run of blocks that are
//! not empty: offset (u64), length (u32), bytes. Numbers are little-endian. The last record has the length of the
//! file system as its offset; its four bytes are the CRC-32 of everything before the record.

use std::io::{self, Read, SeekFrom};

use crate::disk::Disk;

const MAGIC: &[u8; 8] = b"hrthspr1";

/// The file system's block size. Blocks of zeros are left out.
const BLOCK: usize = 4096;

/// The longest record in bytes, and so the memory that a reader needs.
const LONGEST: usize = 256 * BLOCK;

/// Why the file system cannot be recreated.
#[derive(Debug, thiserror::Error)]
pub enum SparseError {
    /// The records cannot be read.
    #[error("cannot read the pristine data")]
    Read(#[source] io::Error),
    /// The disk cannot be written.
    #[error("cannot write the pristine data")]
    Write(#[source] io::Error),
    /// The records are invalid.
    #[error("the pristine data is damaged: {0}")]
    Damaged(&'static str),
    /// The file system is larger than the partition.
    #[error("the pristine data has {wanted} bytes, and there is room for {room}")]
    Room {
        /// Bytes that the file system needs.
        wanted: u64,
        /// Bytes of the partition.
        room: u64,
    },
}

/// Encodes a file system as records.
#[cfg(feature = "build")]
pub fn encode(whole: &[u8]) -> Vec<u8> {
    let mut records = MAGIC.to_vec();
    let mut record = |offset: u64, bytes: &[u8]| {
        records.extend(offset.to_le_bytes());
        records.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        records.extend(bytes);
    };
    let length = whole.len() as u64;
    let mut run = 0..0;
    for (index, block) in whole.chunks(BLOCK).enumerate() {
        let (at, end) = (index * BLOCK, index * BLOCK + block.len());
        let empty = block.iter().all(|byte| *byte == 0);
        // The first block has a record of its own, because `apply` writes it last.
        if !empty && run.end == at && run.start > 0 && end - run.start <= LONGEST {
            run.end = end;
            continue;
        }
        if !run.is_empty() {
            record(run.start as u64, &whole[run.clone()]);
        }
        run = if empty { 0..0 } else { at..end };
    }
    if !run.is_empty() {
        record(run.start as u64, &whole[run]);
    }
    records.splice(8..8, length.to_le_bytes());
    let sum = crc32fast::hash(&records);
    records.extend(length.to_le_bytes());
    records.extend(4u32.to_le_bytes());
    records.extend(sum.to_le_bytes());
    records
}

/// A reader that computes the checksum of what it reads.
struct Counted<R> {
    from: R,
    sum: crc32fast::Hasher,
}

impl<R: Read> Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), SparseError> {
        self.from.read_exact(bytes).map_err(SparseError::Read)?;
        self.sum.update(bytes);
        Ok(())
    }

    fn long(&mut self) -> Result<u64, SparseError> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Writes the file system to the beginning of `disk`, a partition of `room` bytes, with zeros for its empty blocks.
/// Returns the file system's length.
///
/// The first block is cleared at once, and written only after everything else is durable and its checksum is correct.
/// Without the first block there is no file system, so a power cut leaves nothing that looks complete.
pub fn apply(records: impl Read, disk: &mut impl Disk, room: u64) -> Result<u64, SparseError> {
    let mut records = Counted {
        from: records,
        sum: crc32fast::Hasher::new(),
    };
    let mut magic = [0; 8];
    records.read(&mut magic)?;
    if magic != *MAGIC {
        return Err(SparseError::Damaged("it begins with something else"));
    }
    let whole = records.long()?;
    if whole > room {
        return Err(SparseError::Room {
            wanted: whole,
            room,
        });
    }
    let mut first = [0; BLOCK];
    let mut first_len = BLOCK.min(usize::try_from(whole).unwrap_or(BLOCK));
    disk.seek(SeekFrom::Start(0)).map_err(SparseError::Write)?;
    zeros(disk, first_len as u64)?;
    disk.sync().map_err(SparseError::Write)?;
    let mut at = first_len as u64;
    let mut bytes = Vec::new();
    loop {
        let before = records.sum.clone().finalize();
        let offset = records.long()?;
        let mut len = [0; 4];
        records.read(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > LONGEST {
            return Err(SparseError::Damaged("a record is too long"));
        }
        bytes.resize(len, 0);
        records.read(&mut bytes)?;
        if offset == whole {
            if bytes != before.to_le_bytes() {
                return Err(SparseError::Damaged("its checksum is another"));
            }
            break;
        }
        if offset == 0 && len <= BLOCK && len as u64 <= whole {
            first[..len].copy_from_slice(&bytes);
            first_len = len;
            continue;
        }
        if offset < at || offset > whole || len as u64 > whole - offset {
            return Err(SparseError::Damaged("a record is out of place"));
        }
        zeros(disk, offset - at)?;
        disk.write_all(&bytes).map_err(SparseError::Write)?;
        at = offset + len as u64;
    }
    zeros(disk, whole - at)?;
    let write_first = |disk: &mut _| finish(disk, &first[..first_len]);
    write_first(disk).map_err(SparseError::Write)?;
    Ok(whole)
}

fn finish(disk: &mut impl Disk, first: &[u8]) -> io::Result<()> {
    disk.flush()?;
    disk.sync()?;
    disk.seek(SeekFrom::Start(0))?;
    disk.write_all(first)?;
    disk.flush()?;
    disk.sync()
}

fn zeros(disk: &mut impl Disk, mut count: u64) -> Result<(), SparseError> {
    let zeros = [0; BLOCK];
    while count > 0 {
        let some = count.min(BLOCK as u64);
        disk.write_all(&zeros[..some as usize])
            .map_err(SparseError::Write)?;
        count -= some;
    }
    Ok(())
}

#[cfg(all(test, feature = "build"))]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A file system with runs of every kind: at both ends, longer than a record, of one block, and with an
    /// incomplete last block.
    fn example() -> Vec<u8> {
        let mut whole = vec![0; 700 * BLOCK + 100];
        for at in [1024, BLOCK + 1, 9 * BLOCK, 700 * BLOCK + 99] {
            whole[at] = 7;
        }
        whole[20 * BLOCK..600 * BLOCK].fill(1);
        whole
    }

    #[test]
    fn what_is_encoded_is_applied_the_same_over_anything() {
        for whole in [example(), vec![0; 5 * BLOCK], vec![9; BLOCK], Vec::new()] {
            let records = encode(&whole);
            let mut disk = Cursor::new(vec![0xee; whole.len() + 5000]);
            let room = disk.get_ref().len() as u64;
            assert_eq!(
                apply(&*records, &mut disk, room).unwrap(),
                whole.len() as u64
            );
            assert!(disk.get_ref()[..whole.len()] == whole);
            assert!(
                disk.get_ref()[whole.len()..]
                    .iter()
                    .all(|byte| *byte == 0xee)
            );
        }
        assert!(encode(&example()).len() < 590 * BLOCK);
    }

    #[test]
    fn damage_is_found_and_leaves_no_first_block() {
        let whole = example();
        let records = encode(&whole);
        for at in [0, 20, 40, 100, 9000, records.len() - 1] {
            let mut damaged = records.clone();
            damaged[at] ^= 1;
            let mut disk = Cursor::new(vec![0; whole.len()]);
            let room = whole.len() as u64;
            assert!(apply(&*damaged, &mut disk, room).is_err(), "{at}");
            let cut = apply(&records[..at], &mut disk, room);
            assert!(matches!(cut, Err(SparseError::Read(_))), "{at}");
            assert!(disk.get_ref()[..BLOCK].iter().all(|byte| *byte == 0));
        }
        let mut disk = Cursor::new(vec![0; whole.len()]);
        let small = apply(&*records, &mut disk, 100);
        assert!(matches!(small, Err(SparseError::Room { .. })));
    }
}
