//! The control API: JSON, one object a line, over the Unix socket in the state directory.
//!
//! One request a connection. `status`, `reload`, `versions` and `rollback` answer with one line; `logs` with one line a
//! record, and with `follow` it goes on until the client hangs up.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::journal::Record;
use crate::state::StateDir;
use crate::versions::Change;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// How things stand.
    Status,
    /// The last records, and perhaps those to come.
    Logs {
        /// How many of the past.
        lines: usize,
        /// Go on with those to come.
        #[serde(default)]
        follow: bool,
        /// Only of this function.
        #[serde(default)]
        function: Option<String>,
    },
    /// Read the manifest again and serve it.
    Reload,
    /// What was accepted so far, as far as it is kept.
    Versions,
    /// Serve what was served before.
    Rollback {
        /// This function alone.
        #[serde(default)]
        function: Option<String>,
        /// As it was in this version; without it, as it was before.
        #[serde(default)]
        to: Option<u64>,
    },
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `logs`: a record.
    Record(Box<Record>),
    /// Records were passed over because the client did not keep up.
    Skipped(u64),
    /// To `reload`: done; this many functions are served.
    Reloaded {
        /// How many.
        functions: usize,
    },
    /// To `versions`.
    Versions(Box<VersionsStatus>),
    /// To `rollback`: done.
    RolledBack {
        /// The version that is served.
        version: u64,
        /// In what it differs from what was served until then.
        changes: Vec<Change>,
    },
    /// It was not done, and why.
    Failed(String),
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// The manifest's file.
    pub manifest: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// How often the manifest was accepted so far.
    pub generation: u64,
    /// The version that is served, as `versions` numbers them.
    pub version: u64,
    /// Somebody rolled back to it: it is not what the manifest's file says.
    pub rolled_back: bool,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// The gateway.
    pub gateway: ProcessStatus,
    /// The functions in order of their names.
    pub functions: Vec<FunctionStatus>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `http` or `https`.
    pub scheme: String,
    /// Address and port.
    pub address: String,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its id, if it runs.
    pub pid: Option<u32>,
    /// Its share of memory in bytes (PSS), if it can be told.
    pub memory: Option<u64>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// Its name.
    pub name: String,
    /// `ready`, `starting`, `crash-loop`, or `idle`: it has no worker until it is asked for.
    pub state: String,
    /// How many workers it should have.
    pub scale: ScaleStatus,
    /// `METHOD host/path` of each route.
    pub routes: Vec<String>,
    /// Workers started again so far.
    pub restarts: u32,
    /// Why the last that failed did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
}

/// How many workers a function should have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleStatus {
    /// Now.
    pub wanted: u32,
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id.
    pub id: u32,
    /// `starting`, `checking` (ready, and not yet found well), `ready`, `draining`, `stopping` or `killed`.
    pub state: String,
    /// Milliseconds it has been in that state.
    pub for_ms: u64,
    /// Its process.
    #[serde(flatten)]
    pub process: ProcessStatus,
}

/// What was accepted so far, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionsStatus {
    /// The number of what is served.
    pub current: u64,
    /// In order of their numbers.
    pub versions: Vec<VersionStatus>,
    /// By function, what can be gone back to.
    pub functions: BTreeMap<String, Vec<EditionStatus>>,
}

/// A version of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// Its number.
    pub version: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// It is what is served.
    pub current: bool,
    /// In what it differs from what was served before.
    pub changes: Vec<Change>,
    /// It was made by rolling this function back, and is in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// Of each function, the version that it came with as it is.
    pub functions: BTreeMap<String, u64>,
}

/// What a function was from a version on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditionStatus {
    /// The number of that version.
    pub version: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// It is what is served.
    pub current: bool,
    /// SHA-256 of its program.
    pub sha256: String,
}

/// Why a platform could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// None runs from this manifest.
    #[error("no platform runs from {manifest}; start one with `hearth up {manifest}`")]
    NotRunning {
        /// Which.
        manifest: String,
    },
    /// The socket failed.
    #[error("cannot talk to the platform")]
    Io(#[from] io::Error),
    /// The answer was not understood.
    #[error("the platform's answer is not understood; is it of another version?")]
    Answer(#[from] serde_json::Error),
}

/// Asks the platform that runs from `manifest`; `on_answer` gets each line and says whether to go on.
pub fn ask(
    manifest: &Path,
    request: &Request,
    mut on_answer: impl FnMut(Answer) -> bool,
) -> Result<(), AskError> {
    let socket = StateDir::of(manifest).socket();
    let stream = hearth_sys::unix::connect(&socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning {
            manifest: manifest.display().to_string(),
        },
        _ => AskError::Io(error),
    })?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&stream).write_all(line.as_bytes())?;
    for line in BufReader::new(stream).lines() {
        if !on_answer(serde_json::from_str(&line?)?) {
            break;
        }
    }
    Ok(())
}
