//! The options of a platform, and the acceptance of a manifest: the supervisor reads and checks everything that the
//! manifest names before it changes anything that is served.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;

use hearth_manifest::{Filled, Function, Listen, Manifest, Sandbox, WorkerLimits};

use crate::certificate::{CertificateError, Chosen, choose};
use crate::control::door::Door;
use crate::gateway;
use crate::journal::{Format, Journal, Record};
use crate::journald;
use crate::listen::ListenError;
use crate::load::{LoadError, base, check_binaries, check_sandboxes, load};
use crate::machine::LookError;
use crate::plan::Wanted;
use crate::programs::{Program, ProgramError, Programs};
use crate::receiver::ReceiverError;
use crate::secret::Secrets;
use crate::state::{Held, StateDir, StateError};
use crate::versions::Whole;
use crate::watch::Stamps;

/// The options that a platform is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// The state directory; see [`StateDir`].
    pub state: StateDir,
    /// Listeners that replace those of the manifest.
    pub listen: Overrides,
    /// How records are printed.
    pub format: Format,
    /// The gateway's program.
    pub gateway: gateway::Program,
    /// The sandbox helper: the program that runs as the zygote.
    pub cell: gateway::Program,
    /// Whether all sandboxes are strict, whatever the manifest sets.
    pub strict: bool,
    /// The directory that holds the values of secrets.
    pub secrets: PathBuf,
    /// Maximum size of the log on disk in bytes; 0 turns the log on disk off.
    pub log_bytes: u64,
    /// Path of the socket on which the platform serves the protocol of systemd's journal, if it does.
    pub journal_socket: Option<PathBuf>,
    /// How many versions are kept: this many from the manifest's file, and as many from rollbacks.
    pub versions: usize,
}

/// Listeners that the command line sets. An outer `None` keeps the manifest's listener, an inner `None` turns it off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The listener for HTTP.
    pub http: Option<Option<SocketAddr>>,
    /// The listener for HTTPS.
    pub https: Option<Option<SocketAddr>>,
    /// Whether listeners that the manifest binds to a loopback address are bound to all addresses instead, on ports 80
    /// and 443. Meant for appliances, whose manifests are usually written for the developer's machine.
    pub outward: bool,
}

impl Overrides {
    /// Applies the command line to the manifest's listeners.
    fn apply(&self, listen: &mut Listen) {
        listen.http = self.http.unwrap_or(self.turned(listen.http, 80));
        listen.https = self.https.unwrap_or(self.turned(listen.https, 443));
    }

    fn turned(&self, address: Option<SocketAddr>, port: u16) -> Option<SocketAddr> {
        match address {
            Some(at) if self.outward && at.ip().is_loopback() => {
                Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        }
    }
}

/// Why a platform cannot start, or a manifest cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The manifest cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A certificate cannot be read, used or generated.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address for metrics cannot be bound.
    #[error(
        "cannot listen on {address} for metrics; choose another address with `gateway.metrics.listen`"
    )]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The I/O error.
        source: io::Error,
    },
    /// No journal answers, but the log was to go there (`--log journal`).
    #[error(
        "no journal answers at {}; leave out `--log journal`",
        journald::SOCKET
    )]
    NoJournal(#[source] io::Error),
    /// The platform cannot serve the journal's protocol at the given path.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// A function's program cannot be read or copied.
    #[error("functions.{function}.binary")]
    Program {
        /// The function.
        function: String,
        /// The cause.
        source: ProgramError,
    },
    /// The sandbox helper cannot be started, or the file of user ids cannot be read.
    #[error(transparent)]
    Machine(LookError),
    /// A system resource cannot be set up.
    #[error("cannot set up {what}")]
    SetUp {
        /// The resource.
        what: &'static str,
        /// The I/O error.
        source: io::Error,
    },
}

/// An accepted manifest, and everything that was read and checked for it.
pub(crate) struct Accepted {
    /// The manifest as it was read, and the functions' programs.
    pub(crate) whole: Whole,
    /// The manifest with the listeners of the command line.
    pub(crate) manifest: Manifest,
    pub(crate) certificates: Chosen,
    pub(crate) threads: u32,
    /// For each function, what its workers are started from, and the function's version number.
    pub(crate) makes: BTreeMap<String, (Make, u32)>,
    /// The TCP listener for metrics, if the manifest sets one.
    pub(crate) metrics: Option<Rc<Door>>,
    /// The stamps of all secrets and certificates that were read, taken just before they were read.
    pub(crate) stamps: Stamps,
}

/// All settings that determine what a worker is. If one of them changes, the worker must be replaced.
#[derive(Debug, PartialEq)]
pub(crate) struct Make {
    program: Program,
    filled: Filled,
    concurrency: u32,
    body_bytes: u64,
    limits: WorkerLimits,
    sandbox: Sandbox,
}

impl Accepted {
    /// Whether everything that is served is the same as in `other`.
    pub(crate) fn is_same(&self, other: &Accepted) -> bool {
        self.manifest == other.manifest
            && self.certificates.list == other.certificates.list
            && self.threads == other.threads
            && self.makes == other.makes
    }

    /// The function, its settings with the values of its secrets, and its program, if this is the function's accepted
    /// version.
    pub(crate) fn version(
        &self,
        name: &str,
        version: u32,
    ) -> Option<(&Function, &Filled, &Program)> {
        let (make, mine) = self.makes.get(name)?;
        let function = self.manifest.functions.get(name)?;
        (*mine == version).then_some((function, &make.filled, &make.program))
    }
}

/// Reads the manifest and the programs that it names, and stores copies of the programs. Returns the stamps of all
/// these files, too.
pub(crate) fn read(
    options: &Options,
    programs: &mut Programs,
    journal: &Journal,
) -> Result<(Whole, Stamps), RunError> {
    let first = Stamps::of([options.manifest.clone()]);
    let parsed = load(&options.manifest)?;
    for note in &parsed.notes {
        journal.add(&Record::new("supervisor", "warn", note.to_string()));
    }
    let manifest = parsed.manifest;
    let base = base(&options.manifest);
    check_binaries(&manifest, &base)?;
    // A sandbox must not reach this platform's state, nor that of platforms whose manifests lie in the same directory.
    let beside = StateDir::of(&options.manifest);
    for state in [&options.state, &beside] {
        check_sandboxes(&manifest, &base, state.whole())?;
    }
    let files = manifest
        .functions
        .values()
        .map(|one| base.join(&one.binary));
    let stamps = first.and(Stamps::of(files));
    let kept = manifest.functions.iter().map(|(name, function)| {
        let program = programs.keep(&base.join(&function.binary));
        let program = program.map_err(|source| RunError::Program {
            function: name.clone(),
            source,
        })?;
        Ok((name.clone(), program))
    });
    let programs = kept.collect::<Result<_, RunError>>()?;
    Ok((Whole { manifest, programs }, stamps))
}

/// Accepts a manifest with its programs: reads everything else that it names, before anything that is served changes.
pub(crate) fn accept(
    whole: Whole,
    options: &Options,
    held: &Held,
    journal: &Journal,
    before: Option<&Accepted>,
) -> Result<Accepted, RunError> {
    let mut manifest = whole.manifest.clone();
    let base = base(&options.manifest);
    let secrets = Secrets::of(options.secrets.clone());
    // The files are stamped before their values are read, so that a change in between is noticed.
    let files = Stamps::of(manifest.secrets().map(|name| secrets.path(name)));
    let makes = makes(&whole, &secrets, before)?;
    let certificates = manifest.gateway.tls.certificates.iter();
    let named = certificates.flat_map(|one| [base.join(&one.cert), base.join(&one.key)]);
    let stamps = files.and(Stamps::of(named.collect::<Vec<_>>()));
    options.listen.apply(&mut manifest.gateway.listen);
    let certificates = match manifest.gateway.listen.https {
        Some(_) => choose(&manifest, &base, &held.directory().tls())?,
        None => Chosen {
            list: vec![],
            self_signed: None,
        },
    };
    if let Some((names, path)) = &certificates.self_signed {
        let names = if names.is_empty() {
            "localhost".to_owned()
        } else {
            names.join(", ")
        };
        let text = format!(
            "the certificate for {names} is signed by itself: {}",
            path.display()
        );
        journal.add(&Record::new("supervisor", "info", text));
    }
    let known = before.and_then(|before| before.metrics.as_ref());
    let metrics = Door::bind(manifest.gateway.metrics.listen, known)
        .map_err(|(address, source)| RunError::Metrics { address, source })?;
    let threads = manifest
        .gateway
        .threads
        .unwrap_or_else(threads_for_this_machine);
    Ok(Accepted {
        whole,
        manifest,
        certificates,
        threads,
        makes,
        metrics,
        stamps,
    })
}

/// What the functions' workers are started from. A function that has not changed keeps its version number.
fn makes(
    Whole { manifest, programs }: &Whole,
    secrets: &Secrets,
    before: Option<&Accepted>,
) -> Result<BTreeMap<String, (Make, u32)>, LoadError> {
    let before = before.map(|accepted| &accepted.makes);
    let numbers = before.into_iter().flatten().map(|(_, (_, number))| *number);
    let next = numbers.max().unwrap_or(0) + 1;
    let functions = manifest.functions.iter();
    functions
        .map(|(name, function)| {
            let filled = function.fill(|name| secrets.value(name));
            let make = Make {
                program: programs[name].clone(),
                filled: filled.map_err(|missing| LoadError::Secret {
                    function: name.clone(),
                    missing,
                })?,
                concurrency: function.concurrency,
                body_bytes: manifest.gateway.limits.body_bytes,
                limits: function.limits.clone(),
                sandbox: function.sandbox.clone(),
            };
            let known = before.and_then(|makes| makes.get(name));
            let number = match known {
                Some((known, number)) if *known == make => *number,
                _ => next,
            };
            Ok((name.clone(), (make, number)))
        })
        .collect()
}

pub(crate) fn wanted(accepted: &Accepted) -> Vec<Wanted> {
    let wanted = accepted.manifest.functions.iter();
    wanted
        .map(|(name, one)| Wanted {
            name: name.clone(),
            version: accepted.makes[name].1,
            scale: one.scale,
            concurrency: one.concurrency,
            start_time: one.start_timeout,
            health: one.health.clone(),
        })
        .collect()
}

/// Half of the processors, at least one and at most four: workers need the others, and one gateway thread can fill
/// most uplinks.
fn threads_for_this_machine() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, 4) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_to_its_own_machine_alone_is_turned_outward_where_it_is_told_to() {
        let at = |text: &str| Some(text.parse().unwrap());
        let applied = |overrides: Overrides, http, https| {
            let mut listen = Listen { http, https };
            overrides.apply(&mut listen);
            (listen.http, listen.https)
        };
        let outward = Overrides {
            outward: true,
            ..Overrides::default()
        };
        let (http, https) = (at("127.0.0.1:8080"), at("[::1]:8443"));
        assert_eq!(
            applied(outward, http, https),
            (at("[::]:80"), at("[::]:443"))
        );
        assert_eq!(applied(Overrides::default(), http, https), (http, https));
        // A listener at another address stays as it is, and so does one that is off.
        let named = at("192.168.1.5:8080");
        assert_eq!(applied(outward, named, None), (named, None));
        // The command line takes precedence.
        let told = Overrides {
            http: Some(None),
            ..outward
        };
        assert_eq!(applied(told, http, https), (None, at("[::]:443")));
    }
}
