//! `hearth rollback`: returns to an earlier version.

use std::time::Instant;

use hearth_supervisor::api::client::target;
use hearth_supervisor::api::{AskError, Client, RolledBack};

use crate::args::Rollback;
use crate::out::{self, Outcome};
use crate::versions;

pub(crate) fn rollback(args: &Rollback) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let to = args.to.map(|version| version.to_string());
    let parameters = [
        ("function", args.function.as_deref()),
        ("to", to.as_deref()),
    ];
    let target = target("/v1/rollback", &parameters);
    match Client::of(&args.manifest, args.state.of(&args.manifest)).post::<RolledBack>(&target) {
        Ok(done) if args.json => {
            out::data(serde_json::to_string_pretty(&done)?)?;
            Ok(Outcome::Done)
        }
        Ok(RolledBack { version, changes }) => {
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
        Err(AskError::Refused(why)) => {
            out::talk(format_args!("not rolled back: {why}"));
            Ok(Outcome::Failed)
        }
        Err(error) => Err(error.into()),
    }
}
