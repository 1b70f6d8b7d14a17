//! Writes finished responses while a long handler runs.
//!
//! The worker writes the responses to a batch of requests together. If a handler in the middle of the batch takes long,
//! the flusher thread writes the responses that are finished. The thread is started with the first batch of more than
//! one request, ticks only while such batches keep arriving, and is parked otherwise.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crate::socket::Outbox;

/// Interval at which the thread checks for progress. A finished response waits for at most two ticks, which no client
/// notices, and the ticks cost a busy worker nothing measurable.
const TICK: Duration = Duration::from_millis(2);

/// Number of ticks without progress after which the thread parks itself.
const IDLE_TICKS: u32 = 25;

/// Stack size of the thread in bytes. The thread calls little more than poll and write.
const STACK: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Debug, Default)]
struct Shared {
    awake: AtomicBool,
    /// Counts the batches begun and the responses given. If it does not change while a batch is under way, a handler is
    /// running.
    progress: AtomicU32,
    outboxes: Mutex<Vec<Arc<Outbox>>>,
}

impl Flusher {
    /// Sets the outboxes to flush.
    pub(crate) fn watch(&self, outboxes: Vec<Arc<Outbox>>) {
        *self
            .shared
            .outboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = outboxes;
    }

    /// Reports that a batch of more than one request begins. Starts or wakes the thread.
    pub(crate) fn row_begins(&mut self) {
        self.progressed();
        let thread = match &self.thread {
            Some(thread) => thread,
            None => {
                let shared = Arc::clone(&self.shared);
                let builder = std::thread::Builder::new()
                    .name("flusher".into())
                    .stack_size(STACK);
                // If the thread cannot be started, responses wait for the end of their batch: slower, but correct.
                let Ok(handle) = builder.spawn(move || shared.run()) else {
                    return;
                };
                self.thread.insert(handle.thread().clone())
            }
        };
        if !self.shared.awake.swap(true, Ordering::SeqCst) {
            thread.unpark();
        }
    }

    /// Reports that a response was given.
    pub(crate) fn progressed(&self) {
        self.shared.progress.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self) {
        let mut seen = self.progress.load(Ordering::SeqCst);
        let mut idle = 0;
        loop {
            while !self.awake.load(Ordering::SeqCst) {
                std::thread::park();
            }
            std::thread::sleep(TICK);
            let now = self.progress.load(Ordering::SeqCst);
            if now != seen {
                seen = now;
                idle = 0;
                continue;
            }
            for outbox in self
                .outboxes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
            {
                // The worker gets the same error from the socket and handles it.
                let _ = outbox.flush();
            }
            idle += 1;
            if idle > IDLE_TICKS {
                self.awake.store(false, Ordering::SeqCst);
                // A batch that began before the store above found `awake` set and did not unpark this thread.
                if self.progress.load(Ordering::SeqCst) != seen {
                    self.awake.store(true, Ordering::SeqCst);
                }
            }
        }
    }
}
