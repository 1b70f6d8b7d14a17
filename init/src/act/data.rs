//! The data partition: grown, repaired, made anew.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use hearth_image::{disk, sparse};
use hearth_sys::block::{grow_ext4, resize_partition};

use super::{ActError, Feeder, chain, file, program, text};
use crate::facts::Disk;
use crate::kernel_log::KernelLog;
use crate::place::{DATA, PRISTINE};

/// How long e2fsck may take: a large disk that is nearly full needs minutes.
const CHECK_WITHIN: Duration = Duration::from_secs(600);

/// ext4's blocks, as the image makes it.
const BLOCK: u64 = 4096;

fn writable(name: &str) -> Result<File, ActError> {
    let path = format!("/dev/{name}");
    let opened = File::options().read(true).write(true).open(&path);
    opened.map_err(file("open", path))
}

/// Grows the table's entry to the disk's end, but for the reserve, and tells the kernel. What was done.
pub fn grow_partition(found: &Disk) -> Result<Option<String>, ActError> {
    let mut whole = writable(&found.name)?;
    let grown = disk::grow(&mut whole).map_err(|error| ActError::Disk(chain(&error)))?;
    // The kernel's idea may be older than the table, after a cut of power between the two.
    let sectors = format!("/sys/class/block/{}/size", found.data);
    let known = text(&sectors, 64).and_then(|text| text.trim().parse::<u64>().ok());
    let span = grown.data.span;
    if known.is_some_and(|known| known * 512 != span.len) {
        resize_partition(&whole, grown.data.number, span.start, span.len)
            .map_err(file("resize", format!("/dev/{}", found.data)))?;
    }
    let mib = |bytes: u64| bytes >> 20;
    Ok(grown.wrote.then(|| {
        let (before, now) = (mib(grown.before), mib(span.len));
        format!("{} has {now} MiB now; it had {before}", found.data)
    }))
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing is wrong any more.
    Sound,
    /// There is nothing to repair, or repairing does not help.
    Lost(String),
}

/// e2fsck(8): whatever else, errors are left.
const LEFT: i32 = 4;
/// It could not do its work.
const NO_WORK: i32 = 8;

/// Repairs what can be repaired: at first what is so without a doubt, then all else.
///
/// # Errors
/// If that could not be tried to its end, so that nothing is known.
pub fn check(found: &Disk, log: &mut KernelLog, feeder: &mut Feeder) -> Result<Checked, ActError> {
    let device = format!("/dev/{}", found.data);
    let program = "/sbin/e2fsck";
    let mut run = |how| program::run(program, &[how, "-f", &device], CHECK_WITHIN, log, feeder);
    let mut status = run("-p")?;
    if (LEFT..NO_WORK).contains(&status) {
        status = run("-y")?;
    }
    let ended = format!("ended with status {status}");
    match status {
        // Nothing wrong, corrected, corrected and a restart advised; it is not mounted.
        0..LEFT => Ok(Checked::Sound),
        LEFT..NO_WORK => Ok(Checked::Lost(format!("{program} {ended}"))),
        // An interrupted remake begins with zeros, and copies of what was there before are no help to it.
        NO_WORK if superblock(&found.data)?.is_none() => {
            Ok(Checked::Lost("there is no file system any more".to_owned()))
        }
        _ => Err(ActError::Program {
            program: program.to_owned(),
            ended,
        }),
    }
}

/// Whether the file system has found a fault in itself, which mounting it again does not mend.
pub fn has_faults(partition: &str) -> Result<bool, ActError> {
    /// `EXT4_ERROR_FS` (fs/ext4/ext4.h).
    const FAULTS: u16 = 2;
    let state = superblock(partition)?.map_or(0, |block| word(&block, 0x3a));
    Ok(state & FAULTS != 0)
}

/// Whether it has found one since it was mounted; from then on nothing can be read from it that is not in memory, nor
/// written. The disk is not asked.
pub fn has_failed(partition: &str) -> bool {
    let count = text(format!("/sys/fs/ext4/{partition}/errors_count"), 32);
    count.is_some_and(|count| count.trim() != "0")
}

/// A partition's superblock, if there is one of ext4.
fn superblock(partition: &str) -> Result<Option<[u8; 1024]>, ActError> {
    const MAGIC: u16 = 0xef53;
    let path = format!("/dev/{partition}");
    let mut block = [0; 1024];
    let file_at = File::open(&path).map_err(file("open", &path))?;
    file_at
        .read_exact_at(&mut block, 1024)
        .map_err(file("read", &path))?;
    Ok((word(&block, 0x38) == MAGIC).then_some(block))
}

fn word(block: &[u8; 1024], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Makes it anew.
pub fn remake(found: &Disk) -> Result<(), ActError> {
    let pristine = File::open(PRISTINE).map_err(file("open", PRISTINE))?;
    let mut partition = writable(&found.data)?;
    let wrong = |error: &dyn std::error::Error| ActError::Disk(chain(error));
    let room = disk::len(&mut partition).map_err(|error| wrong(&error))?;
    sparse::apply(BufReader::new(pristine), &mut partition, room).map_err(|error| wrong(&error))?;
    Ok(())
}

/// Grows the mounted file system to its partition's size. What was done.
pub fn grow(found: &Disk) -> Result<Option<String>, ActError> {
    let mut partition = {
        let path = format!("/dev/{}", found.data);
        File::open(&path).map_err(file("open", path))?
    };
    let bytes = disk::len(&mut partition).map_err(|error| ActError::Disk(chain(&error)))?;
    let before = size(DATA);
    let root = File::open(DATA).map_err(file("open", DATA))?;
    let blocks = bytes / BLOCK;
    match grow_ext4(&root, blocks) {
        Ok(()) => {}
        // One of the same size is nothing to grow.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => {}
        Err(source) => {
            return Err(ActError::File {
                attempt: "grow",
                path: DATA.into(),
                source,
            });
        }
    }
    let now = size(DATA);
    Ok((now > before).then(|| format!("/data has {} MiB now", now >> 20)))
}

/// Bytes of the file system at this place.
pub fn size(place: &str) -> u64 {
    nix::sys::statvfs::statvfs(place).map_or(0, |held| held.blocks() * held.fragment_size())
}

/// Makes init's own directories, and the supervisor's place on data.
pub fn directories() -> Result<(), ActError> {
    use std::os::unix::fs::PermissionsExt;
    for (directory, mode) in [
        ("/data/system", 0o700),
        ("/data/system/pstore", 0o700),
        ("/data/hearth", 0o755),
    ] {
        if !Path::new(directory).is_dir() {
            fs::create_dir_all(directory).map_err(file("make", directory))?;
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(directory, mode).map_err(file("set the mode of", directory))?;
        }
    }
    Ok(())
}
