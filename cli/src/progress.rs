//! Progress of long work. A terminal shows one line that is rewritten. Other outputs get one line for each step and
//! no percentages.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::out;
use crate::table::bytes;

/// Minimum time between two updates of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows the progress of a piece of work on stderr.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    /// When the line was last written; `None` if no line is shown.
    last: Option<Instant>,
    begun: Instant,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
            last: None,
            begun: Instant::now(),
        }
    }

    /// Begins a step and shows its name.
    pub(crate) fn step(&mut self, what: impl std::fmt::Display) {
        self.begun = Instant::now();
        match self.terminal {
            true => self.show(&what.to_string()),
            false => out::talk(what),
        }
    }

    /// Shows on a terminal that `done` of `all` bytes are complete, and the speed. Skips an update that comes too
    /// soon after the last one, unless the step is complete.
    pub(crate) fn part(&mut self, what: &str, done: u64, all: u64) {
        let soon = self.last.is_some_and(|last| last.elapsed() < PAUSE);
        if !self.terminal || (soon && done < all) {
            return;
        }
        let percent = done * 100 / all.max(1);
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let speed = bytes((done as f64 / seconds) as u64);
        self.show(&format!("{what}: {percent:3} %, {speed}/s"));
    }

    /// Erases the line, so that other output can follow.
    pub(crate) fn end(&mut self) {
        if self.terminal && self.last.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn show(&mut self, line: &str) {
        self.last = Some(Instant::now());
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
        let _ = io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
