//! Sees to it that a long handler does not hold back answers that are finished.
//!
//! The worker answers a row of requests with one write. If a handler in the middle of the row takes
//! long, a thread of ours writes what is there. It is started with the first row, ticks only while
//! rows keep coming, and sleeps without waking up otherwise.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crate::socket::Outbox;

/// A finished answer waits for at most two ticks: a time that nobody notices, and few enough ticks to
/// cost a busy worker nothing that can be measured.
const TICK: Duration = Duration::from_millis(2);

/// Ticks without any work after which the thread goes to sleep.
const IDLE_TICKS: u32 = 25;

/// Stack of the thread: it calls poll and write.
const STACK: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Debug, Default)]
struct Shared {
    awake: AtomicBool,
    /// Counts rows begun and answers given: standing still means that a handler runs.
    progress: AtomicU32,
    outboxes: Mutex<Vec<Arc<Outbox>>>,
}

impl Flusher {
    /// Says which sockets there are.
    pub(crate) fn watch(&self, outboxes: Vec<Arc<Outbox>>) {
        *self
            .shared
            .outboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = outboxes;
    }

    /// A row of more than one request is about to be worked off.
    pub(crate) fn row_begins(&mut self) {
        self.progressed();
        let thread = match &self.thread {
            Some(thread) => thread,
            None => {
                let shared = Arc::clone(&self.shared);
                let builder = std::thread::Builder::new()
                    .name("flusher".into())
                    .stack_size(STACK);
                // Without a thread to be had, answers wait for the end of their row: slower, not wrong.
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

    /// An answer was given.
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
                // Errors are met again, and dealt with, by the worker itself.
                let _ = outbox.flush();
            }
            idle += 1;
            if idle > IDLE_TICKS {
                self.awake.store(false, Ordering::SeqCst);
                // A row that began in between found us awake and did not wake us.
                if self.progress.load(Ordering::SeqCst) != seen {
                    self.awake.store(true, Ordering::SeqCst);
                }
            }
        }
    }
}
