//! The actions that [`crate::plan`] decides on. Tests compare their text form with traces.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// An action for the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the gateway's process.
    StartGateway,
    /// Start a worker: its id, the name of its function, and the version of the function.
    StartWorker(u32, String, u32),
    /// Connect this worker with the gateway: each gets one end of their data sockets.
    Introduce(u32),
    /// Make the gateway probe this worker: the path of the request, and how long to wait for the response.
    Probe(u32, String, Duration),
    /// Make the gateway send this worker no new requests. The text says how the worker ended, if it has ended.
    Withdraw(u32, Option<String>),
    /// Send the gateway a snapshot: its number, and for each function the workers that serve it.
    Snapshot(u32, BTreeMap<String, Vec<u32>>),
    /// Request the gateway to finish its requests within this time, and to end.
    StopGateway(Duration),
    /// Request a worker that gets no new requests to finish those that it has within this time, and to end.
    DrainWorker(u32, Duration),
    /// Request a worker to end within this time.
    StopWorker(u32, Duration),
    /// Kill the gateway.
    KillGateway,
    /// Kill a worker and the processes that it started.
    KillWorker(u32),
    /// Make the gateway refuse the requests of a function for this reason, or accept them again if there is no reason.
    Refuse(String, Option<String>),
    /// Write a message to the log: its level, its subject and its text.
    Say(Level, About, String),
    /// For the first time, every function that should have a worker has one that is ready, or has failed repeatedly.
    Settled,
    /// Everything that [`crate::event::Event::Reload`] needs is ready. From the next snapshot on, it is served.
    Commit,
    /// The gateway serves the committed reload.
    Served,
    /// The reload has failed, for this reason. The gateway serves the same as before.
    Abandon(String),
    /// The gateway and all workers have ended.
    End,
}

/// The level of a log message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Normal operation.
    Info,
    /// A problem that the supervisor handles itself.
    Warn,
    /// A problem that the operator should look at.
    Error,
}

/// The subject of a log message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The gateway.
    Gateway,
    /// A worker: its id, and the name of its function.
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
