//! One of the gateway's threads: its own runtime, its own channels to all workers, its share of the
//! connections. Told what to do by [`crate::link`]; shares with the others only pools and permits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::head::Limits;
use hearth_protocol::link::{Health, Probe};
use hearth_sys::memory::give_back;
use hearth_sys::wait::hung_up;
use tokio::sync::{mpsc, oneshot, watch};

use crate::access::Log;
use crate::channel::{Channel, Lost};
use crate::client::{End, Traffic};
use crate::id::Ids;
use crate::listen::{Doors, Stop};
use crate::live::Live;
use crate::pool::{Lease, Worker};
use crate::probe;

/// How exactly timeouts are kept: a fiftieth of a second is nothing beside the seconds they are.
const TICK: Duration = Duration::from_millis(20);

/// Every so many ticks it is asked whether the clients of requests that last are still there.
const TICKS_OF_A_GLANCE: u32 = 5;

/// Between two looks at what clients send and take.
const LOOK: Duration = Duration::from_secs(1);

/// When so many clients have gone, what they took is worth being given back.
const MANY: usize = 50;

/// What a thread is told.
pub enum Command {
    /// A worker is ready; this is this thread's socket to it.
    AddWorker(Arc<Worker>, UnixStream, Limits),
    /// A worker gets nothing new; its channel goes once its streams have ended.
    DropWorker(u32),
    /// Ask a worker whether it is well, and say what came of it.
    Probe(Lease, Probe, mpsc::UnboundedSender<Health>),
    /// Serve this from now on, then say so.
    Serve(Arc<Live>, oneshot::Sender<()>),
    /// Close what is idle, finish the rest within this time.
    Stop(Duration),
}

/// A thread's state.
pub struct Thread {
    live: RefCell<Option<Arc<Live>>>,
    channels: RefCell<BTreeMap<u32, Rc<Channel>>>,
    /// Of workers that get nothing new, until their last stream has ended.
    retired: RefCell<Vec<Rc<Channel>>>,
    /// It is time to stop: a glance that costs less than asking the channel that says how.
    pub stopping: Cell<bool>,
    watching: Cell<bool>,
    clients: RefCell<Vec<Rc<Traffic>>>,
    looking: Cell<bool>,
    /// Request ids.
    pub ids: Ids,
    /// Where records go.
    pub log: Log,
    lost: mpsc::UnboundedSender<Lost>,
}

impl Thread {
    fn new(log: Log, lost: mpsc::UnboundedSender<Lost>) -> Thread {
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

    /// One that nobody runs.
    #[cfg(test)]
    pub(crate) fn idle() -> Thread {
        Thread::new(Log::default(), mpsc::unbounded_channel().0)
    }

    /// What is being served. Connections exist only once there is something.
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

    /// Sees to it that streams, and requests in the queue, whose time is over are found, and those
    /// whose client has gone. One task looks after all of them while there are any: a timer for each
    /// request would cost more than the rest of its routing.
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

    /// Keeps an eye on a client until its connection is gone.
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
                // One that nobody else holds has ended.
                clients.retain(|traffic| Rc::strong_count(traffic) > 1);
                // At the look after they went: by then all that was theirs has been let go of.
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

    fn add_worker(&self, worker: Arc<Worker>, socket: UnixStream, limits: Limits) {
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

/// Runs the thread until it has been stopped and its last connection has ended.
pub async fn run(
    mut commands: mpsc::UnboundedReceiver<Command>,
    doors: Doors,
    log: Log,
    lost: mpsc::UnboundedSender<Lost>,
) {
    let (stop, stopped) = watch::channel(Stop::No);
    let thread = Rc::new(Thread::new(log, lost));
    let mut doors = Some(doors);
    let mut accepting = tokio::task::JoinSet::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::AddWorker(worker, socket, limits) => thread.add_worker(worker, socket, limits),
            Command::DropWorker(id) => {
                let channel = thread.channels.borrow_mut().remove(&id);
                if let Some(channel) = channel {
                    thread.retired.borrow_mut().push(Rc::clone(&channel));
                    channel.retire();
                    thread.watch_time();
                }
            }
            Command::Probe(lease, probe, told) => {
                tokio::task::spawn_local(probe::ask(Rc::clone(&thread), lease, probe, told));
            }
            Command::Serve(live, done) => {
                *thread.live.borrow_mut() = Some(live);
                // The first snapshot opens the doors.
                if let Some(doors) = doors.take() {
                    doors.open(&mut accepting, &thread, &stopped);
                }
                let _ = done.send(());
            }
            Command::Stop(deadline) => {
                thread.stopping.set(true);
                let _ = stop.send(Stop::Within(deadline));
                break;
            }
        }
    }
    // Also where the supervisor is gone: then at once.
    if matches!(*stop.borrow(), Stop::No) {
        thread.stopping.set(true);
        let _ = stop.send(Stop::Within(Duration::ZERO));
    }
    while accepting.join_next().await.is_some() {}
}
