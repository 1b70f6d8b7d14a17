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

use anyhow::{Context, bail, ensure};
use nix::unistd::Pid;
use tokio::task::LocalSet;

use crate::group::{Group, tied};
use crate::hearth::Programs;
use crate::scratch::Scratch;
use crate::server::free_port;
use crate::usage::{Process, memory};
use crate::{hearth, out};
use fault::Fault;

/// Load without faults, before memory is first measured.
const WARM_UP: Duration = Duration::from_secs(5);

/// Between the end of the load and the last look at memory.
const REST: Duration = Duration::from_secs(60);

/// A lost request is put down to a fault that fell into its time or so shortly before it.
const BLAME: Duration = Duration::from_secs(2);

/// What is counted, by what was asked for.
#[derive(Default)]
struct Counts {
    sent: u64,
    answered: u64,
    refused: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
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

    /// The last fault that can be to blame for what failed since `begun`.
    fn cause(&self, begun: Instant) -> String {
        let faults = self.faults.borrow();
        let recent = faults
            .iter()
            .rev()
            .take_while(|(at, _)| *at + BLAME >= begun);
        // A killed gateway explains any loss; whatever came after it, little.
        let worst = recent.map(|(_, fault)| *fault).max();
        worst.map_or("unexplained".to_owned(), |fault| fault.name().to_owned())
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
        command.args(["--log", "quiet", "--listen"]);
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
        let deadline = Instant::now() + Duration::from_secs(20);
        while victim
            .status()
            .await
            .map_or(0, |status| status.workers.len())
            < 4
        {
            ensure!(Instant::now() < deadline, "the platform does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(victim)
    }

    fn manifest(&self) -> PathBuf {
        self.scratch.join("edge.yaml")
    }

    async fn status(&self) -> anyhow::Result<hearth::Status> {
        hearth::status_of(&self.programs, &self.manifest()).await
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
         routes: [{{ path: \"/{{path+}}\" }}]\n    binary: probe\n    scale: {{ min: 4, max: 4 }}\n    \
         timeout: 5s\n    env: {{ NUMBER: \"{number}\" }}\n"
    );
    // In one step: a reader never sees half of it.
    let fresh = scratch.write("edge.yaml.new", &text)?;
    fs::rename(fresh, scratch.join("edge.yaml"))?;
    Ok(())
}

/// Runs it for so long and prints the table.
pub(crate) async fn run(length: Duration, rest: bool) -> anyhow::Result<()> {
    let programs = hearth::build(&["hearth"], &["hearth-sdk"]).await?;
    let victim = Rc::new(Victim::start(programs).await?);
    let shared = Rc::new(Shared::default());
    let local = LocalSet::new();
    let (before, peak, after) = local
        .run_until(async {
            let clients = traffic::start(victim.address, &shared);
            tokio::time::sleep(WARM_UP).await;
            let before = victim.memory().await?;
            let faults =
                tokio::task::spawn_local(fault::run(Rc::clone(&victim), Rc::clone(&shared)));
            let end = Instant::now() + length;
            let mut peak = before;
            while Instant::now() < end {
                tokio::time::sleep(Duration::from_secs(1)).await;
                // In the moment between two gateways there is nothing to measure.
                peak = peak.max(victim.memory().await.unwrap_or(0));
                if faults.is_finished() {
                    break;
                }
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
            anyhow::Ok((before, peak, victim.memory().await?))
        })
        .await?;
    out::data(table(&shared, (before, peak, after)))?;
    let counts = shared.counts.borrow();
    let wrong: u64 = counts.values().map(|one| one.wrong).sum();
    let unexplained: u64 = counts
        .values()
        .filter_map(|one| one.lost.get("unexplained"))
        .sum();
    if wrong + unexplained > 0 {
        bail!("{wrong} answers were wrong, {unexplained} requests were lost without a reason");
    }
    Ok(())
}

fn table(shared: &Shared, (before, peak, after): (u64, u64, u64)) -> String {
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
    text.push_str("\n| fault | times |\n|---|---|\n");
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    for (_, fault) in shared.faults.borrow().iter() {
        *faults.entry(*fault).or_default() += 1;
    }
    for (fault, times) in faults {
        let _ = writeln!(text, "| {} | {times} |", fault.name());
    }
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
