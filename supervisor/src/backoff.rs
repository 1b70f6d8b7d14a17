//! Decides when to restart a process that has ended. Pure: the caller passes in time and randomness.

use std::time::Duration;

/// The delay after the second failure in a row. It doubles with each further failure.
const FIRST: Duration = Duration::from_millis(100);

/// The longest delay before jitter. When a database is back, the workers that need it follow within this time.
const LONGEST: Duration = Duration::from_secs(30);

/// A process that ran for this long counts as healthy: its end is the first failure of a new row.
pub const HEALTHY: Duration = Duration::from_secs(10);

/// The number of failures in a row from which the state is called a crash loop.
pub const CRASH_LOOP: u32 = 5;

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Records the end of a process that had run for `lived`, and returns the delay before the next start. `chance` is
    /// any random number: it changes the delay by up to a quarter in either direction, so that processes that ended
    /// together do not restart together.
    pub fn died(&mut self, lived: Duration, chance: u32) -> Duration {
        if lived >= HEALTHY {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            return Duration::ZERO;
        }
        let doublings = (self.failures - 2).min(16);
        let delay = (FIRST * 2u32.pow(doublings)).min(LONGEST);
        let spread = delay / 2;
        delay - spread / 2 + spread * (chance % 1024) / 1024
    }

    /// The number of failures in a row.
    pub fn failures(self) -> u32 {
        self.failures
    }

    /// Whether this is a crash loop.
    pub fn is_crash_loop(self) -> bool {
        self.failures >= CRASH_LOOP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_wait_longer_and_longer() {
        let mut backoff = Backoff::default();
        let millis: Vec<u128> = (0..12)
            .map(|_| backoff.died(Duration::ZERO, 512).as_millis())
            .collect();
        assert_eq!(
            millis,
            [
                0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        assert!(backoff.is_crash_loop());
    }

    #[test]
    fn chance_moves_the_delay_by_a_quarter_either_way() {
        let second = |chance| {
            let mut backoff = Backoff::default();
            backoff.died(Duration::ZERO, 0);
            backoff.died(Duration::ZERO, chance).as_millis()
        };
        assert_eq!(second(0), 75);
        assert_eq!(second(1023), 124);
    }

    #[test]
    fn who_lived_long_starts_a_new_row() {
        let mut backoff = Backoff::default();
        for _ in 0..7 {
            backoff.died(Duration::ZERO, 0);
        }
        assert_eq!(backoff.died(HEALTHY, 0), Duration::ZERO);
        assert_eq!(backoff.failures(), 1);
    }
}
