//! The time limits of a client's connection: decides from what its counters show, and reads no clock or socket.

use std::time::{Duration, Instant};

use hearth_manifest::GatewayLimits;

/// Bytes that a client must read of a response, or send of a request body, in each `stall`. That is 240 bytes a second:
/// less than any line in use delivers, but more than an attacker who only wants to hold a connection will spend.
pub fn pace(stall: Duration) -> u64 {
    240 * stall.as_secs()
}

/// Why the gateway ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No request arrived for `idle_timeout`.
    Idle,
    /// The head of a request took longer than `header_timeout`.
    SlowHead,
    /// The client read too little of a response within `stall_timeout`.
    SlowReader,
    /// The client did not close its side within `stall_timeout` after the gateway closed its own.
    Deaf,
    /// The client closed its side while its request was in progress.
    Gone,
}

/// What a connection is used for at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No request has begun.
    Idle,
    /// The head of a request has begun to arrive.
    Head,
    /// A request is in progress.
    Serving,
    /// The gateway has closed its side.
    Closing,
}

/// What the counters of a connection show at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    pub(crate) phase: Phase,
    /// A request has ended since the previous observation, so the phase began again.
    pub(crate) request_ended: bool,
    /// Bytes that the client has read so far.
    pub(crate) bytes_read: u64,
    /// The client has bytes to read.
    pub(crate) has_unread_bytes: bool,
}

/// What is known of a connection after an observation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// Since when the client has had bytes to read and has read too few of them, and how many bytes it had read then.
    unread: Option<(Instant, u64)>,
}

impl Progress {
    /// A connection that has just been accepted.
    pub(crate) fn new(now: Instant) -> Progress {
        Progress {
            phase: Phase::Idle,
            since: now,
            unread: None,
        }
    }

    /// Adds an observation. Returns what is known now, and why the connection must end, if it must.
    pub(crate) fn observe(
        self,
        now: Instant,
        seen: Observation,
        limits: &GatewayLimits,
    ) -> (Progress, Option<End>) {
        let since = if seen.request_ended || seen.phase != self.phase {
            now
        } else {
            self.since
        };
        let read_enough = |before: u64| seen.bytes_read - before >= pace(limits.stall_timeout);
        let unread = match self.unread {
            _ if !seen.has_unread_bytes => None,
            Some((_, before)) if !read_enough(before) => self.unread,
            Some(_) | None => Some((now, seen.bytes_read)),
        };
        let next = Progress {
            phase: seen.phase,
            since,
            unread,
        };
        (next, next.end(now, limits))
    }

    fn end(&self, now: Instant, limits: &GatewayLimits) -> Option<End> {
        let stalled = self.unread.map(|(since, _)| since);
        if stalled.is_some_and(|since| has_passed(now, since, limits.stall_timeout)) {
            return Some(End::SlowReader);
        }
        let (limit, end) = match self.phase {
            Phase::Idle => (limits.idle_timeout, End::Idle),
            Phase::Head => (limits.header_timeout, End::SlowHead),
            Phase::Serving => return None,
            Phase::Closing => (limits.stall_timeout, End::Deaf),
        };
        has_passed(now, self.since, limit).then_some(end)
    }
}

fn has_passed(now: Instant, since: Instant, limit: Duration) -> bool {
    now.saturating_duration_since(since) >= limit
}
