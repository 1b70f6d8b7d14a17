//! `cargo xtask chaos`: runs a platform under mixed load while faults are injected.
//!
//! Prints the numbers of requests that were sent, answered, refused (by layer) and lost (by fault), and the memory
//! before, at its peak and afterwards. Fails if a request was lost that no fault explains, or if a response was wrong.

mod fault;
mod traffic;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::unistd::Pid;
use tokio::task::LocalSet;

pub(crate) use fault::Fault;

use crate::args::Course;
use crate::group::{Group, tied};
use crate::hearth::Programs;
use crate::scratch::Scratch;
use crate::server::free_port;
use crate::usage::{Process, memory};
use crate::{hearth, out};

/// Time of load without faults, before memory is first measured.
const WARM_UP: Duration = Duration::from_secs(5);

/// Time between the end of the load and the last memory measurement.
const REST: Duration = Duration::from_secs(60);

/// Number of worker processes.
const WORKERS: usize = 4;

/// Timeout for a gateway and all workers to run again. It is longer than the longest backoff of a worker.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lost request is attributed to a fault during the request or up to this time before it.
const BLAME: Duration = Duration::from_secs(2);

/// Start of the gateway's log message about a retried request.
const AGAIN: &str = "sent to a worker once more";

/// Part of the supervisor's log record about a gateway that ended unexpectedly.
const GATEWAY_ENDED: &str = r#""source":"gateway","message":"ended: "#;

/// Counters of one kind of request.
#[derive(Default)]
struct Counts {
    sent: u64,
    answered: u64,
    refused: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    /// Lost requests that no recent fault excuses. They are also counted in `lost`.
    inexcusable: u64,
    wrong: u64,
}

/// State that clients and fault injection share.
#[derive(Default)]
struct Shared {
    counts: RefCell<BTreeMap<&'static str, Counts>>,
    faults: RefCell<Vec<(Instant, Fault)>>,
    /// One example of each kind of loss, refusal and wrong response.
    examples: RefCell<BTreeMap<String, String>>,
    stop: Cell<bool>,
}

impl Shared {
    fn count(&self, kind: &'static str, book: impl FnOnce(&mut Counts)) {
        book(self.counts.borrow_mut().entry(kind).or_default());
    }

    fn times(&self, fault: Fault) -> usize {
        let faults = self.faults.borrow();
        faults.iter().filter(|(_, one)| *one == fault).count()
    }

    /// The fault that explains the failure of a request that began at `begun`: of the recent faults, the one that
    /// explains most.
    fn cause(&self, begun: Instant) -> Option<Fault> {
        let faults = self.faults.borrow();
        let recent = faults
            .iter()
            .rev()
            .take_while(|(at, _)| *at + BLAME >= begun);
        // The maximum, because a killed gateway explains any loss, even if other faults followed it.
        recent.map(|(_, fault)| *fault).max()
    }
}

/// The platform under test.
struct Victim {
    address: SocketAddr,
    programs: Programs,
    scratch: Scratch,
    _group: Group,
}

impl Victim {
    async fn start(programs: Programs) -> anyhow::Result<Victim> {
        let scratch = Scratch::new()?;
        let address = free_port()?;
        let probe = programs.join("examples/probe");
        fs::copy(&probe, scratch.join("probe"))
            .with_context(|| format!("cannot copy {}", probe.display()))?;
        write_manifest(&scratch, 0)?;
        let mut command = tied(programs.join("hearth"))?;
        command.arg("up").arg(scratch.join("edge.yaml"));
        command.args(["--log", "json", "--listen"]);
        command
            .arg(format!("http={address}"))
            .args(["--listen", "https=off"]);
        let group = Group::start("hearth", &mut command, &scratch)?;
        let victim = Victim {
            address,
            programs,
            scratch,
            _group: group,
        };
        victim.whole().await?;
        Ok(victim)
    }

    /// Waits until the gateway and all workers run, and returns the status.
    async fn whole(&self) -> anyhow::Result<hearth::Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Without a gateway, the status cannot be parsed.
            match self.status().await {
                Ok(status) if status.workers.len() >= WORKERS => return Ok(status),
                _ => ensure!(Instant::now() < deadline, "the platform does not get whole"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn manifest(&self) -> PathBuf {
        self.scratch.join("edge.yaml")
    }

    async fn status(&self) -> anyhow::Result<hearth::Status> {
        hearth::status_of(&self.programs, &self.manifest()).await
    }

    /// Number of times that the platform's log contains this text.
    fn has_said(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.scratch.join("hearth.log"));
        log.unwrap_or_default().matches(what).count()
    }

    /// Proportional memory (PSS) of supervisor and gateway, in bytes.
    async fn memory(&self) -> anyhow::Result<u64> {
        let status = self.status().await?;
        let of = |pid: Pid| {
            let role = String::new();
            memory(&Process { role, pid })
        };
        Ok(of(status.supervisor)? + of(status.gateway)?)
    }
}

/// Writes the manifest. `number` is in the workers' environment, so another number causes new workers.
fn write_manifest(scratch: &Scratch, number: u32) -> anyhow::Result<()> {
    let text = format!(
        "service: chaos\ngateway: {{ limits: {{ queue: 128 }} }}\nfunctions:\n  probe:\n    \
         routes: [{{ path: \"/{{path+}}\" }}]\n    binary: probe\n    scale: {{ min: {WORKERS}, max: {WORKERS} }}\n    \
         timeout: 5s\n    env: {{ NUMBER: \"{number}\" }}\n"
    );
    // The rename is atomic, so a reader never sees a partial file.
    let fresh = scratch.write("edge.yaml.new", &text)?;
    fs::rename(fresh, scratch.join("edge.yaml"))?;
    Ok(())
}

/// Memory (PSS) of supervisor and gateway, in bytes.
struct Memory {
    before: u64,
    peak: u64,
    after: u64,
}

/// Runs load and faults and prints the table.
pub(crate) async fn run(course: Course) -> anyhow::Result<()> {
    let programs = hearth::build(&["hearth"], &["hearth-sdk"]).await?;
    let victim = Rc::new(Victim::start(programs).await?);
    let shared = Rc::new(Shared::default());
    let begun = Instant::now();
    let memory = LocalSet::new()
        .run_until(suffer(course, &victim, &shared))
        .await?;
    let again = victim.has_said(AGAIN);
    let killed = shared.times(Fault::GatewayKilled);
    let ended = victim.has_said(GATEWAY_ENDED);
    out::data(table(&shared, &memory, again, begun.elapsed()))?;
    let counts = shared.counts.borrow();
    let wrong: u64 = counts.values().map(|one| one.wrong).sum();
    let lost: u64 = counts.values().map(|one| one.inexcusable).sum();
    ensure!(
        ended > 0 || killed == 0,
        "the platform's log does not tell of killed gateways as it should"
    );
    ensure!(
        ended <= killed,
        "the gateway ended {ended} times and was killed only {killed} times"
    );
    ensure!(
        wrong + lost == 0,
        "{wrong} answers were wrong, {lost} requests were lost without an excuse"
    );
    Ok(())
}

/// Runs load and faults concurrently, and measures memory.
async fn suffer(
    course: Course,
    victim: &Rc<Victim>,
    shared: &Rc<Shared>,
) -> anyhow::Result<Memory> {
    let (length, rest) = match course {
        Course::All { length, rest } => (length, rest),
        Course::Only(..) => (Duration::MAX, false),
    };
    let clients = traffic::start(victim.address, shared);
    tokio::time::sleep(WARM_UP).await;
    let before = victim.memory().await?;
    let faults = fault::run(course, Rc::clone(victim), Rc::clone(shared));
    let faults = tokio::task::spawn_local(faults);
    let begun = Instant::now();
    let mut peak = before;
    while begun.elapsed() < length && !faults.is_finished() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Between two gateways, the measurement fails and is skipped.
        peak = peak.max(victim.memory().await.unwrap_or(0));
    }
    shared.stop.set(true);
    faults.await??;
    for client in clients {
        client.await?;
    }
    if rest {
        out::say("at rest, to see what memory comes back");
        tokio::time::sleep(REST).await;
    }
    let after = victim.memory().await?;
    Ok(Memory {
        before,
        peak,
        after,
    })
}

fn table(shared: &Shared, memory: &Memory, again: usize, length: Duration) -> String {
    let mut text = String::from(
        "| requests | sent | answered | refused, by layer | lost, by fault | wrong |\n|---|---|---|---|---|---|\n",
    );
    let list = |map: &BTreeMap<String, u64>| {
        let shown: Vec<String> = map.iter().map(|(what, n)| format!("{what} {n}")).collect();
        match shown.is_empty() {
            true => "0".to_owned(),
            false => shown.join(", "),
        }
    };
    for (kind, one) in shared.counts.borrow().iter() {
        let (refused, lost) = (list(&one.refused), list(&one.lost));
        let _ = writeln!(
            text,
            "| {kind} | {} | {} | {refused} | {lost} | {} |",
            one.sent, one.answered, one.wrong
        );
    }
    let sent: u64 = shared.counts.borrow().values().map(|one| one.sent).sum();
    let _ = writeln!(
        text,
        "\n{:.0} requests a second. {again} requests were sent to a worker once more, because the first had gone.",
        sent as f64 / length.as_secs_f64()
    );
    text.push_str("\n| fault | times |\n|---|---|\n");
    for fault in Fault::ALL {
        let _ = writeln!(text, "| {} | {} |", fault.name(), shared.times(fault));
    }
    let Memory {
        before,
        peak,
        after,
    } = *memory;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(
        text,
        "\nMemory of supervisor and gateway (PSS): {:.2} MiB before, {:.2} at its peak, {:.2} afterwards ({:.2} of before).\n",
        mib(before),
        mib(peak),
        mib(after),
        after as f64 / before as f64
    );
    for (what, example) in shared.examples.borrow().iter() {
        let _ = writeln!(text, "- {what}, for one: {example}");
    }
    text
}
