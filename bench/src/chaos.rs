//! A platform under mixed load while everything that can go wrong goes wrong: `cargo xtask chaos`.
//!
//! Prints what was sent, answered, refused by which layer, and lost by which fault, and memory before,
//! at its peak and afterwards. Fails if something was lost that no fault explains, or was answered
//! wrongly.

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

/// Load without faults, before memory is first measured.
const WARM_UP: Duration = Duration::from_secs(5);

/// Between the end of the load and the last look at memory.
const REST: Duration = Duration::from_secs(60);

/// Processes that answer.
const WORKERS: usize = 4;

/// A platform is whole again within this time: more than the longest pause before a new worker.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lost request is put down to a fault that fell into its time or so shortly before it.
const BLAME: Duration = Duration::from_secs(2);

/// How the gateway's line begins that tells of a request's second try.
const AGAIN: &str = "sent to a worker once more";

/// How the supervisor's line begins that tells of a gateway that ended by itself.
const GATEWAY_ENDED: &str = r#""source":"gateway","message":"ended: "#;

/// What is counted, by what was asked for.
#[derive(Default)]
struct Counts {
    sent: u64,
    answered: u64,
    refused: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    /// Of the lost ones, those that no fault can cost.
    inexcusable: u64,
    wrong: u64,
}

/// What everybody writes to and looks at.
#[derive(Default)]
struct Shared {
    counts: RefCell<BTreeMap<&'static str, Counts>>,
    faults: RefCell<Vec<(Instant, Fault)>>,
    /// One example of each kind of loss and refusal.
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

    /// The last fault that can be to blame for what failed since `begun`.
    fn cause(&self, begun: Instant) -> Option<Fault> {
        let faults = self.faults.borrow();
        let recent = faults
            .iter()
            .rev()
            .take_while(|(at, _)| *at + BLAME >= begun);
        // A killed gateway explains any loss; whatever came after it, little.
        recent.map(|(_, fault)| *fault).max()
    }
}

/// The platform that suffers.
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

    /// Its status once it is whole, with a gateway and all workers.
    async fn whole(&self) -> anyhow::Result<hearth::Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // While there is no gateway there is no status that could be read.
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

    /// How often the platform's log says this.
    fn has_said(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.scratch.join("hearth.log"));
        log.unwrap_or_default().matches(what).count()
    }

    /// Proportional memory of supervisor and gateway.
    async fn memory(&self) -> anyhow::Result<u64> {
        let status = self.status().await?;
        let of = |pid: Pid| {
            let role = String::new();
            memory(&Process { role, pid })
        };
        Ok(of(status.supervisor)? + of(status.gateway)?)
    }
}

/// The number changes what the workers are told, and so makes them others.
fn write_manifest(scratch: &Scratch, number: u32) -> anyhow::Result<()> {
    let text = format!(
        "service: chaos\ngateway: {{ limits: {{ queue: 128 }} }}\nfunctions:\n  probe:\n    \
         routes: [{{ path: \"/{{path+}}\" }}]\n    binary: probe\n    scale: {{ min: {WORKERS}, max: {WORKERS} }}\n    \
         timeout: 5s\n    env: {{ NUMBER: \"{number}\" }}\n"
    );
    // In one step: a reader never sees half of it.
    let fresh = scratch.write("edge.yaml.new", &text)?;
    fs::rename(fresh, scratch.join("edge.yaml"))?;
    Ok(())
}

/// Memory of supervisor and gateway in bytes (PSS).
struct Memory {
    before: u64,
    peak: u64,
    after: u64,
}

/// Runs it and prints the table.
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

/// Load and faults, side by side.
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
        // In the moment between two gateways there is nothing to measure.
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
