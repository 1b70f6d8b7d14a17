//! What a cell costs: the same program started bare and in a cell, to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth_supervisor::cell::{self, Order, Plan, Program};
use hearth_supervisor::gateway;
use hearth_supervisor::machine::{Given, Machine};
use hearth_sys::spawn::{Child, Spawn, spawn};

use crate::platform::hearth;
use crate::scene::alone;
use crate::start::hostile;

const ROUNDS: usize = 60;

fn nothing() -> Vec<String> {
    vec!["act".to_owned(), r#"{"act":"nothing"}"#.to_owned()]
}

/// From its start to its end, without anything around it.
fn bare(program: &Path) -> Duration {
    let begin = Instant::now();
    let mut child = spawn(Spawn {
        args: nothing().into_iter().map(Into::into).collect(),
        ..Spawn::new(program.to_owned())
    })
    .unwrap();
    assert!(child.wait().unwrap().success());
    begin.elapsed()
}

/// The same as a function without resources is started: with a control group, where there are any.
fn in_cell(plan: &Plan, limits: &hearth_manifest::WorkerLimits, machine: &Machine) -> Duration {
    let begin = Instant::now();
    let group = machine.cgroups.as_ref().ok();
    let group = group.map(|groups| groups.worker("cost", limits).unwrap().0);
    let order = Order {
        plan: plan.clone(),
        env: vec![],
        batch: false,
        cgroup: group.is_some(),
    };
    let given = Given {
        cgroup: group.as_ref().map(|group| group.open().unwrap()),
        descriptors: vec![],
    };
    let started = machine.start(&order, &given).unwrap();
    assert!(Child::of(started.pid).wait().unwrap().success());
    begin.elapsed()
}

/// What a quarter of them kept below: what the thing costs when the machine has nothing else to do.
fn quarter(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 4]
}

#[test]
fn what_a_start_in_a_cell_costs_is_told() {
    let _alone = alone();
    let directory = PathBuf::from(format!("/var/tmp/hearth-cost-{}", std::process::id()));
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
    let mut plan = cell::for_worker(
        ("f", function, &filled),
        (program.clone(), &Program::of(&program).unwrap()),
        &directory,
        100_000,
        &machine.host,
        false,
        vec![],
    );
    plan.args = nothing();
    // Side by side, so that whatever else the machine does hits both.
    let times: Vec<(Duration, Duration)> = (0..ROUNDS)
        .map(|_| (bare(&program), in_cell(&plan, &function.limits, &machine)))
        .collect();
    let (bare, celled) = times.into_iter().unzip();
    let (bare, celled) = (quarter(bare), quarter(celled));
    let ratio = celled.as_secs_f64() / bare.as_secs_f64();
    println!("a start: {bare:.1?} bare, {celled:.1?} in a cell: {ratio:.2}");
    fs::remove_dir_all(directory).unwrap();
    // About three times on a quiet machine. Of two emulated processors one waits for the other (RCU) whenever a
    // mount goes; where the host is busy with other things, that takes as long as these let it.
    assert!(ratio < 6.0, "{ratio}");
}
