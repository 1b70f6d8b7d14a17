//! The gateway's process and the link to it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hearth_manifest::Manifest;
use hearth_protocol::frame::Frame;
use hearth_protocol::head::LogRecord;
use hearth_protocol::link::{
    CODEC, CertifiedKey, Health, Link, Pressure, Probe, Snapshot, Unavailable, WorkerAdd, encode,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::cell;
use crate::event::{self, Event};
use crate::figures::Figures;
use crate::journal::{Journal, Record};
use crate::listen::Listener;
use crate::machine::{GATEWAY_USER, Machine};
use crate::process::{Process, Start, Who};
use crate::run::News;
use crate::wire::{Wire, WireError};
use crate::worker;

/// A program, and its first arguments.
#[derive(Clone, Debug)]
pub struct Program {
    /// The path of the program.
    pub path: PathBuf,
    /// The first arguments. They select the part of `hearth`, which contains several programs.
    pub args: Vec<String>,
}

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    wire: Wire,
}

impl Gateway {
    /// Starts the gateway with these listeners, and sends it the certificates.
    pub fn start(
        program: &Program,
        machine: &Machine,
        threads: u32,
        listeners: &[Listener],
        certificates: &[CertifiedKey],
        (journal, figures): (&Journal, &Figures),
        news: &UnboundedSender<News>,
    ) -> io::Result<Gateway> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut descriptors = vec![OwnedFd::from(theirs)];
        let mut names = vec!["link"];
        for listener in listeners {
            descriptors.push(listener.socket.try_clone()?.into());
            names.push(listener.scheme);
        }
        let env = vec![
            ("LISTEN_FDS".to_owned(), descriptors.len().to_string()),
            ("LISTEN_FDNAMES".to_owned(), names.join(":")),
        ];
        let mut args = program.args.clone();
        args.extend(["--threads".to_owned(), threads.to_string()]);
        let kind = cell::Program::of(&program.path)?;
        let (cgroup, known) = match &machine.cgroups {
            Ok(groups) => (Some(groups.group("gateway")?), vec![]),
            Err(_) => (None, vec![]),
        };
        let plan = cell::for_gateway(
            (program.path.clone(), args),
            &kind,
            GATEWAY_USER,
            &machine.host,
            machine.strict,
            known,
        );
        let who = Who {
            source: "gateway",
            worker: None,
        };
        let start = Start {
            plan,
            env,
            descriptors,
            cgroup,
        };
        let process = Process::start(start, machine, &who, journal)?;
        let (heard, journal, figures) = (news.clone(), journal.clone(), figures.clone());
        let trouble = journal.clone();
        let wire = Wire::start(
            ours,
            move |frame, _| hear(frame, &journal, &figures, &heard),
            move |why| {
                // The runner learns the gateway's end from its process. Here only a violation of the protocol is
                // logged.
                if let Some(why @ (WireError::Frame(_) | WireError::OutOfTurn(_))) = why {
                    trouble.add(&Record::new(
                        "gateway",
                        "error",
                        format!("broke the protocol: {why}"),
                    ));
                }
            },
        )?;
        let gateway = Gateway { process, wire };
        gateway.show(certificates)?;
        Ok(gateway)
    }

    /// Sends the certificates that the gateway presents from now on.
    pub fn show(&self, certificates: &[CertifiedKey]) -> io::Result<()> {
        let list = encode(&certificates).map_err(io::Error::other)?;
        let file = hearth_sys::memfile::sealed("certificates", &list)?;
        self.tell(Link::Certificates, vec![file]);
        Ok(())
    }

    /// Announces a worker, and sends its data sockets, one for each gateway thread.
    pub fn add_worker(&self, worker: &WorkerAdd, sockets: Vec<OwnedFd>) {
        if let Ok(worker) = encode(worker) {
            self.tell(Link::WorkerAdd { worker: &worker }, sockets);
        }
    }

    /// Removes a worker from the gateway.
    pub fn drop_worker(&self, worker: u32, why: &str) {
        self.tell(Link::WorkerDrop { worker, why }, vec![]);
    }

    /// Reports a worker that does not answer PING. If the worker has no requests, the gateway reports it as lost.
    pub fn silent(&self, worker: u32) {
        self.tell(Link::Silent { worker }, vec![]);
    }

    /// Sends a snapshot: what the gateway serves from now on.
    pub fn serve(&self, generation: u32, manifest: &Manifest, workers: BTreeMap<String, Vec<u32>>) {
        if let Ok(snapshot) = encode(&Snapshot {
            generation,
            manifest,
            workers,
        }) {
            self.tell(
                Link::Snapshot {
                    snapshot: &snapshot,
                },
                vec![],
            );
        }
    }

    /// Requests a health probe of a worker.
    pub fn probe(&self, worker: u32, path: String, timeout: Duration) {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let probe = Probe {
            worker,
            path,
            timeout_ms,
        };
        if let Ok(probe) = encode(&probe) {
            self.tell(Link::Probe { probe: &probe }, vec![]);
        }
    }

    /// Makes the gateway refuse all requests of a function for the reason `why`, or accept them again if it is `None`.
    pub fn refuse(&self, function: String, why: Option<String>) {
        if let Ok(function) = encode(&Unavailable { function, why }) {
            let function = &function;
            self.tell(Link::Unavailable { function }, vec![]);
        }
    }

    /// Requests the gateway to end by the deadline.
    pub fn stop(&self, deadline: Duration) {
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        self.tell(Link::Stop { deadline_ms }, vec![]);
    }

    fn tell(&self, message: Link<'_>, descriptors: Vec<OwnedFd>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.wire.send(bytes, descriptors);
    }
}

fn hear(
    frame: &Frame<'_>,
    journal: &Journal,
    figures: &Figures,
    news: &UnboundedSender<News>,
) -> Result<(), WireError> {
    match Link::parse(frame)? {
        Link::Ack { generation } => {
            let _ = news.send(News::Plan(Event::GatewayServes(generation)));
        }
        Link::WorkerLost { worker, why: "" } => {
            let text = "closed a data socket and lives on".to_owned();
            worker::failed_unless_it_ends(worker, text, news);
        }
        Link::WorkerLost { worker, why } => {
            let _ = news.send(News::Plan(Event::WorkerFailed(worker, why.to_owned())));
        }
        Link::Pressure { pressure } => {
            let Pressure {
                function,
                waiting,
                service_us,
                busy,
                queued,
            } = CODEC
                .decode(pressure)
                .map_err(|error| WireError::OutOfTurn(error.to_string()))?;
            let service = Duration::from_micros(service_us.into());
            let _ = news.send(News::Plan(Event::Pressure(event::Pressure {
                function,
                waiting,
                service,
                busy,
                queued,
            })));
        }
        Link::Health { health } => {
            let Health { worker, verdict } = CODEC
                .decode(health)
                .map_err(|error| WireError::OutOfTurn(error.to_string()))?;
            let _ = news.send(News::Plan(Event::WorkerHealth(worker, verdict)));
        }
        Link::Log { records } => {
            let records: Vec<LogRecord<'_>> = CODEC
                .decode(records)
                .map_err(|error| WireError::OutOfTurn(error.to_string()))?;
            records
                .into_iter()
                .map(to_record)
                .for_each(|record| journal.add(&record));
        }
        Link::Stats { stats } => {
            let stats = CODEC
                .decode(stats)
                .map_err(|error| WireError::OutOfTurn(error.to_string()))?;
            figures.take(stats, Instant::now());
        }
        Link::Certificates
        | Link::WorkerAdd { .. }
        | Link::WorkerDrop { .. }
        | Link::Snapshot { .. }
        | Link::Silent { .. }
        | Link::Unavailable { .. }
        | Link::Probe { .. }
        | Link::Stop { .. } => {
            return Err(WireError::OutOfTurn("supervisors send this".to_owned()));
        }
    }
    Ok(())
}

/// Converts a log record of the gateway. A request's record is about the function and the worker that its fields name.
fn to_record(mut log: LogRecord<'_>) -> Record {
    let source = if log.request.is_some() {
        "access"
    } else {
        "gateway"
    };
    let mut record = Record::new(source, &log.level, log.message.to_string());
    record.request = log.request.map(|id| id.to_string());
    let function = log.fields.remove("function");
    record.function = function.and_then(|name| Some(name.as_str()?.to_owned()));
    let worker = log.fields.remove("worker").and_then(|id| id.as_u64());
    record.worker = worker.and_then(|id| u32::try_from(id).ok());
    record.fields = log.fields;
    record
}
