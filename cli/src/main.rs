//! `hearth`: the platform's command-line program. Parses the arguments and runs the command.

mod appliance;
mod args;
mod build;
mod check;
mod decode;
mod dev;
mod device;
#[cfg(feature = "image")]
mod image;
mod logs;
mod metrics;
mod new;
mod out;
#[cfg(feature = "image")]
mod progress;
mod reload;
mod rollback;
mod secret;
mod status;
mod table;
mod top;
mod up;
mod versions;

use std::process::ExitCode;

use clap::Parser;
use hearth_supervisor::cell::choice;

use args::{Args, Verb};
use out::Outcome;

/// The descriptor, if the supervisor has started this program as the sandbox helper: `hearth cell DESCRIPTOR`. The
/// help does not list this internal command.
fn cell() -> Option<i32> {
    let mut args = std::env::args_os().skip(1);
    match args.next()?.to_str()? {
        choice::VERB => args.next()?.to_str()?.parse().ok(),
        _ => None,
    }
}

fn main() -> ExitCode {
    if let Some(descriptor) = cell() {
        return up::cells(descriptor);
    }
    let outcome = match Args::parse().verb {
        Verb::Up(args) => up::up(&args),
        Verb::New(args) => new::new(&args),
        Verb::Dev(args) => dev::dev(&args.into_up()),
        Verb::Build(args) => build::build(&args),
        Verb::Check(args) => check::check(&args),
        Verb::Schema => check::schema(),
        Verb::Status(args) => status::status(&args),
        Verb::Top(args) => top::top(&args),
        Verb::Metrics(args) => metrics::metrics(&args),
        Verb::Logs(args) => logs::logs(&args),
        Verb::Reload(args) => reload::reload(&args),
        Verb::Versions(args) => versions::versions(&args),
        Verb::Rollback(args) => rollback::rollback(&args),
        Verb::Secret(args) => secret::secret(&args.what),
        Verb::Device(args) => device::device(&args),
        #[cfg(feature = "image")]
        Verb::Image(args) => image::image(&args.what),
        Verb::Decode(args) => decode::decode(&args),
        Verb::Gateway(args) => up::gateway(&args),
        Verb::Tied { words } => build::become_program(&words).map(|never| match never {}),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Ok(Outcome::BadManifest) => ExitCode::from(2),
        Err(error) => {
            out::talk(format_args!("hearth: {error:#}"));
            ExitCode::from(1)
        }
    }
}
