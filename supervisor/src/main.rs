//! `hearth-supervisor MANIFEST`: the supervisor without the command line, for machines with little memory. It listens
//! at the addresses in the manifest, and starts the program `hearth` in its own directory as the gateway.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use hearth_supervisor::causes::with_causes;
use hearth_supervisor::cell::{choice, zygote};
use hearth_supervisor::gateway::Program;
use hearth_supervisor::journal::Format;
use hearth_supervisor::state::StateDir;
use hearth_supervisor::{Options, Overrides};

/// Maximum size of the log on disk in bytes: the default of `hearth up`.
const LOG_BYTES: u64 = 16 << 20;

/// How many versions are kept for rollbacks: the default of `hearth up`.
const VERSIONS: usize = 3;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match &args[..] {
        [manifest] => run(manifest.into()),
        [verb, descriptor] if verb == choice::VERB => make_cells(descriptor),
        _ => {
            tell("usage: hearth-supervisor MANIFEST");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("hearth-supervisor: {}", with_causes(&*error)));
            ExitCode::FAILURE
        }
    }
}

fn run(manifest: PathBuf) -> Result<(), Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let state = StateDir::of(&manifest);
    let options = Options {
        listen: Overrides::default(),
        format: Format::Text,
        gateway: Program {
            path: own.with_file_name("hearth"),
            args: vec!["gateway".into()],
        },
        cell: choice::choose(own),
        strict: false,
        secrets: state.secrets(),
        state,
        log_bytes: LOG_BYTES,
        journal_socket: None,
        versions: VERSIONS,
        manifest,
    };
    Ok(hearth_supervisor::run(options)?)
}

fn make_cells(descriptor: &OsStr) -> Result<(), Box<dyn Error>> {
    let descriptor = descriptor.to_str().and_then(|text| text.parse().ok());
    Ok(zygote(descriptor.ok_or("cells want a descriptor")?)?)
}

fn tell(text: &str) {
    // An error is ignored, because it cannot be reported: stderr may be closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
