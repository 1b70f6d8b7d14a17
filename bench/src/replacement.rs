//! How long a client waits because its worker was killed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};

use crate::hearth::{self, Programs};
use crate::out;
use crate::probe::Probe;

/// How often it is measured.
pub(crate) const TIMES: usize = 10;

/// Much more than any backoff that could come after a first death.
const LIMIT: Duration = Duration::from_secs(10);

/// Kills the worker of a fresh platform, so that no death before counts, and asks at once: the time
/// from the kill to the first right answer.
///
/// An answer that comes after the kill is of a new worker, since the old one was idle, and an idle
/// process that gets SIGKILL runs no instruction more.
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
        // It may have been the connection that ended.
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

/// [`TIMES`] of them.
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
