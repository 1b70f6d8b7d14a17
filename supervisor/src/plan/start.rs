//! Starts of workers. Only a limited number of workers comes up at the same time. Functions whose last start did not
//! fail come first; among those, the worker that has waited longest comes first.
//!
//! Workers that come up share the processors, and the supervisor does nothing else while it starts processes. If it
//! started hundreds of workers at once, the last ones would be killed as late before it had read the messages of the
//! first.

use std::time::{Duration, Instant};

use super::{Gateway, Phase, Platform, Role, Worker};
use crate::action::Action;

/// Maximum number of workers that come up at the same time: enough to use all processors, and few enough to delay
/// nothing else for long.
const AT_ONCE: usize = 16;

/// Maximum number of these that belong to functions whose last start failed. The other functions do not wait for them.
const AGAIN_AT_ONCE: usize = AT_ONCE / 2;

/// A worker counts as coming up until it sends HELLO, but no longer than this. Other workers do not wait for what it
/// needs after that, such as a database.
const COMING_UP: Duration = Duration::from_secs(1);

/// A worker to start.
#[derive(Debug)]
struct Due {
    at: Instant,
    /// `Next` for a worker of a reload, `Current` for a missing worker.
    role: Role,
    function: String,
}

impl Platform {
    /// For each worker that has not sent HELLO, the time until which it counts as coming up, in the order of their
    /// starts. With `again`, only workers of functions whose last start failed.
    fn coming_up(&self, again: bool) -> Vec<Instant> {
        let starting = self.workers.values();
        let starting = starting.filter(|one| matches!(one.phase, Phase::Starting(_)) && !one.is_up);
        let counts = starting.filter(|one| !again || self.fails(one.role, &one.function));
        counts.map(|one| one.since + COMING_UP).collect()
    }

    /// Whether the last start of the worker's function failed. `false` for workers of a reload.
    fn fails(&self, role: Role, function: &str) -> bool {
        let current = self.functions.get(function);
        role == Role::Current && current.is_some_and(|one| one.failed_starts > 0)
    }

    /// All workers to start, now or later: whether the function's last start failed, when it is due, its role and its
    /// function.
    fn missing(&self) -> impl Iterator<Item = (bool, Instant, Role, &str)> {
        let restarts = self.functions.iter().flat_map(|(name, function)| {
            let again = function.failed_starts > 0;
            let all = function.restarts.iter();
            all.map(move |at| (again, *at, Role::Current, name.as_str()))
        });
        let next = self.next.iter().flat_map(|next| {
            let all = next.missing.iter();
            all.map(|(name, ..)| (false, next.since, Role::Next, name.as_str()))
        });
        restarts.chain(next)
    }

    /// When the next worker is to be started.
    pub(super) fn next_start(&self) -> Option<Instant> {
        if self.stopping {
            return None;
        }
        // When there is room for another worker if none of those that come up sends HELLO or ends before.
        let room_at = |all: &[Instant], most: usize| {
            let last = all.len().checked_sub(most)?;
            all.get(last).copied()
        };
        let due = |wanted: bool| {
            let of_kind = self.missing().filter(move |(again, ..)| *again == wanted);
            of_kind.map(|(_, at, ..)| at).min()
        };
        let all = room_at(&self.coming_up(false), AT_ONCE);
        let first = due(false).map(|at| all.map_or(at, |room| room.max(at)));
        let again = due(true).map(|at| {
            let own = room_at(&self.coming_up(true), AGAIN_AT_ONCE);
            own.into_iter().chain(all).fold(at, Instant::max)
        });
        first.into_iter().chain(again).min()
    }

    pub(super) fn start_what_is_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        if matches!(self.gateway, Gateway::Down(Some(at)) if at <= now) {
            self.gateway = Gateway::Down(None);
            actions.push(Action::StartGateway);
        }
        for due in self.due(now) {
            let Due { at, role, function } = due;
            let what = match role {
                Role::Next => self.next.as_mut().and_then(|next| next.take(&function)),
                _ => self.functions.get_mut(&function).map(|one| {
                    if let Some(place) = one.restarts.iter().position(|other| *other == at) {
                        one.restarts.swap_remove(place);
                    }
                    (one.wanted.version, one.wanted.start_time)
                }),
            };
            if let Some((version, time)) = what {
                self.start_worker(now, (&function, version, time), role, actions);
            }
        }
    }

    /// The workers to start now, in this order.
    fn due(&self, now: Instant) -> Vec<Due> {
        let coming = |again| {
            self.coming_up(again)
                .into_iter()
                .filter(|until| *until > now)
        };
        let room = AT_ONCE.saturating_sub(coming(false).count());
        if room == 0 {
            return Vec::new();
        }
        let mut again_room = AGAIN_AT_ONCE.saturating_sub(coming(true).count());
        let mut due: Vec<_> = self.missing().filter(|(_, at, ..)| *at <= now).collect();
        due.sort_by_key(|(again, at, ..)| (*again, *at));
        let fits = |(again, ..): &(bool, Instant, Role, &str)| {
            let fits = !again || again_room > 0;
            again_room = again_room.saturating_sub(usize::from(*again));
            fits
        };
        let first = due.into_iter().filter(fits).take(room);
        first
            .map(|(_, at, role, function)| Due {
                at,
                role,
                function: function.to_owned(),
            })
            .collect()
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
