//! The console output of a machine: written to a log file as it arrives, passed on line by line, and searched for the
//! markers that tests wait for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Called with each complete line.
pub type OnLine = fn(&str);

/// Why a marker was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The time limit passed first.
    Late,
    /// The machine ended first.
    Ended,
}

/// The console output of a machine.
#[derive(Debug)]
pub(crate) struct Console {
    log: PathBuf,
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Debug)]
struct Text {
    /// Complete lines, without line ends.
    lines: Vec<String>,
    /// The beginning of the next line.
    part: Vec<u8>,
    /// The number of lines that searches have passed.
    seen: usize,
    /// The number of streams that are still open.
    open: usize,
    file: File,
    on_line: Option<OnLine>,
}

impl Shared {
    fn text(&self) -> MutexGuard<'_, Text> {
        // If a reader panicked, the lines that it has stored are still valid.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// Reads these streams to their ends and writes them to a new log file at `log`.
    pub(crate) fn read(
        streams: Vec<Box<dyn Read + Send>>,
        log: &Path,
        on_line: Option<OnLine>,
    ) -> io::Result<Console> {
        let text = Text {
            lines: Vec::new(),
            part: Vec::new(),
            seen: 0,
            open: streams.len(),
            file: File::create(log)?,
            on_line,
        };
        let shared = Arc::new(Shared {
            text: Mutex::new(text),
            changed: Condvar::new(),
        });
        let readers = streams.into_iter().map(|stream| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || follow(stream, &shared))
        });
        Ok(Console {
            log: log.to_owned(),
            readers: readers.collect(),
            shared,
        })
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for a line that contains `marker`, after the line that was found last.
    pub(crate) fn expect(&self, marker: &str, limit: Duration) -> Result<String, Missing> {
        let until = Instant::now() + limit;
        let mut text = self.shared.text();
        loop {
            let unseen = &text.lines[text.seen..];
            if let Some(place) = unseen.iter().position(|line| line.contains(marker)) {
                let line = unseen[place].clone();
                text.seen += place + 1;
                return Ok(line);
            }
            if text.open == 0 {
                return Err(Missing::Ended);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::Late);
            }
            let waited = self.shared.changed.wait_timeout(text, left);
            (text, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the last lines, for a message.
    pub(crate) fn tail(&self) -> String {
        const LINES: usize = 25;
        let text = self.shared.text();
        let from = text.lines.len().saturating_sub(LINES);
        let mut tail: Vec<&str> = text.lines[from..].iter().map(String::as_str).collect();
        let part = String::from_utf8_lossy(&text.part);
        if !part.is_empty() {
            tail.push(&part);
        }
        tail.join("\n")
    }

    /// Waits until the streams have ended and everything is in the log.
    pub(crate) fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader panics only if `on_line` does, and the panic has been printed.
            let _ = reader.join();
        }
    }
}

fn follow(mut stream: impl Read, shared: &Shared) {
    let mut buffer = [0; 4096];
    // A stream that fails counts as ended.
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        shared.text().take(&buffer[..count]);
        shared.changed.notify_all();
    }
    shared.text().open -= 1;
    shared.changed.notify_all();
}

impl Text {
    fn take(&mut self, bytes: &[u8]) {
        // The log is only for debugging; a full disk must not fail the test.
        let _ = self.file.write_all(bytes);
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&self.part).into_owned();
                    self.part.clear();
                    if let Some(on_line) = self.on_line {
                        on_line(&line);
                    }
                    self.lines.push(line);
                }
                b'\r' => {}
                byte => self.part.push(*byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn markers_are_found_in_order_and_their_absence_has_a_reason() {
        let log = std::env::temp_dir().join(format!("hearth-console-{}", std::process::id()));
        let (mut machine, ours) = UnixStream::pair().unwrap();
        let mut console = Console::read(vec![Box::new(ours)], &log, None).unwrap();
        machine
            .write_all(b"one\r\ntwo: 1\r\ntwo: 2\r\nhal")
            .unwrap();
        let long = Duration::from_secs(20);
        assert_eq!(console.expect("two", long).unwrap(), "two: 1");
        assert_eq!(console.expect("two", long).unwrap(), "two: 2");
        let short = Duration::from_millis(20);
        assert_eq!(console.expect("two", short), Err(Missing::Late));
        // Only complete lines are searched.
        assert_eq!(console.expect("hal", short), Err(Missing::Late));
        machine.write_all(b"f\n").unwrap();
        assert_eq!(console.expect("hal", long).unwrap(), "half");
        drop(machine);
        assert_eq!(console.expect("more", long), Err(Missing::Ended));
        console.finish();
        assert_eq!(console.tail(), "one\ntwo: 1\ntwo: 2\nhalf");
        let kept = std::fs::read(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert_eq!(kept, b"one\r\ntwo: 1\r\ntwo: 2\r\nhalf\n");
    }
}
