//! The plan's table of workers, by id and by function.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// A worker, as the plan knows it.
#[derive(Debug)]
pub(super) struct Worker {
    /// Never changes, because `Workers` finds the worker by it.
    pub(super) function: String,
    pub(super) version: u32,
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    pub(super) start_time: Duration,
    /// Whether it has sent HELLO: its process runs, and does not count as coming up any more.
    pub(super) is_up: bool,
    pub(super) was_ready: bool,
    /// When the next probe is due. `None` while a probe is under way.
    pub(super) probe: Option<Instant>,
    /// Failed probes in a row.
    pub(super) bad: u32,
    /// The result of the last failed probe before it served.
    pub(super) complaint: Option<String>,
    /// Whether it is unhealthy, and is to be replaced once another worker is ready.
    pub(super) sick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Belongs to the generation that is served.
    Current,
    /// Belongs to a reload that has not been committed.
    Next,
    /// Has been replaced, or belonged to a reload that has been abandoned.
    Retired,
    /// Not needed any more, because the function needs fewer workers.
    Surplus,
}

/// The phase of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Started, but has not sent READY. Killed at this time.
    Starting(Instant),
    /// Has sent READY, but has not passed a probe. Killed at this time.
    Proving(Instant),
    /// Ready to serve requests.
    Ready,
    /// Replaced, or not needed any more. Drained once the gateway serves this snapshot.
    Replaced(u32),
    /// About to end. Killed at this time.
    Stopping(Instant),
    /// Killed, but its end has not been reported yet.
    Killed,
}

impl Worker {
    /// A worker that is started now.
    pub(super) fn new(
        function: &str,
        version: u32,
        role: Role,
        now: Instant,
        start_time: Duration,
    ) -> Worker {
        Worker {
            function: function.to_owned(),
            version,
            role,
            phase: Phase::Starting(now + start_time),
            since: now,
            start_time,
            is_up: false,
            was_ready: false,
            probe: None,
            bad: 0,
            complaint: None,
            sick: false,
        }
    }

    /// Whether it belongs to the served generation, or to a reload that has not been committed.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.role, Role::Current | Role::Next)
    }

    /// Whether the gateway knows it, if the gateway runs.
    pub(super) fn is_known(&self) -> bool {
        self.is_wanted() && matches!(self.phase, Phase::Ready | Phase::Proving(_))
    }

    /// Whether it gets requests.
    pub(super) fn serves(&self) -> bool {
        self.role == Role::Current && self.phase == Phase::Ready
    }
}

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_id: BTreeMap<u32, Worker>,
    /// The ids of each function's workers in ascending order, which is the order of their starts.
    by_function: HashMap<String, Vec<u32>>,
}

impl Workers {
    /// Adds a worker. Its id must be higher than those of all others.
    pub(super) fn insert(&mut self, id: u32, worker: Worker) {
        let of_it = self.by_function.entry(worker.function.clone());
        of_it.or_default().push(id);
        self.by_id.insert(id, worker);
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Worker> {
        let worker = self.by_id.remove(&id)?;
        if let Some(of_it) = self.by_function.get_mut(&worker.function) {
            of_it.retain(|one| *one != id);
            if of_it.is_empty() {
                self.by_function.remove(&worker.function);
            }
        }
        Some(worker)
    }

    pub(super) fn get(&self, id: u32) -> Option<&Worker> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Worker> {
        self.by_id.get_mut(&id)
    }

    /// The workers of a function, the oldest first.
    pub(super) fn of(&self, function: &str) -> impl Iterator<Item = (u32, &Worker)> {
        let ids = self.by_function.get(function).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.by_id.get(id)?)))
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Worker)> {
        self.by_id.iter().map(|(id, worker)| (*id, worker))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Worker)> {
        self.by_id.iter_mut().map(|(id, worker)| (*id, worker))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Worker> {
        self.by_id.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.by_id.values_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
