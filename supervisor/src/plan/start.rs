//! Starts of workers: what is due, the oldest first, and not all at once. Workers that come up share the processors,
//! and whoever starts hundreds of them in one go does nothing else meanwhile: the last would be killed as late before
//! anybody has heard the first.

use std::time::{Duration, Instant};

use super::{Gateway, Phase, Platform, Role, Worker};
use crate::action::Action;

/// So many workers come up at once: enough for all processors, and so few that nobody waits for long meanwhile.
const AT_ONCE: usize = 16;

/// Whoever takes longer than this waits for something else, and others need not wait for it.
const COMING_UP: Duration = Duration::from_secs(1);

impl Platform {
    /// When those that come up are so few again that another may be started, without any of them being ready before;
    /// none if they are.
    fn room_at(&self) -> Option<Instant> {
        // Their numbers are in the order of their starts.
        let ends: Vec<Instant> = self.coming_up().collect();
        let last = ends.len().checked_sub(AT_ONCE)?;
        ends.get(last).copied()
    }

    /// Until when each of those that are not ready counts as coming up.
    fn coming_up(&self) -> impl Iterator<Item = Instant> {
        let starting = self.workers.values();
        let starting = starting.filter(|one| matches!(one.phase, Phase::Starting(_)));
        starting.map(|one| one.since + COMING_UP)
    }

    /// When the next worker is to be started.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let restarts = self.functions.values().flat_map(|one| &one.restarts);
        let wanted = self.next.as_ref().and_then(|next| next.missing_since());
        let due = restarts.copied().chain(wanted).min()?;
        Some(self.room_at().map_or(due, |room| room.max(due)))
    }

    pub(super) fn start_what_is_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        if matches!(self.gateway, Gateway::Down(Some(at)) if at <= now) {
            self.gateway = Gateway::Down(None);
            actions.push(Action::StartGateway);
        }
        let coming = self.coming_up().filter(|until| *until > now).count();
        let mut room = AT_ONCE.saturating_sub(coming);
        if room == 0 {
            return;
        }
        let mut due: Vec<(Instant, &String)> = Vec::new();
        for (name, function) in &self.functions {
            let of_it = function.restarts.iter().filter(|at| **at <= now);
            due.extend(of_it.map(|at| (*at, name)));
        }
        due.sort_by_key(|(at, _)| *at);
        due.truncate(room);
        room -= due.len();
        let due: Vec<(Instant, String)> =
            due.into_iter().map(|(at, of)| (at, of.clone())).collect();
        for (at, name) in due {
            let Some(function) = self.functions.get_mut(&name) else {
                continue;
            };
            if let Some(place) = function.restarts.iter().position(|one| *one == at) {
                function.restarts.swap_remove(place);
            }
            let (version, time) = (function.wanted.version, function.wanted.start_time);
            self.start_worker(now, (&name, version, time), Role::Current, actions);
        }
        let next = self.next.as_mut().map(|next| next.take_missing(room));
        for (name, version, time) in next.into_iter().flatten() {
            self.start_worker(now, (&name, version, time), Role::Next, actions);
        }
    }

    fn start_worker(
        &mut self,
        now: Instant,
        (function, version, start_time): (&str, u32, Duration),
        role: Role,
        actions: &mut Vec<Action>,
    ) {
        self.next_worker += 1;
        let worker = Worker::new(function, version, role, now, start_time);
        self.workers.insert(self.next_worker, worker);
        let function = function.to_owned();
        actions.push(Action::StartWorker(self.next_worker, function, version));
    }
}
