//! Every error in a kit names the file in it.

use std::path::Path;

use hearth_image::Board;
use hearth_image::kit::{Kit, Node, Tree, pack};

use crate::kit::{Scratch, tree};

/// Returns the error of a kit after `change`.
fn said(good: &Tree, change: impl FnOnce(&mut Tree)) -> String {
    let mut tree = good.clone();
    change(&mut tree);
    let packed = pack(&tree, 1).unwrap();
    match Kit::read(Path::new("x.kit"), &*packed) {
        Ok(_) => panic!("taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_fault_names_the_kit_and_the_file() {
    let scratch = Scratch::new();
    let good = tree(&scratch, Board::QemuX86_64);
    for file in [
        "kit.json",
        "cmdline",
        "kernel.efi",
        "stub.efi",
        "selector.efi",
        "data.ext4",
        "root/init",
        "root/bin/hearth",
        "root/sbin/e2fsck",
    ] {
        let missing = said(&good, |tree| drop(tree.remove(file)));
        assert_eq!(missing, format!("the kit x.kit has no {file}"));
    }
    let file = |text: &str| Node::File(0o644, text.as_bytes().to_vec());
    let about = |text: &str| {
        said(&good, |tree| {
            drop(tree.insert("kit.json".to_owned(), file(text)))
        })
    };
    assert!(about("{").starts_with("the kit x.kit: kit.json: EOF"));
    let of = |format: u32, board: &str, arch: &str| {
        about(&format!(
            r#"{{"format":{format},"board":"{board}","arch":"{arch}","version":"1","kernel":"6","built":1}}"#
        ))
    };
    assert!(of(2, "nuc", "x86_64").ends_with("format 2 is not known here, only 1"));
    assert!(of(1, "nux", "x86_64").contains("there is no board \"nux\""));
    assert!(of(1, "nuc", "aarch64").ends_with("nuc is x86_64, and not aarch64"));
    let empty = said(&good, |tree| {
        drop(tree.insert("stub.efi".to_owned(), file("")))
    });
    assert_eq!(empty, "the kit x.kit: stub.efi: it is empty");
    let plain = said(&good, |tree| {
        drop(tree.insert("root/init".to_owned(), file("x")))
    });
    assert_eq!(plain, "the kit x.kit: root/init: it is no program");
    let stray = said(&good, |tree| {
        drop(tree.insert("extra".to_owned(), file("x")))
    });
    assert_eq!(
        stray,
        "the kit x.kit: extra: nothing of a kit has this name"
    );
}

#[test]
fn what_is_cut_off_or_no_kit_at_all_cannot_be_unpacked() {
    let scratch = Scratch::new();
    let packed = pack(&tree(&scratch, Board::Rpi4), 1).unwrap();
    assert!(Kit::read(Path::new("x.kit"), &*packed).is_ok());
    for bytes in [&packed[..packed.len() / 2], b"PK\x03\x04", b""] {
        let error = Kit::read(Path::new("x.kit"), bytes).unwrap_err();
        let said = error.to_string();
        assert!(
            said == "the kit x.kit cannot be unpacked" || said.starts_with("the kit x.kit has no"),
            "{said}"
        );
    }
    let none = Kit::open(Path::new("/nonexistent/x.kit")).unwrap_err();
    assert_eq!(none.to_string(), "cannot open the kit /nonexistent/x.kit");
}
