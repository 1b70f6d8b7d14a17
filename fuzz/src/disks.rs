//! Any bytes as the beginning of a disk: nothing may panic, and growing changes nothing but the data, once, and
//! not beyond the disk.

use std::io::Cursor;

use hearth_image::disk::{grow, read};
use hearth_image::layout::SECTOR;

/// What an image lays out fits, and there is something to grow into.
const DISK: usize = 80 << 20;

/// Where a GPT's header has its own checksum, its length, and the one of the entries (UEFI Specification, table
/// 5.5); an entry's length.
const OWN: usize = 16;
const LEN: usize = 12;
const ENTRIES: usize = 88;
const ENTRY: usize = 128;

/// As they are, and with the checksums that a GPT of these bytes would have: what has none is soon refused.
pub fn run(bytes: &[u8]) {
    look(disk(bytes));
    let mut summed = disk(bytes);
    sum(&mut summed);
    look(summed);
}

/// Each is made anew: what nobody touches of it is never there.
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
