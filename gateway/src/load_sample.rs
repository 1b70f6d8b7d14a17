//! A sample of the load of one pool, as [`crate::pool`] takes it and [`crate::pressure`] evaluates it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// Wakes the sampler when the first request arrives after an idle time.
pub(crate) type Bell = Arc<Notify>;

/// A sample of a pool's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Requests that arrived since the last sample.
    pub(crate) asked: u32,
    /// Requests among `asked` that found no worker available.
    pub(crate) queued: u32,
    /// Requests in the queue.
    pub(crate) waiting: u32,
    /// Busy handlers.
    pub(crate) busy: u32,
    /// How long a worker takes for a request, as an average over the workers.
    pub(crate) service: Duration,
    /// Whether the function has a worker.
    pub(crate) served: bool,
}

impl Glance {
    /// Whether no request arrived, waits or runs.
    pub(crate) fn is_quiet(&self) -> bool {
        (self.asked, self.waiting, self.busy) == (0, 0, 0)
    }
}
