//! From what is served to what is wanted, in one step, or not at all: new workers are made ready
//! beside those that serve, one snapshot swaps them in, and those they replace are drained once the
//! gateway has it.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_manifest::Scale;

use super::scale::Load;
use super::{
    DRAIN_TIME, Function, GATEWAY_STOP_TIME, GRACE, Gateway, Phase, Platform, Role, Wanted, Worker,
};
use crate::action::Action;

/// What a reload asks for, until all that it needs is ready.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) wanted: Vec<Wanted>,
    pub(super) new_gateway: bool,
}

impl Platform {
    /// Starts what is missing for it. What is served goes on until all of that is ready.
    pub(super) fn reload(&mut self, now: Instant, next: Next, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        for one in &next.wanted {
            for _ in self.kept(one)..self.aim(one) {
                let what = (one.name.as_str(), one.version, one.start_time);
                self.start_worker(now, what, Role::Next, actions);
            }
        }
        self.next = Some(next);
    }

    /// How many workers that this asks for are there, or about to be started again.
    fn kept(&self, wanted: &Wanted) -> u32 {
        match self.served_version(wanted) {
            Some(function) => self.workers_of(&wanted.name) + function.restarts.len() as u32,
            None => 0,
        }
    }

    /// How many workers this is to have: as many as the load has asked for so far. One that is new
    /// has at least one, which shows that it starts.
    fn aim(&self, wanted: &Wanted) -> u32 {
        let least = u32::from(self.served_version(wanted).is_none());
        let target = self.functions.get(&wanted.name).map_or(0, |one| one.target);
        let Scale { min, max, .. } = wanted.scale;
        target.max(least).clamp(min, max)
    }

    /// The function, if what is served of it is of the wanted version.
    fn served_version(&self, wanted: &Wanted) -> Option<&Function> {
        let function = self.functions.get(&wanted.name);
        function.filter(|one| one.wanted.version == wanted.version)
    }

    pub(super) fn commit_when_ready(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let waits = |worker: &Worker| worker.role == Role::Next && worker.phase != Phase::Ready;
        if self.workers.values().any(waits) {
            return;
        }
        if let Some(next) = self.next.take() {
            self.commit(now, next, actions);
        }
    }

    /// One step from what was served to what is.
    fn commit(&mut self, now: Instant, next: Next, actions: &mut Vec<Action>) {
        actions.push(Action::Commit);
        let mut functions = BTreeMap::new();
        for one in &next.wanted {
            let target = self.aim(one);
            let before = self.functions.remove(&one.name);
            // It goes on, and nobody tells of it again before it changes; what did not scale had none.
            let load = before.as_ref().filter(|before| before.scales());
            let load = load.map(|before| before.load.from(now));
            let mut function = match before {
                Some(mut same) if same.wanted.version == one.version => {
                    same.wanted = one.clone();
                    same.target = target;
                    same
                }
                _ => Function::new(one.clone(), target, now),
            };
            function.load = load.unwrap_or_else(|| Load::new(now));
            // The load may have asked for more while those that come were made ready.
            let there = |worker: &&Worker| {
                worker.function == one.name
                    && worker.version == one.version
                    && worker.is_wanted()
                    && !worker.sick
            };
            function.fill(now, self.workers.values().filter(there).count() as u32);
            functions.insert(one.name.clone(), function);
        }
        self.functions = functions;
        let replaced_by = self.snapshot + 1;
        let mut killed = Vec::new();
        for (id, worker) in &mut self.workers {
            match worker.role {
                Role::Next => worker.role = Role::Current,
                Role::Current => {
                    let function = self.functions.get(&worker.function);
                    if function.is_some_and(|one| one.wanted.version == worker.version) {
                        continue;
                    }
                    worker.role = Role::Retired;
                    match worker.phase {
                        Phase::Ready => worker.phase = Phase::Replaced(replaced_by),
                        Phase::Starting(_) | Phase::Proving(_) => killed.push(*id),
                        Phase::Replaced(_) | Phase::Stopping(_) | Phase::Killed => {}
                    }
                }
                Role::Retired | Role::Surplus => {}
            }
        }
        for id in killed {
            self.kill_worker(id, actions);
        }
        for one in &next.wanted {
            self.let_go(&one.name, actions);
            self.retire_the_sick(&one.name);
        }
        self.probe_by_what_is_wanted(now);
        self.committed = Some(replaced_by);
        if !self.gateway_runs() {
            return self.drain_replaced(now, replaced_by, actions);
        }
        if next.new_gateway {
            self.gateway = Gateway::Stopping(now + GATEWAY_STOP_TIME + GRACE);
            actions.push(Action::StopGateway(GATEWAY_STOP_TIME));
        } else {
            actions.push(self.next_snapshot());
        }
    }

    /// What a reload asked for cannot be had.
    pub(super) fn abandon(&mut self, why: String, actions: &mut Vec<Action>) {
        let was_under_way = self.next.take().is_some();
        let runs = self.gateway_runs();
        let mut killed = Vec::new();
        for (id, worker) in &mut self.workers {
            if worker.role == Role::Next {
                let known = worker.is_known();
                worker.role = Role::Retired;
                if runs && known {
                    actions.push(Action::Withdraw(*id, None));
                }
                killed.push(*id);
            }
        }
        for id in killed {
            self.kill_worker(id, actions);
        }
        if was_under_way {
            actions.push(Action::Abandon(why));
        }
    }

    pub(super) fn gateway_serves(
        &mut self,
        now: Instant,
        snapshot: u32,
        actions: &mut Vec<Action>,
    ) {
        self.drain_replaced(now, snapshot, actions);
        if self.committed.is_some_and(|number| number <= snapshot) {
            self.committed = None;
            actions.push(Action::Served);
        }
    }

    /// Lets those go that no snapshot from this one on knows.
    pub(super) fn drain_replaced(
        &mut self,
        now: Instant,
        snapshot: u32,
        actions: &mut Vec<Action>,
    ) {
        let runs = self.gateway_runs();
        for (id, worker) in &mut self.workers {
            if matches!(worker.phase, Phase::Replaced(number) if number <= snapshot) {
                worker.phase = Phase::Stopping(now + DRAIN_TIME + GRACE);
                if runs {
                    actions.push(Action::Withdraw(*id, None));
                }
                actions.push(Action::DrainWorker(*id, DRAIN_TIME));
            }
        }
    }
}
