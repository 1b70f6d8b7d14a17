//! What a platform is started with, and how a version of its manifest is accepted: everything it
//! names is read and checked before anything is changed.

use std::io;
use std::path::PathBuf;

use hearth_manifest::Manifest;

use crate::certificate::{CertificateError, Chosen, choose};
use crate::gateway::Program;
use crate::journal::{Format, Journal, Record};
use crate::listen::ListenError;
use crate::load::{LoadError, base, check_binaries, load};
use crate::plan::Wanted;
use crate::state::{Held, StateError};

/// What a platform is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// Listeners that replace the manifest's.
    pub listen: Overrides,
    /// How records are printed.
    pub format: Format,
    /// The program that is the gateway.
    pub gateway: Program,
}

/// Listeners of the command line: outer `None` leaves the manifest's word, inner `None` is `off`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// Plain HTTP.
    pub http: Option<Option<std::net::SocketAddr>>,
    /// TLS.
    pub https: Option<Option<std::net::SocketAddr>>,
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
    pub(crate) manifest: Manifest,
    pub(crate) certificates: Chosen,
    pub(crate) threads: u32,
}

/// Reads the manifest and everything it names, before anything is changed.
pub(crate) fn accept(
    options: &Options,
    held: &Held,
    journal: &Journal,
) -> Result<Accepted, RunError> {
    let parsed = load(&options.manifest)?;
    for note in &parsed.notes {
        journal.add(Record::new("supervisor", "warn", note.to_string()));
    }
    let mut manifest = parsed.manifest;
    let base = base(&options.manifest);
    check_binaries(&manifest, &base)?;
    let listen = &mut manifest.gateway.listen;
    listen.http = options.listen.http.unwrap_or(listen.http);
    listen.https = options.listen.https.unwrap_or(listen.https);
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
        journal.add(Record::new("supervisor", "info", text));
    }
    let threads = manifest
        .gateway
        .threads
        .unwrap_or_else(threads_for_this_machine);
    Ok(Accepted {
        manifest,
        certificates,
        threads,
    })
}

pub(crate) fn wanted(manifest: &Manifest) -> Vec<Wanted> {
    let wanted = manifest.functions.iter();
    wanted
        .map(|(name, one)| Wanted {
            name: name.clone(),
            workers: one.scale.min,
        })
        .collect()
}

/// Half of the cores, at most four: the workers need the others, and one thread carries more than
/// most uplinks.
fn threads_for_this_machine() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, 4) as u32
}
