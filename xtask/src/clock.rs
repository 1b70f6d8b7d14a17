//! Times in readable form.

use std::time::{Duration, Instant};

/// Formats the time since an instant: `42 s` or `6 min 14 s`.
pub fn took(since: Instant) -> String {
    text(since.elapsed())
}

/// Formats a duration: `42 s` or `6 min 14 s`.
pub fn text(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_a_minute_on_have_minutes() {
        assert_eq!(text(Duration::from_millis(42_900)), "42 s");
        assert_eq!(text(Duration::from_secs(374)), "6 min 14 s");
    }
}
