//! Acts on files: what is visible, what can be written, what can be executed.

use serde_json::json;

use super::{Act, DONE, NO_CALL, UNSEEN, act};
use crate::scene::Scene;

pub(super) fn acts(scene: &Scene) -> Vec<Act> {
    let read = |what, path: String| {
        act(
            what,
            "plain",
            json!({ "act": "read", "path": path }),
            DONE,
            UNSEEN,
        )
    };
    let supervisor = scene.platform.supervisor();
    let other = scene.worker("neighbour");
    let mut acts = vec![
        read("read another function's program", scene.path("neighbour")),
        read("read the manifest", scene.path("edge.yaml")),
        read("read a TLS key", scene.key()),
        read(
            "read the lock of the platform",
            scene.path(".hearth/edge.yaml/lock"),
        ),
        read("read a file of the machine", scene.path("stray")),
        read(
            "read the supervisor's memory map",
            format!("/proc/{supervisor}/maps"),
        ),
        read(
            "read another worker's environment",
            format!("/proc/{other}/environ"),
        ),
        read(
            "read what the kernel says of mounts",
            "/proc/self/mountinfo".to_owned(),
        ),
        read(
            "read the machine's devices",
            "/sys/kernel/uevent_seqnum".to_owned(),
        ),
    ];
    let more = [
        (
            "list /proc",
            json!({ "act": "list", "path": "/proc" }),
            DONE,
            UNSEEN,
        ),
        (
            "list /sys",
            json!({ "act": "list", "path": "/sys" }),
            DONE,
            UNSEEN,
        ),
        (
            "open /dev/mem",
            json!({ "act": "read", "path": "/dev/mem" }),
            // Some machines do not have this device, others forbid it even to root. Where no memory begins at address
            // 0, root gets EFAULT.
            &["done", "EFAULT", "EACCES", "EPERM", "ENOENT"],
            UNSEEN,
        ),
        (
            "write its own program",
            json!({ "act": "write", "path": scene.path("hostile") }),
            // Nothing can write a running program, but the kernel checks permissions first.
            &["ETXTBSY"],
            &["EROFS", "EACCES", "ETXTBSY"],
        ),
        (
            "make a file beside the manifest",
            json!({ "act": "create", "path": scene.path("made") }),
            DONE,
            &["EROFS", "EACCES"],
        ),
        (
            "make a file in the root directory",
            json!({ "act": "create", "path": "/made" }),
            DONE,
            &["EROFS", "EACCES"],
        ),
        (
            "make a file in /etc",
            json!({ "act": "create", "path": "/etc/made" }),
            DONE,
            &["ENOENT", "EROFS", "EACCES"],
        ),
        (
            "fill /tmp",
            json!({ "act": "fill", "path": "/tmp/hearth-fill", "bytes": 40 << 20 }),
            DONE,
            &["ENOSPC"],
        ),
        (
            "fill /tmp with empty files",
            json!({ "act": "many files", "path": "/tmp", "count": 5000 }),
            DONE,
            &["ENOSPC"],
        ),
        (
            "execute a copy of itself from /tmp",
            json!({ "act": "execute copy", "from": scene.path("hostile"), "path": "/tmp/hearth-copy" }),
            DONE,
            &["EACCES"],
        ),
        (
            "make a device",
            json!({ "act": "device", "path": "/tmp/hearth-memory" }),
            DONE,
            NO_CALL,
        ),
        (
            "leave the root directory",
            json!({ "act": "leave root", "inner": "/tmp/hearth-inner" }),
            DONE,
            NO_CALL,
        ),
        (
            "find descriptors of the platform",
            json!({ "act": "inherited" }),
            DONE,
            UNSEEN,
        ),
    ];
    acts.extend(
        more.map(|(what, order, outside, inside)| act(what, "plain", order, outside, inside)),
    );
    let closed: &[&str] = &["EROFS", "EACCES"];
    for (what, order, inside) in [
        (
            "read what its sandbox names",
            json!({ "act": "read", "path": scene.path("gift/text") }),
            DONE,
        ),
        (
            "write what it may read",
            json!({ "act": "write", "path": scene.path("gift/text") }),
            closed,
        ),
        (
            "make a file in a directory that it may read",
            json!({ "act": "create", "path": scene.path("gift/made") }),
            closed,
        ),
    ] {
        acts.push(act(what, "connected", order, DONE, inside));
    }
    acts
}
