//! Compares Hearth with other servers in one run on one machine, with the same response, the same load and the same
//! clocks. `cargo xtask bench` runs this program. The comparison reports missed targets but does not fail because of
//! them.

mod args;
mod bare;
mod cells;
mod chaos;
mod entry;
mod figures;
mod group;
mod hearth;
mod idle;
mod load;
mod machine;
mod nginx;
mod out;
mod peer;
mod postgres;
mod probe;
mod replacement;
mod run;
mod scratch;
mod server;
mod soak;
mod supervisor;
mod table;
mod targets;
mod usage;
mod workerd;

use std::process::ExitCode;

use args::{Options, Task};

fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Task::Help) => out::data(args::HELP),
        Ok(Task::Peer(at)) => peer::serve(&at),
        Ok(Task::Exec(words)) => group::become_program(&words),
        Ok(Task::Bench(options)) => bench(&options),
        Ok(Task::Bare(word)) => bare::serve(&word),
        Ok(Task::Cells(pace)) => until_told_to_stop(cells::run(pace)),
        Ok(Task::Idle) => until_told_to_stop(idle::run()),
        Ok(Task::Supervisor) => until_told_to_stop(supervisor::run()),
        Ok(Task::Postgres(pace)) => until_told_to_stop(postgres::run(pace)),
        Ok(Task::Soak(length)) => until_told_to_stop(soak::run(length)),
        Ok(Task::Chaos(course)) => until_told_to_stop(chaos::run(course)),
        Err(fault) => {
            out::say(format_args!("bench: {fault}\n\n{}", args::HELP));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::say(format_args!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the comparison and prints the report.
fn bench(options: &Options) -> anyhow::Result<()> {
    let report = until_told_to_stop(run::run(options))?;
    out::data(match options.json {
        true => table::json(&report),
        false => table::markdown(&report),
    })
}

/// Runs a task until it ends or a signal arrives. A signal drops the task, and with it every process and directory that
/// the task has created.
fn until_told_to_stop<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    run::runtime()?.block_on(async {
        tokio::select! {
            done = task => done,
            signal = run::told_to_stop() => Err(signal),
        }
    })
}
