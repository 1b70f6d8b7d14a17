//! The log on disk: records of this start and of earlier ones, in several files. When the log reaches its limit, the
//! oldest files are removed.
//!
//! A record is one line: its number and its JSON. A file is named after the number of its first record. Numbers
//! continue over restarts, and are those of the lines in the journal. A separate thread writes ([`writer`]); readers
//! use threads that may wait.

pub mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::journal::Record;

/// The number of files that the log is split into. The oldest file is removed as a whole when there is no more room.
const PARTS: u64 = 16;

/// The log on disk. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    limit: u64,
}

/// The state of the log when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The number of the next record.
    pub next: u64,
    /// Length in bytes of an incomplete last record, which was removed.
    pub torn: u64,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    /// The number of its first record.
    first: u64,
    bytes: u64,
}

impl Store {
    /// Opens the log in this directory, which is created if necessary, and removes an incomplete last record.
    pub fn open(directory: PathBuf, limit: u64) -> io::Result<(Store, Found)> {
        fs::create_dir_all(&directory)?;
        let store = Store { directory, limit };
        let mut found = Found { next: 0, torn: 0 };
        let Some(last) = store.segments()?.pop() else {
            return Ok((store, found));
        };
        let path = store.path(last.first);
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut bytes = Vec::new();
        (&mut file).take(last.bytes).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |place| place + 1);
        if whole < bytes.len() {
            found.torn = (bytes.len() - whole) as u64;
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))?;
        }
        let lines = bytes[..whole].split(|byte| *byte == b'\n').rev();
        let last_number = lines.filter_map(parse).map(|(number, _)| number).next();
        found.next = last_number.map_or(last.first, |number| number + 1);
        Ok((store, found))
    }

    /// Maximum length of one file in bytes.
    fn part(&self) -> u64 {
        self.limit / PARTS
    }

    fn path(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first:012}.log"))
    }

    /// The files, oldest first. Files with other names are ignored.
    fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(".log"));
            if let Some(first) = first.and_then(|first| first.parse().ok()) {
                match fs::metadata(entry.path()) {
                    Ok(meta) => segments.push(Segment {
                        first,
                        bytes: meta.len(),
                    }),
                    // The writer may just have removed the file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Passes the last `count` records below the number `before` that meet `wanted` to `on_line`, oldest first, each as
    /// JSON, until `on_line` returns `false`.
    ///
    /// Reads the files twice, first backwards to find where to begin, so that only one file is in memory at a time.
    pub fn tell(
        &self,
        before: u64,
        count: usize,
        wanted: impl Fn(&Record) -> bool,
        mut on_line: impl FnMut(&str) -> bool,
    ) -> io::Result<()> {
        let is_wanted = |json: &str| {
            let record: Result<Record, _> = serde_json::from_str(json);
            record.is_ok_and(|record| wanted(&record))
        };
        let segments = self.segments()?;
        let mut left = count;
        let mut start = before;
        'back: for segment in segments.iter().rev() {
            let bytes = self.read(segment)?;
            for line in bytes.split(|byte| *byte == b'\n').rev() {
                if left == 0 {
                    break 'back;
                }
                let Some((number, json)) = parse(line).filter(|(number, _)| *number < before)
                else {
                    continue;
                };
                if is_wanted(json) {
                    left -= 1;
                    start = number;
                }
            }
        }
        for (place, segment) in segments.iter().enumerate() {
            let next = segments.get(place + 1);
            if next.is_some_and(|next| next.first <= start) || segment.first >= before {
                continue;
            }
            let bytes = self.read(segment)?;
            for (number, json) in bytes.split(|byte| *byte == b'\n').filter_map(parse) {
                let here = (start..before).contains(&number);
                if here && is_wanted(json) && !on_line(json) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A file's bytes; empty if the file has been removed meanwhile.
    fn read(&self, segment: &Segment) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(self.path(segment.first)) {
            Ok(file) => file.take(self.limit).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(bytes)
    }

    /// The directory of the log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Splits a line into its number and its JSON; `None` if the line is damaged.
fn parse(line: &[u8]) -> Option<(u64, &str)> {
    let (number, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, json))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::writer::Files;
    use super::*;

    /// A directory for one test, removed when it is dropped.
    pub(super) struct Scratch(pub(super) PathBuf);

    impl Scratch {
        pub(super) fn new(name: &str) -> Scratch {
            let name = format!("hearth-store-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn json(message: &str) -> String {
        serde_json::to_string(&Record::new("worker", "info", message)).unwrap()
    }

    fn told(store: &Store, before: u64, count: usize, wanted: &str) -> Vec<String> {
        let mut told = Vec::new();
        let wanted = |record: &Record| record.message.contains(wanted);
        let tell = store.tell(before, count, wanted, |json| {
            let record: Record = serde_json::from_str(json).unwrap();
            told.push(record.message);
            true
        });
        tell.unwrap();
        told
    }

    #[test]
    fn records_of_earlier_starts_are_told_in_order_and_numbers_go_on() {
        let scratch = Scratch::new("order");
        let mut expect = 0;
        for start in 0..3 {
            let (store, found) = Store::open(scratch.0.clone(), 1 << 20).unwrap();
            assert_eq!(
                found,
                Found {
                    next: expect,
                    torn: 0
                }
            );
            let mut files = Files::new(store.clone());
            for number in 0..4 {
                let line = json(&format!("{start}-{number}"));
                files.write(&[(expect, line.as_str())]).unwrap();
                expect += 1;
            }
        }
        let (store, _) = Store::open(scratch.0.clone(), 1 << 20).unwrap();
        assert_eq!(told(&store, 12, 3, ""), ["2-1", "2-2", "2-3"]);
        assert_eq!(told(&store, 6, 3, ""), ["0-3", "1-0", "1-1"]);
        assert_eq!(told(&store, 12, 2, "-1"), ["1-1", "2-1"]);
        assert_eq!(told(&store, 12, 100, "0-"), ["0-0", "0-1", "0-2", "0-3"]);
        assert_eq!(told(&store, 12, 0, ""), [""; 0]);
    }

    #[test]
    fn it_stays_within_its_limit_and_the_oldest_go_first() {
        let scratch = Scratch::new("limit");
        let limit = 64 << 10;
        let (store, _) = Store::open(scratch.0.clone(), limit).unwrap();
        let mut files = Files::new(store.clone());
        for number in 0..5_000 {
            files
                .write(&[(number, json(&number.to_string()).as_str())])
                .unwrap();
            if number % 500 == 0 {
                let bytes: u64 = store.segments().unwrap().iter().map(|one| one.bytes).sum();
                assert!(bytes <= limit, "{bytes} at {number}");
            }
        }
        let all = told(&store, 5_000, usize::MAX, "");
        assert!((300..1_000).contains(&all.len()), "{}", all.len());
        assert_eq!(all.last().unwrap(), "4999");
        let first: usize = all[0].parse().unwrap();
        assert_eq!(all.len(), 5_000 - first, "there is no gap");
    }

    #[test]
    fn a_torn_last_record_is_taken_away_and_damaged_ones_are_passed_over() {
        let scratch = Scratch::new("torn");
        let (store, _) = Store::open(scratch.0.clone(), 1 << 20).unwrap();
        let mut files = Files::new(store.clone());
        files.write(&[(0, json("whole").as_str())]).unwrap();
        let mut file = OpenOptions::new().append(true).open(store.path(0)).unwrap();
        file.write_all(b"\0\0\xff damaged\n1 {\"time\":\n2 ")
            .unwrap();
        file.write_all(&json("torn").as_bytes()[..20]).unwrap();
        let (store, found) = Store::open(scratch.0.clone(), 1 << 20).unwrap();
        assert_eq!(found, Found { next: 2, torn: 22 });
        let mut files = Files::new(store.clone());
        files.write(&[(2, json("after").as_str())]).unwrap();
        assert_eq!(told(&store, 3, 10, ""), ["whole", "after"]);
        assert_eq!(Store::open(scratch.0.clone(), 1 << 20).unwrap().1.torn, 0);
    }
}
