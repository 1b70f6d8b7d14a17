//! Queues to threads that may be slower than we are: what does not fit is passed over and counted,
//! and nobody waits to put something in. Room is taken as things come, not before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Where things go in.
#[derive(Debug)]
pub struct Entrance<T> {
    sender: Sender<T>,
    most: usize,
    counts: Arc<Counts>,
}

/// Where they come out, in their order.
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

/// A queue in which at most so many things wait.
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
    /// Puts it in, if there is room and somebody at the other end.
    pub fn offer(&self, thing: T) {
        let waiting = self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.most || self.sender.send(thing).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.passed_over.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T> Exit<T> {
    /// The next thing, waited for; `None` once the entrance is gone and all has come out.
    pub fn next(&self) -> Option<T> {
        self.took(self.receiver.recv().ok())
    }

    /// The next thing, if it is there.
    pub fn next_at_once(&self) -> Option<T> {
        self.took(self.receiver.try_recv().ok())
    }

    /// How many were passed over since the last time.
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
