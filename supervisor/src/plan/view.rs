//! How the platform looks from outside.

use std::time::Instant;

use super::{Phase, Platform};

/// A function as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionView {
    /// Workers it should have now.
    pub wanted: u32,
    /// Deaths in a row are many.
    pub crash_loop: bool,
    /// Workers that were started again so far.
    pub restarted: u32,
    /// Why the last one that failed did.
    pub last_error: Option<String>,
    /// Its workers: id, phase, since when in it.
    pub workers: Vec<(u32, Phase, Instant)>,
}

impl Platform {
    /// A function as `status` shows it.
    pub fn view(&self, function: &str) -> Option<FunctionView> {
        let state = self.functions.get(function)?;
        let workers = self
            .workers
            .of(function)
            .map(|(id, worker)| (id, worker.phase, worker.since))
            .collect();
        Some(FunctionView {
            wanted: state.target,
            crash_loop: state.backoff.is_crash_loop(),
            restarted: state.restarted,
            last_error: state.last_error.clone(),
            workers,
        })
    }

    /// Functions that have no worker that is ready, and should.
    pub fn waiting_for(&self) -> Vec<&str> {
        let ready = |name: &str| {
            self.workers
                .of(name)
                .any(|(_, one)| one.phase == Phase::Ready)
        };
        self.functions
            .iter()
            .filter(|(name, function)| function.target > 0 && !ready(name))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}
