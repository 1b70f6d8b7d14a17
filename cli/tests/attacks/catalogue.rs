//! The acts that are a question and an answer, as a table: what is done, what comes of it outside, what
//! comes of it in a worker.

use std::fs;

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::outcome::{Outcome, Table};
use crate::scene::{By, Scene, as_nobody, control, gateway, order};

/// One act of the table.
struct Act {
    what: &'static str,
    /// The function whose worker tries it.
    by: &'static str,
    order: Value,
    /// What may come of it outside: it is done, or whoever is let through is told something else than
    /// a worker.
    outside: &'static [&'static str],
    inside: &'static [&'static str],
}

const DONE: &[&str] = &["done"];

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

fn of_files(scene: &Scene) -> Vec<Act> {
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
            // Absent from some machines, forbidden by others: then for everybody. Where no memory
            // begins at 0, who may open it is told so.
            &["done", "EFAULT", "EACCES", "EPERM", "ENOENT"],
            UNSEEN,
        ),
        (
            "write its own program",
            json!({ "act": "write", "path": scene.path("hostile") }),
            // Running programs are written by nobody, but first it is asked whether one may.
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

fn of_networks(scene: &Scene) -> Vec<Act> {
    let http = scene.platform.http().to_string();
    let own = scene.server.local_addr().unwrap().to_string();
    let foreign = scene.foreign.local_addr().unwrap().to_string();
    let socket = scene.path(".hearth/edge.yaml/control.sock");
    let make = |family: i32, kind: i32, protocol: i32| json!({ "act": "socket", "family": family, "kind": kind, "protocol": protocol });
    let to = |act: &str, address: &str| json!({ "act": act, "address": address });
    let name = &scene.abstract_name;
    vec![
        act(
            "connect to its own resource",
            "connected",
            to("connect", &own),
            DONE,
            DONE,
        ),
        act(
            "connect to another server",
            "connected",
            to("connect", &foreign),
            DONE,
            &["EACCES"],
        ),
        act(
            "connect to the gateway",
            "connected",
            to("connect", &http),
            DONE,
            &["EACCES"],
        ),
        act(
            "connect by sending",
            "connected",
            to("connect fast", &foreign),
            DONE,
            NO_CALL,
        ),
        act(
            "connect without any resource",
            "plain",
            to("connect", &own),
            DONE,
            NO_CALL,
        ),
        act(
            "send a datagram",
            "connected",
            to("udp", &foreign),
            DONE,
            NO_CALL,
        ),
        act(
            "listen",
            "connected",
            to("listen", "127.0.0.1:0"),
            DONE,
            NO_CALL,
        ),
        act(
            "listen where the kernel chooses",
            "connected",
            order("listen unbound"),
            DONE,
            NO_CALL,
        ),
        act(
            "a socket of another protocol (MPTCP)",
            "connected",
            make(2, 1, 262),
            &["done", "ENOPROTOOPT", "EPROTONOSUPPORT", "EINVAL"],
            NO_CALL,
        ),
        act("a raw socket", "connected", make(2, 3, 1), DONE, NO_CALL),
        act(
            "a packet socket",
            "connected",
            make(17, 3, 768),
            &["done", "EAFNOSUPPORT"],
            NO_CALL,
        ),
        act(
            "a netlink socket",
            "connected",
            make(16, 3, 0),
            DONE,
            NO_CALL,
        ),
        act(
            "a socket to the host of the machine",
            "connected",
            make(40, 1, 0),
            &["done", "EAFNOSUPPORT"],
            NO_CALL,
        ),
        act(
            "connect to the control socket",
            "plain",
            json!({ "act": "unix", "path": socket }),
            DONE,
            NO_CALL,
        ),
        act(
            "connect to an abstract socket",
            "plain",
            json!({ "act": "abstract", "name": name }),
            DONE,
            NO_CALL,
        ),
        act(
            "listen on an abstract socket",
            "plain",
            json!({ "act": "listen abstract", "name": "hearth-attacks-own" }),
            DONE,
            NO_CALL,
        ),
        act(
            "send to a socket from a pair",
            "plain",
            json!({ "act": "datagram pair", "path": socket }),
            // Let through, it is told that the control socket is of another kind.
            &["EPROTOTYPE"],
            NO_CALL,
        ),
    ]
}

fn of_processes(scene: &Scene) -> Vec<Act> {
    let many = scene.too_many();
    let supervisor = scene.platform.supervisor();
    let other = scene.worker("neighbour");
    let to = |act: &str, pid: u32| json!({ "act": act, "pid": pid });
    let memory = json!({ "act": "read memory", "pid": other, "address": scene.address_in(other) });
    // Within its own namespace nobody has these numbers.
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

/// What the kernel refuses to users who are not root, it refuses outside, too: of these, only what an
/// ordinary user may do is a control.
fn of_kernel(by: By) -> Vec<Act> {
    // A kernel without it says so to whom the list of calls lets through.
    const OR_ABSENT: &[&str] = &["done", "ENOSYS"];
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
        act("io_uring", "plain", order("io_uring"), OR_ABSENT, NO_CALL),
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

fn run(by: By, least: usize) {
    let scene = Scene::new(by);
    let mut table = Table::default();
    let acts = [
        of_files(&scene),
        of_networks(&scene),
        of_processes(&scene),
        of_kernel(by),
    ];
    for one in acts.into_iter().flatten() {
        if by == By::User && ROOTS.contains(&one.what) {
            continue;
        }
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
        // Somebody else becomes root by it; the worker cannot even execute it.
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

/// Outside, with one of our files open.
fn with_descriptor(scene: &Scene, order: &Value) -> Outcome {
    let mut shell = std::process::Command::new(scene.path("hostile"));
    shell.stdin(fs::File::open(scene.path("stray")).unwrap());
    // Its standard input is what it finds: passed over in a worker, which has the null device there.
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
    // Started by one, the other test is this one.
    if geteuid().is_root() {
        run(By::User, 40);
    }
}
