//! `hearth-cell DESCRIPTOR`: becomes a cell and the program in it, as `hearth cell` does. A program of its own,
//! because every start of a worker loads it: it is small where `hearth` is large.

use std::process::ExitCode;

fn main() -> ExitCode {
    let descriptor = std::env::args_os().nth(1);
    let descriptor = descriptor.and_then(|text| text.to_str()?.parse().ok());
    // Why there is no cell, the supervisor has been told; without a descriptor there is nobody to tell.
    match descriptor.map(hearth_supervisor::cell::enter) {
        Some(Ok(never)) => match never {},
        Some(Err(_)) | None => ExitCode::FAILURE,
    }
}
