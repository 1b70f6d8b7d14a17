//! `cargo xtask test devices`: prepares and runs the tests in `qemu-tests/tests/appliance`, which start images as
//! devices get them, in machines of either architecture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use hearth_image::Board;
use hearth_image::kit::{Kit, Node, pack, unpack};
use hearth_qemu_tests::{Arch, Inside, Speed};

use crate::programs::{ATTACKS, GUEST_INIT, HELLO, HOSTILE, Program, SABOTEUR, build};
use crate::{kit, speed};
use serde_json::Value;
use xtask::cache::Product;
use xtask::key::{KeyBuilder, Tool};
use xtask::sh::{cargo_program, root, say, target};
use xtask::shared_build::SharedBuild;
use xtask::tree::{Scope, Tree};
use xtask::{clock, install, kernel, needs, qemu, toolchain};

/// The saboteur, which replaces `/bin/hearth`, and the programs that it can run.
const SPOILT: &[Program] = &[SABOTEUR, HELLO, HOSTILE, ATTACKS];

/// The compression level of a kit that is packed for one run.
const QUICK: i32 = 1;

/// The environment variable with the path of the test program, if a test run has built it.
const TESTS: &str = "HEARTH_APPLIANCE_TESTS";

/// The test that cuts power.
const POWER_CUTS: &str = "power::power_that_is_cut";

/// Tests devices of these architectures: all tests except power cuts, or only those in `names`, without those in
/// `skip`.
pub(crate) fn test(arches: &[Arch], names: &[String], skip: &[String]) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    install::ensure(needs::FIRMWARE)?;
    let labs = arches.iter().map(|arch| Lab::prepare(*arch));
    let labs: Vec<Lab> = labs.collect::<anyhow::Result<_>>()?;
    let names = names.iter().map(String::as_str);
    let skip = skip.iter().map(String::as_str).chain([POWER_CUTS]);
    let words: Vec<&str> = names
        .chain(skip.flat_map(|name| ["--skip", name]))
        .collect();
    labs.iter().try_for_each(|lab| lab.run(None, &words))
}

/// Cuts a device's power at random moments, `cuts` times on each architecture.
pub(crate) fn power(arches: &[Arch], cuts: u32) -> anyhow::Result<()> {
    qemu::ensure()?;
    toolchain::ensure()?;
    install::ensure(needs::FIRMWARE)?;
    for arch in arches {
        Lab::prepare(*arch)?.run(Some(cuts), &[POWER_CUTS])?;
    }
    Ok(())
}

/// Tests a device among the servers of a real network, in a network namespace.
pub(crate) fn network(arches: &[Arch]) -> anyhow::Result<()> {
    install::ensure(needs::NETWORK)?;
    install::ensure(needs::FIRMWARE)?;
    qemu::ensure()?;
    toolchain::ensure()?;
    for arch in arches {
        let mut apart = Command::new("unshare");
        if !install::is_root() {
            apart.arg("--map-root-user");
        }
        let lab = Lab::prepare(*arch)?;
        apart.args(["--net", "--"]).arg(&lab.tests);
        lab.run_by(&mut apart, None, &["--ignored", "neighbours::"])?;
    }
    Ok(())
}

/// Returns the test program, which the test run has built or Cargo builds now.
fn tests() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os(TESTS) {
        return Ok(given.into());
    }
    let output = Command::new(cargo_program())
        .args(["test", "--no-run", "--package", "hearth-qemu-tests"])
        .args([
            "--test",
            "appliance",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo cannot build the tests of devices"
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["target"]["name"] == "appliance";
        let executable = message["executable"].as_str().filter(|_| is_test);
        executable.map(PathBuf::from)
    };
    let found = messages.lines().find_map(executable);
    found.context("cargo has not built the tests of devices")
}

/// What the tests of devices of one architecture use.
struct Lab {
    arch: Arch,
    place: PathBuf,
    kit: PathBuf,
    plain: PathBuf,
    /// An image with the function `hello`.
    image: PathBuf,
    kernel: PathBuf,
    speed: Speed,
    tests: PathBuf,
    /// Where images are built.
    shared: SharedBuild,
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
        let speed = speed::speed(&inside)?;
        let kernel = inside.kernel;
        let tree = Tree::read(&root())?;
        let shared = kit::shared_build(arch, &tree)?;
        let image = image(board, &kit, &place, &tree, &shared)?;
        Ok(Lab {
            arch,
            place,
            kit,
            plain,
            image,
            kernel,
            speed,
            tests: tests()?,
            shared,
        })
    }

    /// Runs the tests that `words` select, one after the other. `cuts` is the number of power cuts.
    fn run(&self, cuts: Option<u32>, words: &[&str]) -> anyhow::Result<()> {
        self.run_by(&mut Command::new(&self.tests), cuts, words)
    }

    /// The same with a command that executes the test program.
    fn run_by(&self, tests: &mut Command, cuts: Option<u32>, words: &[&str]) -> anyhow::Result<()> {
        let begun = Instant::now();
        let name = self.arch.name();
        let status = tests
            .args(["--nocapture", "--test-threads", "1"])
            .args(words)
            .envs(cuts.map(|cuts| ("HEARTH_CUTS", cuts.to_string())))
            .env("HEARTH_ARCH", name)
            .env("HEARTH_SPEED", self.speed.times().to_string())
            .env("HEARTH_PLACE", &self.place)
            .env("HEARTH_KIT", &self.kit)
            .env("HEARTH_PLAIN_KIT", &self.plain)
            .env("HEARTH_IMAGE", &self.image)
            .env("HEARTH_KERNEL", &self.kernel)
            .env("HEARTH_SOURCE", &self.shared.source)
            .env("CARGO_TARGET_DIR", &self.shared.target)
            .env(kit::HEARTH_PROGRAM, kit::hearth()?)
            .current_dir(root().join("qemu-tests"))
            .status()
            .with_context(|| format!("cannot run {}", self.tests.display()))?;
        let place = self.place.display();
        anyhow::ensure!(
            status.success(),
            "a test of devices ({name}) failed; consoles are in {place}"
        );
        let took = clock::took(begun);
        say(&format!("devices {name}: passed in {took}"));
        Ok(())
    }
}

/// Returns the image that most tests start, with the function `hello`. The parts of a run share it.
fn image(
    board: Board,
    kit: &Path,
    place: &Path,
    tree: &Tree,
    shared: &SharedBuild,
) -> anyhow::Result<PathBuf> {
    let key = KeyBuilder::new("image of tests")
        .add("board", board.name().as_bytes())
        .add_file(kit)?
        .add_tool(Tool::Rust)
        .add_tool(Tool::StaticRust);
    // `hearth` makes the image and builds the function.
    let key = tree
        .add_to(key, &Scope::new(&["hearth", "hello"]))?
        .finish();
    let product = Product::new(&format!("image-{board}"), &key)?;
    let name = "hello.img";
    let files = product.files_or(&[name], &format!("image-{board}"), || {
        let made = place.join(name);
        kit::image_of(board, kit, shared, &made)?;
        Ok(vec![(name, made)])
    })?;
    files.into_iter().next().context("an image is one file")
}

/// Makes a kit with the saboteur.
fn spoil(plain: &Path, built: &[PathBuf], to: &Path) -> anyhow::Result<()> {
    // Opening the kit reports why it is invalid, if it is.
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
