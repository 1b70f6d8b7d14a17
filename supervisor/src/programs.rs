//! Stores copies of functions' programs, by their contents. Workers are started from these copies, so that a file that
//! is replaced on disk is not served before a reload accepts it.
//!
//! A copy is `DIRECTORY/SHA256/NAME`, where NAME is the program's file name, which `ps` shows. Each copy is written
//! once and as a whole: to a temporary file in DIRECTORY, which is synced and then renamed.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hearth_manifest::print_size;
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::watch::Stamp;

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// Bytes that are written at once: one page. The kernel caches larger writes in larger units, and maps them whole into
/// a worker that needs only a part: its memory would grow by 60 KiB.
const PAGE: usize = 4096;

/// The part of a small disk that stays free: one in this many bytes.
const RESERVE_PART: u64 = 16;

/// The number of bytes of a large disk that stay free.
const RESERVE: u64 = 16 << 20;

/// The name of the temporary file that a copy is written to.
const NEW: &str = "new";

/// A program, identified by its contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// The name of its file.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// Why a program cannot be stored, or its copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program cannot be read.
    #[error("cannot read the program {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The copy cannot be written.
    #[error("cannot keep a copy of the program in {path}")]
    Keep {
        /// The directory of the copies; the program's own file if the error occurs while its contents are copied.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The disk has no room for the copy.
    #[error(
        "no room to keep a copy of the program in {path}: it has {}, {} are free, and {} of those stay so for \
         the log and what else is needed; free some, or keep fewer versions",
        print_size(*len), print_size(*free), print_size(*reserve)
    )]
    Full {
        /// The directory of the copies.
        path: PathBuf,
        /// The size of the program in bytes.
        len: u64,
        /// The free bytes of the file system.
        free: u64,
        /// How many of them must stay free.
        reserve: u64,
    },
    /// The copy is missing, or its contents have changed.
    #[error("the kept program {path} {what}; `hearth reload` keeps it anew from its own file")]
    Damaged {
        /// The file of the copy.
        path: PathBuf,
        /// What is wrong with the copy.
        what: &'static str,
    },
}

/// The stored copies.
#[derive(Debug)]
pub struct Programs {
    directory: PathBuf,
    /// The programs that were found in files. A file that has not changed is not read again.
    known: HashMap<PathBuf, (Stamp, Program)>,
}

impl Programs {
    /// The copies in this directory, which is created with the first copy.
    pub fn of(directory: PathBuf) -> Programs {
        Programs {
            directory,
            known: HashMap::new(),
        }
    }

    /// The path of a program's copy.
    pub fn path(&self, program: &Program) -> PathBuf {
        self.directory.join(&program.sha256).join(&program.name)
    }

    /// Makes sure that a copy of this file's current contents is stored.
    pub fn keep(&mut self, file: &Path) -> Result<Program, ProgramError> {
        let stamp = Stamp::of(file);
        if let (Some(stamp), Some((known, program))) = (stamp, self.known.get(file))
            && *known == stamp
            && self.is_there(program)
        {
            return Ok(program.clone());
        }
        let mut program = read(file, &mut io::sink())?;
        if !self.is_there(&program) {
            program = self.copy(file)?;
        }
        // The stamp was taken before the file was read. If the file has changed since, its stamp differs.
        if let Some(stamp) = stamp {
            self.known.insert(file.to_owned(), (stamp, program.clone()));
        }
        Ok(program)
    }

    /// Whether a copy of the program's length exists.
    pub fn is_there(&self, program: &Program) -> bool {
        let file = fs::metadata(self.path(program));
        file.is_ok_and(|file| file.is_file() && file.len() == program.len)
    }

    /// Checks that the contents of the copy are still those of the program.
    pub fn check(&self, program: &Program) -> Result<(), ProgramError> {
        let path = self.path(program);
        let damaged = |what| ProgramError::Damaged {
            path: path.clone(),
            what,
        };
        if !path.exists() {
            return Err(damaged("is gone"));
        }
        match read(&path, &mut io::sink())? {
            found if found == *program => Ok(()),
            _ => Err(damaged("has other contents than it had")),
        }
    }

    /// Removes all copies except these. If none is left, also removes the directory and, if it is empty, the directory
    /// above it. What cannot be removed now is removed the next time.
    pub fn remove_others(&self, kept: &BTreeSet<&Program>) {
        let paths: BTreeSet<PathBuf> = kept.iter().map(|program| self.path(program)).collect();
        for digest in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let directory = digest.path();
            for copy in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = copy.path();
                if !paths.contains(&path) {
                    let _ = fs::remove_file(path);
                }
            }
            // Fails, as intended, if the directory is not empty.
            let _ = fs::remove_dir(directory);
        }
        if kept.is_empty() {
            let above = self.directory.parent();
            for empty in [Some(&*self.directory), above].into_iter().flatten() {
                let _ = fs::remove_dir(empty);
            }
        }
    }

    fn copy(&self, file: &Path) -> Result<Program, ProgramError> {
        let failed = |source| ProgramError::Keep {
            path: self.directory.clone(),
            source,
        };
        let new = self.directory.join(NEW);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.directory).map_err(failed)?;
        // Removes what an interrupted start left behind.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let len = fs::metadata(file).map_or(0, |file| file.len());
        let disk = statvfs(&self.directory).map_err(|errno| failed(errno.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
        let (total, free) = (bytes(disk.blocks()), bytes(disk.blocks_available()));
        room(total, free, len).map_err(|(free, reserve)| ProgramError::Full {
            path: self.directory.clone(),
            len,
            free,
            reserve,
        })?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut copy = options.open(&new).map_err(failed)?;
        let program = read(file, &mut copy)?;
        copy.set_permissions(fs::Permissions::from_mode(mode(&new).map_err(failed)?))
            .and_then(|()| copy.sync_all())
            .map_err(failed)?;
        drop(copy);
        let place = self.directory.join(&program.sha256);
        builder.create(&place).map_err(failed)?;
        fs::rename(&new, self.path(&program))
            .and_then(|()| File::open(&place)?.sync_all())
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(failed)?;
        Ok(program)
    }
}

/// Checks that `len` bytes can be written to a disk of this size and that enough stays free for later: a full disk
/// can keep neither a log nor a certificate. The error contains the free bytes, and how many must stay free.
fn room(total: u64, free: u64, len: u64) -> Result<(), (u64, u64)> {
    let reserve = (total / RESERVE_PART).min(RESERVE);
    match len.saturating_add(reserve) <= free {
        true => Ok(()),
        false => Err((free, reserve)),
    }
}

/// The permissions of a copy. If the platform runs as root, only scripts are readable, for their interpreters: the
/// kernel loads other programs without read permission.
fn mode(copy: &Path) -> io::Result<u32> {
    let mut begin = [0; 2];
    let mut file = File::open(copy)?;
    let is_script = file.read(&mut begin)? == 2 && begin == *b"#!";
    Ok(match geteuid().is_root() && !is_script {
        true => 0o111,
        false => 0o555,
    })
}

/// Reads a file to its end, and writes all bytes to `copy`, too.
fn read(path: &Path, copy: &mut impl Write) -> Result<Program, ProgramError> {
    let failed = |source| ProgramError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let (mut context, mut len) = (Context::new(&SHA256), 0);
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                context.update(&piece[..count]);
                len += count as u64;
                let mut pages = piece[..count].chunks(PAGE);
                let kept = pages.try_for_each(|page| copy.write_all(page));
                kept.map_err(|source| ProgramError::Keep {
                    path: path.to_owned(),
                    source,
                })?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(Program {
        sha256: hex(context.finish().as_ref()),
        name: name.to_string_lossy().into_owned(),
        len,
    })
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let name = format!("hearth-programs-{}-{name}", std::process::id());
            let place = std::env::temp_dir().join(name);
            fs::create_dir(&place).unwrap();
            Place(place)
        }

        fn program(&self, text: &str) -> PathBuf {
            let path = self.0.join("hello");
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_disk_is_never_filled_by_programs() {
        const MIB: u64 = 1 << 20;
        // On a disk of 8 MiB half a MiB stays free, on a large disk 16 MiB.
        assert_eq!(room(8 * MIB, 2 * MIB, 3 * MIB / 2), Ok(()));
        let half = MIB / 2;
        assert_eq!(room(8 * MIB, 2 * MIB, 3 * half + 1), Err((2 * MIB, half)));
        assert_eq!(room(1 << 40, 17 * MIB, MIB), Ok(()));
        assert_eq!(room(1 << 40, 16 * MIB, 1), Err((16 * MIB, 16 * MIB)));
        assert_eq!(room(1 << 40, 1 << 30, u64::MAX), Err((1 << 30, 16 * MIB)));
    }

    #[test]
    fn a_copy_stays_when_the_file_is_written_over_and_goes_when_nobody_names_it() {
        let place = Place::new("over");
        let mut programs = Programs::of(place.0.join("kept"));
        let file = place.program("one");
        let one = programs.keep(&file).unwrap();
        // The value is from sha256sum(1).
        let expect = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!(
            (one.sha256.as_str(), one.name.as_str(), one.len),
            (expect, "hello", 3)
        );
        fs::write(&file, "three").unwrap();
        let three = programs.keep(&file).unwrap();
        assert_ne!(one, three);
        programs.check(&one).unwrap();
        programs.check(&three).unwrap();
        programs.remove_others(&BTreeSet::from([&three]));
        assert!(!programs.is_there(&one) && programs.is_there(&three));
        let gone = programs.check(&one).unwrap_err().to_string();
        assert!(gone.contains("is gone"), "{gone}");
        let left = fs::read_dir(place.0.join("kept")).unwrap().count();
        assert_eq!(left, 1);
    }

    #[test]
    fn a_copy_is_made_once_may_not_be_written_and_damage_is_noticed() {
        let place = Place::new("damage");
        let mut programs = Programs::of(place.0.join("kept"));
        let file = place.program("#!/bin/sh\n");
        let program = programs.keep(&file).unwrap();
        let path = programs.path(&program);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o555
        );
        let written = Stamp::of(&path);
        let mut another = Programs::of(place.0.join("kept"));
        assert_eq!(another.keep(&file).unwrap(), program);
        assert_eq!(Stamp::of(&path), written);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(&path, "#!/bin/no\n").unwrap();
        let damaged = another.check(&program).unwrap_err().to_string();
        assert!(damaged.contains("has other contents"), "{damaged}");
        // A copy that is cut off is written again from the program's file.
        fs::write(&path, "#!").unwrap();
        assert_eq!(another.keep(&file).unwrap(), program);
        another.check(&program).unwrap();
    }
}
