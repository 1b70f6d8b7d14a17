//! The runner. It receives messages, signals and timers, passes events to [`crate::plan`], and carries out the actions
//! that the plan returns.

mod beat;
mod kept;
mod log;
mod pace;
mod reload;
mod stand;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hearth_protocol::link::WorkerAdd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::accept::{Accepted, Options, RunError, accept, read, wanted};
use crate::action::{About, Action, Level};
use crate::api::{Answer, Request};
use crate::control::door::Doorman;
use crate::control::{self, Asked};
use crate::descriptors::{self, explained};
use crate::event::Event;
use crate::figures::Figures;
use crate::gateway::Gateway;
use crate::journal::{Journal, Record};
use crate::listen::{Listener, bind};
use crate::load::base;
use crate::machine::Machine;
use crate::notify::Notify;
use crate::plan::Platform;
use crate::receiver::Receiver;
use crate::state::Held;
use crate::status;
use crate::watch::{LOOK, Watch};
use crate::worker::{Orders, Worker};
use beat::Beat;
use kept::Kept;
use log::{keep_log, listed, open_journal};
use pace::Pace;
use reload::Reload;

/// Interval at which the log names the functions that the start waits for.
const WAITING_SAID: Duration = Duration::from_secs(2);

/// How long messages of a worker that has ended are read, if another process keeps its control socket open.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Interval between PINGs to the workers.
const PING: Duration = Duration::from_secs(5);

/// A message to the runner.
#[derive(Debug)]
pub enum News {
    /// An event for the plan.
    Plan(Event),
    /// A worker has sent HELLO and waits for its CONFIG.
    Hello(u32),
    /// The control socket of a worker has closed, and all its messages have been read.
    WireEnded(u32),
    /// A worker has ended, and its control socket is not read any longer although another process may keep it open.
    HeardEnough(u32),
    /// The result of a check whether the platform's own listener responds. The error says why it does not.
    Asked(Result<(), String>),
}

/// Runs the platform until it is stopped.
pub fn run(options: Options) -> Result<(), RunError> {
    let set_up = |what| move |source| RunError::SetUp { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(set_up("the runtime"))?;
    let (journal, threads) = open_journal(&options)?;
    // Everything runs on this one thread, which also starts every child: the kernel ends the children with this thread.
    let local = tokio::task::LocalSet::new();
    let result = local.block_on(&runtime, async {
        let mut runner = Runner::prepare(options, journal)?;
        runner.run().await;
        Ok(())
    });
    drop((local, runtime));
    threads.join();
    result
}

struct Runner {
    options: Options,
    accepted: Accepted,
    machine: Machine,
    listeners: Vec<Listener>,
    generation: u64,
    platform: Platform,
    gateway: Option<Gateway>,
    workers: HashMap<u32, Worker>,
    /// Workers whose process has ended, with a description of how. Their last messages may not have been read yet.
    ended_workers: HashMap<u32, String>,
    journal: Journal,
    figures: Figures,
    doorman: Doorman,
    /// Snapshots: the number, and the workers of each function.
    pace: Pace<(u32, BTreeMap<String, Vec<u32>>)>,
    news: UnboundedSender<News>,
    receiver: UnboundedReceiver<News>,
    asked: UnboundedReceiver<Asked>,
    signals: Signals,
    reload: Reload,
    /// Watches the manifest's file and the programs that it names.
    watch: Watch,
    /// Watches the files of secrets and certificates.
    watch_values: Watch,
    kept: Kept,
    /// Whether the served version comes from the manifest's file, and not from a rollback.
    of_file: bool,
    look_at: Instant,
    ping_at: Instant,
    beat: Option<Beat>,
    waiting_said: Option<Instant>,
    /// Events that arrive while the plan handles another one.
    events: VecDeque<Event>,
    stepping: bool,
    ended: bool,
    /// The server for messages in the journal's protocol, if the platform runs it.
    _journal_socket: Option<Receiver>,
    /// Dropped last: this removes the control socket and the lock.
    held: Held,
}

struct Signals {
    child: Signal,
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Runner {
    fn prepare(options: Options, journal: Journal) -> Result<Runner, RunError> {
        let set_up = |what| move |source| RunError::SetUp { what, source };
        descriptors::raise();
        let held = options.state.clone().hold()?;
        let mut kept = Kept::open(held.directory(), options.versions, &journal);
        let begun = read(&options, &mut kept.programs, &journal).and_then(|(whole, sources)| {
            let accepted = accept(whole, &options, &held, &journal, None)?;
            let listeners = bind(&accepted.manifest.gateway.listen, vec![])?;
            Ok((accepted, sources, listeners))
        });
        let (accepted, sources, listeners) = begun.inspect_err(|_| kept.tidy())?;
        kept.accept(&accepted.whole, &journal);
        let users = held.directory().users();
        let machine = Machine::look(options.cell.clone(), options.strict, users)
            .map_err(RunError::Machine)?;
        keep_log(&options, held.directory(), &journal);
        let receiver = options.journal_socket.as_deref();
        let journal_socket = receiver
            .map(|path| Receiver::start(path, journal.clone()))
            .transpose()?;
        let (asking, asked) = mpsc::unbounded_channel();
        let figures = Figures::default();
        let service = control::Service::new(journal.clone(), figures.clone(), asking);
        let service = Rc::new(service);
        let mut doorman = Doorman::new(Rc::clone(&service));
        let opened = doorman.stand_at(accepted.metrics.as_ref());
        opened.map_err(set_up("metrics"))?;
        control::listen(&held.directory().socket(), service)
            .map_err(set_up("the control socket"))?;
        let signal = |kind| signal(kind).map_err(set_up("signals"));
        let signals = Signals {
            child: signal(SignalKind::child())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        let notify = Notify::of_environment().map_err(set_up("$NOTIFY_SOCKET"))?;
        let beat = notify.map(Beat::of);
        let (news, receiver) = mpsc::unbounded_channel();
        let now = Instant::now();
        let platform = Platform::new(&wanted(&accepted), std::process::id(), now);
        let (mut watch, mut watch_values) = (Watch::default(), Watch::default());
        watch.know(sources);
        watch_values.know(accepted.stamps.clone());
        Ok(Runner {
            options,
            accepted,
            machine,
            listeners,
            generation: 1,
            pace: Pace::new(),
            platform,
            gateway: None,
            workers: HashMap::new(),
            ended_workers: HashMap::new(),
            journal,
            figures,
            doorman,
            news,
            receiver,
            asked,
            signals,
            reload: Reload::default(),
            watch,
            watch_values,
            kept,
            of_file: true,
            look_at: now + LOOK,
            ping_at: now + PING,
            beat,
            waiting_said: Some(now + WAITING_SAID / 2),
            events: VecDeque::new(),
            stepping: false,
            ended: false,
            _journal_socket: journal_socket,
            held,
        })
    }

    async fn run(&mut self) {
        self.step(Event::Begin);
        while !self.ended {
            let timer = [
                self.platform.deadline(),
                self.waiting_said,
                Some(self.look_at),
                self.beat.as_ref().and_then(Beat::due),
                self.pace.due(),
            ]
            .into_iter()
            .flatten()
            .min();
            let timer = async move {
                match timer {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some(news) = self.receiver.recv() => self.hear(news),
                Some(asked) = self.asked.recv() => self.answer(asked),
                _ = self.signals.child.recv() => self.reap(),
                _ = self.signals.interrupt.recv() => self.stop("interrupted"),
                _ = self.signals.terminate.recv() => self.stop("told to stop"),
                _ = self.signals.hangup.recv() => self.reload(vec![]),
                () = timer => self.time_passed(),
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Plan(event) => self.step(event),
            News::WireEnded(id) => match self.ended_workers.remove(&id) {
                Some(how) => self.step(Event::WorkerEnded(id, how)),
                None => {
                    if let Some(worker) = self.workers.get_mut(&id) {
                        worker.silent = true;
                    }
                }
            },
            News::HeardEnough(id) => {
                if let Some(how) = self.ended_workers.remove(&id) {
                    self.step(Event::WorkerEnded(id, how));
                }
            }
            News::Asked(answered) => self.asked(answered),
            News::Hello(id) => {
                if let Some(worker) = self.workers.get(&id) {
                    worker.configure(id);
                }
                self.step(Event::WorkerUp(id));
            }
        }
    }

    fn step(&mut self, event: Event) {
        self.events.push_back(event);
        // An action may cause another event, which is handled after all actions of this one.
        if std::mem::replace(&mut self.stepping, true) {
            return;
        }
        while let Some(event) = self.events.pop_front() {
            match &event {
                Event::WorkerEnded(id, _) => self.figures.forget(*id),
                Event::GatewayEnded(_) => self.figures.gateway_ended(),
                Event::GatewayServes(_) => self.pace.served(Instant::now()),
                _ => {}
            }
            self.show_snapshot();
            for action in self.platform.step(Instant::now(), event) {
                let next = self.act(action);
                self.events.extend(next);
            }
        }
        self.stepping = false;
    }

    /// Sends the gateway the next snapshot, if it is time.
    fn show_snapshot(&mut self) {
        if let Some(gateway) = &self.gateway
            && let Some((number, workers)) = self.pace.next(Instant::now())
        {
            gateway.serve(number, &self.accepted.manifest, workers);
        }
    }

    /// Carries out an action. Returns the event that follows from it at once.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::StartGateway => return Some(self.start_gateway()),
            Action::StartWorker(id, function, version) => {
                return self.start_worker(id, &function, version);
            }
            Action::Introduce(id) => return self.introduce(id),
            Action::Probe(id, path, time) => {
                if let Some(gateway) = &self.gateway {
                    gateway.probe(id, path, time);
                }
            }
            Action::Withdraw(id, why) => {
                if let Some(gateway) = &self.gateway {
                    gateway.drop_worker(id, why.as_deref().unwrap_or_default());
                }
            }
            Action::Snapshot(number, workers) => {
                self.pace.offer((number, workers));
                // Later actions refer to what this snapshot contains.
                self.show_snapshot();
            }
            Action::StopGateway(time) => {
                if let Some(gateway) = &self.gateway {
                    gateway.stop(time);
                }
            }
            Action::DrainWorker(id, time) => {
                if let Some(worker) = self.workers.get(&id) {
                    worker.drain(time);
                }
            }
            Action::StopWorker(id, time) => {
                if let Some(worker) = self.workers.get(&id) {
                    worker.stop(time);
                }
            }
            Action::KillGateway => {
                if let Some(gateway) = &self.gateway {
                    gateway.process.kill();
                }
            }
            Action::KillWorker(id) => {
                if let Some(worker) = self.workers.get(&id) {
                    worker.process.kill();
                }
            }
            Action::Refuse(function, why) => {
                if let Some(gateway) = &self.gateway {
                    gateway.refuse(function, why);
                }
            }
            Action::Say(level, about, text) => self.say(level, about, text),
            Action::Settled => self.settled(),
            Action::Commit => self.commit(),
            Action::Served => self.served(),
            Action::Abandon(why) => self.abandon(why),
            Action::End => self.ended = true,
        }
        None
    }

    fn start_gateway(&mut self) -> Event {
        let Accepted {
            certificates,
            threads,
            ..
        } = &self.accepted;
        let program = &self.options.gateway;
        let list = &certificates.list;
        match Gateway::start(
            program,
            &self.machine,
            *threads,
            &self.listeners,
            list,
            (&self.journal, &self.figures),
            &self.news,
        ) {
            Ok(gateway) => {
                self.gateway = Some(gateway);
                self.pace = Pace::new();
                Event::GatewayStarted
            }
            Err(error) => Event::GatewayEnded(format!("cannot be started: {}", explained(&error))),
        }
    }

    fn start_worker(&mut self, id: u32, name: &str, version: u32) -> Option<Event> {
        let next = self.reload.next.as_ref().map(|(next, _)| (next, 1));
        let of_version = [Some((&self.accepted, 0)), next]
            .into_iter()
            .flatten()
            .find_map(|(one, later)| Some((one.version(name, version)?, one, later)));
        let Some(((function, filled, program), accepted, later)) = of_version else {
            let why = format!("version {version} is not known any more");
            return Some(Event::WorkerEnded(id, why));
        };
        let orders = Orders {
            function: function.clone(),
            version,
            program: self.kept.programs.path(program),
            filled: filled.clone(),
            generation: self.generation + later,
            body_bytes: accepted.manifest.gateway.limits.body_bytes,
        };
        let base = base(&self.options.manifest);
        let machine = &mut self.machine;
        match Worker::start(id, name, orders, &base, machine, &self.journal, &self.news) {
            Ok(worker) => {
                self.workers.insert(id, worker);
                None
            }
            Err(error) => Some(Event::WorkerEnded(
                id,
                format!("cannot be started: {}", explained(&error)),
            )),
        }
    }

    fn introduce(&self, id: u32) -> Option<Event> {
        let (gateway, worker) = (self.gateway.as_ref()?, self.workers.get(&id)?);
        let codec = worker.codec.get()?;
        match worker.attach(self.accepted.threads) {
            Ok(sockets) => {
                let add = WorkerAdd {
                    worker: id,
                    function: worker.function.clone(),
                    codec: codec.number(),
                    concurrency: worker.orders.function.concurrency,
                };
                gateway.add_worker(&add, sockets);
                None
            }
            Err(error) => {
                let why = format!("no data sockets: {}", explained(&error));
                Some(Event::WorkerFailed(id, why))
            }
        }
    }

    fn say(&self, level: Level, about: About, text: String) {
        let level = match level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let record = Record::new("supervisor", level, text);
        self.journal.add(&match about {
            About::Gateway => Record {
                source: "gateway".to_owned(),
                ..record
            },
            About::Worker(id, function) => record.about(&function, Some(id)),
            About::Function(function) => record.about(&function, None),
        });
    }

    /// Finds the processes that have ended.
    fn reap(&mut self) {
        let mut events = Vec::new();
        if let Some(gateway) = &mut self.gateway
            && let Some(how) = gateway.process.ended()
        {
            self.gateway = None;
            events.push(Event::GatewayEnded(how));
        }
        let (news, ended) = (&self.news, &mut self.ended_workers);
        self.workers
            .retain(|id, worker| match worker.process.ended() {
                Some(how) if worker.silent => {
                    events.push(Event::WorkerEnded(*id, how));
                    false
                }
                Some(how) => {
                    // Its last messages, such as START_FAILED, are read first.
                    ended.insert(*id, how);
                    let (id, news) = (*id, news.clone());
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(LAST_WORDS).await;
                        let _ = news.send(News::HeardEnough(id));
                    });
                    false
                }
                None => true,
            });
        events.into_iter().for_each(|event| self.step(event));
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        if self.waiting_said.is_some_and(|at| at <= now) {
            let waiting = self.platform.waiting_for();
            self.waiting_said = Some(now + WAITING_SAID);
            if !waiting.is_empty() {
                let text = format!("waiting for {}", listed(&waiting));
                self.journal.add(&Record::new("supervisor", "info", text));
            }
        }
        if self.platform.deadline().is_some_and(|at| at <= now) {
            self.step(Event::Timer);
        }
        self.show_snapshot();
        if self.ping_at <= now {
            self.ping_at = now + PING;
            self.look_at_limits();
            for (id, worker) in &self.workers {
                if !worker.ping()
                    && let Some(gateway) = &self.gateway
                {
                    gateway.silent(*id);
                }
            }
        }
        self.beat(now);
        if self.look_at <= now {
            self.look_at = now + LOOK;
            self.look();
        }
    }

    fn stop(&mut self, why: &str) {
        self.stop_beating();
        self.reload = Reload::never_again();
        self.journal.add(&Record::new(
            "supervisor",
            "info",
            format!("{why}; stopping"),
        ));
        self.step(Event::Stop);
    }

    /// Every function has a ready worker, or has failed repeatedly.
    fn settled(&mut self) {
        self.waiting_said = None;
        self.begin_to_beat();
        let manifest = &self.accepted.manifest;
        let own = self.accepted.certificates.self_signed.as_ref();
        let own = own.map(|(_, path)| path.as_path());
        self.journal
            .talk(status::table(manifest, &self.listeners, own));
    }

    fn answer(&mut self, asked: Asked) {
        match asked.request {
            Request::Status => {
                let _ = asked.answer.send(Answer::Status(Box::new(self.status())));
            }
            Request::Reload => self.reload(vec![asked.answer]),
            Request::Rollback { function, to } => self.roll_back(function, to, asked.answer),
            Request::Versions => {
                let versions = Answer::Versions(Box::new(self.kept.status()));
                let _ = asked.answer.send(versions);
            }
            // The control API answers these itself.
            Request::Logs(_) | Request::Metrics | Request::Device | Request::AskDevice(_) => {}
        }
    }
}
