//! `cargo xtask test guest`: runs tests that need their own kernel, root and cgroup v2 inside machines of either
//! architecture. [`RUNS`] lists them.

mod boots;
pub(crate) mod flash;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hearth_guest::Job;
use hearth_qemu_tests::{Arch, Initramfs, Inside, Owner, Speed};

use crate::programs::{ATTACKS, CELL, GUEST_INIT, HEARTH, HELLO, HOSTILE, Program, SMOKE, build};
use crate::{kit, speed};
use xtask::sh::{root, say, target};
use xtask::{clock, kernel, qemu, toolchain};

/// A test program that runs in its own machine.
struct Run {
    name: &'static str,
    test: Program,
    args: &'static [&'static str],
    /// The machine's memory in MiB.
    memory: u32,
    /// The time limit for the program alone, on an idle host.
    limit: Duration,
    /// Whether the machine contains only [`SHIPPED`], built as for devices, and the test program.
    shipped: bool,
}

/// The run that contains most tests of sandboxes.
const CELLS: &str = "attacks";

/// The run in which this host sends a request to a platform inside.
const REACH: &str = "reach";

/// The test programs, in the order in which they run.
const RUNS: &[Run] = &[
    Run {
        name: "smoke",
        test: SMOKE,
        args: &[],
        memory: 512,
        limit: Duration::from_secs(60),
        shipped: false,
    },
    // One test at a time, because they measure what is taken from the machine as a whole.
    Run {
        name: CELLS,
        test: ATTACKS,
        args: &["--test-threads", "1", "--nocapture"],
        memory: 1024,
        limit: Duration::from_secs(240),
        shipped: false,
    },
    // A thousand functions in little memory.
    Run {
        name: "many",
        test: ATTACKS,
        args: &["--nocapture", "--ignored", "many::"],
        memory: 384,
        limit: Duration::from_secs(240),
        shipped: true,
    },
];

/// The programs in `/bin` next to the tests.
const PROGRAMS: &[Program] = &[HEARTH, CELL, HELLO, HOSTILE];

/// The programs of a run with `shipped`, built as for devices, because memory limits are stated for these.
const SHIPPED: [&str; 3] = ["hearth", "hearth-cell", "hello"];

/// A file of the machine's root file system: path, contents, owner, mode.
type Extra = (&'static str, &'static str, Owner, u32);

/// A user that no function runs as.
const SOMEBODY: Owner = Owner {
    uid: 4000,
    gid: 4000,
};

/// Files that a worker must not read, write or gain privileges from.
const FILES: &[Extra] = &[
    ("/secret/root", "root's alone\n", Owner::ROOT, 0o600),
    ("/secret/somebody", "somebody's alone\n", SOMEBODY, 0o600),
    (
        "/secret/everybody",
        "for all to read and write\n",
        Owner::ROOT,
        0o666,
    ),
];

/// A copy of `/bin/hello` that is setuid root: it would give privileges to a worker that may start it.
const SETUID: &str = "/bin/setuid";

/// The manifest of a platform as an operator has it. Its state is in the same directory.
const MANIFEST: &str = "/edge.yaml";

/// The port of the platform inside.
const PORT: u16 = 8080;

/// Runs all tests inside machines of these architectures. If `names` are given, only runs with these names, and the
/// tests of sandboxes that have one of the other names in theirs.
pub(crate) fn test(arches: &[Arch], names: &[String]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    for arch in arches {
        let begun = Instant::now();
        test_on(*arch, names)?;
        say(&format!(
            "guest {}: passed in {}",
            arch.name(),
            clock::took(begun)
        ));
    }
    Ok(())
}

/// Boots only the appliance's own init.
pub(crate) fn boots(arches: &[Arch]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    for arch in arches {
        let built = build(*arch, &[GUEST_INIT])?;
        let inside = inside(*arch, kernel::ensure(*arch)?, built[0].clone());
        boots::test(&inside, speed::speed(&inside)?)?;
    }
    Ok(())
}

fn inside(arch: Arch, kernel: PathBuf, init: PathBuf) -> Inside {
    Inside {
        arch,
        kernel,
        init,
        memory: 512,
        cpus: 2,
        devices: Vec::new(),
        place: place().join(arch.name()),
        on_line: Some(show),
    }
}

fn test_on(arch: Arch, names: &[String]) -> anyhow::Result<()> {
    let name = arch.name();
    let begun = Instant::now();
    let kernel = kernel::ensure(arch)?;
    say(&format!(
        "guest {name}: kernel after {}",
        clock::took(begun)
    ));
    let wanted = [&[GUEST_INIT], PROGRAMS, &[SMOKE, ATTACKS]].concat();
    let built = build(arch, &wanted)?;
    let inside = inside(arch, kernel, built[0].clone());
    let mut archive = Initramfs::new();
    for (program, path) in wanted.iter().zip(&built).skip(1) {
        archive.file(&in_guest(program), read(path)?, Owner::ROOT, 0o755)?;
    }
    for (path, content, owner, mode) in FILES {
        archive.file(path, content.as_bytes().to_vec(), *owner, *mode)?;
    }
    let hello = wanted.iter().position(|program| program.name == "hello");
    let hello = hello.context("hello is none of the programs")?;
    archive.file(SETUID, read(&built[hello])?, Owner::ROOT, 0o4755)?;
    let manifest = read(&root().join("examples/hello/edge.yaml"))?;
    archive.file(MANIFEST, manifest, Owner::ROOT, 0o644)?;
    let speed = speed::speed(&inside)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = names.is_empty();
    let is_run = |name: &&str| *name == REACH || RUNS.iter().any(|run| run.name == *name);
    let (runs, tests): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_run(name));
    let wants =
        |run: &&Run| all || runs.contains(&run.name) || (run.name == CELLS && !tests.is_empty());
    for run in RUNS.iter().filter(wants) {
        let begun = Instant::now();
        let program = in_guest(&run.test);
        let words = [&[program.as_str()], run.args].concat();
        let words = match run.name {
            CELLS => [&words[..], &tests].concat(),
            _ => words,
        };
        let log = format!("{name}-{}", run.name);
        let inside = Inside {
            memory: run.memory,
            ..inside.clone()
        };
        let shipped = match run.shipped {
            true => Some(shipped(arch, &run.test, &wanted, &built)?),
            false => None,
        };
        let archive = shipped.as_ref().unwrap_or(&archive);
        inside.run(&log, archive, &job(&words), run.limit, speed)?;
        say(&format!(
            "guest {name}: {} passed in {}",
            run.name,
            clock::took(begun)
        ));
    }
    if !all && !runs.contains(&REACH) {
        return Ok(());
    }
    let begun = Instant::now();
    reach(&inside, &archive, speed)?;
    say(&format!(
        "guest {name}: an answer through a forwarded port in {}",
        clock::took(begun)
    ));
    Ok(())
}

/// Returns the root file system of a run with shipped programs: these and the test program.
fn shipped(
    arch: Arch,
    test: &Program,
    wanted: &[Program],
    built: &[PathBuf],
) -> anyhow::Result<Initramfs> {
    let mut archive = Initramfs::new();
    let place = wanted.iter().position(|program| program == test);
    let place = place.context("a run's test is none of the programs")?;
    archive.file(&in_guest(test), read(&built[place])?, Owner::ROOT, 0o755)?;
    for (name, path) in SHIPPED.iter().zip(kit::build(arch, &SHIPPED)?) {
        archive.file(&format!("/bin/{name}"), read(&path)?, Owner::ROOT, 0o755)?;
    }
    Ok(archive)
}

/// Checks that a platform inside answers this host.
fn reach(inside: &Inside, archive: &Initramfs, speed: Speed) -> anyhow::Result<()> {
    let name = format!("{}-reach", inside.arch.name());
    let listen = format!("http=0.0.0.0:{PORT}");
    let job = job(&["/bin/hearth", "up", MANIFEST, "--listen", &listen]);
    let guest = inside.start(&name, archive, &job, &[PORT], speed)?;
    guest.expect(" is up", Duration::from_secs(20))?;
    let answer =
        get(guest.address(PORT), speed.scale(Duration::from_secs(10))).with_context(|| {
            format!(
                "no answer from the guest; its console: {}",
                guest.log().display()
            )
        })?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("hello"),
        "the platform in the guest answers:\n{answer}"
    );
    Ok(())
}

fn get(address: SocketAddr, limit: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: guest\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn in_guest(program: &Program) -> String {
    format!("/bin/{}", program.name)
}

/// Creates a job with the environment that every program inside gets.
fn job(words: &[&str]) -> Job {
    Job::new(words)
        .env("PATH", "/bin")
        .env("HOME", "/")
        .env("TMPDIR", "/tmp")
        .env("RUST_BACKTRACE", "1")
        // The place where tests that also run on the host find the programs.
        .env("HEARTH_PROGRAMS", "/bin")
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns the directory for archives and logs.
fn place() -> PathBuf {
    target().join("qemu")
}

/// Prints a line of the console, unless it comes from the kernel (`[    1.234567] ...`). The log has all lines.
#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
fn show(line: &str) {
    let of_kernel = line.starts_with("[ ") && line.contains("] ");
    if !of_kernel && !line.is_empty() {
        eprintln!("   {line}");
    }
}
