//! What a platform is started with, and how a version of its manifest is accepted: everything it
//! names is read and checked before anything is changed.

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

/// What a platform is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// Where its state is kept; see [`StateDir`].
    pub state: StateDir,
    /// Listeners that replace the manifest's.
    pub listen: Overrides,
    /// How records are printed.
    pub format: Format,
    /// The program that is the gateway.
    pub gateway: gateway::Program,
    /// The program that makes a cell of itself.
    pub cell: gateway::Program,
    /// Sandboxes are strict, whatever the manifest says.
    pub strict: bool,
    /// The directory with values of secrets.
    pub secrets: PathBuf,
    /// Most bytes of the log that are kept on disk; 0: none.
    pub log_bytes: u64,
    /// Where to answer as the system's journal.
    pub journal_socket: Option<PathBuf>,
    /// How many versions are kept.
    pub versions: usize,
}

/// Listeners of the command line: outer `None` leaves the manifest's word, inner `None` is `off`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// Plain HTTP.
    pub http: Option<Option<SocketAddr>>,
    /// TLS.
    pub https: Option<Option<SocketAddr>>,
    /// What the manifest opens to its own machine alone, as one does where one writes it, is opened to all, at
    /// the ports of the protocols: on a machine that is there to serve others.
    pub outward: bool,
}

impl Overrides {
    /// Applies them.
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

/// Why a platform did not start, or could not be told from one that had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The manifest.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The certificates.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address for metrics.
    #[error(
        "cannot listen on {address} for metrics; choose another address with `gateway.metrics.listen`"
    )]
    Metrics {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No journal where records were to go.
    #[error(
        "no journal answers at {}; leave out `--log journal`",
        journald::SOCKET
    )]
    NoJournal(#[source] io::Error),
    /// The place of the journal.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// A function's program.
    #[error("functions.{function}.binary")]
    Program {
        /// Whose.
        function: String,
        /// What is wrong.
        source: ProgramError,
    },
    /// What cells are made with.
    #[error(transparent)]
    Machine(LookError),
    /// Something of the system.
    #[error("cannot set up {what}")]
    SetUp {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// One accepted version of the manifest and what goes with it.
pub(crate) struct Accepted {
    /// As it was read, and the programs.
    pub(crate) whole: Whole,
    /// With the listeners of the command line.
    pub(crate) manifest: Manifest,
    pub(crate) certificates: Chosen,
    pub(crate) threads: u32,
    /// What each function's workers are, and the number of that.
    pub(crate) makes: BTreeMap<String, (Make, u32)>,
    /// Where metrics are to be served over TCP.
    pub(crate) metrics: Option<Rc<Door>>,
    /// Every secret and certificate that was read for it, as it was just before.
    pub(crate) stamps: Stamps,
}

/// What makes a worker what it is. If any of it is another, so must the worker be.
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
    /// Whether it is the same in everything as `other`.
    pub(crate) fn is_same(&self, other: &Accepted) -> bool {
        self.manifest == other.manifest
            && self.certificates.list == other.certificates.list
            && self.threads == other.threads
            && self.makes == other.makes
    }

    /// The function, what its secrets make of it, and its program, if it is of this version.
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

/// Reads the manifest's file and the programs it names, of which copies are kept; the stamps are
/// theirs.
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
    // Its own state, and that of platforms whose manifests lie beside its own.
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

/// Accepts a manifest with its programs: all else that it names is read, before anything is changed.
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
    // Their files before their values: a change in between is then seen.
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

/// What the functions' workers are; one that is what it was before keeps its number.
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

/// Half of the cores, at most four: the workers need the others, and one thread carries more than
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
        // What names an address, and what is off, stays as it is.
        let named = at("192.168.1.5:8080");
        assert_eq!(applied(outward, named, None), (named, None));
        // The command line has the last word.
        let told = Overrides {
            http: Some(None),
            ..outward
        };
        assert_eq!(applied(told, http, https), (None, at("[::]:443")));
    }
}
