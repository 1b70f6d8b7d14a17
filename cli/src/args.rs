//! The command line.

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
    /// Run the platform here, in the foreground
    Up(Up),
    /// Make a project with one function
    New(New),
    /// Run the platform here, and build and serve whatever changes
    Dev(Dev),
    /// Build every function as a static program, for this machine or another
    Build(Build),
    /// Validate a manifest: every fault at once, with its line and column
    Check(Check),
    /// Print the manifest's JSON Schema
    Schema,
    /// Show the running platform
    Status(Status),
    /// Show the running platform again and again, the busiest functions first
    Top(Top),
    /// Print what is measured, for Prometheus
    Metrics(Metrics),
    /// Show the running platform's log
    Logs(Logs),
    /// Read the manifest again and serve it
    Reload(Reload),
    /// Show the versions that were served and are kept
    Versions(Versions),
    /// Serve what was served before: everything, or one function
    Rollback(Rollback),
    /// Keep values that a manifest refers to with `{ secret: NAME }`
    Secret(Secret),
    /// Show the appliance that a platform runs on, start it again, or switch it off
    Device(Device),
    /// Make an image of the appliance, try it, and write it to a disk
    #[cfg(feature = "image")]
    Image(image::args::Image),
    /// Print a captured wire stream, one frame a line
    Decode(Decode),
    /// The gateway's process, started by the supervisor
    #[command(hide = true)]
    Gateway(Gateway),
    /// A program that ends with whoever started it
    #[command(hide = true)]
    Tied {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

/// Versions that are kept where nothing else is said.
const KEPT: u8 = 3;

/// Where a platform's state is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct State {
    /// Where the platform keeps its log, secrets, versions and control socket: not beside the manifest
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
}

impl State {
    /// The directory, of a platform with this manifest.
    pub(crate) fn of(&self, manifest: &Path) -> StateDir {
        StateDir::at_or_of(self.state.as_deref(), manifest)
    }
}

/// A running platform.
#[derive(Debug, clap::Args)]
pub(crate) struct Running {
    /// The manifest that the platform was started with
    #[arg(default_value = "edge.yaml")]
    manifest: PathBuf,
    #[command(flatten)]
    state: State,
}

impl Running {
    /// Asks it.
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
    /// Build every function first: by its `build.command`, or else with Cargo beside the manifest
    #[arg(long)]
    pub(crate) build: bool,
    /// Listen elsewhere than the manifest says: ADDR:PORT for http, https=ADDR:PORT, or http=off
    #[arg(long, value_name = "[SCHEME=]ADDR")]
    pub(crate) listen: Vec<Listen>,
    /// How the log is printed
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// Read secrets from the files of this directory, not from where `hearth secret` keeps them
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) secrets: Option<PathBuf>,
    /// What cannot be enforced of a sandbox: a refusal to start, or shown by `hearth status`
    #[arg(long, value_enum, default_value_t = Strictness::BestEffort)]
    pub(crate) sandbox: Strictness,
    /// Most of the log that is kept on disk beside the manifest; 0 keeps it in memory only
    #[arg(long, value_name = "SIZE", default_value = LOG_SIZE, value_parser = size)]
    pub(crate) log_size: u64,
    /// Answer at this socket as the system's journal and keep what comes in the log; for a machine that
    /// has no other journal, and then at /run/systemd/journal/socket
    #[arg(long, value_name = "PATH")]
    pub(crate) journal_socket: Option<PathBuf>,
    /// As init starts it on the appliance: what lies in /factory, state in /data, listeners open to all
    #[arg(long, hide = true)]
    pub(crate) appliance: bool,
    /// How many versions are kept for `hearth rollback`
    #[arg(long, value_name = "COUNT", default_value_t = KEPT, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) versions: u8,
}

/// How strictly sandboxes are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strictness {
    /// All of it, or the worker does not start
    Strict,
    /// What this machine offers
    BestEffort,
}

/// What of the log is kept on disk: some 80,000 records.
const LOG_SIZE: &str = "16MiB";

/// Less would be less than one long record in each of the log's files.
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
    /// Where it is made; its last part is its name
    pub(crate) path: PathBuf,
    /// What it begins as
    #[arg(long, value_enum, default_value_t = Template::Hello)]
    pub(crate) template: Template,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Template {
    /// Text, and a counter
    Hello,
    /// JSON in and out, in memory
    JsonApi,
    /// JSON in and out, kept in PostgreSQL
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
    /// Listen elsewhere than the manifest says: ADDR:PORT for http, https=ADDR:PORT, or http=off
    #[arg(long, value_name = "[SCHEME=]ADDR")]
    listen: Vec<Listen>,
    /// How the log is printed
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
    /// Read secrets from the files of this directory, not from where `hearth secret` keeps them
    #[arg(long, value_name = "DIRECTORY")]
    secrets: Option<PathBuf>,
    /// Most of the log that is kept on disk beside the manifest; 0 keeps it in memory only
    #[arg(long, value_name = "SIZE", default_value = LOG_SIZE, value_parser = size)]
    log_size: u64,
}

impl Dev {
    /// As `up`, once all is built.
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
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
    /// Nothing; see `hearth logs`
    Quiet,
    /// Nothing: the system's journal has it, as `journalctl -t hearth`
    Journal,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// The manifest
    #[arg(default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    /// The processor they are to run on; this machine's without it. For another than this machine's,
    /// binaries are put below `dist/ARCH`
    #[arg(long, value_enum, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// As small as can be: a panic ends the worker (502, and a restart) without a message
    #[arg(long)]
    pub(crate) smallest: bool,
    /// Without what the programs' packages have in their default features
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
    /// Print faults as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the manifest as it is understood, with every default filled in
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) running: Running,
    /// What the busiest have the most of
    #[arg(long, value_enum, default_value_t = SortBy::Cpu)]
    pub(crate) sort: SortBy,
    /// Print it once; so it is without a terminal, too
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SortBy {
    /// Processor time
    Cpu,
    /// Requests in a second
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
    /// Go on with what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the past records
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    pub(crate) lines: usize,
    /// Only records of this function
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,
    /// Only records as grave as this, or graver: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Only records since then: so long ago as 10m or 2h, or a time as 2026-11-24T14:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only records of this request, by its x-request-id
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
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// This function alone; without it, everything
    pub(crate) function: Option<String>,
    /// As it was in this version; without it, as it was before
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<u64>,
    /// The manifest that the platform was started with
    #[arg(long, default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) state: State,
    /// Print what was done as JSON
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
    /// Keep what comes on stdin as the value of a secret; a running platform takes it at once
    Set(OneSecret),
    /// Forget a secret
    Remove(OneSecret),
    /// Print the names of the secrets that are kept, and of those that the manifest misses
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
    /// Its name
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
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the appliance keeps its state
    #[arg(long, value_name = "DIRECTORY", default_value = appliance::STATE)]
    state: PathBuf,
}

impl Device {
    /// Asks the platform on it.
    pub(crate) fn client(&self) -> Client {
        Client::of(
            Path::new(appliance::MANIFEST),
            StateDir::at(self.state.clone()),
        )
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceVerb {
    /// Start it again
    Reboot,
    /// Switch it off
    PowerOff,
    /// Start it again with all data gone: log, secrets, versions and certificates
    FactoryReset {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Decode {
    /// A file with the bytes of one direction of a socket; stdin without it
    pub(crate) file: Option<PathBuf>,
    /// The file holds hexadecimal digits
    #[arg(long)]
    pub(crate) hex: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gateway {
    /// Threads that carry traffic
    #[arg(long)]
    pub(crate) threads: usize,
}

/// A listener of the command line.
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
