//! Measures how long a client waits after its worker has been killed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};

use crate::hearth::{self, Programs};
use crate::out;
use crate::probe::Probe;

/// Number of measurements.
pub(crate) const TIMES: usize = 10;

/// Timeout for the first response after the kill. It is much longer than any backoff after a first failure.
const LIMIT: Duration = Duration::from_secs(10);

/// Kills the worker of a new platform and sends requests at once. Returns the time from the kill to the first correct
/// response. The platform is new so that no earlier failure causes backoff.
///
/// A response after the kill is from a new worker: the old one was idle, and an idle process executes no further
/// instruction after SIGKILL.
pub(crate) async fn measure(programs: &Programs) -> anyhow::Result<Duration> {
    let server = hearth::start(programs).await?;
    let [before] = hearth::status(programs, &server).await?.workers[..] else {
        bail!("there is not one worker before the kill");
    };
    let mut probe = Probe::connect(server.address).await?;
    probe.hello().await?;

    let start = Instant::now();
    kill(before, Signal::SIGKILL)?;
    let mut failed = Vec::new();
    while let Err(error) = probe.hello().await {
        failed.push(format!("{error:#}"));
        ensure!(
            start.elapsed() < LIMIT,
            "no answer since the kill: {}",
            failed.join("; ")
        );
        // The error may be that of a closed connection, so the next attempt uses a new one.
        probe = Probe::connect(server.address).await?;
    }
    let took = start.elapsed();

    if !failed.is_empty() {
        let (count, first) = (failed.len(), &failed[0]);
        out::say(format_args!(
            "  {count} requests failed after the kill, first: {first}"
        ));
    }
    let [after] = hearth::status(programs, &server).await?.workers[..] else {
        bail!("there is not one worker after the kill");
    };
    ensure!(
        after != before,
        "the worker {before} was killed and still serves"
    );
    Ok(took)
}

/// Measures [`TIMES`] times.
pub(crate) async fn measure_all(programs: &Programs) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(TIMES);
    for number in 1..=TIMES {
        let time = measure(programs).await;
        let time = time.with_context(|| format!("replacement {number} of {TIMES}"))?;
        out::say(format_args!(
            "replacement {number} of {TIMES}: {:.1} ms",
            time.as_secs_f64() * 1e3
        ));
        times.push(time);
    }
    Ok(times)
}
