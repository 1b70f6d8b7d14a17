//! One worker as all threads see it: how fast and how busy it is, and how it ended.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hearth_protocol::Codec;
use tokio::sync::Notify;

use crate::tally::Tally;

/// How long a failed request waits until the supervisor reports how its worker ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Maximum number of requests that are sent to a worker beyond its `concurrency`. One wake-up of the worker serves all
/// of them.
pub(super) const PREFETCH: u32 = 64;

/// How much work a worker may have in advance, by its measured service time. A slower worker gets nothing in advance,
/// because a request that stays in the queue can still go to another worker.
const AHEAD: Duration = Duration::from_millis(1);

/// The assumed service time of a worker that has not been measured yet. It is so long that a new worker gets no
/// requests in advance.
pub(super) const UNMEASURED: Duration = Duration::from_millis(2);

/// One worker as all threads see it.
#[derive(Debug)]
pub struct Worker {
    /// Unique while the platform runs.
    pub id: u32,
    /// The codec of the worker's heads.
    pub codec: Codec,
    pub(super) concurrency: u32,
    pub(super) service_nanos: AtomicU32,
    born: Instant,
    /// When the worker last changed from idle to busy, or last answered, in nanoseconds after `born`.
    progress: AtomicU64,
    /// Number of responses that have begun and are not complete. Their remaining time is unknown.
    pub(super) streaming: AtomicU32,
    /// The worker has not answered the last probe yet.
    pub(super) probed: AtomicBool,
    /// The worker gets no new requests: it has sent GOAWAY, its channel has closed, or the supervisor has withdrawn it.
    leaving: AtomicBool,
    /// Leases on the worker, including those from before it left its pool.
    pub(super) in_flight: AtomicU32,
    /// Counts the worker's responses.
    pub answers: Tally,
    /// How the worker ended, once the supervisor has reported it.
    end: OnceLock<Arc<str>>,
    end_told: Notify,
}

impl Worker {
    /// Creates a worker that the supervisor has just announced.
    pub fn new(id: u32, codec: Codec, concurrency: u32) -> Worker {
        Worker {
            id,
            codec,
            concurrency,
            service_nanos: AtomicU32::new(UNMEASURED.as_nanos() as u32),
            born: Instant::now(),
            progress: AtomicU64::new(0),
            streaming: AtomicU32::new(0),
            probed: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            answers: Tally::default(),
            end: OnceLock::new(),
            end_told: Notify::new(),
        }
    }

    /// Records how the worker ended.
    pub fn ended(&self, how: &str) {
        let _ = self.end.set(how.into());
        self.end_told.notify_waiters();
    }

    /// How the worker ended. Its sockets close before the supervisor reports the reason, so this function waits a
    /// moment for the report.
    pub async fn how_it_ended(&self) -> Option<Arc<str>> {
        let told = self.end_told.notified();
        if self.end.get().is_none() {
            let _ = tokio::time::timeout(LAST_WORDS, told).await;
        }
        self.end.get().cloned()
    }

    /// Number of requests that the worker has.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Records `answers` responses until `now` that took `span` of work. The service time is a moving average over
    /// about eight samples.
    pub fn served(&self, answers: u32, span: Duration, now: Instant) {
        let sample = u32::try_from(span.as_nanos()).unwrap_or(u32::MAX) / answers.max(1);
        let old = self.service_nanos.load(Ordering::Relaxed);
        let new = old - old / 8 + sample / 8;
        self.service_nanos.store(new, Ordering::Relaxed);
        self.progressed(now);
    }

    pub(super) fn progressed(&self, now: Instant) {
        let since = now.saturating_duration_since(self.born).as_nanos();
        self.progress
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Stops new requests to the worker.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// How long ago the worker last changed from idle to busy, or last answered.
    pub(super) fn stands(&self, now: Instant) -> Duration {
        let progress = Duration::from_nanos(self.progress.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born)
            .saturating_sub(progress)
    }

    /// How many requests the worker may have at once. It gets requests in advance only while it is fast: if it has
    /// worked on one request for longer than [`AHEAD`], further requests would wait behind that one.
    pub(super) fn capacity(&self, now: Instant) -> u32 {
        if self.leaving.load(Ordering::Relaxed) {
            return 0;
        }
        if self.streaming.load(Ordering::Relaxed) > 0 || self.stands(now) >= AHEAD {
            return self.concurrency;
        }
        let service = self.service_nanos.load(Ordering::Relaxed).max(1);
        self.concurrency + (AHEAD.as_nanos() as u32 / service).min(PREFETCH)
    }
}
