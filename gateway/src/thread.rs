//! The state of one of the gateway's threads: the current snapshot, its own channels to all workers, and its share of
//! the connections. Threads share only the snapshot with its pools, permits, counters and the log.
//! [`crate::event_loop`] changes the state.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::head::Limits;
use hearth_sys::memory::give_back;
use hearth_sys::wait::hung_up;
use tokio::sync::mpsc;

use crate::access::Log;
use crate::channel::{Channel, Lost};
use crate::client::Traffic;
use crate::id::Ids;
use crate::live::Live;
use crate::pool::Worker;
use crate::time_limits::End;

/// Interval at which deadlines are checked. Timeouts are seconds long, so 20 ms is exact enough.
const TICK: Duration = Duration::from_millis(20);

/// Number of ticks between two checks whether the clients of long requests are still connected.
const TICKS_OF_A_GLANCE: u32 = 5;

/// Interval at which the traffic of clients is checked.
const LOOK: Duration = Duration::from_secs(1);

/// Number of closed connections after which freed memory is returned to the system.
const MANY: usize = 50;

/// A thread's state.
pub struct Thread {
    live: RefCell<Option<Arc<Live>>>,
    channels: RefCell<BTreeMap<u32, Rc<Channel>>>,
    /// Channels of workers that get no new requests, until their last stream has ended.
    retired: RefCell<Vec<Rc<Channel>>>,
    /// The thread is stopping. Reading this flag costs less than polling the `watch` channel.
    pub stopping: Cell<bool>,
    watching: Cell<bool>,
    clients: RefCell<Vec<Rc<Traffic>>>,
    looking: Cell<bool>,
    /// Generates request ids.
    pub ids: Ids,
    /// Receives log records.
    pub log: Log,
    lost: mpsc::UnboundedSender<Lost>,
}

impl Thread {
    /// The state of a thread that has no snapshot yet.
    pub(crate) fn new(log: Log, lost: mpsc::UnboundedSender<Lost>) -> Thread {
        Thread {
            live: RefCell::default(),
            channels: RefCell::default(),
            retired: RefCell::default(),
            stopping: Cell::new(false),
            watching: Cell::new(false),
            clients: RefCell::default(),
            looking: Cell::new(false),
            ids: Ids::new(),
            log,
            lost,
        }
    }

    /// Creates a thread state that no runtime uses.
    #[cfg(test)]
    pub(crate) fn idle() -> Thread {
        Thread::new(Log::default(), mpsc::unbounded_channel().0)
    }

    /// The current snapshot. Connections are accepted only after the first one has arrived.
    pub fn live(&self) -> Arc<Live> {
        let live = self.live.borrow();
        Arc::clone(
            live.as_ref()
                .expect("connections are accepted after the first snapshot"),
        )
    }

    /// This thread's channel to a worker.
    pub fn channel(&self, worker: u32) -> Option<Rc<Channel>> {
        self.channels.borrow().get(&worker).cloned()
    }

    /// Makes sure that the thread checks for streams and queued requests whose time is over, and for clients that have
    /// closed their connection. One task checks all of them while there are any. A timer for each request would cost
    /// more than the rest of its routing.
    pub fn watch_time(self: &Rc<Self>) {
        if self.watching.replace(true) {
            return;
        }
        let thread = Rc::clone(self);
        tokio::task::spawn_local(async move {
            for tick in 1u32.. {
                tokio::time::sleep(TICK).await;
                let now = Instant::now();
                if tick.is_multiple_of(TICKS_OF_A_GLANCE) {
                    thread.end_those_who_went();
                }
                thread.retired.borrow_mut().retain(|one| one.is_open());
                let (channels, retired) = (thread.channels.borrow(), thread.retired.borrow());
                let busy = channels
                    .values()
                    .chain(retired.iter())
                    .filter(|channel| channel.expire(now))
                    .count();
                let functions = &thread.live().functions;
                let waiting: usize = functions.iter().map(|one| one.pool.expire(now)).sum();
                if busy + waiting == 0 {
                    thread.watching.set(false);
                    return;
                }
            }
        });
    }

    fn end_those_who_went(&self) {
        let clients = self.clients.borrow();
        let (waiting, sockets): (Vec<_>, Vec<_>) = clients
            .iter()
            .filter_map(|traffic| Some((traffic, traffic.waiting_socket()?)))
            .unzip();
        if sockets.is_empty() {
            return;
        }
        let gone = hung_up(&sockets).unwrap_or_default();
        for (traffic, _) in waiting.iter().zip(gone).filter(|(_, gone)| *gone) {
            traffic.end(End::Gone);
        }
    }

    /// Checks a client's traffic until its connection ends.
    pub fn watch(self: &Rc<Self>, traffic: &Rc<Traffic>) {
        self.clients.borrow_mut().push(Rc::clone(traffic));
        if self.looking.replace(true) {
            return;
        }
        let thread = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let (mut most, mut many_went) = (0, false);
            loop {
                tokio::time::sleep(LOOK).await;
                let now = Instant::now();
                let mut clients = thread.clients.borrow_mut();
                most = most.max(clients.len());
                // If only this list holds the counters, the connection has ended.
                clients.retain(|traffic| Rc::strong_count(traffic) > 1);
                // One interval later, everything that belonged to the closed connections has been freed.
                if std::mem::take(&mut many_went) {
                    give_back();
                }
                if clients.len() + MANY <= most {
                    most = clients.len();
                    many_went = true;
                }
                if clients.is_empty() && !many_went {
                    *clients = Vec::new();
                    thread.looking.set(false);
                    return;
                }
                let live = thread.live();
                for traffic in clients.iter() {
                    if let Some(end) = traffic.judge(now, &live.limits) {
                        traffic.end(end);
                    }
                }
            }
        });
    }

    /// Serves this snapshot from now on.
    pub(crate) fn set_live(&self, live: Arc<Live>) {
        *self.live.borrow_mut() = Some(live);
    }

    /// Closes this thread's channel to a worker as soon as its streams have ended.
    pub(crate) fn retire_worker(self: &Rc<Self>, worker: u32) {
        let channel = self.channels.borrow_mut().remove(&worker);
        if let Some(channel) = channel {
            self.retired.borrow_mut().push(Rc::clone(&channel));
            channel.retire();
            self.watch_time();
        }
    }

    /// Starts a channel to a worker on its data socket.
    pub(crate) fn add_worker(&self, worker: Arc<Worker>, socket: UnixStream, limits: Limits) {
        let id = worker.id;
        match Channel::start(worker, socket, limits, self.lost.clone()) {
            Ok(channel) => {
                self.channels.borrow_mut().insert(id, channel);
            }
            Err(error) => self
                .log
                .line("error", format!("worker {id}: data socket: {error}")),
        }
    }
}
