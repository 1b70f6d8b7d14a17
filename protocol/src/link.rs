//! Messages between supervisor and gateway, as types. Both come from the same build, so these messages may change with
//! every release. The frames have the format of the public protocol.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{put, text};
use crate::frame::{Flags, Frame, FrameError, Kind};
use crate::head::{Codec, HeadError};

/// The codec of all structures on this socket.
pub const CODEC: Codec = Codec::MessagePack;

/// One message of the socket between supervisor and gateway.
#[expect(missing_docs, reason = "each variant's sentence explains its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link<'a> {
    /// From the supervisor: certificates. A sealed memory file with a list of [`CertifiedKey`] is passed with the
    /// frame.
    Certificates,
    /// From the supervisor: a [`WorkerAdd`]. One data socket for each gateway thread is passed with the frame.
    WorkerAdd { worker: &'a [u8] },
    /// From the supervisor: the worker gets no new requests. `why` says how it ended, and is empty if it has not ended.
    WorkerDrop { worker: u32, why: &'a str },
    /// From the supervisor: a [`Snapshot`].
    Snapshot { snapshot: &'a [u8] },
    /// From the gateway: it serves the snapshot of this generation.
    Ack { generation: u32 },
    /// From the supervisor: the worker does not answer PING. If it has no requests, the gateway reports it as lost.
    Silent { worker: u32 },
    /// From the gateway: a data socket of the worker has ended, or the worker is stuck. `why` names the worker's fault,
    /// and is empty if it is not to blame.
    WorkerLost { worker: u32, why: &'a str },
    /// From the gateway: a [`Pressure`]. It is sent when the load has changed, not for every request.
    Pressure { pressure: &'a [u8] },
    /// From the supervisor: an [`Unavailable`].
    Unavailable { function: &'a [u8] },
    /// From the supervisor: a [`Probe`].
    Probe { probe: &'a [u8] },
    /// From the gateway: a [`Health`], the result of a probe.
    Health { health: &'a [u8] },
    /// From the gateway: a list of [`crate::head::LogRecord`].
    Log { records: &'a [u8] },
    /// From the gateway: a [`crate::stats::Stats`], once a second if something has changed.
    Stats { stats: &'a [u8] },
    /// From the supervisor: finish all requests within `deadline_ms`, then exit.
    Stop { deadline_ms: u32 },
}

/// A worker that is ready, and what the gateway needs to know about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAdd {
    /// The worker's id, unique while the platform runs.
    pub worker: u32,
    /// The function that the worker belongs to.
    pub function: String,
    /// The number of the codec that the worker chose in HELLO.
    pub codec: u8,
    /// Handlers that may run at the same time in the worker.
    pub concurrency: u32,
}

/// The load of a function whose number of workers follows its load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// The name of the function.
    pub function: String,
    /// Requests that wait for a worker.
    pub waiting: u32,
    /// How long a worker takes for one request, in microseconds: the measured time, or the time that the worker has
    /// already spent on a request if that is longer.
    pub service_us: u32,
    /// Average number of busy handlers, in thousandths. It is 0 only if the function had no requests.
    pub busy: u32,
    /// In the same time, a request found no worker available.
    pub queued: bool,
}

/// A function that has no worker and gets none for now, or whose requests may wait for a worker again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// The name of the function.
    pub function: String,
    /// Why the function's requests are refused. Without a reason, they may wait for a worker again.
    pub why: Option<String>,
}

/// A probe of a worker's health: a request that belongs to no client and no route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The worker to probe.
    pub worker: u32,
    /// The path of the request.
    pub path: String,
    /// How long the head of the response may take, in milliseconds.
    pub timeout_ms: u32,
}

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The worker that was probed.
    pub worker: u32,
    /// The worker's health.
    pub verdict: Verdict,
}

/// The health of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The worker is healthy.
    Well,
    /// Other requests occupy the worker, so it has not answered the probe. It is judged by those requests.
    Busy,
    /// The worker is unhealthy, for this reason.
    Sick(String),
}

/// What the gateway serves. It replaces the previous snapshot as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot<M> {
    /// The generation of the snapshot.
    pub generation: u32,
    /// The manifest, with a type of the `hearth-manifest` crate, which this crate does not depend on.
    pub manifest: M,
    /// Workers by function. Each was announced by an earlier WORKER_ADD.
    pub workers: BTreeMap<String, Vec<u32>>,
}

/// A certificate chain with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedKey {
    /// The names that the certificate is used for; a name may start with `*.`. A client that requests a name without a
    /// certificate gets the last certificate of the list.
    pub domains: Vec<String>,
    /// The chain in PEM, leaf certificate first.
    pub chain: String,
    /// The key in PEM.
    pub key: String,
}

/// The payload of a frame as text.
fn reason<'a>(frame: &Frame<'a>) -> Result<&'a str, FrameError> {
    text(frame.payload).ok_or(FrameError::Malformed {
        kind: frame.kind.name(),
        what: "not UTF-8",
    })
}

impl<'a> Link<'a> {
    /// Interprets a frame of this socket.
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

/// Encodes the structure that a message of this socket carries.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, HeadError> {
    let mut bytes = Vec::new();
    CODEC.encode(value, &mut bytes)?;
    Ok(bytes)
}
