//! `hearth up`, and the internal commands that the supervisor starts: the gateway and the sandbox helper.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use hearth_supervisor::cell::choice::choose;
use hearth_supervisor::gateway::Program;
use hearth_supervisor::journal::Format;
use hearth_supervisor::load::{LoadError, base, load};
use hearth_supervisor::{Options, Overrides, RunError};

use crate::appliance;
use crate::args::{Gateway, LogFormat, Strictness, Up};
use crate::build::{Builder, Profile};
use crate::out::{self, Outcome};

pub(crate) fn up(args: &Up) -> anyhow::Result<Outcome> {
    told(build_first(args).and_then(|()| run(args)))
}

/// Runs the platform without building functions first.
pub(crate) fn serve(args: &Up) -> anyhow::Result<Outcome> {
    told(run(args))
}

fn run(args: &Up) -> anyhow::Result<()> {
    Ok(hearth_supervisor::run(options(args)?)?)
}

/// The outcome of a run. If the manifest is invalid, prints its errors and returns `BadManifest`.
fn told(ended: anyhow::Result<()>) -> anyhow::Result<Outcome> {
    match ended {
        Ok(()) => Ok(Outcome::Done),
        Err(error) => {
            let manifest = match error.downcast_ref::<RunError>() {
                Some(RunError::Load(load)) => Some(load),
                _ => error.downcast_ref::<LoadError>(),
            };
            match manifest {
                Some(LoadError::Faults(faults)) => out::talk(faults),
                Some(_) => out::talk(format_args!("hearth: {error:#}")),
                None => return Err(error),
            }
            Ok(Outcome::BadManifest)
        }
    }
}

fn build_first(args: &Up) -> anyhow::Result<()> {
    if args.build {
        let manifest = load(&args.manifest)?.manifest;
        let builder = Builder {
            profile: Profile::Release,
            tied: false,
        };
        builder.build(&manifest, &base(&args.manifest))?;
    }
    Ok(())
}

fn options(args: &Up) -> anyhow::Result<Options> {
    let mut listen = Overrides::default();
    for one in &args.listen {
        match one.https {
            true => listen.https = Some(one.address),
            false => listen.http = Some(one.address),
        }
    }
    let manifest = match args.appliance {
        true => PathBuf::from(appliance::MANIFEST),
        false => args.manifest.clone(),
    };
    let state = args.state.of(&manifest);
    let options = Options {
        manifest,
        listen,
        format: match args.log {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
            LogFormat::Quiet => Format::Quiet,
            LogFormat::Journal => Format::Journal,
        },
        gateway: Program {
            path: own_program()?,
            args: vec!["gateway".into()],
        },
        cell: choose(own_program()?),
        strict: args.sandbox == Strictness::Strict,
        secrets: match &args.secrets {
            Some(directory) => directory.clone(),
            None => state.secrets(),
        },
        state,
        log_bytes: args.log_size,
        journal_socket: args.journal_socket.clone(),
        versions: args.versions.into(),
    };
    match args.appliance {
        true => appliance::settle(options),
        false => Ok(options),
    }
}

/// The path of this program. If its file has been replaced since the start, the path in /proc that still leads to it.
pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("cannot tell where this program is")?;
    Ok(if path.exists() {
        path
    } else {
        PathBuf::from("/proc/self/exe")
    })
}

/// Makes sandboxes at the supervisor's request on this descriptor, until the supervisor ends.
pub(crate) fn cells(descriptor: i32) -> ExitCode {
    match hearth_supervisor::cell::zygote(descriptor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

pub(crate) fn gateway(args: &Gateway) -> anyhow::Result<Outcome> {
    hearth_gateway::run(args.threads)?;
    Ok(Outcome::Done)
}
