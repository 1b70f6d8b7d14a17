//! Waiting for something to hold, with a limit.

use std::time::{Duration, Instant};

/// Longer than anything here takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Looks again and again until `look` finds something.
///
/// # Panics
/// With `what` when the limit has passed.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, look)
}

/// The same with a limit that is itself what the test is about.
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
