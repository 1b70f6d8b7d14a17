//! Fuzzes the parser of EFI programs: it must not panic, sections must lie within the bytes, and a section that has
//! been appended must be found.

use hearth_image::uki::{Uki, assemble, sections};

/// Parses the bytes, then appends sections to them.
pub fn run(bytes: &[u8]) {
    if let Ok(found) = sections(bytes) {
        assert!(
            found
                .iter()
                .all(|(_, content)| content.len() <= bytes.len())
        );
    }
    let added: [(&str, &[u8]); 2] = [(".cmdline", b"quiet"), (".initrd", bytes)];
    let Ok(image) = assemble(bytes, &added) else {
        return;
    };
    let uki = Uki::parse(&image).expect("its headers were read before");
    for (name, content) in added {
        let section = uki.section(name).expect("what was appended is within");
        assert_eq!(section, Some(content), "{name}");
    }
}
