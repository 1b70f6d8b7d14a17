//! Fuzzes the reader of kits with arbitrary unpacked contents: nothing may panic, no path may lead out of the kit, and
//! a kit that is packed again must unpack to the same files.

use std::path::Path;

use hearth_image::kit::{Kit, pack, unpack};

/// Packs the bytes and reads them as a kit.
pub fn run(bytes: &[u8]) {
    let packed = zstd::encode_all(bytes, 1).expect("memory takes what is written");
    let _ = Kit::read(Path::new("any.kit"), &*packed);
    let Ok(tree) = unpack(&*packed) else {
        return;
    };
    for path in tree.keys() {
        let mut parts = path.split('/');
        assert!(parts.all(|part| !matches!(part, "" | "." | "..")), "{path}");
    }
    let again = pack(&tree, 1).and_then(|packed| unpack(&*packed));
    assert!(again.is_ok_and(|again| again == tree));
}
