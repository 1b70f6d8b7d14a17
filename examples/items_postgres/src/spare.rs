//! Optional servers: a request to one has a short timeout, and after a failure the server is skipped for a while.
//! Independent of the kind of server.

use std::cell::Cell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use hearth_sdk::log;

/// Timeout of a request to an optional server. It is longer than a busy server on the same network takes.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a server is skipped after a failure, so that its outage delays few requests.
const PAUSE: Duration = Duration::from_secs(1);

/// The state of an optional server: whether it is skipped at the moment.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    away_until: Cell<Option<Instant>>,
}

impl Spare {
    /// Runs a request to the server and returns its result. Returns `None` if the server is being skipped, or the
    /// request fails.
    pub(crate) async fn ask<T, E: Display>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        match self.away_until.get() {
            Some(until) if Instant::now() < until => None,
            Some(_) | None => self.insist(work).await,
        }
    }

    /// Runs a request even if the server is being skipped. Returns `None` if the request fails.
    pub(crate) async fn insist<T, E: Display>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let why = match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(said)) => {
                self.away_until.set(None);
                return Some(said);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        self.away_until.set(Some(Instant::now() + PAUSE));
        log::warn(format_args!("going on without it for {PAUSE:?}: {why}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_away_is_not_asked_for_a_while_except_where_that_matters() {
        crate::tests::install();
        let spare = Spare::default();
        let asked = Cell::new(0);
        let work = |said: Result<u32, &'static str>| {
            let asked = &asked;
            async move {
                asked.set(asked.get() + 1);
                said
            }
        };
        hearth_sdk::block_on(async {
            assert_eq!(spare.ask(work(Ok(7))).await, Some(7));
            assert_eq!(spare.ask(work(Err("gone"))).await, None);
            assert_eq!(asked.get(), 2);
            assert_eq!(spare.ask(work(Ok(7))).await, None);
            assert_eq!(asked.get(), 2);
            assert_eq!(spare.insist(work(Ok(7))).await, Some(7));
            assert_eq!(spare.ask(work(Ok(7))).await, Some(7));
        });
    }

    #[test]
    fn one_that_says_nothing_costs_a_bounded_wait_once() {
        crate::tests::install();
        let spare = Spare::default();
        let begin = Instant::now();
        hearth_sdk::block_on(async {
            for _ in 0..100 {
                let silence = std::future::pending::<Result<(), String>>();
                assert_eq!(spare.ask(silence).await, None);
            }
        });
        assert!(begin.elapsed() < 2 * PATIENCE, "{:?}", begin.elapsed());
    }
}
