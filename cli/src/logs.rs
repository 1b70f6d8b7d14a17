//! `hearth logs`: prints the platform's log.

use hearth_supervisor::api::Skipped;
use hearth_supervisor::api::client::target;
use hearth_supervisor::journal::Record;

use crate::args::Logs;
use crate::out::{self, Outcome};

pub(crate) fn logs(args: &Logs) -> anyhow::Result<Outcome> {
    let lines = args.lines.to_string();
    let target = target(
        "/v1/logs",
        &[
            ("lines", Some(&lines)),
            ("follow", args.follow.then_some("true")),
            ("function", args.function.as_deref()),
            ("level", args.level.as_deref()),
            ("since", args.since.as_deref()),
            ("request", args.request.as_deref()),
        ],
    );
    let mut outcome = Ok(Outcome::Done);
    args.running.client().lines(&target, |line| {
        let printed = print(line, args.json);
        let go_on = printed.is_ok();
        if let Err(error) = printed {
            outcome = Err(error);
        }
        go_on
    })?;
    outcome
}

fn print(line: &str, json: bool) -> anyhow::Result<()> {
    if let Ok(Skipped { skipped }) = serde_json::from_str(line) {
        out::talk(format_args!(
            "{skipped} records came too fast and were passed over"
        ));
        return Ok(());
    }
    match json {
        true => out::data(line)?,
        false => out::data(serde_json::from_str::<Record>(line)?.to_line())?,
    }
    Ok(())
}
