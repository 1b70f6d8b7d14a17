//! The types of an accepted manifest: validated, with defaults filled in.
//!
//! Values of these types are created only by validation, so their users need not check them again. This module reads
//! no files and does not depend on YAML. The types serialize, because the supervisor sends them to the gateway. The
//! serialized form is that of the manifest: its key names, `10s`, `32KiB`, `off`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{address, duration, method, size};

/// One accepted manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the service: lower-case letters, digits, `-` and `_`.
    pub service: String,
    /// Settings of the gateway.
    pub gateway: Gateway,
    /// The functions by name; at least one.
    pub functions: BTreeMap<String, Function>,
}

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Addresses of the HTTP and HTTPS listeners.
    pub listen: Listen,
    /// Certificates.
    pub tls: Tls,
    /// Limits on requests and connections.
    pub limits: GatewayLimits,
    /// The metrics listener.
    pub metrics: Metrics,
    /// Whether the gateway logs one line per request.
    pub access_log: bool,
    /// Number of gateway threads. With `None`, the supervisor derives it from the number of processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// The TCP listener for metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Address that answers `GET /metrics`; `None` opens no listener.
    #[serde(with = "address")]
    pub listen: Option<SocketAddr>,
}

/// Addresses of the gateway's listeners; `None` opens no listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listen {
    /// HTTP/1.1 and HTTP/2 with prior knowledge, without TLS. Default `127.0.0.1:8080`.
    #[serde(with = "address")]
    pub http: Option<SocketAddr>,
    /// HTTP/1.1 and HTTP/2 over TLS. Default `127.0.0.1:8443`.
    #[serde(with = "address")]
    pub https: Option<SocketAddr>,
}

/// Certificates from files. Domains that no certificate covers get a self-signed certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// The certificates, in the order of the manifest.
    pub certificates: Vec<Certificate>,
}

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Server names (SNI) that the gateway uses this certificate for; at least one.
    pub domains: Vec<Domain>,
    /// File with the chain, leaf first. The path is as written in the manifest, relative to its directory.
    pub cert: PathBuf,
    /// File with the private key (PKCS#8, SEC1 or PKCS#1). The path is as written in the manifest.
    pub key: PathBuf,
}

/// Limits on requests and connections. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayLimits {
    /// Maximum size of the request line and headers of one request; a larger head gets 431. 1 KiB to 64 KiB, default
    /// 32 KiB.
    #[serde(with = "size")]
    pub header_bytes: u64,
    /// Maximum size of one request body; a larger body gets 413. Default 10 MiB.
    #[serde(with = "size")]
    pub body_bytes: u64,
    /// Maximum number of open connections of all listeners together; further connections wait in the kernel. Default
    /// 10,000.
    pub connections: u32,
    /// Maximum number of requests of one function that wait for a worker; further requests get 503. Default 1,024.
    pub queue: u32,
    /// Time after which a connection without a request is closed, 1 s to 1 h. Default 60 s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Maximum time from the first byte of a request to the end of its head, 1 s to 1 h; then the connection is
    /// closed. Default 15 s.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// Interval over which the rate of a transfer is measured, 1 s to 1 h. A client must send at least 240 bytes a
    /// second of a request body (otherwise it gets 408), and read as much of a response (otherwise the connection is
    /// closed). Default 30 s.
    #[serde(with = "duration")]
    pub stall_timeout: Duration,
}

/// The value of a variable in a function's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value as written in the manifest.
    Text(String),
    /// A reference to a secret.
    Secret {
        /// Name of the secret.
        secret: String,
    },
}

impl EnvValue {
    /// The text, or `None` for a reference to a secret.
    pub fn text(&self) -> Option<&str> {
        match self {
            EnvValue::Text(text) => Some(text),
            EnvValue::Secret { .. } => None,
        }
    }
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Domains that it serves; an empty list means any host.
    pub domains: Vec<Domain>,
    /// Routes that it serves; at least one.
    pub routes: Vec<Route>,
    /// Path of the worker's program as written in the manifest, relative to the manifest's directory.
    pub binary: PathBuf,
    /// Command that builds the program. With `None`, Cargo builds the binary that `binary` names, in the manifest's
    /// directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// Environment of the handler. The supervisor sends it to the worker over the control socket.
    pub env: BTreeMap<String, EnvValue>,
    /// Number of worker processes.
    pub scale: Scale,
    /// Number of handlers that one worker runs concurrently, 1 to 1,024. Default 1.
    pub concurrency: u32,
    /// Maximum time until the head of the response, including the time in the queue, 1 ms to 1 h. Default 10 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Maximum time from the start of a worker until it is ready, 100 ms to 10 min. Default 10 s.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// Resources by name. The worker gets them unchanged, except that each `{ "secret": NAME }` is replaced by the
    /// secret's value.
    pub resources: BTreeMap<String, serde_json::Value>,
    /// Names of further secrets that the worker gets.
    pub secrets: Vec<String>,
    /// Limits of each worker.
    pub limits: WorkerLimits,
    /// Files and ports that each worker may access.
    pub sandbox: Sandbox,
    /// Health check of the workers. With `None`, a worker that is ready counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Limits of one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Memory in bytes, including files in `/tmp`. Default 128 MiB.
    #[serde(with = "size")]
    pub memory: u64,
    /// Number of processors, also a fraction; `None` means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Number of threads and processes. Default 64.
    pub pids: u32,
    /// Number of open descriptors. Default 1,024.
    pub open_files: u32,
    /// Size of all files in `/tmp` in bytes. Default 16 MiB.
    #[serde(with = "size")]
    pub tmp: u64,
}

/// Files and ports that one worker may access, in addition to its program and the servers of its resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// How strictly the sandbox is enforced. With `None`, the platform's mode applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Files and directories that the worker may read. The paths are as written in the manifest, relative to its
    /// directory.
    pub read: Vec<PathBuf>,
    /// Directories that the worker may read and write. The paths are as written in the manifest.
    pub write: Vec<PathBuf>,
    /// Further TCP ports that the worker may connect to.
    pub connect: Vec<u16>,
}

/// How strictly a sandbox is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The platform enforces what the machine supports and reports the rest.
    BestEffort,
    /// The worker does not start unless everything is enforced.
    Strict,
}

/// Health check of a function's workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Path that the gateway requests with GET.
    pub path: String,
    /// Time between two probes, 100 ms to 1 h. Default 10 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Maximum time until the response to a probe, 10 ms to 60 s. Default 2 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Number of failed probes in a row after which the worker is replaced, 1 to 100. Default 3.
    pub failures: u32,
}

/// A command that builds a function's binary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Command that `sh -c` executes in the manifest's directory.
    pub command: String,
    /// Files and directories, in addition to the manifest's directory, whose changes cause `hearth dev` to build
    /// again. The paths are as written in the manifest, relative to its directory.
    pub watch: Vec<PathBuf>,
}

/// Number of worker processes of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Minimum number of workers, 0 to 64. Default 1.
    pub min: u32,
    /// Maximum number of workers, 1 to 64 and not less than `min`. Default `min`, but at least 1.
    pub max: u32,
    /// Time for which fewer workers must have been sufficient before the surplus workers are drained, 100 ms to 24 h.
    /// Default 30 s.
    #[serde(with = "duration")]
    pub idle: Duration,
}

/// A domain that a function serves: lower case, without port or trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Domain {
    /// `api.example.com`
    Exact(String),
    /// `*.example.com`, stored as `example.com`. It matches exactly one additional label, as in certificates.
    Wildcard(String),
}

/// One route of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Pattern that the request path must match.
    pub path: PathPattern,
    /// Method; `None` means every method.
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
    /// Text that the percent-decoded segment of the request must equal. Only the last segment can be empty: a
    /// trailing slash produces an empty segment.
    Literal(String),
    /// `{name}`: one segment that is not empty.
    Parameter(String),
    /// `{name+}`: the rest of the path, at least one segment. Only the last segment can be greedy.
    Greedy(String),
}
