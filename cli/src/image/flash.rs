//! `hearth image flash`: writes an image to a disk, and reads it back.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, bail, ensure};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use super::args::Flash;
use super::system::system;
use super::target::{Target, target};
use crate::out::{self, Outcome};
use crate::progress::Progress;
use crate::table::bytes;

/// Bytes that are written or compared at once. The erase blocks of a memory card are no larger.
const CHUNK: usize = 1 << 20;

pub(crate) fn flash(args: &Flash) -> anyhow::Result<Outcome> {
    let (image, device) = (args.image.display(), args.device.display());
    let system = system(&args.image)?;
    let found = std::fs::metadata(&args.image)?;
    ensure!(found.is_file(), "{image} is a disk: an image is a file");
    let len = found.len();
    let target = target(&args.device, args.file)?;
    ensure!(
        target.bytes >= len,
        "{device} is too small: it has {}, and {image} {}",
        bytes(target.bytes),
        bytes(len)
    );
    for doubt in &target.doubts {
        out::talk(doubt);
    }
    if !target.doubts.is_empty() && !args.force {
        bail!("{device} is left alone; --force writes to it anyway");
    }
    out::talk(format_args!("{device}, {}:", bytes(target.bytes)));
    for line in &target.about {
        out::talk(format_args!("  {line}"));
    }
    // The disk is opened before the user confirms, so that another disk that gets its name meanwhile is not written.
    let mut disk = open(args)?;
    ensure!(
        disk.seek(SeekFrom::End(0))? == target.bytes,
        "{device} has just become another disk; look again"
    );
    if !args.yes && !confirmed(args)? {
        out::talk(format_args!("{device} is as it was"));
        return Ok(Outcome::Failed);
    }
    let mut progress = Progress::new();
    write(args, &target, &mut disk, &mut progress)?;
    compare(args, &mut disk, &mut progress)?;
    progress.end();
    out::talk(format_args!(
        "{device} holds Hearth {} for {}, written and read back",
        system.version, system.board
    ));
    Ok(Outcome::Done)
}

fn confirmed(args: &Flash) -> anyhow::Result<bool> {
    let device = args.device.display();
    ensure!(
        io::stdin().is_terminal(),
        "nobody is there to be asked; --yes writes to {device} without"
    );
    out::talk(format_args!(
        "All of it is lost when {} is written. Type `yes` to go on:",
        args.image.display()
    ));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Opens the disk for writing. Without `--force`, this fails if the disk is in use (O_EXCL).
fn open(args: &Flash) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if !args.file && !args.force {
        options.custom_flags(OFlag::O_EXCL.bits());
    }
    let shown = args.device.display();
    options
        .open(&args.device)
        .with_context(|| format!("cannot write to {shown}"))
}

/// Writes the image, with its first piece last, so that a disk does not boot if writing was interrupted.
fn write(
    args: &Flash,
    target: &Target,
    disk: &mut File,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let (image, device) = (args.image.display(), args.device.display());
    let mut from = File::open(&args.image).with_context(|| format!("cannot read {image}"))?;
    let len = from.metadata()?.len();
    let what = format!("writing {device}");
    progress.step(&what);
    let first = piece(&mut from, len)?;
    let mut put = |at: u64, piece: &[u8]| -> anyhow::Result<()> {
        disk.seek(SeekFrom::Start(at))
            .and_then(|_| disk.write_all(piece))
            .with_context(|| format!("cannot write to {device}, {} in", bytes(at)))
    };
    put(0, &vec![0; first.len()])?;
    // Erase an old backup partition table at the end of the disk: it would be used if the image's own table were
    // damaged.
    let end = target.bytes.saturating_sub(CHUNK as u64);
    if end >= len {
        put(end, &vec![0; CHUNK])?;
    }
    let mut at = first.len() as u64;
    while at < len {
        let piece = piece(&mut from, len - at)?;
        put(at, &piece)?;
        at += piece.len() as u64;
        progress.part(&what, at, len);
    }
    progress.step(format_args!("waiting for {device} to have it all"));
    let sync = |disk: &File| disk.sync_all();
    sync(disk).with_context(|| format!("{device} did not keep what was written"))?;
    disk.seek(SeekFrom::Start(0))
        .and_then(|_| disk.write_all(&first))
        .and_then(|()| sync(disk))
        .with_context(|| format!("cannot write the beginning of {device}"))
}

/// Compares the image with what is read back from the disk itself.
fn compare(args: &Flash, disk: &mut File, progress: &mut Progress) -> anyhow::Result<()> {
    let device = args.device.display();
    // Discard the page cache, so that the comparison reads the disk itself.
    posix_fadvise(&*disk, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .with_context(|| format!("cannot have {device} read anew"))?;
    let what = format!("comparing {device}");
    progress.step(&what);
    let mut from = File::open(&args.image)?;
    let len = from.metadata()?.len();
    disk.seek(SeekFrom::Start(0))?;
    let mut at = 0;
    while at < len {
        let wanted = piece(&mut from, len - at)?;
        let mut found = vec![0; wanted.len()];
        disk.read_exact(&mut found)
            .with_context(|| format!("cannot read {device}, {} in", bytes(at)))?;
        if let Some(place) = differs(&wanted, &found) {
            bail!(
                "{device} does not hold what was written: byte {} is another. It is worn out, or a fake \
                 with less room than it says",
                at + place as u64
            );
        }
        at += wanted.len() as u64;
        progress.part(&what, at, len);
    }
    Ok(())
}

fn differs(wanted: &[u8], found: &[u8]) -> Option<usize> {
    wanted
        .iter()
        .zip(found)
        .position(|(one, other)| one != other)
}

fn piece(from: &mut impl Read, left: u64) -> io::Result<Vec<u8>> {
    let len = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
    let mut piece = vec![0; len];
    from.read_exact(&mut piece)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_differs_is_found() {
        assert_eq!(differs(b"abc", b"abc"), None);
        assert_eq!(differs(b"abc", b"abd"), Some(2));
    }

    #[test]
    fn comparing_finds_what_is_not_there() {
        let place = |name: &str| {
            std::env::temp_dir().join(format!("hearth-flash-{name}-{}", std::process::id()))
        };
        let (image, device) = (place("image"), place("disk"));
        let whole = vec![7; CHUNK + 100];
        std::fs::write(&image, &whole).unwrap();
        let mut other = whole.clone();
        other[CHUNK + 50] = 8;
        for (disk, good) in [(&whole, true), (&other, false)] {
            std::fs::write(&device, disk).unwrap();
            let args = Flash {
                image: image.clone(),
                device: device.clone(),
                yes: true,
                force: false,
                file: true,
            };
            let mut file = open(&args).unwrap();
            let compared = compare(&args, &mut file, &mut Progress::new());
            assert_eq!(compared.is_ok(), good);
            if let Err(error) = compared {
                let said = error.to_string();
                assert!(
                    said.contains(&format!("byte {} is another", CHUNK + 50)),
                    "{said}"
                );
            }
        }
        for path in [&image, &device] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
