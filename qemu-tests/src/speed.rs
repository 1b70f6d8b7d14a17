//! How much slower this host is than the one that limits were written for. Everything is emulated, so
//! a machine's own start is a fair measure of whatever follows in it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::arch::Arch;

/// By how much time limits are stretched: 1 on a quiet host, never less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

impl Speed {
    /// Not measured yet: limits as long as on a very slow host.
    pub const UNKNOWN: Speed = Speed(Speed::SLOWEST);

    /// A host that is slower still has another fault, which a limit shall bring to light.
    const SLOWEST: f64 = 15.0;

    /// Between the measure and what follows, the host may have become busier; a limit is there to end
    /// what hangs, not to measure.
    const DOUBT: f64 = 2.0;

    /// From how long a machine took that starts and has nothing to do.
    pub fn of(arch: Arch, took: Duration) -> Speed {
        let slower = took.as_secs_f64() / quiet(arch).as_secs_f64();
        Speed((slower * Speed::DOUBT).clamp(1.0, Speed::SLOWEST))
    }

    /// Since when such a machine runs.
    pub(crate) fn since(arch: Arch, begun: Instant) -> Speed {
        Speed::of(arch, begun.elapsed())
    }

    /// By how much.
    pub fn times(self) -> f64 {
        self.0
    }

    /// What was measured before, as [`Speed::times`] told it.
    pub fn known(times: f64) -> Speed {
        Speed(times.clamp(1.0, Speed::SLOWEST))
    }

    /// A limit for a quiet host, as it is here.
    pub fn scale(self, limit: Duration) -> Duration {
        limit.mul_f64(self.0)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} times as long", self.0)
    }
}

/// What `Inside::measure` took on two quiet processors of 2024.
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
