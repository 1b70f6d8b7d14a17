//! A FAT file system with some files in it: always the same bytes for the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Write};

use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
    format_volume,
};

use crate::layout::{MIB, SECTOR};

/// Files by their paths, without a slash in front.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The 1st of January 1980, when FAT's time begins, for every file.
#[derive(Debug)]
struct Always;

static ALWAYS: Always = Always;

impl TimeProvider for Always {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time {
                hour: 0,
                min: 0,
                sec: 0,
                millis: 0,
            },
        }
    }
}

/// Why there is no file system.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The files are too much for it.
    #[error("{wanted} bytes are too much for the {room} bytes of {label}")]
    Full {
        /// Which one.
        label: &'static str,
        /// What the files take.
        wanted: u64,
        /// What there is.
        room: u64,
    },
    /// A file that it does not take, by its name, say.
    #[error("cannot put {path} on {label}")]
    File {
        /// Which one.
        label: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file system itself cannot be made.
    #[error("cannot make the file system of {label}")]
    Make {
        /// Which one.
        label: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A file system, and how much of it is taken.
#[derive(Clone, Debug)]
pub struct Fat {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Bytes that files and the file system itself take.
    pub used: u64,
}

/// What FAT12 and FAT16 take of themselves: two tables, the root directory, a sector or two; and a cluster
/// for each directory. A generous guess, for the message that says by how much it is too much.
const OWN: u64 = 64 * 1024;

/// Makes one of `len` bytes. `label` has at most 11 letters.
pub fn make(label: &'static str, len: u64, volume_id: u32, files: &Files) -> Result<Fat, FatError> {
    let failed = |source| FatError::Make { label, source };
    // FAT12 has up to 4,084 clusters, FAT16 up to 65,524.
    let (kind, cluster) = match len <= 4 * MIB {
        true => (FatType::Fat12, 1024),
        false => (FatType::Fat16, 2048),
    };
    let rounded = |bytes: &Vec<u8>| (bytes.len() as u64).next_multiple_of(u64::from(cluster));
    let wanted: u64 = files.values().map(rounded).sum();
    if wanted + OWN > len {
        return Err(FatError::Full {
            label,
            wanted,
            room: len - OWN,
        });
    }
    let mut name = [b' '; 11];
    for (room, letter) in name.iter_mut().zip(label.bytes()) {
        *room = letter.to_ascii_uppercase();
    }
    let mut disk = Cursor::new(vec![0; usize::try_from(len).unwrap_or(0)]);
    let options = FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_cluster(cluster)
        .total_sectors(u32::try_from(len / SECTOR).unwrap_or(u32::MAX))
        .volume_id(volume_id)
        .volume_label(name);
    format_volume(&mut disk, options).map_err(failed)?;
    let system = open(&mut disk).map_err(failed)?;
    for path in directories(files) {
        let made = system.root_dir().create_dir(path);
        made.map_err(|source| FatError::File {
            label,
            path: path.to_owned(),
            source,
        })?;
    }
    system.unmount().map_err(failed)?;
    let bytes = disk.get_mut();
    let root = Bpb::of(bytes).root();
    mend(bytes, root, FIRST_ENTRIES);
    let system = open(&mut disk).map_err(failed)?;
    for (path, bytes) in files {
        put(&system, path, bytes).map_err(|source| FatError::File {
            label,
            path: path.clone(),
            source,
        })?;
    }
    let stats = system.stats().map_err(failed)?;
    let free = u64::from(stats.free_clusters()) * u64::from(stats.cluster_size());
    system.unmount().map_err(failed)?;
    Ok(Fat {
        bytes: disk.into_inner(),
        used: len - free,
    })
}

fn open(disk: &mut Cursor<Vec<u8>>) -> io::Result<FileSystem<&mut Cursor<Vec<u8>>>> {
    disk.set_position(0);
    FileSystem::new(disk, FsOptions::new().time_provider(&ALWAYS))
}

fn put(system: &FileSystem<&mut Cursor<Vec<u8>>>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = system.root_dir().create_file(path)?;
    file.write_all(bytes)?;
    file.flush()
}

/// Every directory that a file is in, parents first.
fn directories(files: &Files) -> BTreeSet<&str> {
    let above = |path: &'_ String| {
        path.match_indices('/')
            .map(|(end, _)| end)
            .collect::<Vec<_>>()
    };
    let all = files.keys().flat_map(|path| {
        let ends = above(path);
        ends.into_iter().map(move |end| &path[..end])
    });
    all.collect()
}

/// Bytes of a directory's entry, and what is in them (Microsoft's FAT specification, section 6).
const ENTRY: usize = 32;
const ATTRIBUTES: usize = 11;
const CLUSTER: usize = 26;
const LONG_NAME: u8 = 0x0f;
const DIRECTORY: u8 = 0x10;
const FREE: u8 = 0xe5;
/// As many as the smallest directory has room for: while there are directories alone, more than there are.
const FIRST_ENTRIES: usize = 32;

/// Of a file system's first sector, what says where directories are.
struct Bpb<'a>(&'a [u8]);

impl Bpb<'_> {
    fn of(disk: &[u8]) -> Bpb<'_> {
        Bpb(disk)
    }

    fn half(&self, at: usize) -> usize {
        usize::from(self.0[at]) | usize::from(self.0[at + 1]) << 8
    }

    fn root(&self) -> usize {
        (self.half(14) + usize::from(self.0[16]) * self.half(22)) * SECTOR as usize
    }

    fn cluster(&self, number: usize) -> usize {
        let first = self.root() + self.half(17) * ENTRY;
        first + (number - 2) * usize::from(self.0[13]) * SECTOR as usize
    }
}

/// The library gives `.` and `..` long names, which nobody else does and fsck.fat takes for damage: the
/// directories that this one has lose them, while they have nothing else in them.
fn mend(disk: &mut [u8], directory: usize, entries: usize) {
    for index in 0..entries {
        let at = directory + index * ENTRY;
        let entry = &disk[at..at + ENTRY];
        let is_directory = entry[ATTRIBUTES] == DIRECTORY && !matches!(entry[0], b'.' | FREE);
        if !is_directory {
            continue;
        }
        let number = usize::from(entry[CLUSTER]) | usize::from(entry[CLUSTER + 1]) << 8;
        let own = Bpb::of(disk).cluster(number);
        // Long name, `.`, long name, `..`.
        if disk[own + ATTRIBUTES] == LONG_NAME {
            for (from, to) in [(1, 0), (3, 1)] {
                let from = own + from * ENTRY;
                disk.copy_within(from..from + ENTRY, own + to * ENTRY);
            }
            for index in [2, 3] {
                disk[own + index * ENTRY] = FREE;
            }
        }
        mend(disk, own, FIRST_ENTRIES);
    }
}

/// Reads one file of a file system.
pub fn read(disk: &[u8], path: &str) -> io::Result<Vec<u8>> {
    let system = FileSystem::new(Cursor::new(disk.to_vec()), FsOptions::new())?;
    let mut bytes = Vec::new();
    let mut file = system.root_dir().open_file(path)?;
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(bytes)
}
