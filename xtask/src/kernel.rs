//! `cargo xtask kernel`: builds the product's kernels from Debian's source and the fragments of `buildroot/`, and
//! caches them by the hash of all inputs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hearth_image::Arch;

use crate::key::{Key, KeyBuilder};
use crate::sh::{has, root, said, say};
use crate::{cache, clock, install, needs};

/// Debian's package of the kernel's source, and the archive in it.
const PACKAGE: &str = needs::KERNEL_PACKAGE;
const ARCHIVE: &str = needs::KERNEL_ARCHIVE;

/// The directory of the configuration fragments.
const FRAGMENTS: &str = "buildroot/board/hearth/kernel";

/// The version of the build procedure. Increment it when the same source, fragments and compiler give another kernel.
const RECIPE: u32 = 1;

/// Room for the objects of several kernels of both architectures.
const CCACHE_SIZE: &str = "1G";

/// The interval at which a long build reports its progress.
const PROGRESS: Duration = Duration::from_secs(30);

/// The kernel's name of an architecture, and what is built for it.
struct Target {
    arch: &'static str,
    /// The prefix of the names of compiler and linker.
    cross: &'static str,
    make: &'static [&'static str],
    /// What is kept of a build, and under which name: the images for QEMU and for firmware, and what goes with them.
    products: &'static [(&'static str, &'static str)],
}

fn target(arch: Arch) -> Target {
    match arch {
        Arch::X86_64 => Target {
            arch: "x86_64",
            cross: cross(arch),
            make: &["bzImage"],
            products: &[
                ("arch/x86/boot/bzImage", IMAGE),
                ("arch/x86/boot/bzImage", "kernel.efi"),
            ],
        },
        Arch::Aarch64 => Target {
            arch: "arm64",
            cross: cross(arch),
            make: &["Image", "vmlinuz.efi", "broadcom/bcm2711-rpi-4-b.dtb"],
            products: &[
                ("arch/arm64/boot/Image", IMAGE),
                ("arch/arm64/boot/vmlinuz.efi", "kernel.efi"),
                // The device tree of QEMU's Raspberry Pi 4.
                (
                    "arch/arm64/boot/dts/broadcom/bcm2711-rpi-4-b.dtb",
                    "bcm2711-rpi-4-b.dtb",
                ),
            ],
        },
    }
}

/// Returns the prefix of the compiler's name; empty for this machine's architecture.
fn cross(arch: Arch) -> &'static str {
    match arch {
        _ if arch.name() == std::env::consts::ARCH => "",
        Arch::X86_64 => "x86_64-linux-gnu-",
        Arch::Aarch64 => "aarch64-linux-gnu-",
    }
}

/// `cargo xtask kernel`: builds the kernels, and prints their paths.
#[expect(clippy::print_stdout, reason = "the path is this chore's result")]
pub fn kernel(arches: &[Arch]) -> anyhow::Result<()> {
    for arch in arches {
        println!("{}", ensure(*arch)?.display());
    }
    Ok(())
}

/// Returns whether the kernel of an architecture is built.
pub fn is_built(arch: Arch) -> anyhow::Result<bool> {
    Ok(place(arch)?.join(IMAGE).is_file())
}

/// Returns where the kernel of an architecture is kept once it is built.
fn place(arch: Arch) -> anyhow::Result<PathBuf> {
    let name = format!("{}-{}", arch.name(), key(arch)?.short());
    Ok(cache::place()?.join("kernel").join(name))
}

/// The name of the image that QEMU starts.
const IMAGE: &str = "image";

/// Returns the key of an architecture's kernel: the hash of its sources, configuration and compiler.
pub fn key(arch: Arch) -> anyhow::Result<Key> {
    let compiler = format!("{}gcc", cross(arch));
    let compiler = said(&compiler, &["--version"]).with_context(|| format!("no {compiler}"))?;
    let mut key = KeyBuilder::new("kernel")
        .add("source", version()?.as_bytes())
        .add("arch", arch.name().as_bytes())
        .add(
            "compiler",
            compiler.lines().next().unwrap_or_default().as_bytes(),
        )
        .add("recipe", &RECIPE.to_le_bytes());
    for path in fragments(arch) {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Comments make no other kernel.
        for line in text.lines().filter(|line| setting(line).is_some()) {
            key = key.add("setting", line.as_bytes());
        }
    }
    Ok(key.finish())
}

/// Builds the kernel unless it is cached, and returns the image that QEMU can start. `kernel.efi`, `config` and
/// `System.map` are in the same directory.
pub fn ensure(arch: Arch) -> anyhow::Result<PathBuf> {
    install::ensure(needs::KERNEL)?;
    let target = target(arch);
    let kernels = cache::place()?.join("kernel");
    let place = place(arch)?;
    let image = place.join(IMAGE);
    if image.is_file() {
        return Ok(image);
    }
    fs::create_dir_all(&kernels)?;
    let _alone = cache::lock("kernel", "builds a kernel")?;
    if !image.is_file() {
        let source = source(&kernels, &version()?)?;
        // If a build is killed, its directory remains, and the next build removes it.
        let scratch = kernels.join(format!("{}-building", arch.name()));
        build(&source, &scratch, &target, &fragments(arch))?;
        keep(&scratch, &place, &target)?;
        fs::remove_dir_all(&scratch)?;
    }
    Ok(image)
}

/// Returns the version of Debian's source package that is installed.
fn version() -> anyhow::Result<String> {
    said("dpkg-query", &["-W", "-f", "${Version}", PACKAGE])
        .with_context(|| format!("{PACKAGE} is not installed"))
}

/// Merges fragments into a configuration, or into the architecture's `defconfig`, and completes it with the kernel's
/// makefile. Returns the number of symbols in the fragments.
///
/// # Errors If the completed configuration lacks one of these symbols, among other errors.
pub fn configure(
    arch: Arch,
    begin: Option<&Path>,
    fragments: &[PathBuf],
    scratch: &Path,
) -> anyhow::Result<usize> {
    install::ensure(needs::KERNEL)?;
    let target = target(arch);
    let version = version()?;
    let kernels = cache::place()?.join("kernel");
    fs::create_dir_all(&kernels)?;
    // Nothing is written into the source, so the lock is needed only for unpacking it.
    let source = match unpacked(&kernels, &version) {
        Some(there) => there,
        None => {
            let _alone = cache::lock("kernel", "builds a kernel")?;
            source(&kernels, &version)?
        }
    };
    fs::create_dir_all(scratch)?;
    match begin {
        Some(begin) => {
            fs::copy(begin, scratch.join(".config"))
                .with_context(|| format!("cannot read {}", begin.display()))?;
        }
        None => make(&source, scratch, &target, &["defconfig"])?,
    }
    complete(&source, scratch, &target, fragments, begin.is_some())
}

/// Returns the fragments for all architectures, and those for this architecture and its boards.
fn fragments(arch: Arch) -> Vec<PathBuf> {
    let names: &[&str] = match arch {
        Arch::X86_64 => &["common", "x86_64"],
        // One kernel is used for boards with UEFI and for QEMU's Raspberry Pi.
        Arch::Aarch64 => &["common", "aarch64", "rpi4"],
    };
    let path = |name: &&str| root().join(FRAGMENTS).join(format!("{name}.config"));
    names.iter().map(path).collect()
}

/// Unpacks the source, once for all architectures, and removes that of an earlier version.
fn source(kernels: &Path, version: &str) -> anyhow::Result<PathBuf> {
    if let Some(there) = unpacked(kernels, version) {
        return Ok(there);
    }
    let place = kernels.join("source");
    say(&format!("unpacking {ARCHIVE} ({version})"));
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let status = Command::new("tar")
        .args(["--strip-components=1", "-xf", ARCHIVE, "-C"])
        .arg(&place)
        .status()
        .context("cannot run tar")?;
    ensure!(status.success(), "tar cannot unpack {ARCHIVE}: {status}");
    fs::write(place.join(MARK), version)?;
    Ok(place)
}

/// Returns the source's directory, if it is unpacked completely.
fn unpacked(kernels: &Path, version: &str) -> Option<PathBuf> {
    let place = kernels.join("source");
    let there = fs::read_to_string(place.join(MARK)).ok()?;
    (there == version).then_some(place)
}

/// The file that is written into the source when it is complete. It contains the source's version.
const MARK: &str = "hearth-version";

fn build(
    source: &Path,
    scratch: &Path,
    target: &Target,
    fragments: &[PathBuf],
) -> anyhow::Result<()> {
    let begun = Instant::now();
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    fs::create_dir_all(scratch)?;
    make(source, scratch, target, &["tinyconfig"])?;
    complete(source, scratch, target, fragments, true)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = format!("-j{jobs}");
    make(source, scratch, target, &[&[&*jobs], target.make].concat())?;
    say(&format!(
        "kernel for {}: built in {}",
        target.arch,
        clock::took(begun)
    ));
    Ok(())
}

/// Merges fragments into the configuration in `scratch`, and checks that the kernel's completed configuration has
/// each of their symbols. Returns the number of symbols.
fn complete(
    source: &Path,
    scratch: &Path,
    target: &Target,
    fragments: &[PathBuf],
    least: bool,
) -> anyhow::Result<usize> {
    let merged = Command::new(source.join("scripts/kconfig/merge_config.sh"))
        .args(["-m", "-O"])
        .arg(scratch)
        .arg(scratch.join(".config"))
        .args(fragments)
        .current_dir(scratch)
        .stdout(File::create(scratch.join("merge.log"))?)
        .status()
        .context("cannot run merge_config.sh")?;
    ensure!(merged.success(), "merge_config.sh failed: {merged}");
    make(source, scratch, target, &["olddefconfig"])?;
    let mut wanted = String::new();
    for path in fragments {
        wanted.push_str(&fs::read_to_string(path)?);
    }
    let config = fs::read_to_string(scratch.join(".config"))?;
    let mut lost = lost(&wanted, &config);
    // In a kernel that did not start from `tinyconfig`, some symbols cannot be switched off (EXPERT).
    lost.retain(|line| least || !line.starts_with('#'));
    if !lost.is_empty() {
        bail!(
            "{PACKAGE} for {} does not take what {FRAGMENTS} asks for (something that they depend on is \
             missing, or they have gone):\n  {}",
            target.arch,
            lost.join("\n  ")
        );
    }
    Ok(wanted.lines().filter_map(setting).count())
}

/// Runs make with its output in a log, and reports the progress at intervals.
fn make(source: &Path, scratch: &Path, target: &Target, goals: &[&str]) -> anyhow::Result<()> {
    let log = scratch.join("build.log");
    // The build must end with this program, however that ends; otherwise, it would write into the next build's
    // directory.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "make", "-C"])
        .arg(source)
        .arg(format!("O={}", scratch.display()))
        .arg(format!("ARCH={}", target.arch))
        .arg(format!("CROSS_COMPILE={}", target.cross))
        .args(ccache(target.cross))
        .args(goals)
        // With these values, the same source gives the same kernel on every machine at any time.
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC")
        .env("KBUILD_BUILD_USER", "hearth")
        .env("KBUILD_BUILD_HOST", "hearth")
        .env("KBUILD_BUILD_VERSION", "1")
        .env("CCACHE_DIR", scratch.with_file_name("ccache"))
        .env("CCACHE_MAXSIZE", CCACHE_SIZE)
        // ccache then identifies an object by the compiler's list of headers. Otherwise, it runs the preprocessor on
        // each file first, which takes half as long as the compiler.
        .env("CCACHE_DEPEND", "1")
        // The variables of the Cargo that runs this task must not affect this make.
        .env_remove("MAKEFLAGS")
        .env_remove("CARGO_MAKEFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()
        .context("cannot run setpriv and make")?;
    let (begun, mut told) = (Instant::now(), Instant::now());
    let output = child.stdout.take().context("make has no output")?;
    let mut steps = 0;
    for line in BufReader::new(output).lines() {
        // `  CC      kernel/fork.o`
        let line = line.unwrap_or_default();
        steps += usize::from(line.starts_with("  "));
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say(&format!(
                "kernel for {}: {steps} steps in {}, now {}",
                target.arch,
                clock::took(begun),
                line.trim()
            ));
        }
    }
    let status = child.wait().context("cannot wait for make")?;
    if !status.success() {
        let words = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = words.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!(
            "make {} for {} failed ({status}); the end of {}:\n{last}",
            goals.join(" "),
            target.arch,
            log.display()
        );
    }
    Ok(())
}

/// Makes make compile with ccache, if it is installed. Then a build after a small change of the configuration reuses
/// earlier objects, and both architectures share the programs of the kernel's own build.
fn ccache(cross: &str) -> Vec<String> {
    match has("ccache") {
        true => vec![
            format!("CC=ccache {cross}gcc"),
            "HOSTCC=ccache gcc".to_owned(),
        ],
        false => Vec::new(),
    }
}

/// Returns the lines of fragments that a configuration does not fulfil. If fragments disagree, the last line wins.
fn lost<'a>(wanted: &'a str, config: &str) -> Vec<&'a str> {
    let config: BTreeMap<&str, &str> = config.lines().filter_map(setting).collect();
    let named = |line: &'a str| setting(line).map(|(name, _)| (name, line));
    let wanted: BTreeMap<&str, &str> = wanted.lines().filter_map(named).collect();
    let missing = |line: &&str| match setting(line) {
        Some((name, "n")) => config.get(name).is_some_and(|value| *value != "n"),
        Some((name, value)) => config.get(name) != Some(&value),
        None => false,
    };
    wanted.into_values().filter(missing).collect()
}

/// Parses `CONFIG_NAME=value` or `# CONFIG_NAME is not set`, which is the value n.
fn setting(line: &str) -> Option<(&str, &str)> {
    match line.strip_prefix("# ") {
        Some(comment) => Some((comment.strip_suffix(" is not set")?, "n")),
        None => line.split_once('='),
    }
    .filter(|(name, _)| name.starts_with("CONFIG_"))
}

/// Moves the products to their place in the cache, in one step.
fn keep(scratch: &Path, place: &Path, target: &Target) -> anyhow::Result<()> {
    let fresh = scratch.join("kept");
    fs::create_dir_all(&fresh)?;
    let more = [(".config", "config"), ("System.map", "System.map")];
    for (from, to) in target.products.iter().chain(&more) {
        let from = scratch.join(from);
        fs::copy(&from, fresh.join(to))
            .with_context(|| format!("the build has left no {}", from.display()))?;
    }
    fs::rename(&fresh, place).with_context(|| format!("cannot make {}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_configuration_does_not_have_is_named() {
        let wanted = "# Why.\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n\
                      # CONFIG_E is not set\nCONFIG_F=\"x\"\n";
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n# CONFIG_D is not set\nCONFIG_F=\"y\"\n";
        assert_eq!(
            lost(wanted, config),
            ["CONFIG_B=y", "# CONFIG_C is not set", "CONFIG_F=\"x\""]
        );
        assert!(lost(wanted, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_F=\"x\"\n").is_empty());
        let later = "# CONFIG_A is not set\nCONFIG_A=y\n";
        assert!(lost(later, "CONFIG_A=y\n").is_empty());
        assert_eq!(lost(later, ""), ["CONFIG_A=y"]);
    }

    #[test]
    fn the_fragments_name_each_symbol_once() {
        for arch in Arch::ALL {
            let mut seen = BTreeMap::new();
            for path in fragments(arch) {
                let text = fs::read_to_string(&path).unwrap();
                for (name, value) in text.lines().filter_map(setting) {
                    assert_eq!(
                        seen.insert(name.to_owned(), value.to_owned()),
                        None,
                        "{name}"
                    );
                }
            }
            assert!(seen.len() > 100, "{}", seen.len());
        }
    }
}
