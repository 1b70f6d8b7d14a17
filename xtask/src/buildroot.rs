//! `cargo xtask test buildroot --tree DIR`: checks `buildroot/` without building it. DIR is a Buildroot source tree
//! of the release that `buildroot/README.md` names. Nothing is downloaded, and nothing is written into DIR.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use hearth_image::Arch;
use serde_json::Value;

use xtask::install;
use xtask::kernel;
use xtask::needs::Need;
use xtask::sh::{root, say, target};

/// What Buildroot's makefile and its style checker need.
const NEEDS: &[Need] = &[
    ("make", "make"),
    ("unzip", "unzip"),
    ("bc", "bc"),
    ("rsync", "rsync"),
    ("cpio", "cpio"),
    ("flake8", "flake8"),
    ("shellcheck", "shellcheck"),
    (
        "/usr/lib/python3/dist-packages/magic/__init__.py",
        "python3-magic",
    ),
];

/// The Buildroot release that `buildroot/` is written for.
const RELEASE: &str = "2026.08";

/// The variable for the external tree's path in a configuration.
const PATH: &str = "$(BR2_EXTERNAL_HEARTH_PATH)";

/// A board, and the packages of ours that its configuration must build.
struct Board {
    name: &'static str,
    arch: Arch,
    packages: &'static [&'static str],
}

const UEFI: &[&str] = &[
    "hearth",
    "hearth-init",
    "hearth-selector",
    "host-hearth",
    "host-hearth-uefi-std",
];
const PI: &[&str] = &["hearth", "hearth-init", "host-hearth", "rpi-firmware"];

const BOARDS: [Board; 4] = [
    Board {
        name: "qemu_x86_64",
        arch: Arch::X86_64,
        packages: UEFI,
    },
    Board {
        name: "qemu_aarch64",
        arch: Arch::Aarch64,
        packages: UEFI,
    },
    Board {
        name: "nuc",
        arch: Arch::X86_64,
        packages: UEFI,
    },
    Board {
        name: "rpi4",
        arch: Arch::Aarch64,
        packages: PI,
    },
];

/// Runs all checks.
pub(crate) fn test(tree: &Path) -> anyhow::Result<()> {
    install::ensure(NEEDS)?;
    let tree =
        fs::canonicalize(tree).with_context(|| format!("no Buildroot at {}", tree.display()))?;
    let place = target().join("buildroot");
    let version = make(&tree, &place.join("version"), &["print-version"])?;
    let version = version.trim();
    say(&format!("Buildroot {version}"));
    ensure!(
        version.starts_with(RELEASE),
        "{} is Buildroot {version}; buildroot/ is written for {RELEASE}",
        tree.display()
    );
    style(&tree)?;
    for board in &BOARDS {
        let place = place.join(board.name);
        loads(board, &tree, &place)?;
        names_packages(board, &tree, &place)?;
        configures_the_kernel(board, &place)?;
    }
    Ok(())
}

fn external() -> PathBuf {
    root().join("buildroot")
}

/// Checks that `utils/check-package` accepts every file.
fn style(tree: &Path) -> anyhow::Result<()> {
    let files = files(&external())?;
    // Debian's Python, which has the modules from `NEEDS`, and not another one that comes first in `PATH`.
    let output = Command::new("/usr/bin/python3")
        .arg(tree.join("utils/check-package"))
        .arg("-b")
        .args(&files)
        .current_dir(tree)
        .output()
        .context("cannot run utils/check-package")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let words = format!("{}{said}", String::from_utf8_lossy(&output.stdout));
    ensure!(
        output.status.success(),
        "utils/check-package complains:\n{words}"
    );
    for line in words.lines() {
        say(&format!("check-package: {line}"));
    }
    Ok(())
}

/// Checks that Buildroot loads the defconfig and saves it unchanged: so no symbol is unknown, has unmet dependencies,
/// or repeats a default.
fn loads(board: &Board, tree: &Path, place: &Path) -> anyhow::Result<()> {
    let name = format!("hearth_{}_defconfig", board.name);
    let ours = external().join("configs").join(&name);
    make(tree, place, &[&name])?;
    let saved = place.join("saved_defconfig");
    let to = format!("BR2_DEFCONFIG={}", saved.display());
    make(tree, place, &["savedefconfig", &to])?;
    let (wanted, saved) = (read(&ours)?, read(&saved)?);
    let missing = |from: &str, of: &str| -> Vec<String> {
        let lines = from
            .lines()
            .filter(|line| !of.lines().any(|one| one == *line));
        lines.map(|line| format!("  {line}")).collect()
    };
    let (lost, more) = (missing(&wanted, &saved), missing(&saved, &wanted));
    ensure!(
        wanted == saved,
        "{name} does not come out as it went in; lost:\n{}\ncame:\n{}\n(and their order counts)",
        lost.join("\n"),
        more.join("\n")
    );
    say(&format!(
        "{name}: {} symbols, none lost",
        wanted.lines().count()
    ));
    Ok(())
}

/// Checks that `make show-info` lists our packages, and not BusyBox.
fn names_packages(board: &Board, tree: &Path, place: &Path) -> anyhow::Result<()> {
    let info: Value = serde_json::from_str(&make(tree, place, &["show-info"])?)?;
    let packages = info.as_object().context("show-info says no packages")?;
    let missing: Vec<&str> = board
        .packages
        .iter()
        .copied()
        .filter(|one| !packages.contains_key(*one))
        .collect();
    ensure!(
        missing.is_empty(),
        "hearth_{}_defconfig builds no {}",
        board.name,
        missing.join(", ")
    );
    ensure!(
        !packages.contains_key("busybox"),
        "hearth_{}_defconfig builds BusyBox, which is no part of the product",
        board.name
    );
    say(&format!(
        "hearth_{}_defconfig: {} packages, of them {}",
        board.name,
        packages.len(),
        board.packages.join(", ")
    ));
    Ok(())
}

/// Checks that the kernel's final configuration contains every symbol of the fragments. The Raspberry Pi's own kernel
/// source is not available here; its fragments are checked with the `defconfig` of Debian's source instead.
fn configures_the_kernel(board: &Board, place: &Path) -> anyhow::Result<()> {
    let config = read(&place.join(".config"))?;
    let paths = |key: &str| -> Vec<PathBuf> {
        let line = config.lines().find_map(|line| line.strip_prefix(key));
        let value = line
            .and_then(|line| line.strip_prefix('='))
            .unwrap_or("\"\"");
        let value = value
            .trim_matches('"')
            .replace(PATH, &external().to_string_lossy());
        value.split_whitespace().map(PathBuf::from).collect()
    };
    let begin = paths("BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE").pop();
    let fragments = paths("BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES");
    ensure!(
        !fragments.is_empty(),
        "hearth_{}_defconfig gives the kernel no fragments",
        board.name
    );
    let scratch = place.join("kernel");
    let asked = kernel::configure(board.arch, begin.as_deref(), &fragments, &scratch)?;
    let on = match begin {
        Some(begin) => begin
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        None => "the defconfig of Debian's source".to_owned(),
    };
    say(&format!(
        "hearth_{}_defconfig: {asked} symbols of the kernel's fragments, on {on}: none lost",
        board.name
    ));
    Ok(())
}

/// Runs Buildroot's make with our external tree, and returns its output.
fn make(tree: &Path, place: &Path, goals: &[&str]) -> anyhow::Result<String> {
    fs::create_dir_all(place)?;
    let output = Command::new("make")
        .args(["-s", "--no-print-directory", "-C"])
        .arg(tree)
        .arg(format!("O={}", place.display()))
        .arg(format!("BR2_EXTERNAL={}", external().display()))
        .args(goals)
        // The variables of the Cargo that runs this task must not affect this make.
        .env_remove("MAKEFLAGS")
        .env_remove("CARGO_MAKEFLAGS")
        .stdin(Stdio::null())
        .output()
        .context("cannot run make")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "`make {}` in {} failed:\n{said}",
            goals.join(" "),
            tree.display()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => all.extend(files(&path)?),
            false => all.push(path),
        }
    }
    all.sort();
    Ok(all)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
