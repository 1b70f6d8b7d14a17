//! Fuzzes the sparse format of the pristine data. Arbitrary bytes as records must not cause a panic, nor a write beyond
//! the partition. Arbitrary bytes as a file system must be the same after encoding and applying.

use std::io::Cursor;

use hearth_image::sparse::{apply, encode};

/// Size of the partition in bytes.
const ROOM: u64 = 1 << 20;

/// Reads the bytes as records, then encodes them to records and applies these.
pub fn run(bytes: &[u8]) {
    let mut disk = Cursor::new(Vec::new());
    let applied = apply(bytes, &mut disk, ROOM);
    assert!(disk.get_ref().len() as u64 <= ROOM);
    if let Ok(len) = applied {
        assert_eq!(disk.get_ref().len() as u64, len);
    }
    let mut whole = bytes.to_vec();
    whole.truncate(ROOM as usize);
    let mut disk = Cursor::new(vec![0xa5; whole.len()]);
    let applied = apply(&*encode(&whole), &mut disk, ROOM);
    assert_eq!(applied.ok(), Some(whole.len() as u64));
    assert!(disk.into_inner() == whole);
}
