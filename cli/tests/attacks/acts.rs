//! The acts that are one request and one result: what is tried, and what is expected outside a sandbox and in a
//! worker.

mod files;
mod kernel;
mod networks;
mod processes;

use serde_json::Value;

use crate::scene::{By, Scene};

/// An act: one row of the table.
pub(crate) struct Act {
    pub(crate) what: &'static str,
    /// The function whose worker tries it.
    pub(crate) by: &'static str,
    pub(crate) order: Value,
    /// The results that are expected outside a sandbox: success, or an error that shows that the act was let through,
    /// unlike that of a worker.
    pub(crate) outside: &'static [&'static str],
    pub(crate) inside: &'static [&'static str],
}

pub(crate) const DONE: &[&str] = &["done"];

/// A path that is not mounted does not exist.
const UNSEEN: &[&str] = &["ENOENT"];

/// The filter does not allow the system call.
const NO_CALL: &[&str] = &["EPERM"];

fn act(
    what: &'static str,
    by: &'static str,
    order: Value,
    outside: &'static [&'static str],
    inside: &'static [&'static str],
) -> Act {
    Act {
        what,
        by,
        order,
        outside,
        inside,
    }
}

/// Acts that need root even outside a sandbox: they fail there, too, if an ordinary user runs the platform.
const ROOTS: [&str; 12] = [
    "make a file in the root directory",
    "make a file in /etc",
    "make a device",
    "leave the root directory",
    "a raw socket",
    "a packet socket",
    "become root",
    "take capabilities",
    "perf_event_open",
    "userfaultfd",
    "read the supervisor's memory map",
    "trace another worker",
];

/// Every act that can be compared with its result outside a sandbox, if this user runs the platform.
pub(crate) fn acts(scene: &Scene, by: By) -> Vec<Act> {
    let lists = [
        files::acts(scene),
        networks::acts(scene),
        processes::acts(scene),
        kernel::acts(by),
    ];
    let mut acts: Vec<Act> = lists.into_iter().flatten().collect();
    for root in ROOTS {
        assert!(
            acts.iter().any(|one| one.what == root),
            "no act is called {root}"
        );
    }
    acts.retain(|one| by == By::Root || !ROOTS.contains(&one.what));
    acts
}
