//! Checks that the machine, its kernel and its init provide what the following tests rely on. Runs inside a machine
//! as root; `cargo xtask test guest` starts it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

const CGROUPS: &str = "/sys/fs/cgroup";

/// A limit for the slowest host.
const LIMIT: Duration = Duration::from_secs(120);

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns type and options of the file system mounted at `place` (proc_pid_mounts(5)).
fn mounted(place: &str) -> (String, String) {
    let mounts = read("/proc/self/mounts");
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let last = mounts.lines().map(fields).rfind(|one| one[1] == place);
    let one = last.unwrap_or_else(|| panic!("nothing is mounted at {place}:\n{mounts}"));
    (one[2].clone(), one[3].clone())
}

#[test]
fn every_cgroup_controller_is_there_and_its_limits_are_read_back() {
    let (kind, options) = mounted(CGROUPS);
    assert_eq!(kind, "cgroup2");
    for option in ["nsdelegate", "memory_recursiveprot", "nosuid", "noexec"] {
        assert!(options.split(',').any(|one| one == option), "{options}");
    }
    let there = read(format!("{CGROUPS}/cgroup.controllers"));
    for controller in ["memory", "pids", "cpu", "io"] {
        assert!(
            there.split_whitespace().any(|one| one == controller),
            "{there}"
        );
    }
    fs::write(
        format!("{CGROUPS}/cgroup.subtree_control"),
        "+memory +pids +cpu +io",
    )
    .unwrap();
    let own = Path::new(CGROUPS).join("smoke");
    fs::create_dir(&own).unwrap();
    for (file, value) in [
        ("memory.max", "33554432"),
        ("memory.high", "16777216"),
        ("memory.swap.max", "0"),
        ("memory.oom.group", "1"),
        ("pids.max", "3"),
        ("cpu.max", "5000 100000"),
    ] {
        fs::write(own.join(file), value).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(read(own.join(file)).trim(), value, "{file}");
    }
    for file in [
        "cgroup.kill",
        "io.max",
        "memory.pressure",
        "cpu.pressure",
        "cpu.stat",
    ] {
        assert!(own.join(file).exists(), "{file}");
    }
    fs::remove_dir(&own).unwrap();
}

#[test]
fn every_namespace_is_there() {
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        assert!(Path::new("/proc/self/ns").join(name).exists(), "{name}");
    }
}

#[test]
fn landlock_knows_all_of_its_sixth_version_and_refuses() {
    // Landlock confines only this thread, which ends afterwards.
    let confined = std::thread::spawn(|| {
        assert!(fs::read("/secret/root").is_ok());
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V6))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V6)))
            .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
            .and_then(|rules| rules.create())
            .unwrap();
        rules.restrict_self().unwrap();
        fs::read("/secret/root").unwrap_err().kind()
    });
    assert_eq!(confined.join().unwrap(), io::ErrorKind::PermissionDenied);
}

#[test]
fn seccomp_can_ask_a_supervisor() {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    for action in ["user_notif", "kill_process", "errno", "trap", "log"] {
        assert!(
            actions.split_whitespace().any(|one| one == action),
            "{actions}"
        );
    }
}

#[test]
fn a_cell_can_turn_its_back_on_the_root() {
    assert_eq!(mounted("/").0, "tmpfs");
    // The mount namespace belongs to the thread.
    let left = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        fs::create_dir("/tmp/cell").unwrap();
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let kind = Some("tmpfs");
        mount(kind, "/tmp/cell", kind, MsFlags::empty(), None::<&str>).unwrap();
        chdir("/tmp/cell").unwrap();
        pivot_root(".", ".").unwrap();
        nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH).unwrap();
        fs::read_dir("/").unwrap().count()
    });
    assert_eq!(left.join().unwrap(), 0);
    assert!(Path::new("/bin/hearth").exists());
}

#[test]
fn what_cells_must_refuse_is_there() {
    assert!(
        fs::metadata("/dev/mem")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    for path in [
        "/proc/sys/kernel/io_uring_disabled",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "/proc/sys/vm/unprivileged_userfaultfd",
        "/proc/keys",
        "/proc/sysvipc/shm",
        "/proc/sys/fs/mqueue/queues_max",
    ] {
        assert!(Path::new(path).exists(), "{path}");
    }
    let setuid = fs::metadata("/bin/setuid").unwrap();
    assert_eq!((setuid.mode() & 0o7777, setuid.uid()), (0o4755, 0));
    let secret = fs::metadata("/secret/somebody").unwrap();
    assert_eq!(
        (secret.mode() & 0o7777, secret.uid(), secret.gid()),
        (0o600, 4000, 4000)
    );
}

#[test]
fn the_loopback_interface_is_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
}

#[test]
fn the_platform_serves_a_worker_and_init_reaps_what_it_leaves() {
    let mut up = Command::new("/bin/hearth")
        .args(["up", "/edge.yaml", "--log", "quiet"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + LIMIT;
    let answer = loop {
        match get() {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => break answer,
            last => {
                assert!(up.try_wait().unwrap().is_none(), "hearth has ended");
                assert!(Instant::now() < until, "{last:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    assert!(answer.contains("hello"), "{answer}");
    let count = |name: &str| processes().iter().filter(|one| *one == name).count();
    // Supervisor and gateway, and the worker's only process.
    assert_eq!(
        (count("hearth"), count("hello")),
        (2, 1),
        "{:?}",
        processes()
    );
    up.kill().unwrap();
    up.wait().unwrap();
    // The kernel ends the others too. Their parent is gone, so any that init does not reap remain visible here.
    while count("hearth") + count("hello") > 0 {
        assert!(Instant::now() < until, "{:?}", processes());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the names of all processes (proc_pid_comm(5)).
fn processes() -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let name = |path: &Path| fs::read_to_string(path.join("comm")).ok();
    let names = all.filter_map(|entry| name(&entry.path()));
    names.map(|name| name.trim().to_owned()).collect()
}

fn get() -> io::Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: guest\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
