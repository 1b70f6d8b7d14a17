//! Workers, as the plan knows them: by number and by function.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Never changes: it is found by this.
    pub(super) function: String,
    pub(super) version: u32,
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    pub(super) start_time: Duration,
    /// It has said HELLO: its process is up, and what it still needs is its own affair.
    pub(super) is_up: bool,
    pub(super) was_ready: bool,
    /// When to ask whether it is well.
    pub(super) probe: Option<Instant>,
    /// Bad answers to that in a row.
    pub(super) bad: u32,
    /// The last of them, from before it served.
    pub(super) complaint: Option<String>,
    /// It is to be replaced once another is ready.
    pub(super) sick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Of what is served.
    Current,
    /// Of a reload that is under way.
    Next,
    /// Of what was served, or was to be.
    Retired,
    /// One more than are needed.
    Surplus,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Started, not READY yet; killed at this time.
    Starting(Instant),
    /// READY, and not yet found well; killed at this time.
    Proving(Instant),
    /// Answers requests.
    Ready,
    /// Has a successor; is drained once the gateway serves this snapshot.
    Replaced(u32),
    /// Told to end; killed at this time.
    Stopping(Instant),
    /// Killed, not gone yet.
    Killed,
}

impl Worker {
    /// One that is started now.
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

    /// It serves what is wanted, or will.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.role, Role::Current | Role::Next)
    }

    /// The gateway knows it, if it runs.
    pub(super) fn is_known(&self) -> bool {
        self.is_wanted() && matches!(self.phase, Phase::Ready | Phase::Proving(_))
    }

    /// It gets requests.
    pub(super) fn serves(&self) -> bool {
        self.role == Role::Current && self.phase == Phase::Ready
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_id: BTreeMap<u32, Worker>,
    /// In the order of their numbers, which is that of their starts.
    by_function: HashMap<String, Vec<u32>>,
}

impl Workers {
    /// One that is younger than all others.
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

    /// Those of a function, the oldest first.
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
