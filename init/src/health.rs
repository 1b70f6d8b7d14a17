//! When the watchdog is fed: while the platform says that it is well, and while it may still be starting. Pure;
//! times are since some fixed moment.

use std::time::Duration;

/// How long the platform may take until it is ready for the first time, a trial or not, and again after a death.
pub const READY_WITHIN: Duration = Duration::from_secs(120);

/// How old its last word of health may be. The supervisor is told so and sends one in half that time.
pub const WORD_WITHIN: Duration = Duration::from_secs(20);

/// A machine whose data has failed is restarted, which repairs it, but no sooner than this after a start: one whose disk
/// is at its end serves so long each time.
const DATA_RESTART: Duration = Duration::from_secs(3600);

/// How long the hardware may take to bite before init does it itself: four times what it is set to.
const BITE_WITHIN: Duration = Duration::from_secs(60);

/// What is known of the platform's health.
#[derive(Clone, Debug)]
pub struct Health {
    phase: Phase,
    /// Whether a hardware's watchdog runs.
    hardware: bool,
    /// Data can be neither read nor written.
    data_failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It must be ready by then.
    Starting { until: Duration },
    /// Its last word came then.
    Well { last: Duration },
    /// The watchdog starves since then, whatever is said now: it was late once.
    Starving { since: Duration },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The watchdog is fed.
    Feed,
    /// It is not fed any more, for this reason, and bites soon.
    Starve(&'static str),
    /// The machine is restarted by init, for this reason.
    Restart(&'static str),
}

impl Health {
    /// The platform is being started.
    pub fn new(now: Duration, hardware: bool) -> Health {
        Health {
            phase: Phase::Starting {
                until: now + READY_WITHIN,
            },
            hardware,
            data_failed: false,
        }
    }

    /// It said READY=1.
    pub fn ready(&mut self, now: Duration) {
        if let Phase::Starting { .. } | Phase::Well { .. } = self.phase {
            self.phase = Phase::Well { last: now };
        }
    }

    /// It said WATCHDOG=1, which means nothing before it is ready.
    pub fn word(&mut self, now: Duration) {
        if let Phase::Well { last } = &mut self.phase {
            *last = now;
        }
    }

    /// It died. Until it is ready again it has as long as at first; what it had not used of that is not more
    /// for dying.
    pub fn died(&mut self, now: Duration) {
        if let Phase::Well { .. } = self.phase {
            self.phase = Phase::Starting {
                until: now + READY_WITHIN,
            };
        }
    }

    /// Data can be neither read nor written from now on.
    pub fn data_failed(&mut self) {
        self.data_failed = true;
    }

    /// What is to be done.
    pub fn judge(&mut self, now: Duration) -> Verdict {
        match self.phase {
            Phase::Well { last }
                if now <= last + WORD_WITHIN && self.data_failed && now >= DATA_RESTART =>
            {
                Verdict::Restart("data has failed, and is repaired at the next start")
            }
            Phase::Starting { until } if now < until => Verdict::Feed,
            Phase::Starting { .. } => {
                Verdict::Restart("the platform was not ready within 120 seconds")
            }
            Phase::Well { last } if now <= last + WORD_WITHIN => Verdict::Feed,
            Phase::Well { .. } if self.hardware => {
                self.phase = Phase::Starving { since: now };
                Verdict::Starve("the platform gave no word of health for 20 seconds")
            }
            Phase::Well { .. } => {
                Verdict::Restart("the platform gave no word of health for 20 seconds")
            }
            Phase::Starving { since } if now < since + BITE_WITHIN => {
                Verdict::Starve("the platform gave no word of health for 20 seconds")
            }
            Phase::Starving { .. } => Verdict::Restart("the watchdog did not bite"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_fed_while_the_platform_starts_but_not_for_ever() {
        let mut health = Health::new(at(5), true);
        // A word before READY is none.
        health.word(at(100));
        assert_eq!(health.judge(at(124)), Verdict::Feed);
        assert!(matches!(health.judge(at(125)), Verdict::Restart(_)));
        // Nor is a death more time.
        let mut health = Health::new(at(5), true);
        health.died(at(120));
        assert!(matches!(health.judge(at(125)), Verdict::Restart(_)));
    }

    #[test]
    fn it_is_fed_by_words_and_starves_once_one_was_late() {
        let mut health = Health::new(at(0), true);
        health.ready(at(3));
        assert_eq!(health.judge(at(23)), Verdict::Feed);
        health.word(at(23));
        assert_eq!(health.judge(at(43)), Verdict::Feed);
        assert!(matches!(health.judge(at(44)), Verdict::Starve(_)));
        // A word that comes after all does not save it: what hung once is not well.
        health.word(at(45));
        health.ready(at(45));
        assert!(matches!(health.judge(at(46)), Verdict::Starve(_)));
        assert!(matches!(health.judge(at(104)), Verdict::Restart(_)));
    }

    #[test]
    fn without_hardware_init_restarts_the_machine() {
        let mut health = Health::new(at(0), false);
        health.ready(at(3));
        assert!(matches!(health.judge(at(24)), Verdict::Restart(_)));
    }

    #[test]
    fn data_that_has_failed_is_repaired_but_a_bad_disk_does_not_restart_the_machine_all_the_time() {
        let mut health = Health::new(at(0), true);
        health.ready(at(3));
        health.data_failed();
        health.word(at(3590));
        assert_eq!(health.judge(at(3599)), Verdict::Feed);
        assert!(matches!(health.judge(at(3600)), Verdict::Restart(_)));
    }

    #[test]
    fn a_death_after_ready_gives_the_time_of_a_start() {
        let mut health = Health::new(at(0), true);
        health.ready(at(3));
        health.died(at(1000));
        assert_eq!(health.judge(at(1119)), Verdict::Feed);
        health.ready(at(1119));
        assert_eq!(health.judge(at(1139)), Verdict::Feed);
        assert!(matches!(health.judge(at(1140)), Verdict::Starve(_)));
    }
}
