//! Limits the rate of snapshots to the gateway: only one is on its way at a time, and of those that come meanwhile,
//! only the last is sent. With many functions, a snapshot is much work for the gateway, and each worker that becomes
//! ready causes one. Pure.

use std::time::{Duration, Instant};

/// After a snapshot that the gateway serves within this time, there is no pause.
const SOON: Duration = Duration::from_millis(2);

/// Maximum pause. If the gateway took longer, its work on the snapshot was not the reason.
const LONGEST: Duration = Duration::from_millis(250);

/// The snapshot that is on its way, and the next one.
#[derive(Debug)]
pub(super) struct Pace<T> {
    /// The next snapshot.
    waits: Option<T>,
    /// When the last snapshot was sent, until the gateway serves it.
    sent: Option<Instant>,
    /// The next snapshot is not sent before this time: half of the gateway's time is left for requests.
    after: Option<Instant>,
}

impl<T> Pace<T> {
    /// The state for a gateway that has no snapshot.
    pub(super) fn new() -> Pace<T> {
        Pace {
            waits: None,
            sent: None,
            after: None,
        }
    }

    /// Sets the next snapshot. It replaces one that has not been sent.
    pub(super) fn offer(&mut self, one: T) {
        self.waits = Some(one);
    }

    /// The gateway serves the last snapshot that was sent.
    pub(super) fn served(&mut self, now: Instant) {
        let Some(sent) = self.sent.take() else {
            return;
        };
        let took = now.saturating_duration_since(sent);
        self.after = (took > SOON).then(|| now + took.min(LONGEST));
    }

    /// When the next snapshot can be sent, if only time has to pass.
    pub(super) fn due(&self) -> Option<Instant> {
        self.after
            .filter(|_| self.waits.is_some() && self.sent.is_none())
    }

    /// The snapshot to send now, if there is one.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        if self.sent.is_some() || self.after.is_some_and(|after| after > now) {
            return None;
        }
        let next = self.waits.take()?;
        self.sent = Some(now);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_last_of_those_that_wait() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut pace = Pace::new();
        assert_eq!(pace.next(at(0)), None);
        pace.offer(1);
        assert_eq!(pace.next(at(0)), Some(1));
        pace.offer(2);
        pace.offer(3);
        assert_eq!(pace.next(at(5)), None, "it has not served the first yet");
        assert_eq!(pace.due(), None, "its word is waited for");
        pace.served(at(10));
        assert_eq!(pace.next(at(10)), None, "it took ten, so ten are free");
        assert_eq!(pace.due(), Some(at(20)));
        assert_eq!(pace.next(at(20)), Some(3));
        pace.offer(4);
        pace.served(at(21));
        assert_eq!(pace.next(at(21)), Some(4), "a quick one is not spared");
        pace.served(at(22));
        assert_eq!((pace.next(at(22)), pace.due()), (None, None));
    }
}
