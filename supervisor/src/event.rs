//! The events that [`crate::plan`] reacts to.

use std::time::Duration;

use hearth_protocol::link::Verdict;

use crate::plan::Wanted;

/// The load of a function, as the gateway reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// The name of the function.
    pub function: String,
    /// Requests that wait for a worker.
    pub waiting: u32,
    /// How long a worker takes for one request.
    pub service: Duration,
    /// Average number of busy handlers, in thousandths. It is 0 only if the function had no requests.
    pub busy: u32,
    /// In the same time, a request found no worker available.
    pub queued: bool,
}

/// Something that has happened to the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The platform starts.
    Begin,
    /// The gateway's process has been started.
    GatewayStarted,
    /// The gateway serves the snapshot with this number.
    GatewayServes(u32),
    /// The gateway's process has ended, or could not be started. The text says how.
    GatewayEnded(String),
    /// A worker has sent HELLO.
    WorkerUp(u32),
    /// A worker has sent READY.
    WorkerReady(u32),
    /// A worker has sent START_FAILED for this reason, and is about to end.
    WorkerGaveUp(u32, String),
    /// A worker cannot be used any more, for example because it has broken the protocol. The text says why.
    WorkerFailed(u32, String),
    /// A worker's process has ended, or could not be started. The text says how.
    WorkerEnded(u32, String),
    /// The result of a probe of a worker's health.
    WorkerHealth(u32, Verdict),
    /// The gateway has reported the load of a function.
    Pressure(Pressure),
    /// The platform is to serve these functions instead of the current ones.
    Reload {
        /// The functions to serve.
        wanted: Vec<Wanted>,
        /// The gateway has to be started again, because its listeners or its number of threads have changed.
        new_gateway: bool,
    },
    /// The reload that is under way is to be abandoned, for this reason. A reload that has been committed is not
    /// affected.
    GiveUp(String),
    /// The platform is to stop. The second time, the gateway and all workers are killed.
    Stop,
    /// The time that `Platform::deadline` returned has come.
    Timer,
}
