//! What can happen to a platform, as far as [`crate::plan`] must know it.

use std::time::Duration;

use hearth_protocol::link::Verdict;

use crate::plan::Wanted;

/// How busy a function is, as the gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Which.
    pub function: String,
    /// Requests that wait for a worker.
    pub waiting: u32,
    /// What one request takes of a worker's time.
    pub service: Duration,
    /// Handlers that were busy on average, in thousandths; 0 only if nothing was asked for.
    pub busy: u32,
    /// In that time a request found no worker free.
    pub queued: bool,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The platform begins.
    Begin,
    /// The gateway's process runs.
    GatewayStarted,
    /// The gateway serves this snapshot.
    GatewayServes(u32),
    /// The gateway ended, or could not be started: how.
    GatewayEnded(String),
    /// A worker has said HELLO.
    WorkerUp(u32),
    /// A worker said READY.
    WorkerReady(u32),
    /// A worker said START_FAILED and is about to end: why.
    WorkerGaveUp(u32, String),
    /// A worker broke the protocol: how.
    WorkerFailed(u32, String),
    /// A worker's process ended, or could not be started: how.
    WorkerEnded(u32, String),
    /// A worker was asked whether it is well: what it showed.
    WorkerHealth(u32, Verdict),
    /// A function is so busy.
    Pressure(Pressure),
    /// This is wanted from now on, in the place of what is; `new_gateway`: and the gateway must be
    /// started anew for it.
    Reload {
        /// The functions.
        wanted: Vec<Wanted>,
        /// Its listeners or threads are others.
        new_gateway: bool,
    },
    /// What was asked for last and is not served yet is not wanted any more: why.
    GiveUp(String),
    /// Somebody asked to stop; the second time it is urgent.
    Stop,
    /// The time that `Platform::deadline` named has come.
    Timer,
}
