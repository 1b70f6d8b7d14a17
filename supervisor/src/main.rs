//! `hearth-supervisor MANIFEST`: the supervisor without the command line around it, for machines where every page
//! counts. It listens where the manifest says, and starts `hearth` and `hearth-cell`, which lie beside it.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use hearth_supervisor::gateway::Program;
use hearth_supervisor::journal::Format;
use hearth_supervisor::state::StateDir;
use hearth_supervisor::{Options, Overrides};

/// What the journal keeps on disk, as `hearth up` does.
const LOG_BYTES: u64 = 16 << 20;

/// Versions that can be gone back to, as with `hearth up`.
const VERSIONS: usize = 3;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(manifest), None) = (args.next(), args.next()) else {
        tell("usage: hearth-supervisor MANIFEST");
        return ExitCode::from(2);
    };
    match run(manifest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("hearth-supervisor: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            tell(&text);
            ExitCode::FAILURE
        }
    }
}

fn run(manifest: OsString) -> Result<(), Box<dyn std::error::Error>> {
    let own = std::env::current_exe()?;
    let beside = |name: &str, args: &[&str]| Program {
        path: own.with_file_name(name),
        args: args.iter().map(|one| (*one).to_owned()).collect(),
    };
    let manifest = PathBuf::from(manifest);
    let options = Options {
        listen: Overrides::default(),
        format: Format::Text,
        gateway: beside("hearth", &["gateway"]),
        cell: beside("hearth-cell", &[]),
        strict: false,
        state: StateDir::of(&manifest),
        secrets: StateDir::of(&manifest).secrets(),
        log_bytes: LOG_BYTES,
        journal_socket: None,
        versions: VERSIONS,
        manifest,
    };
    Ok(hearth_supervisor::run(options)?)
}

fn tell(text: &str) {
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stderr(), "{text}");
}
