//! Acts on processes, and acts that start more of them than is allowed.

use serde_json::json;

use super::{Act, DONE, NO_CALL, act};
use crate::scene::{Scene, gateway, order};

pub(super) fn acts(scene: &Scene) -> Vec<Act> {
    let many = scene.too_many();
    let supervisor = scene.platform.supervisor();
    let other = scene.worker("neighbour");
    let to = |act: &str, pid: u32| json!({ "act": act, "pid": pid });
    let memory = json!({ "act": "read memory", "pid": other, "address": scene.address_in(other) });
    // In the worker's process namespace, these process ids do not exist.
    let nobody: &[&str] = &["ESRCH"];
    vec![
        act(
            "signal the supervisor",
            "plain",
            to("signal", supervisor),
            DONE,
            nobody,
        ),
        act(
            "signal the gateway",
            "plain",
            to("signal", gateway(scene)),
            DONE,
            nobody,
        ),
        act(
            "signal another worker",
            "plain",
            to("signal", other),
            DONE,
            nobody,
        ),
        act(
            "signal everybody",
            "plain",
            order("signal all"),
            DONE,
            nobody,
        ),
        act(
            "open another worker (pidfd)",
            "plain",
            to("pidfd", other),
            DONE,
            nobody,
        ),
        act(
            "trace another worker",
            "plain",
            to("ptrace", other),
            DONE,
            NO_CALL,
        ),
        act(
            "read another worker's memory",
            "plain",
            memory,
            DONE,
            NO_CALL,
        ),
        act("become root", "plain", order("become root"), DONE, NO_CALL),
        act("take capabilities", "plain", order("raise"), DONE, NO_CALL),
        act(
            "be open to tracers",
            "plain",
            order("dumpable"),
            DONE,
            NO_CALL,
        ),
        act(
            "start more processes than it may",
            "plain",
            json!({ "act": "fork bomb", "count": many }),
            DONE,
            &["EAGAIN"],
        ),
        act(
            "start more threads than it may",
            "plain",
            json!({ "act": "thread bomb", "count": many }),
            DONE,
            &["EAGAIN"],
        ),
        act(
            "open more files than it may",
            "plain",
            json!({ "act": "fd bomb", "count": 200 }),
            DONE,
            &["EMFILE"],
        ),
    ]
}
