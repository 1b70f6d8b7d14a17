//! `hearth-cell DESCRIPTOR`: makes cells and becomes the programs in them, as `hearth cell` does. A program of its own,
//! because every start of a worker copies it: it is small where `hearth` is large.

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
    // Why there is no cell, the supervisor is told; without a descriptor there is nobody to tell.
    match descriptor.map(zygote) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(_)) | None => ExitCode::FAILURE,
    }
}
