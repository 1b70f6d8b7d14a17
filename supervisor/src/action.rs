//! What [`crate::plan`] decides to be done, and how that reads in a trace.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the gateway's process.
    StartGateway,
    /// Start a worker of this version of this function.
    StartWorker(u32, String, u32),
    /// Give this worker and the gateway data sockets to each other.
    Introduce(u32),
    /// Have the gateway ask this worker for this path, and wait so long for its answer.
    Probe(u32, String, Duration),
    /// Tell the gateway to give this worker nothing new.
    Withdraw(u32, Option<String>),
    /// Send the gateway a snapshot with this number and these workers.
    Snapshot(u32, BTreeMap<String, Vec<u32>>),
    /// Ask the gateway to end.
    StopGateway(Duration),
    /// Tell a worker, which gets nothing new, to finish what it has and end.
    DrainWorker(u32, Duration),
    /// Ask a worker to end.
    StopWorker(u32, Duration),
    /// Kill the gateway.
    KillGateway,
    /// Kill a worker and what it started.
    KillWorker(u32),
    /// Tell the gateway to refuse a function's requests with this reason, or no longer.
    Refuse(String, Option<String>),
    /// Say this in the log.
    Say(Level, About, String),
    /// Every function has a worker that is ready, or has shown that it has none.
    Settled,
    /// What [`crate::event::Event::Reload`] asked for is ready: from the next snapshot on it is what is served.
    Commit,
    /// The gateway serves what was committed.
    Served,
    /// What it asked for cannot be had, for this reason; what was served goes on.
    Abandon(String),
    /// All has ended.
    End,
}

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Not as it should be, and dealt with.
    Warn,
    /// Somebody should look.
    Error,
}

/// What a line of the log is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The gateway.
    Gateway,
    /// A worker of a function.
    Worker(u32, String),
    /// A function as a whole.
    Function(String),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::StartGateway => write!(f, "start gateway"),
            Action::StartWorker(id, function, version) => {
                write!(f, "start worker {id} of {function}, version {version}")
            }
            Action::Introduce(id) => write!(f, "introduce worker {id}"),
            Action::Probe(id, path, time) => write!(f, "probe worker {id}: {path} within {time:?}"),
            Action::Withdraw(id, _) => write!(f, "withdraw worker {id}"),
            Action::Snapshot(number, workers) => write!(f, "snapshot {number} {workers:?}"),
            Action::StopGateway(time) => write!(f, "stop gateway within {time:?}"),
            Action::DrainWorker(id, time) => write!(f, "drain worker {id} within {time:?}"),
            Action::StopWorker(id, time) => write!(f, "stop worker {id} within {time:?}"),
            Action::KillGateway => write!(f, "kill gateway"),
            Action::KillWorker(id) => write!(f, "kill worker {id}"),
            Action::Refuse(function, Some(why)) => {
                write!(f, "refuse requests of {function}: {why}")
            }
            Action::Refuse(function, None) => write!(f, "take requests of {function}"),
            Action::Say(level, about, text) => write!(f, "say {level:?} {about:?}: {text}"),
            Action::Settled => write!(f, "settled"),
            Action::Commit => write!(f, "commit"),
            Action::Served => write!(f, "served"),
            Action::Abandon(why) => write!(f, "abandon: {why}"),
            Action::End => write!(f, "end"),
        }
    }
}
