//! The acts that are a question and an answer: what is done, what comes of it outside, what comes of it in
//! a worker.

mod files;
mod kernel;
mod networks;
mod processes;

use serde_json::Value;

use crate::scene::{By, Scene};

/// One act of the table.
pub(crate) struct Act {
    pub(crate) what: &'static str,
    /// The function whose worker tries it.
    pub(crate) by: &'static str,
    pub(crate) order: Value,
    /// What may come of it outside: it is done, or whoever is let through is told something else than
    /// a worker.
    pub(crate) outside: &'static [&'static str],
    pub(crate) inside: &'static [&'static str],
}

pub(crate) const DONE: &[&str] = &["done"];

/// What is not mounted is not there.
const UNSEEN: &[&str] = &["ENOENT"];

/// The list of system calls does not have it.
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

/// Acts whose control needs root: an ordinary user does not get so far outside either.
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

/// Every act that has a control where the platform is run by this user.
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
