//! Fuzzes the partition tables of a disk with arbitrary bytes at its beginning: nothing may panic. Growing must change
//! only the data partition, must not extend it beyond the disk, and must change nothing the second time.

use std::io::Cursor;

use hearth_image::disk::{grow, read};
use hearth_image::layout::SECTOR;

/// Size of the disk in bytes. The layout of an image fits, with space for the data partition to grow.
const DISK: usize = 80 << 20;

/// Offsets in the header of a GPT: its own checksum (`OWN`), its length (`LEN`) and the checksum of the entries
/// (`ENTRIES`) (UEFI Specification, table 5.5). `ENTRY` is the length of an entry.
const OWN: usize = 16;
const LEN: usize = 12;
const ENTRIES: usize = 88;
const ENTRY: usize = 128;

/// Checks the bytes as they are, and with the checksums of a GPT corrected, because the reader soon refuses wrong
/// checksums.
pub fn run(bytes: &[u8]) {
    look(disk(bytes));
    let mut summed = disk(bytes);
    sum(&mut summed);
    look(summed);
}

/// A new disk for each check. Its pages take no memory until they are written.
fn disk(bytes: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; DISK];
    let used = bytes.len().min(DISK);
    disk[..used].copy_from_slice(&bytes[..used]);
    disk
}

fn look(disk: Vec<u8>) {
    let mut disk = Cursor::new(disk);
    let Ok(before) = read(&mut disk) else {
        return;
    };
    let Ok(grown) = grow(&mut disk) else {
        return;
    };
    assert!(grown.data.span.len >= grown.before);
    assert!(grown.data.span.end() <= DISK as u64);
    let after = read(&mut disk).expect("what was grown can be read");
    let number = grown.data.number;
    for (old, new) in before.partitions.iter().zip(&after.partitions) {
        assert!(old == new || old.number == number, "{old:?}, {new:?}");
    }
    let again = grow(&mut disk).expect("what was grown can be grown");
    assert!(!again.wrote);
}

fn sum(disk: &mut [u8]) {
    let sector = SECTOR as usize;
    let entries = 2 * sector;
    let of_entries = crc32fast::hash(&disk[entries..entries + 128 * ENTRY]);
    let header = &mut disk[sector..2 * sector];
    header[ENTRIES..ENTRIES + 4].copy_from_slice(&of_entries.to_le_bytes());
    header[OWN..OWN + 4].fill(0);
    let len = u32::from_le_bytes([
        header[LEN],
        header[LEN + 1],
        header[LEN + 2],
        header[LEN + 3],
    ]);
    let len = (len as usize).min(sector);
    let own = crc32fast::hash(&header[..len]);
    header[OWN..OWN + 4].copy_from_slice(&own.to_le_bytes());
}
