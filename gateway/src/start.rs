//! Start of the gateway: takes over the passed descriptors and starts the threads.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use hearth_sys::inherit;
use rustls::ServerConfig;
use tokio::runtime::{self, LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, mpsc};

use crate::access::Log;
use crate::channel::Lost;
use crate::event_loop::{self, Command};
use crate::link::{LinkEnd, LinkError};
use crate::listen::Doors;
use crate::tally::Open;
use crate::tls::{self, Certificates, TlsError};

/// Why the gateway cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The gateway was not started by a supervisor.
    #[error("the gateway is started by `hearth up`, which passes it its sockets ({0})")]
    NotStartedByHearth(String),
    /// A descriptor, thread or runtime could not be created.
    #[error("cannot set up {what}")]
    SetUp {
        /// What could not be created.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// The descriptors that the supervisor passed, from 3 on, named as in sd_listen_fds_with_names(3).
struct Given {
    link: UnixStream,
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
}

/// Runs the gateway with `threads` threads until the supervisor stops it or closes the link.
pub fn run(threads: usize) -> Result<(), StartError> {
    let given = take_given()?;
    let certificates = Arc::new(Certificates::default());
    let tls = Arc::new(tls::server_config(Arc::clone(&certificates))?);
    let permits = Arc::new(Semaphore::new(0));
    let open = Open::default();
    let log = Log::default();
    let (lose, lost) = mpsc::unbounded_channel();

    let (sender, commands) = mpsc::unbounded_channel();
    let mut senders = vec![sender];
    let mut running = Vec::new();
    for number in 1..threads {
        let (sender, commands) = mpsc::unbounded_channel();
        senders.push(sender);
        let doors = doors(&given, &tls, &permits, &open)?;
        let (log, lose) = (log.clone(), lose.clone());
        let started = std::thread::Builder::new()
            .name(format!("gateway-{number}"))
            .spawn(move || serve_on_this_thread(commands, doors, log, lose))
            .map_err(|source| StartError::SetUp {
                what: "a thread",
                source,
            })?;
        running.push(started);
    }
    let doors = doors(&given, &tls, &permits, &open)?;
    let Given { link, http, https } = given;
    // Each thread has its own copies. These would keep the ports open after the threads have closed theirs.
    drop((http, https));

    let runtime = new_runtime()?;
    let result = runtime.block_on(async {
        let link =
            LinkEnd::new(link, senders, certificates, (permits, open)).map_err(|source| {
                StartError::SetUp {
                    what: "the link",
                    source,
                }
            })?;
        let serving = tokio::task::spawn_local(event_loop::run(commands, doors, log.clone(), lose));
        let ended = link.run(log, lost).await;
        let _ = serving.await;
        ended.map_err(StartError::Link)
    });
    for thread in running {
        if let Ok(Err(error)) = thread.join() {
            return Err(error);
        }
    }
    result
}

fn serve_on_this_thread(
    commands: mpsc::UnboundedReceiver<Command>,
    doors: Doors,
    log: Log,
    lose: mpsc::UnboundedSender<Lost>,
) -> Result<(), StartError> {
    let runtime = new_runtime()?;
    runtime.block_on(event_loop::run(commands, doors, log, lose));
    Ok(())
}

fn new_runtime() -> Result<LocalRuntime, StartError> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(|source| StartError::SetUp {
            what: "the runtime",
            source,
        })
}

fn doors(
    given: &Given,
    tls: &Arc<ServerConfig>,
    permits: &Arc<Semaphore>,
    open: &Open,
) -> Result<Doors, StartError> {
    let copies = |listeners: &[TcpListener]| {
        listeners
            .iter()
            .map(TcpListener::try_clone)
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| StartError::SetUp {
                what: "a listener",
                source,
            })
    };
    Ok(Doors {
        http: copies(&given.http)?,
        https: copies(&given.https)?,
        tls: Arc::clone(tls),
        permits: Arc::clone(permits),
        open: open.clone(),
    })
}

fn take_given() -> Result<Given, StartError> {
    let not_started = |what: &str| StartError::NotStartedByHearth(what.to_owned());
    let names = std::env::var("LISTEN_FDNAMES").map_err(|_| not_started("no LISTEN_FDNAMES"))?;
    let take = |place: usize| -> Result<OwnedFd, StartError> {
        inherit::take(inherit::FIRST + place as i32).map_err(|source| StartError::SetUp {
            what: "a passed descriptor",
            source,
        })
    };
    let (mut link, mut http, mut https) = (None, Vec::new(), Vec::new());
    for (place, name) in names.split(':').enumerate() {
        match name {
            "link" => {
                let stream =
                    inherit::take_unix_stream(inherit::FIRST + place as i32).map_err(|source| {
                        StartError::SetUp {
                            what: "the link",
                            source,
                        }
                    })?;
                link = Some(stream);
            }
            "http" => http.push(TcpListener::from(take(place)?)),
            "https" => https.push(TcpListener::from(take(place)?)),
            other => return Err(not_started(&format!("descriptor named {other:?}"))),
        }
    }
    let link = link.ok_or_else(|| not_started("no link"))?;
    Ok(Given { link, http, https })
}
