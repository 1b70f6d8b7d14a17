//! The gateway's side of the socket to its supervisor: receives what to serve, and sends log records, statistics and
//! load.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_manifest::Manifest;
use hearth_protocol::frame::FrameError;
use hearth_protocol::head::{HeadError, Limits};
use hearth_protocol::link::{
    CODEC, CertifiedKey, Health, Link, Probe, Snapshot, Unavailable, Verdict, WorkerAdd, encode,
};
use hearth_protocol::stats::{FunctionStats, Stats, WorkerStats};
use hearth_protocol::{CONTROL_ROOM, Codec, FrameBuffer, MAX_CONTROL_LEN};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::access::Log;
use crate::channel::Lost;
use crate::event_loop::Command;
use crate::live::Live;
use crate::pool::{Pool, Worker};
use crate::pressure::Lookout;
use crate::tally::{Classes, Open};
use crate::tls::{Certificates, TlsError};

/// Interval of STATS messages.
const STATS: Duration = Duration::from_secs(1);

/// Maximum number of functions, and of workers, in one STATS message. It keeps the message below a few hundred KiB.
const STATS_BATCH: usize = 200;

/// Maximum number of log records in one frame.
const LOG_BATCH: usize = 500;

/// Maximum size in bytes of the list of certificates: some hundred chains of a few KiB each.
const MAX_CERTIFICATES: u64 = 16 * 1024 * 1024;

/// Why the gateway cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("the socket to the supervisor failed")]
    Io(#[from] io::Error),
    /// A frame was invalid.
    #[error("bad frame from the supervisor")]
    Frame(#[from] FrameError),
    /// The content of a frame was invalid.
    #[error("bad message from the supervisor")]
    Head(#[from] HeadError),
    /// A frame arrived without its descriptors.
    #[error("{0} without the descriptors that belong to it")]
    Descriptors(&'static str),
    /// The certificates were invalid.
    #[error("bad certificates from the supervisor")]
    Tls(#[from] TlsError),
}

/// The gateway's end of the link, and the state that the supervisor's messages change.
pub struct LinkEnd {
    socket: UnixStream,
    threads: Vec<mpsc::UnboundedSender<Command>>,
    certificates: Arc<Certificates>,
    permits: Arc<Semaphore>,
    open: Open,
    permitted: usize,
    pools: HashMap<String, Arc<Pool>>,
    workers: HashMap<u32, Arc<Worker>>,
    /// Workers that have been withdrawn but still have requests.
    leaving: Vec<Arc<Worker>>,
    unrouted: Arc<Classes>,
    told: Told,
    lookout: Lookout,
    /// Results of probes.
    verdicts: (
        mpsc::UnboundedSender<Health>,
        mpsc::UnboundedReceiver<Health>,
    ),
    descriptors: VecDeque<OwnedFd>,
    out: Vec<u8>,
}

/// The current values in the last STATS messages, where they were not 0.
#[derive(Default)]
struct Told {
    connections: u32,
    waiting: HashMap<String, u32>,
    in_flight: HashMap<u32, u32>,
}

impl LinkEnd {
    /// Takes over the connected socket.
    pub fn new(
        socket: StdUnixStream,
        threads: Vec<mpsc::UnboundedSender<Command>>,
        certificates: Arc<Certificates>,
        (permits, open): (Arc<Semaphore>, Open),
    ) -> io::Result<LinkEnd> {
        socket.set_nonblocking(true)?;
        Ok(LinkEnd {
            socket: UnixStream::from_std(socket)?,
            threads,
            certificates,
            permits,
            open,
            permitted: 0,
            pools: HashMap::new(),
            workers: HashMap::new(),
            leaving: Vec::new(),
            unrouted: Arc::default(),
            told: Told::default(),
            lookout: Lookout::default(),
            verdicts: mpsc::unbounded_channel(),
            descriptors: VecDeque::new(),
            out: Vec::new(),
        })
    }

    /// Handles the supervisor's messages until it sends STOP or closes the socket.
    pub async fn run(
        mut self,
        log: Log,
        mut lost: mpsc::UnboundedReceiver<Lost>,
    ) -> Result<(), LinkError> {
        let mut buffer = FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
        let mut stats = tokio::time::interval(STATS);
        stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stats.tick() => self.tell_stats()?,
                read = receive(&self.socket, &mut buffer, &mut self.descriptors) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(frame) = buffer.next_frame()? {
                        let message = Link::parse(&frame)?;
                        if !self.obey(message).await? {
                            return Ok(());
                        }
                    }
                }
                Some(Lost { worker, why }) = lost.recv() => {
                    // The supervisor has already withdrawn any other worker.
                    if self.workers.contains_key(&worker) {
                        Link::WorkerLost { worker, why: &why }.encode(&mut self.out);
                    }
                }
                Some(health) = self.verdicts.1.recv() => {
                    let health = encode(&health)?;
                    Link::Health { health: &health }.encode(&mut self.out);
                }
                () = self.lookout.due() => {
                    for pressure in self.lookout.look(&self.pools, Instant::now()) {
                        let pressure = encode(&pressure)?;
                        Link::Pressure { pressure: &pressure }.encode(&mut self.out);
                    }
                }
                records = log.take(LOG_BATCH) => {
                    let records = encode(&records)?;
                    Link::Log { records: &records }.encode(&mut self.out);
                }
            }
            self.flush().await?;
        }
    }

    /// Handles one message. Returns `false` if the gateway must stop.
    async fn obey(&mut self, message: Link<'_>) -> Result<bool, LinkError> {
        match message {
            Link::Certificates => {
                let fd = self
                    .descriptors
                    .pop_front()
                    .ok_or(LinkError::Descriptors("CERTIFICATES"))?;
                let bytes = hearth_sys::memfile::read(fd, MAX_CERTIFICATES)?;
                let list: Vec<CertifiedKey> = CODEC.decode(&bytes)?;
                self.certificates.set(&list)?;
            }
            Link::WorkerAdd { worker } => self.add_worker(CODEC.decode(worker)?)?,
            Link::WorkerDrop { worker, why } => {
                if let Some(worker) = self.workers.remove(&worker) {
                    worker.leave();
                    if !why.is_empty() {
                        worker.ended(why);
                    }
                    self.leaving.push(worker);
                }
                self.tell(|| Command::DropWorker(worker));
            }
            Link::Snapshot { snapshot } => self.serve(CODEC.decode(snapshot)?).await,
            Link::Stop { deadline_ms } => {
                let deadline = Duration::from_millis(deadline_ms.into());
                self.tell(|| Command::Stop(deadline));
                return Ok(false);
            }
            Link::Silent { worker } => {
                // A busy worker is judged by the deadlines of its requests.
                let idle = |pool: &Arc<Pool>| pool.is_idle(worker);
                if self.pools.values().any(idle) {
                    let why = "has nothing to do and does not answer";
                    Link::WorkerLost { worker, why }.encode(&mut self.out);
                }
            }
            Link::Unavailable { function } => {
                let Unavailable { function, why } = CODEC.decode(function)?;
                if let Some(pool) = self.pools.get(&function) {
                    pool.refuse(why);
                }
            }
            Link::Probe { probe } => self.probe(CODEC.decode(probe)?),
            Link::Ack { .. }
            | Link::Health { .. }
            | Link::Log { .. }
            | Link::Stats { .. }
            | Link::WorkerLost { .. }
            | Link::Pressure { .. } => {}
        }
        Ok(true)
    }

    fn add_worker(&mut self, add: WorkerAdd) -> Result<(), LinkError> {
        if self.descriptors.len() < self.threads.len() {
            return Err(LinkError::Descriptors("WORKER_ADD"));
        }
        let codec = Codec::from_number(add.codec).unwrap_or(Codec::MessagePack);
        let worker = Arc::new(Worker::new(add.worker, codec, add.concurrency));
        for (thread, fd) in self
            .threads
            .iter()
            .zip(self.descriptors.drain(..self.threads.len()))
        {
            let socket = StdUnixStream::from(fd);
            let _ = thread.send(Command::AddWorker(
                Arc::clone(&worker),
                socket,
                Limits::default(),
            ));
        }
        self.workers.insert(worker.id, worker);
        Ok(())
    }

    /// Sends a probe to a worker, or reports at once that the previous probe has no response yet.
    fn probe(&self, probe: Probe) {
        let Some(worker) = self.workers.get(&probe.worker) else {
            return;
        };
        let pool = self.pools.values().find(|pool| pool.has(worker.id));
        // A worker that serves no requests yet is in no pool.
        let pool = pool.cloned().unwrap_or_else(|| Arc::new(Pool::new(0)));
        let told = self.verdicts.0.clone();
        match pool.lease_for_probe(worker) {
            // Any thread can send the probe. The link runs on this one.
            Some(lease) => _ = self.threads[0].send(Command::Probe(lease, probe, told)),
            None => {
                let verdict = match pool.is_busy(worker, Duration::ZERO) {
                    true => Verdict::Busy,
                    false => Verdict::Sick(format!("GET {}: still no answer", probe.path)),
                };
                let worker = probe.worker;
                let _ = told.send(Health { worker, verdict });
            }
        }
    }

    /// Installs the snapshot on every thread, then gives its workers to the pools, then sends ACK.
    async fn serve(&mut self, snapshot: Snapshot<Manifest>) {
        let live = Arc::new(Live::new(
            snapshot.generation,
            &snapshot.manifest,
            &mut self.pools,
            Arc::clone(&self.unrouted),
        ));
        self.permit(live.limits.connections as usize);
        let mut done = Vec::new();
        for thread in &self.threads {
            let (sender, receiver) = oneshot::channel();
            let _ = thread.send(Command::Serve(Arc::clone(&live), sender));
            done.push(receiver);
        }
        for thread in done {
            let _ = thread.await;
        }
        for (name, pool) in &self.pools {
            let ids = snapshot.workers.get(name).into_iter().flatten();
            let workers = ids.filter_map(|id| self.workers.get(id).cloned()).collect();
            pool.set(workers, live.limits.queue as usize);
            let function = snapshot.manifest.functions.get(name);
            let scales = function.is_some_and(|one| one.scale.min < one.scale.max);
            pool.scale(scales.then(|| self.lookout.bell()));
        }
        Link::Ack {
            generation: snapshot.generation,
        }
        .encode(&mut self.out);
    }

    /// Sets how many connections may be open. A lower number removes only the permits that are free now: open
    /// connections stay, and the permits that they return are removed when the next snapshot arrives.
    fn permit(&mut self, connections: usize) {
        let connections = connections.min(Semaphore::MAX_PERMITS);
        if connections > self.permitted {
            self.permits.add_permits(connections - self.permitted);
            self.permitted = connections;
        } else {
            self.permitted -= self.permits.forget_permits(self.permitted - connections);
        }
    }

    /// Sends what was counted since the last STATS, if anything was counted or a current value has changed.
    fn tell_stats(&mut self) -> Result<(), HeadError> {
        let connections = self.open.count();
        let unrouted = FunctionStats {
            answers: self.unrouted.take(),
            ..FunctionStats::default()
        };
        // With many functions and workers, most of them have nothing to report.
        let before = &mut self.told.waiting;
        let of_pools = self.pools.iter().filter_map(|(name, pool)| {
            let waiting = u32::try_from(pool.waiting()).unwrap_or(u32::MAX);
            let answers = pool.answers.take();
            let same = before.get(name).copied().unwrap_or(0) == waiting;
            if same && answers.is_empty() {
                return None;
            }
            before.insert(name.clone(), waiting);
            Some(FunctionStats {
                name: name.clone(),
                waiting,
                answers,
            })
        });
        let mut functions: Vec<FunctionStats> = of_pools.collect();
        functions.extend((!unrouted.answers.is_empty()).then_some(unrouted));
        before.retain(|_, waiting| *waiting > 0);
        let before = &mut self.told.in_flight;
        let of_workers = self.workers.values().chain(&self.leaving);
        let mut workers: Vec<WorkerStats> = of_workers
            .filter_map(|worker| {
                let in_flight = worker.in_flight();
                let answers = worker.answers.take();
                let same = before.get(&worker.id).copied().unwrap_or(0) == in_flight;
                if same && answers.is_none() {
                    return None;
                }
                before.insert(worker.id, in_flight);
                Some(WorkerStats {
                    worker: worker.id,
                    in_flight,
                    answers: answers.unwrap_or_default(),
                })
            })
            .collect();
        before.retain(|_, in_flight| *in_flight > 0);
        self.leaving.retain(|worker| worker.in_flight() > 0);
        let mut news = self.told.connections != connections;
        self.told.connections = connections;
        while news || !functions.is_empty() || !workers.is_empty() {
            news = false;
            let stats = encode(&Stats {
                connections,
                functions: functions
                    .drain(..functions.len().min(STATS_BATCH))
                    .collect(),
                workers: workers.drain(..workers.len().min(STATS_BATCH)).collect(),
            })?;
            Link::Stats { stats: &stats }.encode(&mut self.out);
        }
        Ok(())
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for thread in &self.threads {
            let _ = thread.send(command());
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            self.socket.writable().await?;
            match self.socket.try_write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        Ok(())
    }
}

async fn receive(
    socket: &UnixStream,
    buffer: &mut FrameBuffer,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut fresh = Vec::new();
    let count = socket
        .async_io(Interest::READABLE, || {
            hearth_sys::passing::receive(socket.as_fd(), buffer.room(), &mut fresh)
        })
        .await?;
    buffer.filled(count);
    descriptors.extend(fresh);
    Ok(count)
}
