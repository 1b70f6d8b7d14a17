//! Processes: started with just what they need, watched, their output turned into records.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use hearth_sys::spawn::Child;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::net::unix::pipe;

use crate::cell::{Order, Plan};
use crate::cgroup::{Cgroup, Events};
use crate::confine::Confinement;
use crate::journal::{Journal, Record};
use crate::machine::{Given, Machine};

/// Longest line of output; what is longer comes in pieces.
const LINE: usize = 16 * 1024;

/// What a child keeps of our environment: where programs are, and how times and texts read. What a
/// function is told goes over its control socket.
const PASSED_ON: [&str; 5] = ["PATH", "TZ", "LANG", "LC_ALL", "RUST_BACKTRACE"];

/// A child process in a session and a cell of its own.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    cgroup: Option<Cgroup>,
    /// What its cell says.
    pub cell: Confinement,
}

/// What to start.
#[derive(Debug)]
pub struct Start {
    /// Its cell, and the program in it.
    pub plan: Plan,
    /// Its environment, besides the few names that are passed on.
    pub env: Vec<(String, String)>,
    /// What it finds open from descriptor 3 on.
    pub descriptors: Vec<OwnedFd>,
    /// The control group it begins in.
    pub cgroup: Option<Cgroup>,
}

/// What a child is about, for the records of its output.
#[derive(Clone, Debug)]
pub struct Who {
    /// `worker` or `gateway`.
    pub source: &'static str,
    /// The function and the worker, if it is one.
    pub worker: Option<(String, u32)>,
}

impl Who {
    /// A record about it.
    pub fn record(&self, level: &str, message: impl Into<String>) -> Record {
        let record = Record::new(self.source, level, message);
        match &self.worker {
            Some((function, worker)) => record.about(function, Some(*worker)),
            None => record,
        }
    }
}

impl Process {
    /// Starts it; every line it prints becomes a record.
    pub fn start(
        start: Start,
        machine: &Machine,
        who: &Who,
        journal: &Journal,
    ) -> io::Result<Process> {
        let Start {
            plan,
            env,
            descriptors,
            cgroup,
        } = start;
        let passed_on = PASSED_ON
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let order = Order {
            plan,
            env: passed_on.chain(env).collect(),
            // A worker serves many requests for one wake-up; if each pushed the gateway off its
            // processor, there would never be many. See docs/decisions/0005-batch.md.
            batch: who.worker.is_some(),
            cgroup: cgroup.is_some(),
        };
        let given = Given {
            cgroup: cgroup.as_ref().map(Cgroup::open).transpose()?,
            descriptors,
        };
        let started = machine.start(&order, &given)?;
        for pipe in [started.stdout, started.stderr] {
            let pipe = pipe::Receiver::from_owned_fd(pipe)?;
            tokio::task::spawn_local(record_lines(pipe, who.clone(), journal.clone()));
        }
        let cell = Confinement::listen(started.told, who.clone(), journal.clone())?;
        Ok(Process {
            child: Child::of(started.pid),
            pid: started.pid,
            cgroup,
            cell,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has. Takes what it may have started with it.
    pub fn ended(&mut self) -> Option<String> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(WaitStatus::StillAlive) => return None,
            // Not reaped yet, so the group's number is still its own.
            Ok(_) => {
                let _ = killpg(self.pid, Signal::SIGKILL);
            }
            Err(_) => {}
        }
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(self.describe(status)),
            Err(error) => Some(format!("cannot tell how: {error}")),
        }
    }

    /// Only a look at its own control group tells whether it had to wait for a processor.
    pub fn throttles(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::throttles)
    }

    /// What happened in its control group, if it has one.
    pub fn events(&self) -> Option<Events> {
        self.cgroup.as_ref()?.events().ok()
    }

    fn describe(&self, status: ExitStatus) -> String {
        if let Some(why) = self.cell.failed() {
            return format!("its cell could not be made: {why}");
        }
        let how = describe(status);
        match self.events() {
            Some(events) if events.memory_kills > 0 => {
                format!("{how}: it needed more memory than limits.memory allows")
            }
            _ => how,
        }
    }

    /// Kills it and what it started.
    pub fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        if killpg(self.pid, Signal::SIGKILL).is_err() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(Ok(signal))) => signal.to_string(),
        (None, _) => status.to_string(),
    }
}

/// Most bytes of output that are read at once.
const READ: usize = 4096;

/// Nothing is kept for a process that says nothing.
async fn record_lines(pipe: pipe::Receiver, who: Who, journal: Journal) {
    let mut line = Vec::new();
    while pipe.readable().await.is_ok() {
        let mut room = [0; READ];
        match pipe.try_read(&mut room) {
            Ok(0) => break,
            Ok(count) => {
                line.extend_from_slice(&room[..count]);
                for text in whole_lines(&mut line) {
                    journal.add(&who.record("info", text));
                }
                // One that never stops saying something is not all that there is to hear.
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    // What it ended in the middle of.
    line.push(b'\n');
    for text in whole_lines(&mut line) {
        journal.add(&who.record("info", text));
    }
}

/// Takes the lines that are whole, or too long, out of `bytes`; empty ones are none.
fn whole_lines(bytes: &mut Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = bytes.as_slice();
    loop {
        let reach = &rest[..rest.len().min(LINE)];
        let (line, next) = match reach.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&reach[..end], end + 1),
            None if reach.len() == LINE => (reach, LINE),
            None => break,
        };
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            lines.push(text.to_owned());
        }
        rest = &rest[next..];
    }
    *bytes = rest.to_vec();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_when_they_are_whole_or_too_long() {
        let mut bytes = b"one\r\n\ntwo\nthr".to_vec();
        assert_eq!(whole_lines(&mut bytes), ["one", "two"]);
        assert_eq!(bytes, b"thr");
        bytes.extend(b"ee\n\xff\n");
        assert_eq!(whole_lines(&mut bytes), ["three", "\u{fffd}"]);
        assert_eq!(bytes.capacity(), 0, "nothing is kept");
        let mut bytes = vec![b'x'; LINE + 3];
        assert_eq!(whole_lines(&mut bytes), ["x".repeat(LINE)]);
        bytes.push(b'\n');
        assert_eq!(whole_lines(&mut bytes), ["xxx"]);
        let mut bytes = vec![b'x'; LINE];
        bytes.push(b'\n');
        assert_eq!(whole_lines(&mut bytes), ["x".repeat(LINE)]);
        assert!(bytes.is_empty());
    }
}
