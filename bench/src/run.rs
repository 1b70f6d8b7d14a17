//! Runs the comparison: every server in every round, then the measurements that exist only for Hearth.

use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Options;
use crate::entry::{Entry, Installed, Kind};
use crate::figures::{CONNECTIONS, Round, Sample};
use crate::load::{self, load};
use crate::machine::Machine;
use crate::server::Server;
use crate::{out, replacement, table, usage};

/// Seconds of load before the measurement. They fill caches, open connections to upstream servers and let JavaScript
/// compilers work.
const WARM_UP: u32 = 1;

/// The results of a run.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) wrk: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    /// The servers with their results of each round.
    pub(crate) entries: Vec<(Entry, Vec<Round>)>,
    /// Name and size in bytes of each release program.
    pub(crate) sizes: Vec<(String, u64)>,
    pub(crate) replacements: Vec<Duration>,
}

impl Report {
    /// The medians of a server, if it was measured.
    pub(crate) fn median(&self, kind: Kind) -> Option<Round> {
        let (_, rounds) = self.entries.iter().find(|(entry, _)| entry.kind == kind)?;
        Round::median(rounds)
    }
}

/// Runs the comparison.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report {
        wrk: load::version().await?,
        machine: Machine::this().await,
        rounds: options.rounds,
        seconds: options.seconds,
        entries: Vec::new(),
        sizes: Vec::new(),
        replacements: Vec::new(),
    };
    for kind in &options.kinds {
        let entry = Entry::find(*kind).await?;
        if let Err(why) = &entry.installed {
            out::say(format_args!("{} is missing: {why}", kind.title()));
        }
        report.entries.push((entry, Vec::new()));
    }
    for number in 1..=options.rounds {
        for (entry, rounds) in &mut report.entries {
            let Ok(installed) = &entry.installed else {
                continue;
            };
            let name = entry.kind.title();
            out::say(format_args!("round {number} of {}: {name}", options.rounds));
            let round = measure(installed, options.seconds).await;
            rounds.push(round.with_context(|| name.to_owned())?);
        }
    }
    let installed = report.entries.iter().map(|(entry, _)| &entry.installed);
    for one in installed {
        if let Ok(Installed::Hearth(programs)) = one {
            report.sizes = programs.sizes()?;
            report.replacements = replacement::measure_all(programs).await?;
        }
    }
    Ok(report)
}

/// Measures one server in one round. It is started for this round, and no other server runs meanwhile.
async fn measure(installed: &Installed, seconds: u32) -> anyhow::Result<Round> {
    let server = installed.start().await?;
    load(server.address, CONNECTIONS[1], WARM_UP).await?;
    let samples = [
        sample(&server, CONNECTIONS[0], seconds).await?,
        sample(&server, CONNECTIONS[1], seconds).await?,
    ];
    let mut memory = Vec::new();
    for process in &server.processes {
        memory.push((process.role.clone(), usage::memory(process)?));
    }
    Ok(Round { samples, memory })
}

/// Puts one load on a server and returns the results.
pub(crate) async fn sample(
    server: &Server,
    connections: u32,
    seconds: u32,
) -> anyhow::Result<Sample> {
    let before = usage::cpu(&server.processes)?;
    let load = load(server.address, connections, seconds).await?;
    let used = usage::cpu(&server.processes)? - before;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let sample = Sample {
        cpu: micros(used) / load.requests as f64,
        rate: load.rate,
        p50: micros(load.p50),
        p99: micros(load.p99),
    };
    out::say(format_args!(
        "  {connections} conn.: {}",
        table::line(&sample)
    ));
    Ok(sample)
}

/// Creates a runtime with one thread, so that the measured server gets the rest of the machine.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("cannot make a runtime")
}

/// Waits for SIGINT, SIGTERM or SIGHUP and returns the error that ends the program.
pub(crate) async fn told_to_stop() -> anyhow::Error {
    let listen = |kind| signal(kind).context("cannot listen to signals");
    let (mut interrupt, mut terminate, mut hangup) = match (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
        listen(SignalKind::hangup()),
    ) {
        (Ok(interrupt), Ok(terminate), Ok(hangup)) => (interrupt, terminate, hangup),
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => return error,
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    anyhow!("told to stop; what was started is stopped too")
}
