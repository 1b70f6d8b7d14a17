//! What a manifest means once it has been accepted: validated types, defaults filled in.
//!
//! Values of these types exist only after validation, so whoever holds one need not check it again.
//! Nothing here reads files or knows YAML. The types serialise (the supervisor sends them to the
//! gateway), and their serialised form is the manifest's own: its key names, `10s`, `32KiB`, `off`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{address, duration, method, size};

/// One accepted manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The service's name: a label of lower-case letters, digits, `-` and `_`.
    pub service: String,
    /// Settings of the gateway.
    pub gateway: Gateway,
    /// The functions by name, at least one.
    pub functions: BTreeMap<String, Function>,
}

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Where it listens.
    pub listen: Listen,
    /// What it shows to TLS clients.
    pub tls: Tls,
    /// What it refuses.
    pub limits: GatewayLimits,
    /// Where what is measured is served.
    pub metrics: Metrics,
    /// One log line per request.
    pub access_log: bool,
    /// Threads that carry traffic; `None` lets the supervisor choose by the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// Metrics over TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// `GET /metrics` is answered there; `None`: nowhere.
    #[serde(with = "address")]
    pub listen: Option<SocketAddr>,
}

/// Addresses to listen on; a listener that is `None` is not opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listen {
    /// Plain HTTP/1.1 and HTTP/2 (prior knowledge). Default `127.0.0.1:8080`.
    #[serde(with = "address")]
    pub http: Option<SocketAddr>,
    /// HTTP/1.1 and HTTP/2 over TLS. Default `127.0.0.1:8443`.
    #[serde(with = "address")]
    pub https: Option<SocketAddr>,
}

/// Certificates from files. Domains that no certificate covers get a self-signed one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// In the manifest's order.
    pub certificates: Vec<Certificate>,
}

/// One certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The names it answers for by SNI, at least one.
    pub domains: Vec<Domain>,
    /// Chain, leaf first; as written in the manifest (relative to its directory).
    pub cert: PathBuf,
    /// Private key (PKCS#8, SEC1 or PKCS#1); as written in the manifest.
    pub key: PathBuf,
}

/// What the gateway refuses. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayLimits {
    /// Request line and headers of one request; 431 beyond. 1 KiB to 64 KiB, default 32 KiB.
    #[serde(with = "size")]
    pub header_bytes: u64,
    /// One request body; 413 beyond. Default 10 MiB.
    #[serde(with = "size")]
    pub body_bytes: u64,
    /// Connections open at once, over all listeners; further ones wait in the kernel. Default 10,000.
    pub connections: u32,
    /// Requests waiting for a worker, per function; 503 beyond. Default 1,024.
    pub queue: u32,
    /// For so long a connection may be without a request, 1 s to 1 h; closed beyond. Default 60 s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// For so long the head of a request may take from its first byte, 1 s to 1 h; closed beyond.
    /// Default 15 s.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// In each such time, 1 s to 1 h, a client must send 240 bytes a second of a body that it has
    /// announced (408 otherwise), and take as much of an answer (closed). Default 30 s.
    #[serde(with = "duration")]
    pub stall_timeout: Duration,
}

/// A value of a function's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// As in the manifest.
    Text(String),
    /// What a secret says.
    Secret {
        /// Its name.
        secret: String,
    },
}

impl EnvValue {
    /// The text, unless it is a secret's.
    pub fn text(&self) -> Option<&str> {
        match self {
            EnvValue::Text(text) => Some(text),
            EnvValue::Secret { .. } => None,
        }
    }
}

/// One function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Domains it answers on; empty means any host.
    pub domains: Vec<Domain>,
    /// What it answers, at least one.
    pub routes: Vec<Route>,
    /// The worker's program, as written in the manifest (relative to its directory).
    pub binary: PathBuf,
    /// How to build it; without it, Cargo builds the binary of that name beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// What it gets in its environment, over its control socket.
    pub env: BTreeMap<String, EnvValue>,
    /// How many worker processes.
    pub scale: Scale,
    /// Handlers running at once in one worker, 1 to 1,024. Default 1.
    pub concurrency: u32,
    /// Until the head of the response, waiting included, 1 ms to 1 h. Default 10 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// From a worker's start until it is ready, 100 ms to 10 min. Default 10 s.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// Delivered to the worker as it stands, but for `{ "secret": NAME }`, which its value replaces.
    pub resources: BTreeMap<String, serde_json::Value>,
    /// Names of secrets that the worker gets besides.
    pub secrets: Vec<String>,
    /// What each worker may use.
    pub limits: WorkerLimits,
    /// What each worker may reach.
    pub sandbox: Sandbox,
    /// How it is told whether a worker is well; without it, one that is ready is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What one worker may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Bytes of memory, files in `/tmp` included. Default 128 MiB.
    #[serde(with = "size")]
    pub memory: u64,
    /// Processors; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Threads and processes. Default 64.
    pub pids: u32,
    /// Open descriptors. Default 1,024.
    pub open_files: u32,
    /// Bytes of files in `/tmp`. Default 16 MiB.
    #[serde(with = "size")]
    pub tmp: u64,
}

/// What one worker may reach beyond its program and the servers of its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// How strictly it is enforced; `None` leaves it to the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What it may read; as written in the manifest (relative to its directory).
    pub read: Vec<PathBuf>,
    /// Directories that it may write; as written in the manifest.
    pub write: Vec<PathBuf>,
    /// TCP ports that it may connect to besides.
    pub connect: Vec<u16>,
}

/// How strictly a sandbox is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What the machine offers; the rest is shown.
    BestEffort,
    /// Everything, or the worker does not start.
    Strict,
}

/// How it is told whether a worker is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Asked with GET.
    pub path: String,
    /// Between two questions, 100 ms to 1 h. Default 10 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// For so long an answer may take, 10 ms to 60 s. Default 2 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// After so many bad answers in a row the worker is replaced, 1 to 100. Default 3.
    pub failures: u32,
}

/// A command that makes a function's binary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Given to `sh -c` in the manifest's directory.
    pub command: String,
    /// Files and directories whose changes make `hearth dev` build again, besides the manifest's own
    /// directory; as written in the manifest (relative to its directory).
    pub watch: Vec<PathBuf>,
}

/// How many worker processes a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Kept running always, 0 to 64. Default 1.
    pub min: u32,
    /// Never more than this, 1 to 64 and not less than `min`. Default as `min`, at least 1.
    pub max: u32,
    /// For so long fewer must have been enough before those beyond are let go, 100 ms to 24 h.
    /// Default 30 s.
    #[serde(with = "duration")]
    pub idle: Duration,
}

/// A domain a function answers on: lower case, without port or trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Domain {
    /// `api.example.com`
    Exact(String),
    /// `*.example.com`, kept as `example.com`: exactly one label in front of it, as in TLS.
    Wildcard(String),
}

/// One route of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The pattern.
    pub path: PathPattern,
    /// `None` means every method.
    #[serde(with = "method")]
    pub method: Option<String>,
}

/// A path pattern: `/items/{id}`, `/files/{path+}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PathPattern(pub(crate) Vec<Segment>);

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Compared with the percent-decoded segment of the request. Not empty, but for the one
    /// empty last segment that a trailing slash makes.
    Literal(String),
    /// `{name}`: one segment, not empty.
    Parameter(String),
    /// `{name+}`: the rest of the path, at least one segment; only in last place.
    Greedy(String),
}
