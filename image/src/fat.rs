//! Makes FAT file systems that contain files. The same files always give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Write};

use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
    format_volume,
};

use crate::layout::{MIB, SECTOR};

/// Files by path, without a leading slash.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The time stamp of every file: 1 January 1980, where FAT's time begins.
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

/// Why a file system cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The files are larger than the file system.
    #[error("{wanted} bytes are too much for the {room} bytes of {label}")]
    Full {
        /// The file system's label.
        label: &'static str,
        /// Bytes that the files need.
        wanted: u64,
        /// Bytes that are available.
        room: u64,
    },
    /// A file cannot be stored, for example because of its name.
    #[error("cannot put {path} on {label}")]
    File {
        /// The file system's label.
        label: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The file system itself cannot be made.
    #[error("cannot make the file system of {label}")]
    Make {
        /// The file system's label.
        label: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// A file system, and the space that it uses.
#[derive(Clone, Debug)]
pub struct Fat {
    /// The file system's bytes.
    pub bytes: Vec<u8>,
    /// Bytes that the files and the file system's own structures use.
    pub used: u64,
}

/// Bytes that FAT12 and FAT16 use for their own structures: two tables, the root directory, a few sectors, and a
/// cluster for each directory. A generous estimate; it decides whether files are refused as too large.
const OWN: u64 = 64 * 1024;

/// Makes a file system of `len` bytes. `label` has at most 11 letters.
pub fn make(label: &'static str, len: u64, volume_id: u32, files: &Files) -> Result<Fat, FatError> {
    let failed = |source| FatError::Make { label, source };
    // FAT12 has at most 4,084 clusters, FAT16 at most 65,524.
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

/// Returns every directory that contains a file, parents first.
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

/// Size of a directory entry, and the fields that are used here (Microsoft's FAT specification, section 6).
const ENTRY: usize = 32;
const ATTRIBUTES: usize = 11;
const CLUSTER: usize = 26;
const LONG_NAME: u8 = 0x0f;
const DIRECTORY: u8 = 0x10;
const FREE: u8 = 0xe5;
/// The number of entries in the smallest directory. While a file system contains only directories, none has more.
const FIRST_ENTRIES: usize = 32;

/// The first sector of a file system, which says where the directories are.
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

/// Removes the long names that the library gives to `.` and `..`: no other implementation writes them, and fsck.fat
/// reports them as damage. Must run while the directories contain nothing but directories.
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
        // The entries are: a long name, `.`, a long name, `..`.
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
