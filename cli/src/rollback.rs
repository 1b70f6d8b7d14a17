//! `hearth rollback`.

use std::time::Instant;

use anyhow::bail;
use hearth_supervisor::api::{Answer, Request, ask};

use crate::args::Rollback;
use crate::out::{self, Outcome};
use crate::versions;

pub(crate) fn rollback(args: &Rollback) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut answer = None;
    let request = Request::Rollback {
        function: args.function.clone(),
        to: args.to,
    };
    ask(&args.manifest, &request, |line| {
        answer = Some(line);
        false
    })?;
    match answer {
        Some(done @ Answer::RolledBack { .. }) if args.json => {
            out::data(serde_json::to_string_pretty(&done)?)?;
            Ok(Outcome::Done)
        }
        Some(Answer::RolledBack { version, changes }) => {
            out::talk(format_args!(
                "rolled back in {} ms, version {version} is served; changed: {}",
                begun.elapsed().as_millis(),
                versions::changes(&changes)
            ));
            out::talk(
                "`hearth reload`, or a change of the manifest or a program, brings the file's version back",
            );
            Ok(Outcome::Done)
        }
        Some(Answer::Failed(why)) => {
            out::talk(format_args!("not rolled back: {why}"));
            Ok(Outcome::Failed)
        }
        other => bail!("the platform gave no answer: {other:?}"),
    }
}
