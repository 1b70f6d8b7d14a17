//! What travels between supervisor and gateway, as types. Both are of one build, so this part may
//! change with every release; the framing is that of the public wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{put, text};
use crate::frame::{Flags, Frame, FrameError, Kind};
use crate::head::{Codec, HeadError};

/// Heads on this socket are always MessagePack.
pub const CODEC: Codec = Codec::MessagePack;

/// One message of the socket between supervisor and gateway.
#[expect(missing_docs, reason = "each variant's sentence explains its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link<'a> {
    /// Supervisor: a sealed memory file with a list of [`CertifiedKey`] goes with this frame.
    Certificates,
    /// Supervisor: a [`WorkerAdd`]; one data socket per gateway thread goes with this frame.
    WorkerAdd { worker: &'a [u8] },
    /// Supervisor: this worker gets nothing new; how it ended, if it has, or nothing.
    WorkerDrop { worker: u32, why: &'a str },
    /// Supervisor: a [`Snapshot`].
    Snapshot { snapshot: &'a [u8] },
    /// Gateway: the snapshot of this generation is being served.
    Ack { generation: u32 },
    /// Supervisor: this worker does not answer PING. If it has nothing to do, it is lost.
    Silent { worker: u32 },
    /// Gateway: a data socket of this worker has ended, or it is stuck; why, if it is to blame.
    WorkerLost { worker: u32, why: &'a str },
    /// Gateway: a [`Pressure`]. Said when it has changed, and not for every request.
    Pressure { pressure: &'a [u8] },
    /// Supervisor: an [`Unavailable`].
    Unavailable { function: &'a [u8] },
    /// Supervisor: a [`Probe`].
    Probe { probe: &'a [u8] },
    /// Gateway: a [`Health`], the answer to it.
    Health { health: &'a [u8] },
    /// Gateway: a list of [`crate::head::LogRecord`].
    Log { records: &'a [u8] },
    /// Gateway: [`crate::stats::Stats`], once a second while there is news.
    Stats { stats: &'a [u8] },
    /// Supervisor: finish within so many milliseconds, then exit.
    Stop { deadline_ms: u32 },
}

/// A worker that is ready, and what the gateway must know to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAdd {
    /// Unique while the platform runs.
    pub worker: u32,
    /// Whose requests it answers.
    pub function: String,
    /// The codec it chose in HELLO: its number there.
    pub codec: u8,
    /// Handlers that may run at once in it.
    pub concurrency: u32,
}

/// How busy a function is that has more workers or fewer by its load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Its name.
    pub function: String,
    /// Requests that wait for a worker.
    pub waiting: u32,
    /// What one request takes of one worker's time, in microseconds: as measured, or as long as the
    /// worker has been at one.
    pub service_us: u32,
    /// Handlers that were busy on average, in thousandths; 0 only if nothing was asked for.
    pub busy: u32,
    /// In that time a request found no worker free.
    pub queued: bool,
}

/// A function that has no worker and gets none for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// Its name.
    pub function: String,
    /// Why: its requests are refused with this. Without a reason they may wait for a worker again.
    pub why: Option<String>,
}

/// A question to a worker whether it is well: a request of its own, past all routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Which.
    pub worker: u32,
    /// The path to ask for.
    pub path: String,
    /// For so many milliseconds the head of its answer may take.
    pub timeout_ms: u32,
}

/// What came of a question to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Which.
    pub worker: u32,
    /// What it showed.
    pub verdict: Verdict,
}

/// Whether a worker is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is.
    Well,
    /// It has not come to the question: it is at other requests, and is judged by those.
    Busy,
    /// It is not, and this is how it showed.
    Sick(String),
}

/// What to serve: a whole picture, swapped in at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot<M> {
    /// Which version of the manifest.
    pub generation: u32,
    /// The manifest, in the type of the `hearth-manifest` crate, which this crate does not know.
    pub manifest: M,
    /// Workers by function, all announced by WORKER_ADD before.
    pub workers: BTreeMap<String, Vec<u32>>,
}

/// One certificate chain with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedKey {
    /// The names it answers for, `*.` allowed in front. A client that asks for none of all names
    /// gets the last certificate of the list.
    pub domains: Vec<String>,
    /// PEM, leaf first.
    pub chain: String,
    /// PEM.
    pub key: String,
}

/// The text that is all of a frame's payload.
fn reason<'a>(frame: &Frame<'a>) -> Result<&'a str, FrameError> {
    text(frame.payload).ok_or(FrameError::Malformed {
        kind: frame.kind.name(),
        what: "not UTF-8",
    })
}

impl<'a> Link<'a> {
    /// Gives the frame its meaning on this socket.
    pub fn parse(frame: &Frame<'a>) -> Result<Link<'a>, FrameError> {
        Ok(match frame.kind {
            Kind::Certificates => Link::Certificates,
            Kind::WorkerAdd => Link::WorkerAdd {
                worker: frame.payload,
            },
            Kind::WorkerDrop => Link::WorkerDrop {
                worker: frame.aux,
                why: reason(frame)?,
            },
            Kind::Snapshot => Link::Snapshot {
                snapshot: frame.payload,
            },
            Kind::Ack => Link::Ack {
                generation: frame.aux,
            },
            Kind::Ping => Link::Silent { worker: frame.aux },
            Kind::WorkerLost => Link::WorkerLost {
                worker: frame.aux,
                why: reason(frame)?,
            },
            Kind::Pressure => Link::Pressure {
                pressure: frame.payload,
            },
            Kind::Unavailable => Link::Unavailable {
                function: frame.payload,
            },
            Kind::Probe => Link::Probe {
                probe: frame.payload,
            },
            Kind::Health => Link::Health {
                health: frame.payload,
            },
            Kind::Log => Link::Log {
                records: frame.payload,
            },
            Kind::Stats => Link::Stats {
                stats: frame.payload,
            },
            Kind::Stop => Link::Stop {
                deadline_ms: frame.aux,
            },
            other => return Err(FrameError::Misplaced(other.name())),
        })
    }

    /// Appends the message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind, aux, payload: &[u8]| put(out, kind, 0, Flags::NONE, aux, payload);
        match *self {
            Link::Certificates => put(Kind::Certificates, 0, &[]),
            Link::WorkerAdd { worker } => put(Kind::WorkerAdd, 0, worker),
            Link::WorkerDrop { worker, why } => put(Kind::WorkerDrop, worker, why.as_bytes()),
            Link::Snapshot { snapshot } => put(Kind::Snapshot, 0, snapshot),
            Link::Ack { generation } => put(Kind::Ack, generation, &[]),
            Link::Silent { worker } => put(Kind::Ping, worker, &[]),
            Link::WorkerLost { worker, why } => put(Kind::WorkerLost, worker, why.as_bytes()),
            Link::Pressure { pressure } => put(Kind::Pressure, 0, pressure),
            Link::Unavailable { function } => put(Kind::Unavailable, 0, function),
            Link::Probe { probe } => put(Kind::Probe, 0, probe),
            Link::Health { health } => put(Kind::Health, 0, health),
            Link::Log { records } => put(Kind::Log, 0, records),
            Link::Stats { stats } => put(Kind::Stats, 0, stats),
            Link::Stop { deadline_ms } => put(Kind::Stop, deadline_ms, &[]),
        }
    }
}

/// Serialises what a message of this socket carries.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, HeadError> {
    let mut bytes = Vec::new();
    CODEC.encode(value, &mut bytes)?;
    Ok(bytes)
}
