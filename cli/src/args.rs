//! The command line of `hearth`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};
use hearth_supervisor::api::Client;
use hearth_supervisor::state::StateDir;

use crate::appliance;
use crate::build::Arch;
#[cfg(feature = "image")]
use crate::image;

/// Keeps functions warm: runs request handlers as small native processes behind one gateway.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the platform in the foreground
    Up(Up),
    /// Create a project with one function
    New(New),
    /// Run the platform, and build and serve every change
    Dev(Dev),
    /// Build every function as a static program, for this machine or another
    Build(Build),
    /// Validate a manifest and list every error with its line and column
    Check(Check),
    /// Print the manifest's JSON Schema
    Schema,
    /// Show the state of the running platform
    Status(Status),
    /// Show the state of the running platform every second, busiest functions first
    Top(Top),
    /// Print metrics in the Prometheus text format
    Metrics(Metrics),
    /// Show the log of the running platform
    Logs(Logs),
    /// Read the manifest again and serve it
    Reload(Reload),
    /// List the versions that are kept for `hearth rollback`
    Versions(Versions),
    /// Return to an earlier version of the whole manifest or of one function
    Rollback(Rollback),
    /// Manage the values that a manifest refers to with `{ secret: NAME }`
    Secret(Secret),
    /// Show, restart, power off or reset the appliance that the platform runs on
    Device(Device),
    /// Build an appliance image, run it in QEMU, or write it to a disk
    #[cfg(feature = "image")]
    Image(image::args::Image),
    /// Print the frames of a captured socket stream, one per line
    Decode(Decode),
    /// Run the gateway; the supervisor starts this command
    #[command(hide = true)]
    Gateway(Gateway),
    /// Run a program that gets SIGTERM when its parent process ends
    #[command(hide = true)]
    Tied {
        /// Program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

/// Default number of versions that are kept for rollbacks.
const KEPT: u8 = 3;

/// The option that names the state directory.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct State {
    /// Keep log, secrets, versions and control socket in this directory instead of beside the manifest
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
}

impl State {
    /// The state directory of a platform with this manifest.
    pub(crate) fn of(&self, manifest: &Path) -> StateDir {
        StateDir::at_or_of(self.state.as_deref(), manifest)
    }
}

/// The arguments that name a running platform.
#[derive(Debug, clap::Args)]
pub(crate) struct Running {
    /// The manifest that the platform was started with
    #[arg(default_value = "edge.yaml")]
    manifest: PathBuf,
    #[command(flatten)]
    state: State,
}

impl Running {
    /// A client for the platform's control API.
    pub(crate) fn client(&self) -> Client {
        Client::of(&self.manifest, self.state.of(&self.manifest))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// The manifest
    #[arg(default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) state: State,
    /// Build every function first, with its `build.command` or with Cargo in the manifest's directory
    #[arg(long)]
    pub(crate) build: bool,
    /// Replace a listener of the manifest: ADDR:PORT for http, https=ADDR:PORT, or http=off
    #[arg(long, value_name = "[SCHEME=]ADDR")]
    pub(crate) listen: Vec<Listen>,
    /// Format in which the log is printed
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// Read secrets from the files in this directory instead of those that `hearth secret` has stored
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) secrets: Option<PathBuf>,
    /// What to do if this machine cannot enforce a part of a sandbox
    #[arg(long, value_enum, default_value_t = Strictness::BestEffort)]
    pub(crate) sandbox: Strictness,
    /// Size limit of the log on disk; 0 keeps the log in memory only
    #[arg(long, value_name = "SIZE", default_value = LOG_SIZE, value_parser = size)]
    pub(crate) log_size: u64,
    /// Receive messages in the journal's native protocol at this socket and write them to the log; for a machine
    /// without a journal, where PATH is /run/systemd/journal/socket
    #[arg(long, value_name = "PATH")]
    pub(crate) journal_socket: Option<PathBuf>,
    /// Run as init starts the platform on an appliance: manifest in /factory, state in /data, listeners open to all
    /// hosts
    #[arg(long, hide = true)]
    pub(crate) appliance: bool,
    /// Number of versions to keep for `hearth rollback`
    #[arg(long, value_name = "COUNT", default_value_t = KEPT, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) versions: u8,
}

/// How strictly sandboxes are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strictness {
    /// Do not start the worker
    Strict,
    /// Start the worker; `hearth status` shows what is not enforced
    BestEffort,
}

/// Default size limit of the log on disk: about 80,000 records.
const LOG_SIZE: &str = "16MiB";

/// Minimum size of the log on disk, in bytes. With less, each of the log's files would hold less than one long
/// record.
pub(crate) const LEAST_LOG: u64 = 1 << 20;

fn size(text: &str) -> Result<u64, String> {
    match hearth_manifest::read_size(text) {
        Some(0) => Ok(0),
        Some(bytes) if bytes >= LEAST_LOG => Ok(bytes),
        Some(_) => Err("it is 0, or 1MiB at least".to_owned()),
        None => Err("expected a size as 16MiB, or 0".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Directory to create; its last component is the project's name
    pub(crate) path: PathBuf,
    /// What the project starts as
    #[arg(long, value_enum, default_value_t = Template::Hello)]
    pub(crate) template: Template,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Template {
    /// A greeting and a counter
    Hello,
    /// A JSON API with its data in memory
    JsonApi,
    /// A JSON API with its data in PostgreSQL
    Postgres,
    /// A counter in Redis
    Redis,
    /// Server-sent events
    Sse,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// The manifest
    #[arg(default_value = "edge.yaml")]
    manifest: PathBuf,
    /// Replace a listener of the manifest: ADDR:PORT for http, https=ADDR:PORT, or http=off
    #[arg(long, value_name = "[SCHEME=]ADDR")]
    listen: Vec<Listen>,
    /// Format in which the log is printed
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
    /// Read secrets from the files in this directory instead of those that `hearth secret` has stored
    #[arg(long, value_name = "DIRECTORY")]
    secrets: Option<PathBuf>,
    /// Size limit of the log on disk; 0 keeps the log in memory only
    #[arg(long, value_name = "SIZE", default_value = LOG_SIZE, value_parser = size)]
    log_size: u64,
}

impl Dev {
    /// The options of `hearth up` with which `hearth dev` runs the platform.
    pub(crate) fn into_up(self) -> Up {
        Up {
            manifest: self.manifest,
            state: State::default(),
            build: false,
            listen: self.listen,
            log: self.log,
            secrets: self.secrets,
            sandbox: Strictness::BestEffort,
            log_size: self.log_size,
            journal_socket: None,
            appliance: false,
            versions: KEPT,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines
    Text,
    /// One JSON object per line
    Json,
    /// No output; `hearth logs` shows the log
    Quiet,
    /// No output; the log goes to the systemd journal (`journalctl -t hearth`)
    Journal,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// The manifest
    #[arg(default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    /// Architecture to build for; without it, this machine's. Binaries for another architecture are put below
    /// `dist/ARCH`
    #[arg(long, value_enum, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Build the smallest programs: a panic then ends the worker without a message (502 and a restart)
    #[arg(long)]
    pub(crate) smallest: bool,
    /// Disable the default features of the functions' packages
    #[arg(long)]
    pub(crate) no_default_features: bool,
    /// Print functions, binaries and sizes as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The manifest
    #[arg(default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    /// Print the errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the manifest with every default filled in
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Print the status as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) running: Running,
    /// What to sort functions by
    #[arg(long, value_enum, default_value_t = SortBy::Cpu)]
    pub(crate) sort: SortBy,
    /// Print the state once; the default if stdout is not a terminal
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SortBy {
    /// Processor time
    Cpu,
    /// Requests per second
    Requests,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Metrics {
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Print new records as they arrive
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Number of past records to print
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    pub(crate) lines: usize,
    /// Print only records of this function
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,
    /// Print only records of this level or a more severe one: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Print only records since this time: a duration such as 10m or 2h, or a time such as 2026-11-24T14:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Print only records of the request with this x-request-id
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Print records as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Versions {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Print the versions as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// Function to roll back; without it, the whole manifest
    pub(crate) function: Option<String>,
    /// Version to return to; without it, the version before the current one
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<u64>,
    /// The manifest that the platform was started with
    #[arg(long, default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) state: State,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Secret {
    #[command(subcommand)]
    pub(crate) what: SecretVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// Store stdin as the value of a secret; a running platform uses the new value immediately
    Set(OneSecret),
    /// Remove a secret
    Remove(OneSecret),
    /// Print the names of the stored secrets, and of the missing ones that the manifest refers to
    List {
        /// The manifest
        #[arg(default_value = "edge.yaml")]
        manifest: PathBuf,
        #[command(flatten)]
        state: State,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneSecret {
    /// Name of the secret
    pub(crate) name: String,
    /// The manifest
    #[arg(default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) state: State,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Device {
    #[command(subcommand)]
    pub(crate) what: Option<DeviceVerb>,
    /// Print the device's status as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Directory in which the appliance keeps its state
    #[arg(long, value_name = "DIRECTORY", default_value = appliance::STATE)]
    state: PathBuf,
}

impl Device {
    /// A client for the control API of the platform on the appliance.
    pub(crate) fn client(&self) -> Client {
        Client::of(
            Path::new(appliance::MANIFEST),
            StateDir::at(self.state.clone()),
        )
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceVerb {
    /// Restart the device
    Reboot,
    /// Power off the device
    PowerOff,
    /// Restart the device and delete all its data: log, secrets, versions and certificates
    FactoryReset {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Decode {
    /// File with the bytes of one direction of a socket; without it, stdin
    pub(crate) file: Option<PathBuf>,
    /// Read hexadecimal digits instead of raw bytes
    #[arg(long)]
    pub(crate) hex: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gateway {
    /// Number of threads that carry traffic
    #[arg(long)]
    pub(crate) threads: usize,
}

/// The value of `--listen`. The address is `None` for `off`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    pub(crate) https: bool,
    pub(crate) address: Option<SocketAddr>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let (scheme, address) = text.split_once('=').unwrap_or(("http", text));
        let https = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err("the scheme is http or https".to_owned()),
        };
        let address = match address {
            "off" => None,
            address => Some(address.parse().map_err(|_| {
                "expected an address and port as in 127.0.0.1:8080, or off".to_owned()
            })?),
        };
        Ok(Listen { https, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn listeners_are_read_with_and_without_a_scheme() {
        let read = |text: &str| {
            Listen::from_str(text).map(|one| (one.https, one.address.map(|at| at.to_string())))
        };
        assert_eq!(
            read("127.0.0.1:80"),
            Ok((false, Some("127.0.0.1:80".into())))
        );
        assert_eq!(
            read("https=[::1]:443"),
            Ok((true, Some("[::1]:443".into())))
        );
        assert_eq!(read("http=off"), Ok((false, None)));
        assert!(read("ftp=1.2.3.4:1").is_err());
        assert!(read("8080").is_err());
    }
}
