//! `hearth reload`.

use anyhow::bail;
use hearth_supervisor::api::{Answer, Request, ask};

use crate::args::Reload;
use crate::out::{self, Outcome};

pub(crate) fn reload(args: &Reload) -> anyhow::Result<Outcome> {
    let mut answer = None;
    ask(&args.manifest, &Request::Reload, |line| {
        answer = Some(line);
        false
    })?;
    match answer {
        Some(Answer::Reloaded { functions }) => {
            out::talk(format_args!("reloaded; functions served: {functions}"));
            Ok(Outcome::Done)
        }
        Some(Answer::Failed(why)) => {
            out::talk(format_args!("not reloaded: {why}"));
            Ok(Outcome::Failed)
        }
        other => bail!("the platform gave no answer: {other:?}"),
    }
}
