//! The types of the control API: the requests to a platform, and its answers.
//!
//! The API is JSON over HTTP/1.1 on the Unix socket in the state directory. `docs/control-api.yaml` describes it, and a
//! test compares the two. [`route`] parses requests, [`problem`] contains the error responses, [`client`] sends
//! requests, and [`crate::control`] answers them.

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

/// A request, on any transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The status of the platform.
    Status,
    /// Records of the log.
    Logs(LogQuery),
    /// Read the manifest again and serve it.
    Reload,
    /// Metrics for Prometheus.
    Metrics,
    /// The status of the device.
    Device,
    /// An action of the device, such as a reboot.
    AskDevice(Ask),
    /// The kept versions.
    Versions,
    /// Serve an earlier version.
    Rollback {
        /// Only this function; `None` for the whole manifest.
        function: Option<String>,
        /// The version to return to; `None` for the one before.
        to: Option<u64>,
    },
}

/// An answer of the runner.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `reload`: it has succeeded.
    Reloaded {
        /// How many functions are served.
        functions: usize,
    },
    /// To `versions`.
    Versions(Box<VersionsStatus>),
    /// To `rollback`: it has succeeded.
    RolledBack(RolledBack),
    /// The request has failed, for this reason.
    Failed(String),
}

/// The response to `POST /v1/rollback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The version that is served now.
    pub version: u64,
    /// How it differs from what was served before.
    pub changes: Vec<Change>,
}

/// The response to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many functions are served.
    pub functions: usize,
}

/// A line in the response to `GET /v1/logs`: records have been skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many records came too fast for this client.
    pub skipped: u64,
}

/// The status of a platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// The manifest's file.
    pub manifest: String,
    /// The number of the generation that is served. It starts at 1, and grows with each reload or rollback that changes
    /// it.
    pub generation: u64,
    /// The version that is served, as `versions` numbers them.
    pub version: u64,
    /// Whether this version comes from a rollback, and not from the manifest's file.
    pub rolled_back: bool,
    /// The listeners of the gateway.
    pub listeners: Vec<ListenerStatus>,
    /// The address at which metrics are served over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// The supervisor's process.
    #[serde(flatten)]
    pub supervisor: ProcessStatus,
    /// Open connections of clients.
    pub connections: u32,
    /// The gateway's process.
    pub gateway: ProcessStatus,
    /// The functions in the order of their names.
    pub functions: Vec<FunctionStatus>,
}

impl Status {
    /// All processes.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessStatus> {
        let functions = self.functions.iter();
        let workers = functions.flat_map(|function| &function.workers);
        let own = [&self.supervisor, &self.gateway].into_iter();
        own.chain(workers.map(|worker| &worker.process))
    }

    /// All processes, to fill in their resource use.
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

/// A process. Values that cannot be determined are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its id, if it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Resident memory in bytes, with shared pages in full (RSS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Its share of memory in bytes: its own pages, and its part of shared ones (PSS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    /// Seconds of processor time that it has used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Its share of one processor over the last seconds; 1 is a whole processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_share: Option<f64>,
    /// Milliseconds since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
}

impl ProcessStatus {
    /// A process of which only the id is known yet.
    pub fn of(pid: Option<u32>) -> ProcessStatus {
        ProcessStatus {
            pid,
            ..ProcessStatus::default()
        }
    }
}

/// Requests, as the gateway counts them. It reports them once a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Requests that have been answered so far, with any status.
    pub requests: u64,
    /// Requests that workers have now.
    pub in_flight: u32,
    /// Median time to the head of the response over the last half to whole minute, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99th percentile of the same times, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// Its name.
    pub name: String,
    /// `ready`, `starting`, `crash-loop`, or `idle`: it has no worker until it gets a request.
    pub state: String,
    /// The version of the function. It changes with the program, the environment or a secret.
    pub version: u32,
    /// How many workers it should have, and may have.
    pub scale: ScaleStatus,
    /// `METHOD host/path` of each route.
    pub routes: Vec<String>,
    /// How many workers have been started to replace others so far.
    pub restarts: u32,
    /// The fault of the last worker that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Requests that wait for a worker now.
    pub waiting: u32,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Requests,
    /// The limits of its workers, by the manifest's keys and in its notation.
    pub limits: BTreeMap<String, String>,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
}

/// How many workers a function should have, and may have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleStatus {
    /// How many it should have now.
    pub wanted: u32,
    /// How many it has at least.
    pub min: u32,
    /// How many it has at most.
    pub max: u32,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id.
    pub id: u32,
    /// `starting`, `checking` (ready, but has not passed a probe), `ready`, `draining`, `stopping` or `killed`.
    pub state: String,
    /// Milliseconds since the worker was started, first waited for a probe, or became ready, whichever was last.
    pub for_ms: u64,
    /// The version of the function that it belongs to.
    pub version: u32,
    /// Its process.
    #[serde(flatten)]
    pub process: ProcessStatus,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Requests,
    /// The mechanisms of its sandbox: how each is enforced, or why it is not.
    #[serde(default)]
    pub sandbox: Vec<Mechanism>,
    /// How often it has reached each of its limits, by the manifest's keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limited: BTreeMap<String, u64>,
    /// How often each system call was refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
}

/// The kept versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionsStatus {
    /// The number of the version that is served.
    pub current: u64,
    /// The versions in the order of their numbers.
    pub versions: Vec<VersionStatus>,
    /// The releases of each function that a rollback can return to.
    pub functions: BTreeMap<String, Vec<EditionStatus>>,
}

/// A version of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// Its number.
    pub version: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// Whether it is served.
    pub current: bool,
    /// How it differs from what was served before.
    pub changes: Vec<Change>,
    /// The function whose rollback made this version. Such a version is not in the manifest's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// The number of each function's release.
    pub functions: BTreeMap<String, u64>,
}

/// A release of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditionStatus {
    /// The number of the version that introduced it.
    pub version: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// Whether it is served.
    pub current: bool,
    /// SHA-256 of its program.
    pub sha256: String,
}
