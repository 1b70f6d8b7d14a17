//! How long something took, for people.

use std::time::Instant;

/// `42 s` or `6 min 14 s`, since then.
pub(crate) fn took(since: Instant) -> String {
    text(since.elapsed().as_secs())
}

fn text(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_minutes_where_there_are_some() {
        assert_eq!(text(42), "42 s");
        assert_eq!(text(374), "6 min 14 s");
    }
}
