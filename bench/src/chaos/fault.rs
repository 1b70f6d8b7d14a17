//! What goes wrong, one thing a second, in an order that is the same in every run.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};

use super::traffic::{Kind, burst};
use super::{Shared, Victim, WORKERS, write_manifest};
use crate::args::Course;

/// Between two faults of different kinds.
const PAUSE: Duration = Duration::from_secs(1);

/// Who lives for less is taken to be in a crash loop, and started again more and more slowly.
const HEALTHY: Duration = Duration::from_millis(10_100);

/// Requests at once that fill the queue.
const BURST: usize = 300;

/// What can go wrong; the later ones explain more.
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

    /// Whether it may cost a request of this kind: what is under way over a connection dies with its
    /// gateway, and what cannot be sent twice with its worker. Nothing else may cost anything.
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

/// In this order, over and over: mostly reloads, as in life.
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

/// Makes faults until it is told to stop, or has made as many as it should.
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
                // In turn.
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
            // One that has just ended by itself is as good.
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

/// At the very moment: what is lost is put down to what came just before.
fn note(shared: &Shared, fault: Fault) {
    shared.faults.borrow_mut().push((Instant::now(), fault));
}
