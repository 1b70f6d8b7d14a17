//! Injects the faults, one a second, in the same order in every run.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};

use super::traffic::{Kind, burst};
use super::{Shared, Victim, WORKERS, write_manifest};
use crate::args::Course;

/// Time between two faults in a run with all faults, and between two reloads or bursts.
const PAUSE: Duration = Duration::from_secs(1);

/// Slightly more than the time after which the supervisor counts a process as healthy. A process that ends earlier
/// counts as being in a crash loop and is restarted with growing delays.
const HEALTHY: Duration = Duration::from_millis(10_100);

/// Number of simultaneous requests that fill the queue.
const BURST: usize = 300;

/// The faults, ordered by how much they explain: a later one explains more losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Reload,
    QueueFilled,
    WorkerStopped,
    WorkerKilled,
    GatewayKilled,
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] = [
        Fault::Reload,
        Fault::QueueFilled,
        Fault::WorkerStopped,
        Fault::WorkerKilled,
        Fault::GatewayKilled,
    ];

    /// Whether the fault may cause the loss of a request of this kind. A killed gateway loses the requests of its
    /// connections. A stopped or killed worker loses the requests that cannot be retried. Other faults must not lose
    /// requests.
    pub(super) fn excuses(self, kind: &Kind) -> bool {
        match self {
            Fault::Reload | Fault::QueueFilled => false,
            Fault::WorkerStopped | Fault::WorkerKilled => !kind.can_be_sent_twice(),
            Fault::GatewayKilled => true,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Reload => "reload",
            Fault::QueueFilled => "queue filled",
            Fault::WorkerStopped => "worker stopped",
            Fault::WorkerKilled => "worker killed",
            Fault::GatewayKilled => "gateway killed",
        }
    }
}

/// The order of the faults, which is repeated. Half of them are reloads, which are the most frequent event in practice.
const ORDER: [Fault; 10] = [
    Fault::Reload,
    Fault::WorkerKilled,
    Fault::Reload,
    Fault::QueueFilled,
    Fault::Reload,
    Fault::WorkerStopped,
    Fault::Reload,
    Fault::WorkerKilled,
    Fault::Reload,
    Fault::GatewayKilled,
];

/// Injects faults until `stop` is set or the number of the course is reached.
pub(super) async fn run(
    course: Course,
    victim: Rc<Victim>,
    shared: Rc<Shared>,
) -> anyhow::Result<()> {
    let (order, times, pause) = match course {
        Course::All { .. } => (ORDER.to_vec(), usize::MAX, PAUSE),
        Course::Only(fault, times) => {
            let pause = match fault {
                Fault::GatewayKilled => HEALTHY,
                // The workers are hit in turn.
                Fault::WorkerKilled | Fault::WorkerStopped => HEALTHY / WORKERS as u32,
                Fault::Reload | Fault::QueueFilled => PAUSE,
            };
            (vec![fault], times, pause)
        }
    };
    for (number, fault) in order.iter().cycle().take(times).enumerate() {
        if shared.stop.get() {
            return Ok(());
        }
        make(*fault, number, &victim, &shared).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn make(
    fault: Fault,
    number: usize,
    victim: &Victim,
    shared: &Rc<Shared>,
) -> anyhow::Result<()> {
    match fault {
        Fault::Reload => {
            note(shared, fault);
            write_manifest(&victim.scratch, number as u32 + 1)?;
            let output = tokio::process::Command::new(victim.programs.join("hearth"))
                .arg("reload")
                .arg(victim.manifest())
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "a reload failed: {said}");
        }
        Fault::QueueFilled => {
            note(shared, fault);
            burst(victim.address, shared, BURST);
        }
        Fault::WorkerStopped | Fault::WorkerKilled => {
            let signal = match fault {
                Fault::WorkerStopped => Signal::SIGSTOP,
                _ => Signal::SIGKILL,
            };
            let status = victim.whole().await?;
            let worker = status.workers[number % status.workers.len()];
            note(shared, fault);
            // The error is ignored: the worker may have ended in the meantime.
            let _ = kill(worker, signal);
        }
        Fault::GatewayKilled => {
            let status = victim.whole().await?;
            note(shared, fault);
            let _ = kill(status.gateway, Signal::SIGKILL);
        }
    }
    Ok(())
}

/// Records a fault. Callers do so at the moment of the fault, because losses are attributed to recent faults.
fn note(shared: &Shared, fault: Fault) {
    shared.faults.borrow_mut().push((Instant::now(), fault));
}
