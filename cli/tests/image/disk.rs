//! An image onto a block device of the kernel's: a loop device, which is as good as a card.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Project, err};

/// What a program prints; it must succeed.
fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", err(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A disk whose bytes are a file's.
struct Loop(String);

impl Loop {
    fn of(file: &Path) -> Loop {
        let file = file.to_str().unwrap();
        Loop(tool("losetup", &["--find", "--show", file]))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A file system that is in use.
struct Mounted(PathBuf);

impl Mounted {
    fn at(device: &str, place: PathBuf) -> Mounted {
        fs::create_dir(&place).unwrap();
        tool("mount", &[device, place.to_str().unwrap()]);
        Mounted(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[ignore = "it wants root and a loop device: `cargo xtask test flash` runs it"]
fn a_disk_is_written_once_nothing_speaks_against_it_or_somebody_insists() {
    let project = Project::new();
    let image = fs::read(project.built()).unwrap();
    let file = project.0.path("card");
    fs::write(&file, vec![0xee; 64 << 20]).unwrap();
    let disk = Loop::of(&file);
    let flash = |args: &[&str]| {
        let args = [&["edge.img", &disk.0, "--yes"], args].concat();
        let output = project.image("flash", &args).output().unwrap();
        let said = err(&output);
        println!("flash {}: {}\n{said}", args.join(" "), output.status);
        (output.status.code(), said)
    };

    // It is no card, and in use.
    tool("mkfs.ext4", &["-q", &disk.0]);
    let mounted = Mounted::at(&disk.0, project.0.path("mounted"));
    let place = fs::canonicalize(&mounted.0).unwrap();
    let (status, said) = flash(&[]);
    assert_eq!(status, Some(1));
    for part in [
        format!("{} is built into this machine", disk.0),
        format!("{} is mounted at {}", disk.0, place.display()),
        format!("{} is left alone; --force writes to it anyway", disk.0),
    ] {
        assert!(said.contains(&part), "{part}");
    }
    drop(mounted);
    tool("sync", &[]);
    let before = fs::read(&file).unwrap();
    let (status, said) = flash(&[]);
    assert_eq!(status, Some(1));
    assert!(!said.contains("mounted"));
    tool("sync", &[]);
    assert!(fs::read(&file).unwrap() == before, "something was written");

    let (status, said) = flash(&["--force"]);
    assert_eq!(status, Some(0));
    assert!(said.contains("written and read back"));
    let written = fs::read(&file).unwrap();
    assert!(written[..image.len()] == image);
    // What it holds now is told before it is lost.
    let (_, said) = flash(&["--force"]);
    assert!(said.contains("holds Hearth 0.1.0 for"));

    // A file is no disk, and the other way round.
    let (status, said) = flash(&["--force", "--file"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("is no file, which is what --file is for"));
    // One that cannot be written says so before anything is asked.
    tool("blockdev", &["--setro", &disk.0]);
    let (status, said) = flash(&["--force"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("is write-protected"));
}
