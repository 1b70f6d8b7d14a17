//! `cargo xtask test appliance`: images as devices get them, started by UEFI firmware in machines of either
//! processor. What is tried is in `qemu-tests/tests/appliance`; here is what that needs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use hearth_image::Board;
use hearth_image::kit::{Kit, Node, pack, unpack};
use hearth_qemu_tests::{Arch, Inside, Speed};

use crate::install::{self, Need};
use crate::programs::{ATTACKS, GUEST_INIT, HELLO, HOSTILE, Program, SABOTEUR, build};
use crate::sh::{cargo, root, say, target};
use crate::{clock, kernel, kit, qemu, toolchain};

/// What breaks things, in `/bin/hearth`'s place; and what it can be told to run.
const SPOILT: &[Program] = &[SABOTEUR, HELLO, HOSTILE, ATTACKS];

/// Packed for one run.
const QUICK: i32 = 1;

/// Whose numbers mean nothing while another machine runs on this host.
const ALONE: &str = "attacks::";

/// Cargo's words for these tests.
const TESTS: &[&str] = &["--package", "hearth-qemu-tests", "--test", "appliance"];

/// Whom a device meets on a real network.
const NEIGHBOURS: &[Need] = &[
    ("dnsmasq", "dnsmasq-base"),
    ("chronyd", "chrony"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
];

/// Tries everything on devices of these processors, or what is named; power is cut so many times, or as often as the
/// tests themselves have it.
pub(crate) fn test(arches: &[Arch], cuts: Option<u32>, names: &[&str]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    cargo(&["build", "--quiet", "--package", "hearth", "--bin", "hearth"])?;
    let labs = arches.iter().map(|arch| Lab::prepare(*arch));
    let labs: Vec<Lab> = labs.collect::<anyhow::Result<_>>()?;
    if !names.is_empty() {
        return labs.iter().try_for_each(|lab| lab.run(cuts, names));
    }
    // Firmware and much of a boot keep one processor busy: two machines at once take little longer than one.
    std::thread::scope(|scope| {
        let all = labs.iter().map(|lab| {
            let run = move || lab.run(cuts, &["--skip", ALONE]);
            scope.spawn(run)
        });
        let all: Vec<_> = all.collect();
        all.into_iter().try_for_each(|run| {
            run.join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a run of tests has panicked")))
        })
    })?;
    labs.iter().try_for_each(|lab| lab.run(cuts, &[ALONE]))
}

/// Tries a device among the servers of a real network, which is a namespace's own.
pub(crate) fn network(arches: &[Arch]) -> anyhow::Result<()> {
    install::ensure(NEIGHBOURS)?;
    qemu::ensure()?;
    toolchain::ensure()?;
    cargo(&["build", "--quiet", "--package", "hearth", "--bin", "hearth"])?;
    // In the namespace nothing can be fetched that is missing.
    cargo(&[&["test", "--no-run"], TESTS].concat())?;
    for arch in arches {
        let mut apart = Command::new("unshare");
        if !install::is_root() {
            apart.arg("--map-root-user");
        }
        apart.args(["--net", "--", &program()]);
        let lab = Lab::prepare(*arch)?;
        lab.tell(&mut apart, None, &["--ignored", "neighbours::"])?;
    }
    Ok(())
}

/// Cargo, the one that runs this.
fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// What devices of one processor are tried with.
struct Lab {
    arch: Arch,
    place: PathBuf,
    kit: PathBuf,
    plain: PathBuf,
    speed: Speed,
}

impl Lab {
    fn prepare(arch: Arch) -> anyhow::Result<Lab> {
        let name = arch.name();
        let place = target().join("qemu").join(format!("appliance-{name}"));
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let board: Board = format!("qemu-{name}").parse()?;
        let plain = kit::make(board)?;
        let built = build(arch, &[&[GUEST_INIT], SPOILT].concat())?;
        let kit = place.join("test.kit");
        spoil(&plain, &built[1..], &kit)?;
        let inside = Inside {
            arch,
            kernel: kernel::ensure(arch)?,
            init: built[0].clone(),
            memory: 512,
            cpus: 2,
            devices: Vec::new(),
            place: place.clone(),
            on_line: None,
        };
        let speed = inside.measure()?;
        say(&format!("appliance {name}: time limits here are {speed}"));
        Ok(Lab {
            arch,
            place,
            kit,
            plain,
            speed,
        })
    }

    /// Runs tests; each line that they print is passed on under the processor's name.
    fn run(&self, cuts: Option<u32>, names: &[&str]) -> anyhow::Result<()> {
        self.tell(&mut Command::new(program()), cuts, names)
    }

    /// The same by a command that becomes Cargo.
    fn tell(&self, cargo: &mut Command, cuts: Option<u32>, names: &[&str]) -> anyhow::Result<()> {
        let begun = Instant::now();
        let name = self.arch.name();
        let mut child = cargo
            .args(["test", "--quiet"])
            .args(TESTS)
            .args(["--", "--nocapture"])
            // A machine has two processors, as many as the host.
            .args(["--test-threads", "1"])
            .args(names)
            .envs(cuts.map(|cuts| ("HEARTH_CUTS", cuts.to_string())))
            .env("HEARTH_ARCH", name)
            .env("HEARTH_SPEED", self.speed.times().to_string())
            .env("HEARTH_PLACE", &self.place)
            .env("HEARTH_KIT", &self.kit)
            .env("HEARTH_PLAIN_KIT", &self.plain)
            .env("HEARTH_PROGRAM", target().join("debug/hearth"))
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        for line in child.stdout.take().into_iter().flat_map(lines) {
            say(&format!("{name}: {line}"));
        }
        let status = child.wait().context("cannot wait for cargo")?;
        let place = self.place.display();
        anyhow::ensure!(
            status.success(),
            "a device ({name}) did not do what it should; consoles are in {place}"
        );
        let took = clock::took(begun);
        say(&format!("appliance {name}: passed in {took}"));
        Ok(())
    }
}

/// All lines; what is no text in them is shown as such.
fn lines(from: impl Read) -> impl Iterator<Item = String> {
    let pieces = BufReader::new(from).split(b'\n').map_while(Result::ok);
    pieces.map(|piece| String::from_utf8_lossy(&piece).into_owned())
}

/// A kit with what breaks things in it.
fn spoil(plain: &Path, built: &[PathBuf], to: &Path) -> anyhow::Result<()> {
    // What is not good is told by its reader.
    Kit::open(plain)?;
    let file = fs::File::open(plain).with_context(|| format!("cannot open {}", plain.display()))?;
    let mut tree = unpack(file).context("a kit is a tar in zstd")?;
    let real = tree.remove("root/bin/hearth");
    tree.insert(
        "root/bin/hearth-itself".to_owned(),
        real.context("a kit has the platform")?,
    );
    for (program, path) in SPOILT.iter().zip(built) {
        let at = match *program {
            SABOTEUR => "root/bin/hearth".to_owned(),
            other => format!("root/bin/tests/{}", other.name),
        };
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        tree.insert(at, Node::File(0o755, bytes));
    }
    tree.insert("root/bin/tests".to_owned(), Node::Directory(0o755));
    for (name, real) in [
        ("hearth", "/bin/hearth-itself"),
        ("hearth-cell", "/bin/hearth-cell"),
    ] {
        let link = Node::Link(real.to_owned());
        tree.insert(format!("root/bin/tests/{name}"), link);
    }
    fs::write(to, pack(&tree, QUICK)?).with_context(|| format!("cannot write {}", to.display()))
}
