//! When to start again what has died. Pure: time and chance are passed in.

use std::time::Duration;

/// The delay after the second death in a row; it doubles from there.
const FIRST: Duration = Duration::from_millis(100);

/// The longest delay: a database that comes back is not kept waiting for more than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Who lives for so long is healthy, and its death the first of a new row.
pub const HEALTHY: Duration = Duration::from_secs(10);

/// Deaths in a row from which on this is called a crash loop.
pub const CRASH_LOOP: u32 = 5;

/// Counts deaths in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Books the death of something that had lived for `lived`; returns how long to wait before the
    /// next start. `chance` is any random number: it moves the delay by up to a quarter either way,
    /// so that what died together does not start together.
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

    /// Deaths in a row.
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
