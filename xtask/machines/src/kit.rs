//! `cargo xtask kit`: makes kits for `hearth image build`. A kit is one file with everything of a board's appliance
//! that does not depend on the functions. Buildroot makes the same from its own packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use hearth_image::kit::{About, Kit, Node, Tree, pack};
use hearth_image::layout::{Role, span};
use hearth_image::{Arch, Board, Firmware};
use serde_json::Value;

use crate::firmware;
use xtask::cache::{self, Product};
use xtask::debian::{Repository, own_stanza, unpack};
use xtask::key::{Key, KeyBuilder, Tool};
use xtask::sh::{cargo, root, said, say, target};
use xtask::shared_build::SharedBuild;
use xtask::tree::{self, Scope};
use xtask::{clock, install, kernel, needs, timings, toolchain};

/// The environment variable with the path of `hearth`, if a test run has built it.
pub(crate) const HEARTH_PROGRAM: &str = "HEARTH_PROGRAM";

/// The zstd level. A kit is packed once, and read often.
const LEVEL: i32 = 12;

/// The programs on the appliance: their paths there, and their names.
const PROGRAMS: [(&str, &str); 4] = [
    ("init", "hearth-init"),
    ("bin/hearth", "hearth"),
    ("bin/hearth-cell", "hearth-cell"),
    ("bin/hearth-net", "hearth-net"),
];

/// Directories that are mount points, or that are filled while the appliance runs.
const EMPTY: [&str; 8] = ["boot", "data", "dev", "proc", "root", "run", "sys", "tmp"];

/// Arguments of all boards' kernels, in addition to the console.
const QUIET: &str = "panic=10 oops=panic quiet loglevel=4";

/// The `config.txt` for a Pi's firmware.
const PI_CONFIG: &str =
    "arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs followkernel\nenable_uart=1\n";

/// The identifiers of the pristine data file system, which a device keeps. Any constant values will do.
const DATA_UUID: &str = "b0a3f4c2-5d0e-4b57-9f43-6c1d8a2e7705";
const HASH_SEED: &str = "5c7d2f1e-83a6-4e0b-b1f9-0d6a94c3e812";

/// The features of ext4. Without `resize_inode`: its blocks, reserved for growth, would allow only ten gibibytes, and
/// fill a file system of ten mebibytes. With `meta_bg`, each group of groups has its own descriptors, without a
/// limit.
const EXT4: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,meta_bg,flex_bg,sparse_super,\
                    large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed,orphan_file";

/// Makes the kits of these boards, or of all boards.
#[expect(clippy::print_stdout, reason = "the path is this chore's result")]
pub(crate) fn kit(mut boards: Vec<Board>) -> anyhow::Result<()> {
    if boards.is_empty() {
        boards = Board::ALL.into();
    }
    for board in boards {
        println!("{}", make(board)?.display());
    }
    Ok(())
}

/// Makes a kit, and checks that it can be read.
pub(crate) fn make(board: Board) -> anyhow::Result<PathBuf> {
    let begun = Instant::now();
    install::ensure(needs::KIT)?;
    toolchain::ensure()?;
    let arch = board.arch();
    let image = kernel::ensure(arch)?;
    let kernels = image.parent().context("a kernel lies in a directory")?;
    let mut tree = Tree::new();
    let mut add = |path: &str, mode: u32, bytes: Vec<u8>| {
        tree.insert(path.to_owned(), Node::File(mode, bytes));
    };
    match board.firmware() {
        Firmware::Uefi => {
            let programs = firmware::build(arch)?;
            add("kernel.efi", 0o644, read(&kernels.join("kernel.efi"))?);
            add("selector.efi", 0o644, read(&programs.selector)?);
            add("stub.efi", 0o644, read(&programs.stub)?);
        }
        Firmware::Pi => {
            say(
                "this kit's kernel is for QEMU's raspi4b; a real Raspberry Pi needs the kernel and the \
                 firmware that Buildroot brings",
            );
            let devices = "bcm2711-rpi-4-b.dtb";
            let firmware = |name: &str| format!("firmware/{name}");
            // The Pi's firmware unpacks the kernel; uncompressed, it would fill a slot.
            add("kernel.efi", 0o644, gzip(&image)?);
            add(&firmware(devices), 0o644, read(&kernels.join(devices))?);
            add(&firmware("config.txt"), 0o644, PI_CONFIG.into());
        }
    }
    add("cmdline", 0o644, command_line(board).into_bytes());
    add("data.ext4", 0o644, data(board)?);
    for (path, built) in programs(arch)? {
        add(&format!("root/{path}"), 0o755, read(&built)?);
    }
    add("root/sbin/e2fsck", 0o755, read(&e2fsck(arch)?)?);
    let about = About {
        format: 1,
        board: board.name().to_owned(),
        arch: arch.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel_version(kernels)?,
        built: built()?,
    };
    add("kit.json", 0o644, serde_json::to_vec_pretty(&about)?);
    directories(&mut tree);
    let link = |target: &str| Node::Link(target.to_owned());
    tree.insert(
        "root/etc/resolv.conf".into(),
        link("/run/hearth/resolv.conf"),
    );
    let bytes = pack(&tree, LEVEL)?;
    let kits = cache::place()?.join("kits");
    let place = kits.join(format!("hearth-{board}.kit"));
    Kit::read(&place, &*bytes).context("what was packed cannot be read")?;
    fs::create_dir_all(&kits)?;
    // In one step, because an image may be built from the old kit at this moment.
    let fresh = kits.join(format!("{}.new", std::process::id()));
    fs::write(&fresh, &bytes)?;
    fs::rename(&fresh, &place).with_context(|| format!("cannot make {}", place.display()))?;
    tell(board, &tree, bytes.len(), begun);
    Ok(place)
}

pub(crate) fn command_line(board: Board) -> String {
    let console = match board {
        Board::QemuX86_64 | Board::Nuc => "console=tty0 console=ttyS0,115200",
        Board::QemuAarch64 => "console=tty0 console=ttyAMA0",
        // The firmware gives this name to the Pi's own serial port; in QEMU, it is the other port. The Pi's device
        // tree says cgroup_disable=memory, but later arguments win.
        Board::Rpi4 => "console=tty0 console=ttyAMA0,115200 cgroup_enable=memory",
    };
    format!("{console} {QUIET} hearth.board={board}\n")
}

/// Returns the version, such as `6.12.94-hearth`, from the kernel's configuration:
/// `# Linux/x86 6.12.94 Kernel Configuration`.
pub(crate) fn kernel_version(kernels: &Path) -> anyhow::Result<String> {
    let path = kernels.join("config");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let version = text.lines().find_map(|line| {
        let rest = line
            .strip_prefix("# Linux/")?
            .strip_suffix(" Kernel Configuration")?;
        Some(rest.split_once(' ')?.1.to_owned())
    });
    let version = version.with_context(|| format!("{} names no version", path.display()))?;
    Ok(format!("{version}-hearth"))
}

/// Returns the time of the last commit, which is the same on every machine that builds it. SOURCE_DATE_EPOCH
/// overrides it (reproducible-builds.org).
fn built() -> anyhow::Result<u64> {
    if let Ok(named) = std::env::var("SOURCE_DATE_EPOCH") {
        return named
            .parse()
            .context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let place = root();
    let args = ["-C", &*place.to_string_lossy(), "log", "-1", "--format=%ct"];
    let time = said("git", &args)
        .context("git does not know when this was written; set SOURCE_DATE_EPOCH")?;
    time.parse().context("git gave no number")
}

/// Adds the directories of all paths below `root/`, and the empty directories.
fn directories(tree: &mut Tree) {
    let mut wanted: Vec<String> = EMPTY.iter().map(|name| format!("root/{name}")).collect();
    wanted.extend(["root".to_owned(), "root/etc".to_owned()]);
    for path in tree.keys() {
        let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        wanted.extend(parents.filter(|parent| parent.starts_with("root")));
    }
    for path in wanted {
        let mode = match &*path {
            "root/root" => 0o700,
            "root/tmp" => 0o1777,
            _ => 0o755,
        };
        tree.insert(path, Node::Directory(mode));
    }
}

/// Returns the path on the appliance and the built file of each of the appliance's programs.
fn programs(arch: Arch) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let built = build(arch, &PROGRAMS.map(|(_, name)| name))?;
    Ok(PROGRAMS
        .map(|(path, _)| path)
        .into_iter()
        .zip(built)
        .collect())
}

/// The programs that [`build`] always builds together: another selection would give libraries other features, and
/// take minutes.
const SHIPPED: [&str; 5] = [
    "hearth-init",
    "hearth",
    "hearth-cell",
    "hearth-net",
    "hello",
];

/// Builds programs of the workspace as for devices, in the way `hearth build` builds workers, unless the cache has
/// programs of the same sources. Returns the paths of `names`, in their order.
pub(crate) fn build(arch: Arch, names: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let tree = tree::Tree::read(&root())?;
    let product = Product::new(&format!("shipped-{arch}"), &key(arch, &tree)?)?;
    product.files_or(names, &format!("shipped-{arch}"), || {
        let built = timings::build(&format!("shipped programs, {arch}"), || {
            compile(arch, &tree)
        })?;
        Ok(SHIPPED.into_iter().zip(built).collect())
    })
}

/// The files that determine how the programs are built, in addition to `hearth build` itself.
const RECIPE: &[&str] = &["xtask/machines/src/kit.rs", "xtask/src/toolchain.rs"];

/// Returns the hash of everything that the programs are built from. They have the same bytes wherever they are built.
fn key(arch: Arch, tree: &tree::Tree) -> anyhow::Result<Key> {
    let key = KeyBuilder::new("shipped programs")
        .add("arch", arch.name().as_bytes())
        .add_tool(Tool::Rust)
        .add_tool(Tool::StaticRust);
    // `hearth build` builds the programs.
    let scope = Scope::new(&["hearth", "hearth-init", "hello"]).with_files(RECIPE);
    Ok(tree.add_to(key, &scope)?.finish())
}

/// Returns `hearth` for this machine, which the test run has built or Cargo builds now.
pub(crate) fn hearth() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os(HEARTH_PROGRAM) {
        return Ok(given.into());
    }
    cargo(&["build", "--quiet", "--package", "hearth", "--bin", "hearth"])?;
    Ok(target().join("debug/hearth"))
}

/// Builds [`SHIPPED`], and returns the paths in the same order.
fn compile(arch: Arch, tree: &tree::Tree) -> anyhow::Result<Vec<PathBuf>> {
    let hearth = hearth()?;
    let shared = shared_build(arch, tree)?;
    // The manifest is below the workspace, so that Cargo finds the programs.
    let place = shared.source.join(".hearth/kit").join(arch.name());
    fs::create_dir_all(&place)?;
    let manifest = place.join("programs.yaml");
    let mut text = "service: appliance\nfunctions:\n".to_owned();
    for name in SHIPPED {
        text.push_str(&format!(
            "  {name}:\n    routes: [{{ path: /{name} }}]\n    binary: {name}\n"
        ));
    }
    fs::write(&manifest, text)?;
    let output = Command::new(hearth)
        .arg("build")
        .arg(&manifest)
        // An appliance builds no images.
        .args(["--arch", arch.name(), "--json", "--no-default-features"])
        .env("CARGO_TARGET_DIR", &shared.target)
        .current_dir(&shared.source)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run hearth")?;
    ensure!(
        output.status.success(),
        "{} could not be built; the reasons are above",
        SHIPPED.join(", ")
    );
    let said: Value = serde_json::from_slice(&output.stdout).context("what `hearth build` says")?;
    let find = |name: &&str| {
        let all = said.as_array().into_iter().flatten();
        let mut named = all.filter(|one| one["function"] == *name);
        let built = named.next().and_then(|one| one["binary"].as_str());
        let built = built.with_context(|| format!("`hearth build` made no {name}"))?;
        Ok(shared.source.join(built))
    };
    SHIPPED.iter().map(find).collect()
}

/// Opens the shared build of programs for devices: the kit's programs, and the functions of images.
pub(crate) fn shared_build(arch: Arch, tree: &tree::Tree) -> anyhow::Result<SharedBuild> {
    SharedBuild::open(&format!("shipped-{arch}"), tree)
}

/// Makes a kit and a board's image as a user does, with one function.
pub(crate) fn image(board: Board, to: &Path) -> anyhow::Result<()> {
    let kit = make(board)?;
    let shared = shared_build(board.arch(), &tree::Tree::read(&root())?)?;
    image_of(board, &kit, &shared, to)
}

/// Makes an image from a kit, with one function.
pub(crate) fn image_of(
    board: Board,
    kit: &Path,
    shared: &SharedBuild,
    to: &Path,
) -> anyhow::Result<()> {
    let status = Command::new(hearth()?)
        .args(["image", "build", "--board", &board.to_string(), "--kit"])
        .arg(kit)
        .args(["--manifest", "examples/hello/edge.yaml", "--output"])
        .arg(to)
        .env("CARGO_TARGET_DIR", &shared.target)
        .current_dir(&shared.source)
        .status()
        .context("cannot run hearth")?;
    ensure!(status.success(), "there is no image: {status}");
    Ok(())
}

/// Makes the pristine data file system. It has the same bytes each time.
pub(crate) fn data(board: Board) -> anyhow::Result<Vec<u8>> {
    let size = span(Role::Data, board.firmware()).len;
    let place = target().join("kit");
    fs::create_dir_all(&place)?;
    // Other processes may make data file systems at the same time.
    let process = std::process::id();
    let path = place.join(format!("data-{board}-{process}.ext4"));
    let none = place.join(format!("no-{process}.conf"));
    // An empty configuration replaces the system's own /etc/mke2fs.conf.
    fs::write(&none, "")?;
    // Twice as large at first, because mke2fs gives a journal at most half of a file system.
    let file = fs::File::create(&path)?;
    file.set_len(2 * size)?;
    let named = path.to_string_lossy();
    let tool = |program: &str, args: &[&str]| -> anyhow::Result<()> {
        let output = Command::new(program)
            .args(args)
            .env("MKE2FS_CONFIG", &none)
            .env("E2FSPROGS_FAKE_TIME", "1")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        ensure!(
            output.status.success(),
            "{program} could not make the data file system ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    };
    let extended = format!(
        "hash_seed={HASH_SEED},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    );
    let what = [
        "-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=8", "-L", "data", "-m", "1",
    ];
    // One inode per 64 KiB. Each further 128 MiB brings the same number of inodes.
    let more = [
        "-I", "256", "-N", "2048", "-U", DATA_UUID, "-O", EXT4, "-E", &extended,
    ];
    tool("mke2fs", &[&what[..], &more, &[&*named]].concat())?;
    tool("resize2fs", &["-f", &named, &(size / 4096).to_string()])?;
    file.set_len(size)?;
    tool("e2fsck", &["-f", "-n", &named])?;
    let bytes = read(&path)?;
    fs::remove_file(&path)?;
    fs::remove_file(&none)?;
    Ok(bytes)
}

/// Returns Debian's static e2fsck for an architecture, which is downloaded once.
pub(crate) fn e2fsck(arch: Arch) -> anyhow::Result<PathBuf> {
    let place = cache::place()?.join("e2fsck").join(arch.name());
    let program = place.join("sbin/e2fsck.static");
    if !program.is_file() {
        let debian = match arch {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        };
        let lists = cache::place()?.join(format!("apt-e2fsck-{debian}"));
        let package = Repository::new(&lists, &own_stanza()?, &[debian])?
            .download(&format!("e2fsck-static:{debian}"))?;
        unpack(&package, &place)?;
        ensure!(program.is_file(), "e2fsck-static has no sbin/e2fsck.static");
    }
    Ok(program)
}

fn tell(board: Board, tree: &Tree, size: usize, begun: Instant) {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut lines = String::new();
    for (path, node) in tree {
        if let Node::File(_, bytes) = node {
            lines.push_str(&format!(
                "\n   {:7.2} MiB  {path}",
                bytes.len() as f64 / MIB
            ));
        }
    }
    let size = size as f64 / MIB;
    let took = clock::took(begun);
    say(&format!(
        "kit for {board}: {size:.2} MiB packed, in {took}{lines}"
    ));
}

/// Compresses a file. The same file always gives the same bytes.
fn gzip(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name", "--stdout"]).arg(path);
    let output = gzip.stderr(Stdio::inherit()).output();
    let output = output.context("cannot run gzip")?;
    ensure!(output.status.success(), "gzip ended with {}", output.status);
    Ok(output.stdout)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_system_is_the_same_each_time_and_has_what_it_needs_to_grow() {
        let made = data(Board::QemuX86_64).unwrap();
        assert!(made == data(Board::QemuX86_64).unwrap());
        assert_eq!(made.len() as u64, span(Role::Data, Firmware::Uefi).len);
        // The superblock (struct ext4_super_block): magic, label, features.
        assert_eq!(made[1024 + 56..1024 + 58], [0x53, 0xef]);
        assert!(made[1024 + 120..].starts_with(b"data\0"));
        let word =
            |at: usize| u32::from_le_bytes(made[1024 + at..1024 + at + 4].try_into().unwrap());
        let (has_journal, resize_inode, meta_bg) = (0x4, 0x10, 0x10);
        assert_eq!(word(0x5c) & (has_journal | resize_inode), has_journal);
        assert_eq!(word(0x60) & meta_bg, meta_bg);
        // Blocks per group: the group size is complete, although the file system is smaller.
        assert_eq!(word(0x20), 32768);
    }

    #[test]
    fn every_directory_that_a_path_goes_through_is_there() {
        let mut tree = Tree::new();
        tree.insert("root/usr/share/x".into(), Node::File(0o644, vec![1]));
        tree.insert("kernel.efi".into(), Node::File(0o644, vec![1]));
        directories(&mut tree);
        for path in [
            "root",
            "root/usr",
            "root/usr/share",
            "root/etc",
            "root/data",
        ] {
            assert!(
                matches!(tree.get(path), Some(Node::Directory(0o755))),
                "{path}"
            );
        }
        assert!(!tree.contains_key("kernel"));
    }
}
