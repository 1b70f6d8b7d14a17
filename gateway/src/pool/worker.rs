//! One worker as all threads see it: how fast it is, how busy, and how it ended.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hearth_protocol::Codec;
use tokio::sync::Notify;

use crate::tally::Tally;

/// For so long a failed request waits to hear how its worker ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Most requests laid into a worker's socket beyond its `concurrency`: so many are served for one
/// wake-up of it.
pub(super) const PREFETCH: u32 = 64;

/// How much work may lie before a worker in advance, by its measured service time. A slower worker
/// gets nothing in advance: what waits in the queue can still go to another one.
const AHEAD: Duration = Duration::from_millis(1);

/// What a new worker's service time is taken for until it has been measured, so that it is not
/// buried in requests before it has shown what it can do.
pub(super) const UNMEASURED: Duration = Duration::from_millis(2);

/// One worker as all threads see it.
#[derive(Debug)]
pub struct Worker {
    /// Unique while the platform runs.
    pub id: u32,
    /// The codec of its heads.
    pub codec: Codec,
    pub(super) concurrency: u32,
    pub(super) service_nanos: AtomicU32,
    born: Instant,
    /// When it last began to be busy, or answered: nanoseconds after it was born.
    progress: AtomicU64,
    /// Answers that have begun and go on: for how long, nobody knows.
    pub(super) streaming: AtomicU32,
    /// A question whether it is well is with it.
    pub(super) probed: AtomicBool,
    /// It said GOAWAY or its channel broke: nothing new for it.
    leaving: AtomicBool,
    /// Leases on it, also when it is no longer in a pool.
    pub(super) in_flight: AtomicU32,
    /// What it answered.
    pub answers: Tally,
    /// How it ended, once that is known.
    end: OnceLock<Arc<str>>,
    end_told: Notify,
}

impl Worker {
    /// A worker that was just announced.
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

    /// It has ended, in this way.
    pub fn ended(&self, how: &str) {
        let _ = self.end.set(how.into());
        self.end_told.notify_waiters();
    }

    /// How it ended. Its sockets tell sooner that it has than the supervisor can tell how: waits a moment
    /// for that.
    pub async fn how_it_ended(&self) -> Option<Arc<str>> {
        let told = self.end_told.notified();
        if self.end.get().is_none() {
            let _ = tokio::time::timeout(LAST_WORDS, told).await;
        }
        self.end.get().cloned()
    }

    /// Requests that are with it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Books that `answers` came until `now`, within `span` of work: a moving average over about
    /// eight samples.
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

    /// Nothing new for it from now on.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// For how long it has neither begun to be busy nor answered.
    pub(super) fn stands(&self, now: Instant) -> Duration {
        let progress = Duration::from_nanos(self.progress.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born)
            .saturating_sub(progress)
    }

    /// Requests that may be with it at once. Some in advance only while it really is fast: one that
    /// has been at the same request for longer than [`AHEAD`] would make them wait behind it.
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
