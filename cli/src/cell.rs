//! `hearth-cell DESCRIPTOR`: the sandbox helper, which makes sandboxes and executes the programs in them, as `hearth
//! cell` does. It is a separate program because every start of a worker copies its process, and `hearth` is much
//! larger.

use std::io::Write;
use std::process::ExitCode;

use hearth_supervisor::cell::{choice, zygote};

fn main() -> ExitCode {
    let word = std::env::args_os().nth(1).unwrap_or_default();
    if word == choice::ASK {
        return match std::io::stdout().write_all(choice::SOURCES.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let descriptor = word.to_str().and_then(|text| text.parse().ok());
    // The helper reports to the supervisor why it could not make a sandbox. Without a descriptor it cannot report
    // anything.
    match descriptor.map(zygote) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(_)) | None => ExitCode::FAILURE,
    }
}
