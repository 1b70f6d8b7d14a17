//! `hearth logs`.

use hearth_supervisor::api::{Answer, Request, ask};

use crate::args::Logs;
use crate::out::{self, Outcome};

pub(crate) fn logs(args: &Logs) -> anyhow::Result<Outcome> {
    let request = Request::Logs {
        lines: args.lines,
        follow: args.follow,
        function: args.function.clone(),
    };
    let mut outcome = Ok(Outcome::Done);
    ask(&args.manifest, &request, |answer| {
        let printed = match answer {
            Answer::Record(record) if args.json => match serde_json::to_string(&record) {
                Ok(line) => out::data(line),
                Err(error) => Err(error.into()),
            },
            Answer::Record(record) => out::data(record.to_line()),
            Answer::Skipped(count) => {
                out::talk(format_args!(
                    "{count} records came too fast and were passed over"
                ));
                Ok(())
            }
            Answer::Failed(why) => {
                out::talk(format_args!("hearth: {why}"));
                outcome = Ok(Outcome::Failed);
                Ok(())
            }
            Answer::Status(_)
            | Answer::Reloaded { .. }
            | Answer::Versions(_)
            | Answer::RolledBack { .. } => Ok(()),
        };
        match printed {
            Ok(()) => true,
            Err(error) => {
                outcome = Err(error.into());
                false
            }
        }
    })?;
    outcome
}
