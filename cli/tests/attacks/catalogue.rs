//! Tries every act of the catalogue outside a sandbox and in a worker, and prints the table.

use std::fs;

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::acts::{DONE, acts};
use crate::outcome::{Outcome, Table};
use crate::scene::{By, Scene, as_nobody, control, order};

fn run(by: By, least: usize) {
    let scene = Scene::new(by);
    let mut table = Table::default();
    for one in acts(&scene, by) {
        let control = match one.what {
            "find descriptors of the platform" => with_descriptor(&scene, &one.order),
            _ => scene.outside(&one.order),
        };
        let attack = scene.inside(one.by, &one.order);
        table.add(one.what, (&control, one.outside), (&attack, one.inside));
    }
    if by == By::Root {
        let setuid = scene.path("gift/setuid");
        let execute = json!({ "act": "execute", "path": setuid });
        // Outside, another user becomes root with this file; the worker cannot even execute it.
        let who = control(as_nobody(setuid.as_ref()), &order("who"));
        assert!(
            matches!(&who, Outcome::Done(who) if who.starts_with("0 ")),
            "{who:?}"
        );
        let attack = scene.inside("connected", &execute);
        table.add(
            "become root by a setuid file",
            (&who, DONE),
            (&attack, &["EACCES"]),
        );
    }
    for function in ["plain", "connected", "neighbour"] {
        assert_eq!(
            scene.platform.function(function)["restarts"],
            0,
            "{function}"
        );
    }
    table.conclude(least);
}

/// Tries the act outside a sandbox, with a file of this test as standard input.
fn with_descriptor(scene: &Scene, order: &Value) -> Outcome {
    let mut shell = std::process::Command::new(scene.path("hostile"));
    shell.stdin(fs::File::open(scene.path("stray")).unwrap());
    // With `all`, the act also reports standard input. It skips it in a worker, where it is the null device.
    let mut order = order.clone();
    order["all"] = true.into();
    control(shell, &order)
}

#[test]
fn nothing_that_a_worker_tries_can_be_done() {
    match geteuid().is_root() {
        true => run(By::Root, 70),
        false => run(By::User, 40),
    }
}

#[test]
fn nor_where_an_ordinary_user_runs_the_platform() {
    // If an ordinary user runs these tests, the test above covers this case.
    if geteuid().is_root() {
        run(By::User, 40);
    }
}
