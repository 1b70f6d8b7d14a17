//! The state of the platform for `status`.

use std::time::Instant;

use super::{Phase, Platform};

/// The state of a function, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionView {
    /// How many workers it should have now.
    pub wanted: u32,
    /// Whether its workers have failed so often in a row that it counts as a crash loop.
    pub crash_loop: bool,
    /// How many workers have been started to replace others so far.
    pub restarted: u32,
    /// The fault of the last worker that failed.
    pub last_error: Option<String>,
    /// Its workers: id, phase, and when the worker was started, first waited for a probe, or became ready.
    pub workers: Vec<(u32, Phase, Instant)>,
}

impl Platform {
    /// The state of a function, as `status` shows it.
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

    /// The functions that should have a worker, but have none that is ready.
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
