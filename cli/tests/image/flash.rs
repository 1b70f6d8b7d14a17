//! `hearth image flash` with a file as the disk.

use std::fs;

use hearth_image::disk;
use hearth_image::layout::MIB;

use crate::{Project, err};

#[test]
fn what_was_written_is_the_image_and_nothing_of_before_is_left_at_the_end() {
    let project = Project::new();
    let image = fs::read(project.built()).unwrap();
    let path = project.0.path("disk");
    fs::write(&path, vec![0xee; 64 << 20]).unwrap();
    let mut flash = project.image("flash", &["edge.img", "disk", "--file", "--yes"]);
    let output = flash.output().unwrap();
    let said = err(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "writing disk\n",
        "comparing disk\n",
        "disk holds Hearth 0.1.0 for",
        "written and read back",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let disk = fs::read(&path).unwrap();
    assert_eq!(disk.len() as u64, 64 * MIB);
    assert!(disk[..image.len()] == image);
    let (rest, end) = disk[image.len()..].split_at(disk.len() - image.len() - (1 << 20));
    assert!(rest.iter().all(|byte| *byte == 0xee));
    assert!(end.iter().all(|byte| *byte == 0));
    // The data partition grows into the rest of the disk.
    let mut options = fs::OpenOptions::new();
    let mut file = options.read(true).write(true).open(&path).unwrap();
    assert!(disk::grow(&mut file).unwrap().wrote);
    // A second run shows the image that is lost.
    let mut flash = project.image("flash", &["edge.img", "disk", "--file", "--yes"]);
    let said = err(&flash.output().unwrap());
    assert!(
        said.contains("disk, 64.0 MiB:\n  holds Hearth 0.1.0 for"),
        "{said}"
    );
}

#[test]
fn mistakes_are_refused_and_nothing_is_written() {
    let project = Project::new();
    let image = fs::read(project.built()).unwrap();
    // An incomplete download, in which both slots may be complete.
    fs::write(project.0.path("cut.img"), &image[..image.len() - 512]).unwrap();
    let before = vec![0xee; 64 << 20];
    let path = project.0.path("disk");
    fs::write(&path, &before).unwrap();
    fs::write(project.0.path("small"), vec![0xee; 46 << 20]).unwrap();
    for (args, part) in [
        (
            &["edge.img", "disk", "--yes"][..],
            "disk is a file and no disk; --file",
        ),
        (
            &["edge.img", "small", "--file", "--yes"],
            "small is too small: it has 46.0 MiB",
        ),
        (
            &["edge.img", "disk", "--file"],
            "nobody is there to be asked; --yes",
        ),
        (
            &["cut.img", "disk", "--file", "--yes"],
            "it is cut off: 49282560 bytes of at least 49283072",
        ),
        (
            &["worker.c", "disk", "--file", "--yes"],
            "worker.c is not an image",
        ),
        (&["edge.img", "/dev/null", "--yes"], "/dev/null is no disk"),
        (
            &["edge.img", "/dev/null", "--file", "--yes"],
            "/dev/null is no file",
        ),
        (
            &["edge.img", "nowhere", "--file", "--yes"],
            "cannot look at nowhere",
        ),
    ] {
        let output = project.image("flash", args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = err(&output);
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(fs::read(&path).unwrap() == before);
}
