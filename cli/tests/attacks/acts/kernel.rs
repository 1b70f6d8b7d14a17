//! Acts on the kernel itself.

use serde_json::json;

use super::{Act, DONE, NO_CALL, UNSEEN, act};
use crate::scene::{By, order};

/// Acts that the kernel allows only to root are left out for an ordinary user, because they fail outside a sandbox,
/// too.
pub(super) fn acts(by: By) -> Vec<Act> {
    // A kernel without the system call returns ENOSYS if the filter lets the call through.
    const OR_ABSENT: &[&str] = &["done", "ENOSYS"];
    // The same, or the kernel allows it to no process (`kernel.io_uring_disabled`), as on the appliance.
    const OR_OFF: &[&str] = &["done", "ENOSYS", "EPERM"];
    let mut acts = vec![
        act(
            "a user namespace (unshare)",
            "plain",
            order("unshare"),
            DONE,
            NO_CALL,
        ),
        act(
            "a user namespace (clone)",
            "plain",
            order("clone user"),
            DONE,
            NO_CALL,
        ),
        act(
            "a user namespace (clone3)",
            "plain",
            order("clone3 user"),
            DONE,
            &["ENOSYS"],
        ),
        act("keyctl", "plain", order("keyctl"), OR_ABSENT, NO_CALL),
        act("add_key", "plain", order("add_key"), OR_ABSENT, NO_CALL),
        act("io_uring", "plain", order("io_uring"), OR_OFF, NO_CALL),
        act(
            "userfaultfd",
            "plain",
            order("userfaultfd"),
            OR_ABSENT,
            NO_CALL,
        ),
        act(
            "perf_event_open",
            "plain",
            order("perf"),
            OR_ABSENT,
            NO_CALL,
        ),
        act("personality", "plain", order("personality"), DONE, NO_CALL),
        act(
            "a file in memory alone",
            "plain",
            order("memory file"),
            DONE,
            NO_CALL,
        ),
        act("kcmp", "plain", order("kcmp"), OR_ABSENT, NO_CALL),
        act(
            "another filter of calls",
            "plain",
            order("seccomp"),
            DONE,
            NO_CALL,
        ),
        act("setns", "plain", order("setns"), &["EBADF"], NO_CALL),
        act(
            "type into a terminal",
            "plain",
            order("terminal"),
            &["ENOTTY"],
            NO_CALL,
        ),
    ];
    if by == By::Root {
        acts.extend([
            act(
                "mount",
                "plain",
                json!({ "act": "mount", "path": "/tmp" }),
                DONE,
                NO_CALL,
            ),
            act("pivot_root", "plain", order("pivot_root"), UNSEEN, NO_CALL),
            act("bpf", "plain", order("bpf"), OR_ABSENT, NO_CALL),
            act("kexec", "plain", order("kexec"), OR_ABSENT, NO_CALL),
            act(
                "load a module",
                "plain",
                order("init_module"),
                &["ENOEXEC", "ENOSYS"],
                NO_CALL,
            ),
            act(
                "load a module from a file",
                "plain",
                order("finit_module"),
                &["EBADF", "ENOSYS"],
                NO_CALL,
            ),
            act(
                "set the host name",
                "plain",
                order("hostname"),
                DONE,
                NO_CALL,
            ),
            act("reboot", "plain", order("reboot"), DONE, NO_CALL),
            act(
                "swapon",
                "plain",
                order("swapon"),
                &["ENOENT", "ENOSYS"],
                NO_CALL,
            ),
            act("set the clock", "plain", order("clock"), DONE, NO_CALL),
            act(
                "account for processes",
                "plain",
                order("acct"),
                OR_ABSENT,
                NO_CALL,
            ),
            act(
                "open a file by its handle",
                "plain",
                order("handle"),
                &["EBADF", "ENOSYS"],
                NO_CALL,
            ),
            act(
                "read the kernel's log",
                "plain",
                order("syslog"),
                DONE,
                NO_CALL,
            ),
            act(
                "quotas",
                "plain",
                order("quotactl"),
                &["ENODEV", "ENOTBLK", "ENOSYS", "EFAULT", "EINVAL"],
                NO_CALL,
            ),
            act(
                "watch all files (fanotify)",
                "plain",
                order("fanotify"),
                OR_ABSENT,
                NO_CALL,
            ),
            act(
                "the machine's ports",
                "plain",
                order("ports"),
                &["done", "ENOSYS", "ENOENT"],
                &["EPERM", "ENOENT"],
            ),
        ]);
    }
    acts
}
