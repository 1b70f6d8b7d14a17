//! The loop of one of the gateway's threads, which has a runtime of its own: it processes the commands that
//! [`crate::link`] sends.

use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hearth_protocol::head::Limits;
use hearth_protocol::link::{Health, Probe};
use tokio::sync::{mpsc, oneshot, watch};

use crate::access::Log;
use crate::channel::Lost;
use crate::listen::{Doors, Stop};
use crate::live::Live;
use crate::pool::{Lease, Worker};
use crate::probe;
use crate::thread::Thread;

/// A command to a thread.
pub enum Command {
    /// A worker is ready. The socket is this thread's data socket to it.
    AddWorker(Arc<Worker>, UnixStream, Limits),
    /// A worker gets no new requests. Its channel closes when its streams have ended.
    DropWorker(u32),
    /// Send a probe to a worker and report the result.
    Probe(Lease, Probe, mpsc::UnboundedSender<Health>),
    /// Serve this snapshot from now on, then confirm.
    Serve(Arc<Live>, oneshot::Sender<()>),
    /// Close idle connections, and finish the others within this time.
    Stop(Duration),
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
            Command::DropWorker(id) => thread.retire_worker(id),
            Command::Probe(lease, probe, told) => {
                tokio::task::spawn_local(probe::ask(Rc::clone(&thread), lease, probe, told));
            }
            Command::Serve(live, done) => {
                thread.set_live(live);
                // The thread starts to accept connections when the first snapshot arrives.
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
    // Without a command to stop, the link has closed. The connections then end at once.
    if matches!(*stop.borrow(), Stop::No) {
        thread.stopping.set(true);
        let _ = stop.send(Stop::Within(Duration::ZERO));
    }
    while accepting.join_next().await.is_some() {}
}
