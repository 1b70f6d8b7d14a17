//! `cargo xtask test appliance`: images as devices get them, started by UEFI firmware in machines of either
//! processor. What is tried is in `qemu-tests/tests/appliance`; here is what that needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use hearth_image::Board;
use hearth_image::kit::{Kit, Node, pack, unpack};
use hearth_qemu_tests::{Arch, Inside};

use crate::programs::{Program, build};
use crate::sh::{cargo, root, say, target};
use crate::{clock, kernel, kit, qemu, toolchain};

/// What breaks things, in `/bin/hearth`'s place; and what it can be told to run.
const SABOTEUR: Program = Program::bin("hearth-guest", "saboteur");
const OTHERS: &[Program] = &[
    Program::bin("hello", "hello"),
    Program::bin("hearth-hostile", "hostile"),
    Program::test("hearth", "attacks"),
];

/// The init of the machine whose start is the measure of all time limits.
const INIT: Program = Program::bin("hearth-guest", "guest-init");

/// Packed for one run.
const QUICK: i32 = 1;

/// Tries everything on devices of these processors.
pub(crate) fn test(arches: &[Arch], words: &[&str]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    cargo(&["build", "--quiet", "--package", "hearth"])?;
    for arch in arches {
        let begun = Instant::now();
        test_on(*arch, words)?;
        let took = clock::took(begun);
        say(&format!("appliance {}: passed in {took}", arch.name()));
    }
    Ok(())
}

fn test_on(arch: Arch, words: &[&str]) -> anyhow::Result<()> {
    let name = arch.name();
    let place = target().join("qemu").join(format!("appliance-{name}"));
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let board: Board = format!("qemu-{name}").parse()?;
    let plain = kit::make(board)?;
    let programs = [&[INIT, SABOTEUR], OTHERS].concat();
    let built = build(arch, &programs)?;
    let kit = place.join("test.kit");
    spoil(&plain, &programs[1..], &built[1..], &kit)?;
    let inside = Inside {
        arch,
        kernel: kernel::ensure(arch)?,
        init: built[0].clone(),
        memory: 512,
        cpus: 2,
        place: place.clone(),
        on_line: None,
    };
    let speed = inside.measure()?;
    say(&format!("appliance {name}: time limits here are {speed}"));
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["test", "--quiet", "--package", "hearth-qemu-tests"])
        .args(["--test", "appliance", "--", "--nocapture"])
        // A machine has two processors, as many as the host.
        .args(["--test-threads", "1"])
        .args(words)
        .env("HEARTH_ARCH", name)
        .env("HEARTH_SPEED", speed.times().to_string())
        .env("HEARTH_PLACE", &place)
        .env("HEARTH_KIT", &kit)
        .env("HEARTH_PROGRAM", target().join("debug/hearth"))
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(
        status.success(),
        "a device did not do what it should; consoles are in {}",
        place.display()
    );
    Ok(())
}

/// A kit with what breaks things in it.
fn spoil(plain: &Path, programs: &[Program], built: &[PathBuf], to: &Path) -> anyhow::Result<()> {
    // What is not good is told by its reader.
    Kit::open(plain)?;
    let file = fs::File::open(plain).with_context(|| format!("cannot open {}", plain.display()))?;
    let mut tree = unpack(file).context("a kit is a tar in zstd")?;
    let real = tree.remove("root/bin/hearth");
    tree.insert(
        "root/bin/hearth-itself".to_owned(),
        real.context("a kit has the platform")?,
    );
    for (program, path) in programs.iter().zip(built) {
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
