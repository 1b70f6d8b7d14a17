//! When a child that died is started again, and when that has no use any more. Pure; times are since some fixed
//! moment.

use std::collections::VecDeque;
use std::time::Duration;

/// So many deaths of the supervisor, ...
const DEATHS: usize = 5;
/// ... within so long and without being ready between, mean that a restart of the machine is tried.
const WITHIN: Duration = Duration::from_secs(300);

/// The first pause, which doubles with each death in a row, ...
const FIRST: Duration = Duration::from_millis(250);
/// ... up to this.
const LONGEST: Duration = Duration::from_secs(15);
/// Whoever lived so long begins a new row.
const STEADY: Duration = Duration::from_secs(60);

/// What follows a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is started again at this time.
    Start(Duration),
    /// Starting it again has no use.
    GiveUp,
}

/// A child's deaths.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    /// Those since it was ready last.
    unready: VecDeque<Duration>,
    row: u32,
    started: Duration,
}

impl Restarts {
    /// It was started.
    pub fn started(&mut self, now: Duration) {
        self.started = now;
    }

    /// It is of use again.
    pub fn ready(&mut self) {
        self.unready.clear();
    }

    /// It died. `vital` is what the machine is there for.
    pub fn died(&mut self, now: Duration, vital: bool) -> Next {
        if now >= self.started + STEADY {
            self.row = 0;
        }
        self.unready.push_back(now);
        self.unready.retain(|then| *then + WITHIN > now);
        if vital && self.unready.len() >= DEATHS {
            return Next::GiveUp;
        }
        // Never more than is looked at.
        while self.unready.len() > DEATHS {
            self.unready.pop_front();
        }
        let pause = FIRST.saturating_mul(1 << self.row.min(16)).min(LONGEST);
        self.row = self.row.saturating_add(1);
        Next::Start(now + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn pauses_double_and_are_bounded_and_a_steady_life_forgets_them() {
        let mut restarts = Restarts::default();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            restarts.started(now);
            let Next::Start(then) = restarts.died(now, false) else {
                panic!("given up")
            };
            pauses.push((then - now).as_millis());
            now = then;
        }
        assert_eq!(
            pauses,
            [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]
        );
        restarts.started(now);
        let later = now + STEADY;
        assert_eq!(restarts.died(later, false), Next::Start(later + FIRST));
    }

    #[test]
    fn five_deaths_without_being_ready_are_enough() {
        let mut restarts = Restarts::default();
        for second in 0..4 {
            assert!(matches!(
                restarts.died(at(second * 1000), true),
                Next::Start(_)
            ));
        }
        assert_eq!(restarts.died(at(5000), true), Next::GiveUp);
        // Ready between, or rare.
        let mut restarts = Restarts::default();
        for second in 0..40 {
            restarts.ready();
            assert_ne!(restarts.died(at(second * 1000), true), Next::GiveUp);
        }
        let mut restarts = Restarts::default();
        for minute in 0..40 {
            assert_ne!(restarts.died(at(minute * 76_000), true), Next::GiveUp);
        }
    }
}
