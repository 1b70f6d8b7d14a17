//! `hearth image`: builds an image of the appliance, runs it, or writes it to a disk.

pub(crate) mod args;
mod build;
mod contents;
mod factory;
mod firmware;
mod flash;
mod run;
mod system;
mod target;
mod watch;

use crate::out::Outcome;
use args::ImageVerb;

pub(crate) fn image(verb: &ImageVerb) -> anyhow::Result<Outcome> {
    match verb {
        ImageVerb::Build(args) => build::build(args),
        ImageVerb::Run(args) => run::run(args),
        ImageVerb::Flash(args) => flash::flash(args),
    }
}
