//! Writes the log to disk in a separate thread. A slow disk delays no other thread, and a full disk stops nothing.
//! Records that could not be written are counted, and their number is logged when it is known.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::Store;
use crate::journal::Record;
use crate::queue::{Entrance, Exit, queue};

/// Maximum number of records that wait for the disk; further records are dropped.
const WAITING: usize = 4096;

/// A batch is written when it has reached this length in bytes.
const BATCH: usize = 256 * 1024;

/// Time between a failed write and the next attempt.
const TRIED_AGAIN: Duration = Duration::from_secs(10);

/// The queue of records to write: their numbers and their JSON.
pub type Queue = Entrance<(u64, Box<str>)>;

/// Starts the thread. It ends when the queue is dropped and all records are written. Records about the writer itself
/// go to `notices`.
pub fn start(store: Store, notices: UnboundedSender<Record>) -> (Queue, JoinHandle<()>) {
    let (entrance, exit) = queue(WAITING);
    let mut writer = Writer {
        files: Files::new(store),
        notices,
        failed: None,
    };
    (entrance, std::thread::spawn(move || writer.run(&exit)))
}

struct Writer {
    files: Files,
    notices: UnboundedSender<Record>,
    /// When a write failed, and how many records were lost since.
    failed: Option<(Instant, u64)>,
}

impl Writer {
    fn run(&mut self, lines: &Exit<(u64, Box<str>)>) {
        while let Some(first) = lines.next() {
            let mut bytes = first.1.len();
            let mut batch = vec![first];
            while bytes < BATCH
                && let Some(next) = lines.next_at_once()
            {
                bytes += next.1.len();
                batch.push(next);
            }
            self.write(&batch, lines.passed_over());
        }
        self.files.sync();
    }

    /// Writes a batch, and logs how many records are missing: those that the queue dropped, and those of failed writes.
    fn write(&mut self, batch: &[(u64, Box<str>)], passed_over: u64) {
        if let Some((at, lost)) = &mut self.failed
            && at.elapsed() < TRIED_AGAIN
        {
            *lost += batch.len() as u64 + passed_over;
            return;
        }
        let lines: Vec<(u64, &str)> = batch
            .iter()
            .map(|(number, line)| (*number, &**line))
            .collect();
        let result = self.files.write(&lines);
        match (result, self.failed.take()) {
            (Ok(too_long), before) => {
                let lost = passed_over + too_long;
                if let Some((_, count)) = before {
                    self.say(
                        "info",
                        format!(
                            "the log is written to disk again; {count} records are missing there"
                        ),
                    );
                }
                if lost > 0 {
                    self.say("warn", format!("{lost} records were too many or too long for the disk, and are missing there"));
                }
            }
            (Err(error), before) => {
                let lost = before.map_or(0, |(_, lost)| lost) + passed_over + batch.len() as u64;
                self.failed = Some((Instant::now(), lost));
                if before.is_none() {
                    let directory = self.files.store.directory().display();
                    self.say("error", format!(
                        "the log cannot be written to {directory}: {error}; the last records are kept in memory"
                    ));
                }
            }
        }
    }

    fn say(&self, level: &str, text: String) {
        // While the platform ends, the receiver may be gone already.
        let _ = self.notices.send(Record::new("supervisor", level, text));
    }
}

/// The files of the log, as the writer uses them.
pub(super) struct Files {
    store: Store,
    /// The current file, and the length of its valid contents in bytes.
    last: Option<(File, u64)>,
}

impl Files {
    pub(super) fn new(store: Store) -> Files {
        Files { store, last: None }
    }

    /// Writes complete lines. Returns how many were left out because they are longer than a file. If a batch needs a
    /// new file and writing to it fails, the lines before it stay written.
    pub(super) fn write(&mut self, lines: &[(u64, &str)]) -> io::Result<u64> {
        let part = self.store.part();
        let mut too_long = 0;
        let mut batch = Vec::new();
        for (number, json) in lines {
            let line = format!("{number} {json}\n");
            let length = line.len() as u64;
            if length > part {
                too_long += 1;
                continue;
            }
            let full = |good: u64| good + batch.len() as u64 + length > part;
            if self.last(*number)?.1 + batch.len() as u64 + length > part && full(self.good()) {
                self.append(&batch)?;
                batch.clear();
                self.turn(*number)?;
            }
            batch.extend_from_slice(line.as_bytes());
        }
        self.append(&batch)?;
        Ok(too_long)
    }

    fn good(&self) -> u64 {
        self.last.as_ref().map_or(0, |(_, good)| *good)
    }

    /// The current file: the last one that exists, or a first one.
    fn last(&mut self, number: u64) -> io::Result<&mut (File, u64)> {
        if self.last.is_none() {
            let first = self
                .store
                .segments()?
                .pop()
                .map_or(number, |last| last.first);
            self.last = Some(self.open(first)?);
        }
        Ok(self.last.as_mut().expect("it was just opened"))
    }

    fn open(&self, first: u64) -> io::Result<(File, u64)> {
        let path = self.store.path(first);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let good = file.metadata()?.len();
        Ok((file, good))
    }

    /// Begins a new file, after removing the oldest ones to make room.
    fn turn(&mut self, number: u64) -> io::Result<()> {
        self.sync();
        let mut segments = self.store.segments()?.into_iter();
        let mut bytes: u64 = segments.clone().map(|one| one.bytes).sum();
        while bytes + self.store.part() > self.store.limit
            && let Some(oldest) = segments.next()
        {
            remove_file(self.store.path(oldest.first))?;
            bytes -= oldest.bytes;
        }
        self.last = Some(self.open(number)?);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((file, good)) = &mut self.last else {
            return Ok(());
        };
        match file.write_all(bytes) {
            Ok(()) => {
                *good += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // The next record must not continue an incomplete one. If truncating fails too, the file is opened
                // again, and readers skip the damaged line.
                let _ = file.set_len(*good);
                self.last = None;
                Err(error)
            }
        }
    }

    /// Syncs the current file, so that its contents survive a power failure.
    fn sync(&self) {
        if let Some((file, _)) = &self.last {
            let _ = file.sync_data();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::sync::mpsc::unbounded_channel;

    use super::super::tests::Scratch;
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_and_what_is_lost_is_counted() {
        let scratch = Scratch::new("full");
        let (store, _) = Store::open(scratch.0.clone(), 1 << 20).unwrap();
        symlink("/dev/full", store.path(0)).unwrap();
        let (notices, mut said) = unbounded_channel();
        let mut writer = Writer {
            files: Files::new(store.clone()),
            notices,
            failed: None,
        };
        let line = || vec![(7, "{}".into())];
        writer.write(&line(), 2);
        writer.write(&line(), 0);
        let first = said.try_recv().unwrap();
        assert_eq!(first.level, "error");
        assert!(first.message.contains("No space left"), "{}", first.message);
        assert!(said.try_recv().is_err(), "it is said once");
        // The disk has room again, and the pause before the next attempt is over.
        remove_file(store.path(0)).unwrap();
        let (at, lost) = writer.failed.take().unwrap();
        assert_eq!(lost, 4);
        writer.failed = at.checked_sub(TRIED_AGAIN).map(|at| (at, lost));
        writer.write(&line(), 0);
        let again = said.try_recv().unwrap();
        assert!(
            again.message.contains("again; 4 records"),
            "{}",
            again.message
        );
        assert_eq!(fs::read_to_string(store.path(7)).unwrap(), "7 {}\n");
    }

    #[test]
    fn all_that_was_given_is_written_before_the_thread_ends() {
        let scratch = Scratch::new("end");
        let (store, _) = Store::open(scratch.0.clone(), 1 << 20).unwrap();
        let (notices, _said) = unbounded_channel();
        let (queue, thread) = start(store.clone(), notices);
        for number in 0..1_000 {
            queue.offer((number, "{}".into()));
        }
        drop(queue);
        thread.join().unwrap();
        let text = fs::read_to_string(store.path(0)).unwrap();
        assert_eq!(text.lines().count(), 1_000);
        assert!(text.ends_with("999 {}\n"));
    }

    #[test]
    fn a_record_that_is_longer_than_a_file_is_left_out_and_counted() {
        let scratch = Scratch::new("long");
        let (store, _) = Store::open(scratch.0.clone(), 16 << 10).unwrap();
        let mut files = Files::new(store.clone());
        let long = "x".repeat(2_000);
        assert_eq!(files.write(&[(0, "a"), (1, &long), (2, "b")]).unwrap(), 1);
        assert_eq!(fs::read_to_string(store.path(0)).unwrap(), "0 a\n2 b\n");
    }
}
