//! When the gateway gets the next snapshot: one at a time, and of several that come meanwhile only the last. With
//! many functions each is work for it, and each of their workers that becomes ready is another snapshot. Pure.

use std::time::{Duration, Instant};

/// What is done within this is no work worth a pause.
const SOON: Duration = Duration::from_millis(2);

/// No longer than this: what took longer was not the gateway's work.
const LONGEST: Duration = Duration::from_millis(250);

/// Snapshots on their way.
#[derive(Debug)]
pub(super) struct Pace<T> {
    /// The next.
    waits: Option<T>,
    /// The last one was sent then, and is not served yet.
    sent: Option<Instant>,
    /// The next is not sent before: half of the gateway's time is for requests.
    after: Option<Instant>,
}

impl<T> Pace<T> {
    /// A gateway that knows nothing.
    pub(super) fn new() -> Pace<T> {
        Pace {
            waits: None,
            sent: None,
            after: None,
        }
    }

    /// There is a newer one.
    pub(super) fn offer(&mut self, one: T) {
        self.waits = Some(one);
    }

    /// The gateway serves what it was sent.
    pub(super) fn served(&mut self, now: Instant) {
        let Some(sent) = self.sent.take() else {
            return;
        };
        let took = now.saturating_duration_since(sent);
        self.after = (took > SOON).then(|| now + took.min(LONGEST));
    }

    /// When there will be something to send without anything else happening.
    pub(super) fn due(&self) -> Option<Instant> {
        self.after
            .filter(|_| self.waits.is_some() && self.sent.is_none())
    }

    /// What is to be sent now.
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
