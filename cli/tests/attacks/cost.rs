//! What a sandbox costs: the time from start to end of the same program with and without it, and of the same system
//! calls.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth_manifest::WorkerLimits;
use hearth_supervisor::cell::{self, Order, Plan, Program};
use hearth_supervisor::gateway;
use hearth_supervisor::machine::{Given, Machine};
use hearth_sys::spawn::{Child, Spawn, spawn};

use serde_json::{Value, json};

use crate::platform::hearth;
use crate::scene::alone;
use crate::start::hostile;

const ROUNDS: usize = 60;

/// Rounds of the same system calls, and the number of requests in each.
const TURNS: usize = 12;
const REQUESTS: u32 = 4_000;

fn act(order: &Value) -> Vec<String> {
    vec!["act".to_owned(), order.to_string()]
}

/// Runs a program without a sandbox. Returns the time from its start to its end, and what it printed.
fn bare(program: &Path, args: &[String]) -> (Duration, String) {
    let begin = Instant::now();
    let mut child = spawn(Spawn {
        args: args.iter().map(Into::into).collect(),
        ..Spawn::new(program.to_owned())
    })
    .unwrap();
    assert!(child.wait().unwrap().success());
    (begin.elapsed(), printed(child.stdout.take().unwrap()))
}

fn printed(stdout: OwnedFd) -> String {
    let mut text = String::new();
    File::from(stdout).read_to_string(&mut text).unwrap();
    text
}

/// This machine, and the sandbox of a function without resources.
struct Cells {
    machine: Machine,
    plan: Plan,
    limits: WorkerLimits,
    directory: PathBuf,
}

impl Cells {
    fn new(name: &str) -> Cells {
        let own = std::process::id();
        let directory = PathBuf::from(format!("/var/tmp/hearth-{name}-{own}"));
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("hostile");
        fs::copy(hostile(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let cell = gateway::Program {
            path: hearth().with_file_name("hearth-cell"),
            args: vec![],
        };
        let machine = Machine::look(cell, false, directory.join("users.json")).unwrap();
        let manifest = b"service: s\nfunctions:\n  f: { routes: [{ path: / }], binary: hostile }\n";
        let manifest = hearth_manifest::parse("edge.yaml", manifest)
            .unwrap()
            .manifest;
        let function = &manifest.functions["f"];
        let filled = function.fill(|_| Err(())).unwrap();
        let plan = cell::for_worker(
            ("f", function, &filled),
            (program.clone(), &Program::of(&program).unwrap()),
            &directory,
            100_000,
            &machine.host,
            false,
            vec![],
        );
        Cells {
            machine,
            plan,
            limits: function.limits.clone(),
            directory,
        }
    }

    /// As [`bare`], but in that function's sandbox, and in a control group if the machine has them.
    fn run(&self, args: &[String]) -> (Duration, String) {
        let begin = Instant::now();
        let groups = self.machine.cgroups.as_ref().ok();
        let group = groups.map(|groups| groups.worker("cost", &self.limits).unwrap().0);
        let order = Order {
            plan: Plan {
                args: args.to_vec(),
                ..self.plan.clone()
            },
            env: vec![],
            batch: false,
            cgroup: group.is_some(),
        };
        let given = Given {
            cgroup: group.as_ref().map(|group| group.open().unwrap()),
            descriptors: vec![],
        };
        let started = self.machine.start(&order, &given).unwrap();
        assert!(Child::of(started.pid).wait().unwrap().success());
        (begin.elapsed(), printed(started.stdout))
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The first quartile: the cost on a machine that has nothing else to do.
fn quarter(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 4]
}

/// Runs the program both ways in turn, so that other load on the machine affects both.
fn both(cells: &Cells, args: &[String], times: usize) -> Vec<[(Duration, String); 2]> {
    let program = &cells.plan.program;
    let pair = |_| [bare(program, args), cells.run(args)];
    (0..times).map(pair).collect()
}

#[test]
fn what_a_start_in_a_cell_costs_is_told() {
    let _alone = alone();
    let cells = Cells::new("start");
    let times = both(&cells, &act(&json!({ "act": "nothing" })), ROUNDS);
    let of = |at: usize| quarter(times.iter().map(|one| one[at].0).collect());
    let (bare, celled) = (of(0), of(1));
    let ratio = celled.as_secs_f64() / bare.as_secs_f64();
    println!("a start: {bare:.1?} bare, {celled:.1?} in a cell: {ratio:.2}");
    // The ratio is 2.5 on an idle machine. With emulated processors, every unmount makes one processor wait for the
    // other (RCU), which takes long if the host is busy.
    assert!(ratio < 5.0, "{ratio}");
}

#[test]
fn what_the_calls_of_a_request_cost_in_a_cell_is_told() {
    let _alone = alone();
    let cells = Cells::new("calls");
    let order = json!({ "act": "requests", "count": REQUESTS });
    let turns = both(&cells, &act(&order), TURNS);
    let nanoseconds = |text: &str| {
        let said: Value = serde_json::from_str(text).unwrap();
        Duration::from_nanos(said["done"].as_str().unwrap().parse().unwrap())
    };
    let of = |at: usize| quarter(turns.iter().map(|one| nanoseconds(&one[at].1)).collect());
    let (bare, celled) = (of(0), of(1));
    let ratio = celled.as_secs_f64() / bare.as_secs_f64();
    println!("the calls of a request: {bare:.1?} bare, {celled:.1?} in a cell: {ratio:.3}");
    // The times are equal on an idle machine: system calls that are always allowed pass no filter.
    assert!(ratio < 1.5, "{ratio}");
}
