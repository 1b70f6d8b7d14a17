//! Child processes: starts them with only what they need, observes them, and turns their output into log records.

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

/// Maximum length of a line of output in bytes; a longer line is split.
const LINE: usize = 16 * 1024;

/// Environment variables that children inherit: where programs are, and the formats of times and texts. A function's
/// own environment is sent over its control socket.
const PASSED_ON: [&str; 5] = ["PATH", "TZ", "LANG", "LC_ALL", "RUST_BACKTRACE"];

/// A child process in its own session and sandbox.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    cgroup: Option<Cgroup>,
    /// Its sandbox.
    pub cell: Confinement,
}

/// The process to start.
#[derive(Debug)]
pub struct Start {
    /// Its sandbox, and the program in it.
    pub plan: Plan,
    /// Its environment, in addition to the inherited variables.
    pub env: Vec<(String, String)>,
    /// The descriptors that it inherits, from number 3 on.
    pub descriptors: Vec<OwnedFd>,
    /// The control group that it starts in.
    pub cgroup: Option<Cgroup>,
}

/// The source of a child's records.
#[derive(Clone, Debug)]
pub struct Who {
    /// `worker` or `gateway`.
    pub source: &'static str,
    /// The function and the worker, if the child is a worker.
    pub worker: Option<(String, u32)>,
}

impl Who {
    /// A record about the child.
    pub fn record(&self, level: &str, message: impl Into<String>) -> Record {
        let record = Record::new(self.source, level, message);
        match &self.worker {
            Some((function, worker)) => record.about(function, Some(*worker)),
            None => record,
        }
    }
}

impl Process {
    /// Starts a process. Every line that it prints becomes a record.
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
            // SCHED_BATCH lets a worker serve many requests each time it wakes up. Otherwise each request would preempt
            // the gateway, and there would never be many. See docs/decisions/0005-batch.md.
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

    /// How the process ended, or `None` if it still runs. Kills what is left of its process group.
    pub fn ended(&mut self) -> Option<String> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(WaitStatus::StillAlive) => return None,
            // The process has not been reaped yet, so its process group id cannot have been used again.
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

    /// Whether its processor time is limited. Only its own control group shows that it had to wait for a processor.
    pub fn throttles(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::throttles)
    }

    /// How often it has reached the limits of its control group, if it has one.
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

    /// Kills the process and those that it has started.
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

/// Maximum number of bytes of output that are read at once.
const READ: usize = 4096;

/// Turns output into records. No line buffer is kept while the process prints nothing.
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
                // Other tasks run, even if this process prints without a pause.
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    // The process may have ended within a line.
    line.push(b'\n');
    for text in whole_lines(&mut line) {
        journal.add(&who.record("info", text));
    }
}

/// Takes the complete lines out of `bytes`, and pieces of lines that are too long. Empty lines are dropped.
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
