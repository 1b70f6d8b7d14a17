//! The backoff for connections to a server: the first retry is immediate, later ones follow growing pauses.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pause after the second failure in a row. There is no pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);

/// Longest pause. It bounds how long a server that is available again stays unused.
const LONGEST: Duration = Duration::from_secs(1);

/// Counts failures in a row. All attempts to connect to one server share it.
#[derive(Debug, Default)]
pub(super) struct Patience(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    not_before: Option<Instant>,
}

/// An attempt to connect. Dropping it before it has succeeded counts as a failure.
#[derive(Debug)]
pub(super) struct Attempt<'a>(&'a Patience, bool);

impl Patience {
    /// Waits until the next attempt is allowed.
    pub(super) async fn attempt(&self) -> Attempt<'_> {
        loop {
            let not_before = self.state().not_before;
            match not_before.filter(|at| *at > Instant::now()) {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => return Attempt(self, false),
            }
        }
    }

    fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.not_before = Some(now + pause(state.failures));
        state.failures = state.failures.saturating_add(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Reports that the connection is open, and forgets earlier failures.
    pub(super) fn succeeded(mut self) {
        *self.0.state() = State::default();
        self.1 = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.failed(Instant::now());
        }
    }
}

fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doubled) => FIRST.saturating_mul(1 << doubled.min(16)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let pauses = [0, 1, 2, 3, 5, 6, 7, u32::MAX].map(|n| pause(n).as_millis());
        assert_eq!(pauses, [0, 50, 100, 200, 800, 1000, 1000, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_has_failed_and_success_forgets() {
        let patience = Patience::default();
        for _ in 0..3 {
            drop(patience.attempt().await);
        }
        assert_eq!(patience.state().failures, 3);
        patience.attempt().await.succeeded();
        assert_eq!(patience.state().failures, 0);
        assert_eq!(patience.state().not_before, None);
    }
}
