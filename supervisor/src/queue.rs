//! Bounded queues to threads that may be slower than their sender. A full queue drops new items and counts them, so
//! that the sender never waits. Memory is allocated as items arrive, not in advance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// The sending end.
#[derive(Debug)]
pub struct Entrance<T> {
    sender: Sender<T>,
    most: usize,
    counts: Arc<Counts>,
}

/// The receiving end. Items arrive in the order in which they were sent.
#[derive(Debug)]
pub struct Exit<T> {
    receiver: Receiver<T>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    passed_over: AtomicU64,
}

/// Creates a queue in which at most `most` items wait.
pub fn queue<T>(most: usize) -> (Entrance<T>, Exit<T>) {
    let (sender, receiver) = channel();
    let counts = Arc::<Counts>::default();
    let exit = Exit {
        receiver,
        counts: Arc::clone(&counts),
    };
    let entrance = Entrance {
        sender,
        most,
        counts,
    };
    (entrance, exit)
}

impl<T> Entrance<T> {
    /// Adds an item. If the queue is full or the receiving end is gone, the item is dropped and counted.
    pub fn offer(&self, thing: T) {
        let waiting = self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.most || self.sender.send(thing).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.passed_over.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T> Exit<T> {
    /// Waits for the next item. Returns `None` once the sending end is gone and the queue is empty.
    pub fn next(&self) -> Option<T> {
        self.took(self.receiver.recv().ok())
    }

    /// The next item, if one is waiting.
    pub fn next_at_once(&self) -> Option<T> {
        self.took(self.receiver.try_recv().ok())
    }

    /// How many items have been dropped since the last call.
    pub fn passed_over(&self) -> u64 {
        self.counts.passed_over.swap(0, Ordering::Relaxed)
    }

    fn took(&self, thing: Option<T>) -> Option<T> {
        if thing.is_some() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_what_does_comes_out_in_order() {
        let (entrance, exit) = queue(2);
        (1..=5).for_each(|number| entrance.offer(number));
        assert_eq!((exit.passed_over(), exit.passed_over()), (3, 0));
        assert_eq!((exit.next(), exit.next_at_once()), (Some(1), Some(2)));
        assert_eq!(exit.next_at_once(), None);
        entrance.offer(6);
        drop(entrance);
        assert_eq!((exit.next(), exit.next()), (Some(6), None));
        let (entrance, exit) = queue(2);
        drop(exit);
        entrance.offer(1);
    }
}
