//! The appliance's network, as init starts it: `hearth-net`. With `--check FILE` it only says whether settings are
//! valid.

#![expect(clippy::print_stderr, reason = "init reads it, for the kernel's log")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    match args.as_slice() {
        [] => match hearth_init::network::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("hearth-net: {error}");
                ExitCode::FAILURE
            }
        },
        [verb, path] if verb == "--check" => match hearth_init::network::check(path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(faults) => {
                eprintln!("{faults}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!(
                "usage: hearth-net, as the appliance's init starts it; hearth-net --check device.yaml"
            );
            ExitCode::from(2)
        }
    }
}
