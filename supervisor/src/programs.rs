//! Copies of functions' programs, by what is in them: a worker is started from such a copy, so that a
//! file that is replaced on disk cannot become a part of what is served unasked.
//!
//! `DIRECTORY/SHA256/NAME`, NAME being the program's own, which `ps` then shows. Each is written once,
//! whole: into a file beside it, synced, then renamed.

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

/// Read at a time.
const PIECE: usize = 256 * 1024;

/// Written at a time: a page. What is written in larger pieces the kernel keeps in larger pieces, and maps
/// them whole into a worker that needs a part: 60 KiB more of it then count as the worker's memory.
const PAGE: usize = 4096;

/// This part of a small disk stays free.
const RESERVE_PART: u64 = 16;

/// Of a large one, so much.
const RESERVE: u64 = 16 << 20;

/// Where a copy is written before it has its name.
const NEW: &str = "new";

/// A program by what is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Its file's name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// Why a program could not be kept, or is not kept any more.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be read.
    #[error("cannot read the program {path}")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its copy cannot be written.
    #[error("cannot keep a copy of the program in {path}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no room for its copy.
    #[error(
        "no room to keep a copy of the program in {path}: it has {}, {} are free, and {} of those stay so for \
         the log and what else is needed; free some, or keep fewer versions",
        print_size(*len), print_size(*free), print_size(*reserve)
    )]
    Full {
        /// Where.
        path: PathBuf,
        /// The program's bytes.
        len: u64,
        /// The file system's free bytes.
        free: u64,
        /// How many of them must stay free.
        reserve: u64,
    },
    /// Its copy is not what it was.
    #[error("the kept program {path} {what}; `hearth reload` keeps it anew from its own file")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The kept copies.
#[derive(Debug)]
pub struct Programs {
    directory: PathBuf,
    /// What files were found to be: one that has not changed is not read again.
    known: HashMap<PathBuf, (Stamp, Program)>,
}

impl Programs {
    /// Those in this directory, which is made when there is something to keep.
    pub fn of(directory: PathBuf) -> Programs {
        Programs {
            directory,
            known: HashMap::new(),
        }
    }

    /// Where a program's copy is.
    pub fn path(&self, program: &Program) -> PathBuf {
        self.directory.join(&program.sha256).join(&program.name)
    }

    /// Sees to it that there is a copy of what this file is now.
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
        // A change from here on changes the stamp again.
        if let Some(stamp) = stamp {
            self.known.insert(file.to_owned(), (stamp, program.clone()));
        }
        Ok(program)
    }

    /// Whether its copy is there, by its length.
    pub fn is_there(&self, program: &Program) -> bool {
        let file = fs::metadata(self.path(program));
        file.is_ok_and(|file| file.is_file() && file.len() == program.len)
    }

    /// Looks whether its copy is still what it was.
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

    /// Removes all copies but these, and where there are none the directory, and the one above it if
    /// that is empty then. What cannot be removed now is removed the next time.
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
            // Fails, rightly, while something is in it.
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
        // What a start that was cut off left behind.
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

/// Whether so many bytes can be written to a disk of this size and enough stays free for what must be written later: a disk that is
/// full to the last block can keep neither a log nor a certificate. If not, what is free, and what must stay.
fn room(total: u64, free: u64, len: u64) -> Result<(), (u64, u64)> {
    let reserve = (total / RESERVE_PART).min(RESERVE);
    match len.saturating_add(reserve) <= free {
        true => Ok(()),
        false => Err((free, reserve)),
    }
}

/// Nobody needs to read a program that the kernel loads; a script is read by its interpreter.
fn mode(copy: &Path) -> io::Result<u32> {
    let mut begin = [0; 2];
    let mut file = File::open(copy)?;
    let is_script = file.read(&mut begin)? == 2 && begin == *b"#!";
    Ok(match geteuid().is_root() && !is_script {
        true => 0o111,
        false => 0o555,
    })
}

/// Reads a file to its end; every byte goes to `copy`, too.
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
        // Of a disk of 8 MiB, half a MiB stays free; of a large one, 16 MiB.
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
        // As sha256sum(1) has it.
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
        // Cut off: kept anew from its own file.
        fs::write(&path, "#!").unwrap();
        assert_eq!(another.keep(&file).unwrap(), program);
        another.check(&program).unwrap();
    }
}
