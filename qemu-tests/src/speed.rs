//! How much slower this host is than the one that time limits were written for. Everything is emulated, so the start
//! of a machine is a fair measure for everything else in it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::arch::Arch;

/// The factor for time limits: 1 on an idle host, never less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

impl Speed {
    /// The factor before the measurement: that of a very slow host.
    pub const UNKNOWN: Speed = Speed(Speed::SLOWEST);

    /// The largest factor. A host that is even slower has another problem, which a time limit should reveal.
    const SLOWEST: f64 = 15.0;

    /// A safety factor: the host may have become busier since the measurement. Limits are there to end what hangs,
    /// not to measure.
    const DOUBT: f64 = 2.0;

    /// Computes the factor from how long an idle machine took from start to end.
    pub fn of(arch: Arch, took: Duration) -> Speed {
        let slower = took.as_secs_f64() / quiet(arch).as_secs_f64();
        Speed((slower * Speed::DOUBT).clamp(1.0, Speed::SLOWEST))
    }

    /// Computes the factor from when such a machine was started.
    pub(crate) fn since(arch: Arch, begun: Instant) -> Speed {
        Speed::of(arch, begun.elapsed())
    }

    /// Returns the factor.
    pub fn times(self) -> f64 {
        self.0
    }

    /// Restores a factor that was measured before and returned by [`Speed::times`].
    pub fn known(times: f64) -> Speed {
        Speed(times.clamp(1.0, Speed::SLOWEST))
    }

    /// Stretches a limit for an idle host to one for this host.
    pub fn scale(self, limit: Duration) -> Duration {
        limit.mul_f64(self.0)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} times as long", self.0)
    }
}

/// How long `Inside::measure` took on two idle processors of 2024.
fn quiet(arch: Arch) -> Duration {
    match arch {
        Arch::X86_64 => Duration::from_millis(2_500),
        Arch::Aarch64 => Duration::from_millis(1_500),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_stretched_by_what_was_measured_within_bounds() {
        let limit = Duration::from_secs(10);
        for (factor, expect) in [(0.1, 10.0), (1.0, 20.0), (3.0, 60.0), (100.0, 150.0)] {
            let took = quiet(Arch::Aarch64).mul_f64(factor);
            let scaled = Speed::of(Arch::Aarch64, took).scale(limit).as_secs_f64();
            assert!((scaled - expect).abs() < 0.001, "{factor}: {scaled}");
        }
        assert_eq!(Speed::UNKNOWN.scale(limit), Duration::from_secs(150));
    }
}
