//! Any bytes as what a kit unpacks to: nothing may panic, and a name that leads out of it is none.

use std::path::Path;

use hearth_image::kit::{Kit, pack, unpack};

/// Reads the bytes, packed.
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
