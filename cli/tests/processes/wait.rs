//! Waits for a condition, with a limit.

use std::time::{Duration, Instant};

/// Longer than any wait in these tests takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Calls `look` repeatedly until it returns a value.
///
/// # Panics
/// Panics with `what` when the limit has passed.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, look)
}

/// As `until`, with another limit.
pub(crate) fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
