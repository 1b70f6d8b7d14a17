//! The control API's types: what can be asked of a platform, and what it answers.
//!
//! JSON over HTTP/1.1 on the Unix socket in the state directory; `docs/control-api.yaml` describes it
//! and a test holds the two against each other. How a request is read is in [`route`], what is said
//! where it cannot be answered in [`problem`]; [`client`] asks, [`crate::control`] answers.

pub mod client;
pub mod problem;
pub mod route;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cell::Mechanism;
use crate::device::Ask;
use crate::filter::LogQuery;
use crate::versions::Change;
pub use client::{AskError, Client};
pub use problem::Problem;

/// What can be asked, whatever carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// How things stand.
    Status,
    /// Records of the log.
    Logs(LogQuery),
    /// Read the manifest again and serve it.
    Reload,
    /// What is measured, for Prometheus.
    Metrics,
    /// The box that it runs on.
    Device,
    /// Something of the box.
    AskDevice(Ask),
    /// What was accepted so far, as far as it is kept.
    Versions,
    /// Serve what was served before.
    Rollback {
        /// This function alone.
        function: Option<String>,
        /// As it was in this version; without it, as it was before.
        to: Option<u64>,
    },
}

/// What the runner answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `reload`: done; this many functions are served.
    Reloaded {
        /// How many.
        functions: usize,
    },
    /// To `versions`.
    Versions(Box<VersionsStatus>),
    /// To `rollback`: done.
    RolledBack(RolledBack),
    /// It was not done, and why.
    Failed(String),
}

/// To `POST /v1/rollback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The version that is served.
    pub version: u64,
    /// In what it differs from what was served until then.
    pub changes: Vec<Change>,
}

/// To `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many functions are served.
    pub functions: usize,
}

/// A line among those of `GET /v1/logs`: records were passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many came too fast for this client.
    pub skipped: u64,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// The manifest's file.
    pub manifest: String,
    /// How often the manifest was accepted so far.
    pub generation: u64,
    /// The version that is served, as `versions` numbers them.
    pub version: u64,
    /// Somebody rolled back to it: it is not what the manifest's file says.
    pub rolled_back: bool,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// Where metrics are served over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// The supervisor.
    #[serde(flatten)]
    pub supervisor: ProcessStatus,
    /// Connections of clients that are open.
    pub connections: u32,
    /// The gateway.
    pub gateway: ProcessStatus,
    /// The functions in order of their names.
    pub functions: Vec<FunctionStatus>,
}

impl Status {
    /// Every process in it.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessStatus> {
        let functions = self.functions.iter();
        let workers = functions.flat_map(|function| &function.workers);
        let own = [&self.supervisor, &self.gateway].into_iter();
        own.chain(workers.map(|worker| &worker.process))
    }

    /// The same, to fill in what they use.
    pub fn processes_mut(&mut self) -> impl Iterator<Item = &mut ProcessStatus> {
        let functions = self.functions.iter_mut();
        let workers = functions.flat_map(|function| &mut function.workers);
        let own = [&mut self.supervisor, &mut self.gateway].into_iter();
        own.chain(workers.map(|worker| &mut worker.process))
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `http` or `https`.
    pub scheme: String,
    /// Address and port.
    pub address: String,
}

/// A process. What cannot be told is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its id, if it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Memory in bytes that it has in the machine, shared pages counted whole (RSS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Its share of memory in bytes: its own pages, and its part of those it shares (PSS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    /// Seconds of processor time that it has used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Its part of one processor over the last seconds: 1 is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_share: Option<f64>,
    /// Milliseconds since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
}

impl ProcessStatus {
    /// One of which only the id is known yet.
    pub fn of(pid: Option<u32>) -> ProcessStatus {
        ProcessStatus {
            pid,
            ..ProcessStatus::default()
        }
    }
}

/// Requests, as the gateway counts them: told once a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Answered so far, with whatever status.
    pub requests: u64,
    /// With a worker now.
    pub in_flight: u32,
    /// Half of those of the last half to whole minute had the head of their answer within so many
    /// milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// And 99 in 100 of them within so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// Its name.
    pub name: String,
    /// `ready`, `starting`, `crash-loop`, or `idle`: it has no worker until it is asked for.
    pub state: String,
    /// The number of what its workers are: another program, environment or secret makes another.
    pub version: u32,
    /// How many workers it should have.
    pub scale: ScaleStatus,
    /// `METHOD host/path` of each route.
    pub routes: Vec<String>,
    /// Workers started again so far.
    pub restarts: u32,
    /// Why the last that failed did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Requests that wait for a worker now.
    pub waiting: u32,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Requests,
    /// What its workers may have, by the manifest's keys and in its words.
    pub limits: BTreeMap<String, String>,
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
    /// The function's version that it is of.
    pub version: u32,
    /// Its process.
    #[serde(flatten)]
    pub process: ProcessStatus,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Requests,
    /// What of its sandbox is enforced, and why the rest is not.
    #[serde(default)]
    pub sandbox: Vec<Mechanism>,
    /// How often which of its limits was met, by the manifest's keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limited: BTreeMap<String, u64>,
    /// How often which system call was refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
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
