//! Any bytes as the pristine data: nothing may panic or be written beyond its room; and any bytes as a file system come
//! out as they went in.

use std::io::Cursor;

use hearth_image::sparse::{apply, encode};

/// The partition.
const ROOM: u64 = 1 << 20;

/// As records, then as what records are made of.
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
