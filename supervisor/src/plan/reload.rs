//! Reloads: the change from one generation to the next in one step, or not at all. New workers become ready beside
//! those that serve, one snapshot switches to them, and the replaced workers are drained once the gateway serves that
//! snapshot.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hearth_manifest::{Health, Scale};

use super::scale::Load;
use super::{
    DRAIN_TIME, Function, GATEWAY_STOP_TIME, GRACE, Gateway, Phase, Platform, Role, Wanted, Worker,
};
use crate::action::Action;

/// A reload, until everything that it needs is ready.
#[derive(Debug)]
pub(super) struct Next {
    wanted: Vec<Wanted>,
    new_gateway: bool,
    pub(super) since: Instant,
    /// Workers that have yet to be started for it.
    pub(super) missing: Vec<Missing>,
}

/// A worker to start: its function, the version, and how long it may take to become ready.
type Missing = (String, u32, Duration);

impl Next {
    /// Removes a missing worker of this function. Returns its version, and how long its start may take.
    pub(super) fn take(&mut self, function: &str) -> Option<(u32, Duration)> {
        let place = self
            .missing
            .iter()
            .position(|(name, ..)| name == function)?;
        let (_, version, time) = self.missing.remove(place);
        Some((version, time))
    }

    /// How the health of this function's workers is checked, if it is checked.
    pub(super) fn health_of(&self, function: &str) -> Option<&Health> {
        let wanted = self.wanted.iter().find(|one| one.name == function);
        wanted?.health.as_ref()
    }
}

impl Platform {
    /// Starts a reload. The current generation is served until all missing workers are ready.
    pub(super) fn reload(&mut self, now: Instant, wanted: Vec<Wanted>, new_gateway: bool) {
        if self.stopping {
            return;
        }
        let mut missing: Vec<Missing> = Vec::new();
        for one in &wanted {
            for _ in self.kept(one)..self.aim(one) {
                missing.push((one.name.clone(), one.version, one.start_time));
            }
        }
        self.next = Some(Next {
            wanted,
            new_gateway,
            since: now,
            missing,
        });
    }

    /// How many workers of the wanted version exist, or are about to be restarted.
    fn kept(&self, wanted: &Wanted) -> u32 {
        match self.served_version(wanted) {
            Some(function) => self.workers_of(&wanted.name) + function.restarts.len() as u32,
            None => 0,
        }
    }

    /// How many workers the function should have: as many as its load has required so far. A new version has at least
    /// one worker, which shows that the version starts.
    fn aim(&self, wanted: &Wanted) -> u32 {
        let least = u32::from(self.served_version(wanted).is_none());
        let target = self.functions.get(&wanted.name).map_or(0, |one| one.target);
        let Scale { min, max, .. } = wanted.scale;
        target.max(least).clamp(min, max)
    }

    /// The state of the function, if it is served in the wanted version.
    fn served_version(&self, wanted: &Wanted) -> Option<&Function> {
        let function = self.functions.get(&wanted.name);
        function.filter(|one| one.wanted.version == wanted.version)
    }

    pub(super) fn commit_when_ready(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let waits = |worker: &Worker| worker.role == Role::Next && worker.phase != Phase::Ready;
        let Some(next) = self.next.take() else {
            return;
        };
        if next.missing.is_empty() && !self.workers.values().any(waits) {
            self.commit(now, next, actions);
        } else {
            self.next = Some(next);
        }
    }

    /// Switches from the current generation to the next.
    fn commit(&mut self, now: Instant, next: Next, actions: &mut Vec<Action>) {
        actions.push(Action::Commit);
        let mut functions = BTreeMap::new();
        for one in &next.wanted {
            let target = self.aim(one);
            let before = self.functions.remove(&one.name);
            // The load is carried over, because the gateway reports it again only when it changes. A function that did
            // not scale has no load.
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
            // While the new workers became ready, the load may have required more.
            let there = self.workers.of(&one.name).filter(|(_, worker)| {
                worker.version == one.version && worker.is_wanted() && !worker.sick
            });
            function.fill(now, there.count() as u32);
            functions.insert(one.name.clone(), function);
        }
        self.functions = functions;
        let replaced_by = self.snapshot + 1;
        let mut killed = Vec::new();
        for (id, worker) in self.workers.iter_mut() {
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
                        Phase::Starting(_) | Phase::Proving(_) => killed.push(id),
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

    /// Abandons the reload: kills its workers and reports the reason.
    pub(super) fn abandon(&mut self, why: String, actions: &mut Vec<Action>) {
        let was_under_way = self.next.take().is_some();
        let runs = self.gateway_runs();
        let mut killed = Vec::new();
        for (id, worker) in self.workers.iter_mut() {
            if worker.role == Role::Next {
                let known = worker.is_known();
                worker.role = Role::Retired;
                if runs && known {
                    actions.push(Action::Withdraw(id, None));
                }
                killed.push(id);
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

    /// Drains the replaced workers that are not in this snapshot or a later one.
    pub(super) fn drain_replaced(
        &mut self,
        now: Instant,
        snapshot: u32,
        actions: &mut Vec<Action>,
    ) {
        let runs = self.gateway_runs();
        for (id, worker) in self.workers.iter_mut() {
            if matches!(worker.phase, Phase::Replaced(number) if number <= snapshot) {
                worker.phase = Phase::Stopping(now + DRAIN_TIME + GRACE);
                if runs {
                    actions.push(Action::Withdraw(id, None));
                }
                actions.push(Action::DrainWorker(id, DRAIN_TIME));
            }
        }
    }
}
