//! One worker: its process and its control socket.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use hearth_manifest::{Filled, Function};
use hearth_protocol::control::Control;
use hearth_protocol::frame::Frame;
use hearth_protocol::head::{Config, Limits, LogRecord};
use hearth_protocol::{Codec, VERSION};
use tokio::sync::mpsc::UnboundedSender;

use crate::authorities;
use crate::cell::{self, Host, Mechanism};
use crate::cgroup::Events;
use crate::event::Event;
use crate::journal::Journal;
use crate::machine::Machine;
use crate::names::Names;
use crate::process::{Process, Start, Who};
use crate::run::News;
use crate::wire::{Wire, WireError};

/// How long a worker that has closed a socket may take to end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Reports a worker as failed, unless it ends soon. A worker that closes a socket is usually about to end.
pub fn failed_unless_it_ends(id: u32, why: String, news: &UnboundedSender<News>) {
    let news = news.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(LAST_MOMENTS).await;
        let _ = news.send(News::Plan(Event::WorkerFailed(id, why)));
    });
}

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The function, as the manifest had it when the worker was started.
    pub function: Function,
    /// The version number of the function.
    pub version: u32,
    /// The stored copy of the program.
    pub program: PathBuf,
    /// Its environment, resources and secrets.
    pub filled: Filled,
    /// The generation that the worker belongs to.
    pub generation: u64,
    /// Maximum size of a request body in bytes.
    pub body_bytes: u64,
}

/// Whether a worker answers PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulse {
    /// It has not sent READY yet. Its start timeout applies.
    Starting,
    /// It has sent READY, or has answered the last PING.
    Good,
    /// It has not answered the last PING yet.
    Asked,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// Its process.
    pub process: Process,
    /// Its function's name.
    pub function: String,
    /// What it was started with. CONFIG contains it, encoded in the codec that the worker chose.
    pub orders: Orders,
    /// The codec that it chose in HELLO.
    pub codec: Rc<Cell<Option<Codec>>>,
    /// Whether its control socket has closed.
    pub silent: bool,
    /// Whether it answers PING.
    pulse: Rc<Cell<Pulse>>,
    /// How often it had reached its limits at the last check.
    met: Cell<Events>,
    wire: Wire,
}

impl Worker {
    /// Starts a worker. Its messages on the control socket become events for the runner.
    pub fn start(
        id: u32,
        name: &str,
        orders: Orders,
        base: &Path,
        machine: &mut Machine,
        journal: &Journal,
        news: &UnboundedSender<News>,
    ) -> io::Result<Worker> {
        let (ours, theirs) = UnixStream::pair()?;
        let who = Who {
            source: "worker",
            worker: Some((name.to_owned(), id)),
        };
        // Made absolute, because the sandbox has another working directory.
        let base = std::path::absolute(base)?;
        let program = std::path::absolute(&orders.program)?;
        let kind = cell::Program::of(&program)?;
        let user = machine.user(name, !orders.function.sandbox.write.is_empty())?;
        make_writable(&orders.function, &base, &machine.host, user)?;
        let (cgroup, known) = match &machine.cgroups {
            Ok(groups) => {
                let (group, held) =
                    groups.worker(&format!("{name}.{id}"), &orders.function.limits)?;
                (Some(group), held)
            }
            Err(why) => {
                let missing = ["memory", "pids", "cpu"].map(|name| Mechanism::missing(name, why));
                (None, missing.into())
            }
        };
        let plan = cell::for_worker(
            (name, &orders.function, &orders.filled),
            (program, &kind),
            &base,
            user,
            &machine.host,
            machine.strict,
            known,
        );
        let start = Start {
            plan,
            env: vec![],
            descriptors: vec![OwnedFd::from(theirs)],
            cgroup,
        };
        let process = Process::start(start, machine, &who, journal)?;
        let codec = Rc::new(Cell::new(None));
        let pulse = Rc::new(Cell::new(Pulse::Starting));
        let mut conversation = Conversation {
            id,
            who,
            codec: Rc::clone(&codec),
            pulse: Rc::clone(&pulse),
            names: Names::of(&orders.filled),
            journal: journal.clone(),
            news: news.clone(),
        };
        let ended = news.clone();
        let wire = Wire::start(
            ours,
            move |frame, descriptors| conversation.hear(frame, descriptors),
            move |why| {
                let _ = ended.send(News::WireEnded(id));
                match why {
                    Some(why @ (WireError::Frame(_) | WireError::OutOfTurn(_))) => {
                        let text = format!("broke the protocol: {why}");
                        let _ = ended.send(News::Plan(Event::WorkerFailed(id, text)));
                    }
                    None | Some(WireError::Io(_)) => {
                        let text = "closed its control socket and lives on".to_owned();
                        failed_unless_it_ends(id, text, &ended);
                    }
                }
            },
        )?;
        Ok(Worker {
            process,
            function: name.to_owned(),
            orders,
            codec,
            silent: false,
            pulse,
            met: Cell::default(),
            wire,
        })
    }

    /// Answers HELLO with CONFIG.
    pub fn configure(&self, id: u32) {
        let Some(codec) = self.codec.get() else {
            return;
        };
        let Orders {
            function,
            program: _,
            filled,
            generation,
            body_bytes,
            version: _,
        } = &self.orders;
        let config = Config {
            version: VERSION,
            function: self.function.clone(),
            worker: id.into(),
            generation: *generation,
            concurrency: function.concurrency,
            resources: filled.resources.clone(),
            env: filled.env.clone(),
            secrets: filled.secrets.clone(),
            ca_certificates: match filled.is_encrypted() {
                true => authorities::trusted(),
                false => Vec::new(),
            },
            limits: Limits {
                body_bytes: *body_bytes,
                ..Limits::default()
            },
        };
        let mut encoded = Vec::new();
        if codec.encode(&config, &mut encoded).is_ok() {
            self.tell(Control::Config { config: &encoded }, vec![]);
        }
    }

    /// Creates a data socket for each gateway thread. Sends one end of each to the worker, and returns the other ends.
    pub fn attach(&self, threads: u32) -> io::Result<Vec<OwnedFd>> {
        (0..threads)
            .map(|thread| {
                let (gateway, worker) = UnixStream::pair()?;
                self.tell(Control::Attach { thread }, vec![worker.into()]);
                Ok(gateway.into())
            })
            .collect()
    }

    /// Messages about limits that it has reached since the last check.
    pub fn met(&self) -> Vec<String> {
        let Some(events) = self.process.events() else {
            return Vec::new();
        };
        let before = self.met.replace(events);
        events.news(&before)
    }

    /// How often it had reached its limits at the last check.
    pub fn limited(&self) -> Events {
        self.met.get()
    }

    /// Sends PING, if the worker is ready and has answered the last one. Returns `false` if it has not answered the
    /// last one, which may also mean that a handler is running.
    pub fn ping(&self) -> bool {
        let last = self.pulse.get();
        if last == Pulse::Good {
            self.pulse.set(Pulse::Asked);
            self.tell(Control::Ping { nonce: 0 }, vec![]);
        }
        last != Pulse::Asked
    }

    /// Requests the worker to end after the gateway has closed its data sockets.
    pub fn drain(&self, deadline: Duration) {
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        self.tell(Control::Drain { deadline_ms }, vec![]);
    }

    /// Requests the worker to end.
    pub fn stop(&self, deadline: Duration) {
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        self.tell(Control::Stop { deadline_ms }, vec![]);
    }

    fn tell(&self, message: Control<'_>, descriptors: Vec<OwnedFd>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.wire.send(bytes, descriptors);
    }
}

/// Creates the missing directories that the function may write, and makes the function's user their owner.
fn make_writable(function: &Function, base: &Path, host: &Host, user: u32) -> io::Result<()> {
    for path in &function.sandbox.write {
        let path = base.join(path);
        if path.exists() {
            continue;
        }
        std::fs::create_dir_all(&path)?;
        if host.user.0 == 0 {
            std::os::unix::fs::chown(&path, Some(user), Some(user))?;
        }
    }
    Ok(())
}

/// Handles the frames that a worker sends on its control socket.
struct Conversation {
    id: u32,
    who: Who,
    codec: Rc<Cell<Option<Codec>>>,
    pulse: Rc<Cell<Pulse>>,
    names: Names,
    journal: Journal,
    news: UnboundedSender<News>,
}

impl Conversation {
    fn hear(
        &mut self,
        frame: &Frame<'_>,
        descriptors: &mut VecDeque<OwnedFd>,
    ) -> Result<(), WireError> {
        let out_of_turn = |what: &str| Err(WireError::OutOfTurn(what.to_owned()));
        let message = Control::parse(frame)?;
        let Some(codec) = self.codec.get() else {
            return match message {
                Control::Hello {
                    lowest, highest, ..
                } if !(lowest..=highest).contains(&VERSION) => Err(WireError::OutOfTurn(format!(
                    "it speaks versions {lowest} to {highest} of the wire, the platform {VERSION}"
                ))),
                Control::Hello { codec, .. } => {
                    self.codec.set(Some(codec));
                    self.tell(News::Hello(self.id));
                    Ok(())
                }
                _ => out_of_turn("its first frame was not HELLO"),
            };
        };
        match message {
            Control::Ready if self.pulse.get() != Pulse::Starting => {
                return out_of_turn("READY twice");
            }
            Control::Ready => {
                self.pulse.set(Pulse::Good);
                self.tell(News::Plan(Event::WorkerReady(self.id)));
            }
            Control::StartFailed { message } => {
                let text = format!("could not start: {message}");
                self.tell(News::Plan(Event::WorkerGaveUp(self.id, text)));
            }
            Control::Log { record } => match codec.decode::<LogRecord<'_>>(record) {
                Ok(log) => {
                    let mut record = self.who.record(&log.level, log.message.to_string());
                    record.request = log.request.map(|id| id.to_string());
                    record.fields = log.fields;
                    self.journal.add(&record);
                }
                Err(error) => return Err(WireError::OutOfTurn(format!("LOG: {error}"))),
            },
            Control::Resolve { host } => match descriptors.pop_front() {
                Some(socket) => self.names.answer(host, socket),
                None => return out_of_turn("RESOLVE without a descriptor"),
            },
            Control::Pong { .. } if self.pulse.get() == Pulse::Asked => {
                self.pulse.set(Pulse::Good);
            }
            Control::Pong { .. } | Control::Ping { .. } | Control::Unknown { .. } => {}
            Control::Hello { .. } => return out_of_turn("HELLO twice"),
            Control::Config { .. }
            | Control::Attach { .. }
            | Control::Drain { .. }
            | Control::Stop { .. }
            | Control::Resolved { .. } => return out_of_turn("supervisors send this"),
        }
        Ok(())
    }

    fn tell(&self, news: News) {
        // The runner, which receives them, outlives all workers.
        let _ = self.news.send(news);
    }
}
