//! `hearth reload`: loads and serves the manifest again.

use hearth_supervisor::api::{AskError, Reloaded};

use crate::args::Reload;
use crate::out::{self, Outcome};

pub(crate) fn reload(args: &Reload) -> anyhow::Result<Outcome> {
    match args.running.client().post("/v1/reload") {
        Ok(Reloaded { functions }) => {
            out::talk(format_args!("reloaded; functions served: {functions}"));
            Ok(Outcome::Done)
        }
        Err(AskError::Refused(problem)) => {
            out::talk(format_args!("not reloaded: {problem}"));
            Ok(Outcome::Failed)
        }
        Err(error) => Err(error.into()),
    }
}
