//! Builds the programs that UEFI firmware starts, for either architecture: the selector, and the stub of a slot's
//! image.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use hearth_image::Arch;

use xtask::cache::Product;
use xtask::key::{Key, KeyBuilder, Tool};
use xtask::sh::{root, said, say, target};
use xtask::tree::{Scope, Tree};
use xtask::{timings, toolchain};

/// The paths of both programs.
pub(crate) struct Programs {
    /// `\EFI\BOOT\BOOTX64.EFI` or `BOOTAA64.EFI`.
    pub(crate) selector: PathBuf,
    /// The beginning of a slot's image.
    pub(crate) stub: PathBuf,
}

/// Builds both programs, unless the cache has programs of the same sources. They have the same bytes wherever they
/// are built.
pub(crate) fn build(arch: Arch) -> anyhow::Result<Programs> {
    let product = Product::new(&format!("firmware-{arch}"), &key(arch)?)?;
    let places = product.files_or(&NAMES, &format!("firmware-{arch}"), || {
        let built = timings::build(&format!("selector and stub, {arch}"), || compile(arch))?;
        Ok(NAMES
            .into_iter()
            .zip([built.selector, built.stub])
            .collect())
    })?;
    let [selector, stub] = &places[..] else {
        bail!("{} files instead of two", places.len());
    };
    Ok(Programs {
        selector: selector.clone(),
        stub: stub.clone(),
    })
}

/// Cargo's names of the programs.
const NAMES: [&str; 2] = ["selector.efi", "stub.efi"];

/// The files that determine how the programs are built.
const RECIPE: &[&str] = &["xtask/machines/src/firmware.rs", "xtask/src/toolchain.rs"];

/// Returns the hash of everything that the programs are built from.
fn key(arch: Arch) -> anyhow::Result<Key> {
    let key = KeyBuilder::new("selector and stub")
        .add("arch", arch.name().as_bytes())
        .add_tool(Tool::Rust)
        .add_tool(Tool::StaticRust);
    let scope = Scope::new(&["hearth-selector"]).with_files(RECIPE);
    Ok(Tree::read(&root())?.add_to(key, &scope)?.finish())
}

/// Compiles both programs, with the toolchain's library for UEFI if it has one, and otherwise with a library built
/// from source.
fn compile(arch: Arch) -> anyhow::Result<Programs> {
    let triple = format!("{}-unknown-uefi", arch.name());
    let nightly = toolchain::nightly().map(PathBuf::from);
    let libraries = said("rustc", &["--print", "target-libdir", "--target", &triple]);
    let has_library = libraries.is_some_and(|place| PathBuf::from(place).is_dir());
    let mut cargo = match (has_library, nightly) {
        (true, _) => Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())),
        (false, nightly) => {
            let nightly =
                nightly.context("rustup has no nightly toolchain (cargo xtask toolchain)")?;
            let mut cargo = Command::new(nightly.join("bin/cargo"));
            cargo.env("RUSTC", nightly.join("bin/rustc"));
            cargo
        }
    };
    say(&format!("selector and stub for {triple}"));
    cargo.args(["build", "--quiet", "--package", "hearth-selector", "--bins"]);
    cargo.args([
        "--features",
        "firmware",
        "--profile",
        "hearth",
        "--target",
        &triple,
    ]);
    cargo.args(["--config", "profile.hearth.opt-level=\"s\""]);
    // Nothing catches a panic in these programs.
    cargo.args(["--config", "profile.hearth.panic=\"abort\""]);
    // Otherwise, the programs would not be reproducible: the linker would write the time into them, or with /Brepro a
    // hash that includes the paths of its debug record, and Cargo would write its own paths.
    let hidden = format!("--remap-path-prefix={}/=", root().display());
    let link = ["-Clink-arg=/Brepro", "-Clink-arg=/DEBUG:NONE"].map(str::to_owned);
    let flags = serde_json::Value::from([vec![hidden], link.to_vec()].concat());
    cargo.args(["--config", &format!("target.{triple}.rustflags={flags}")]);
    if !has_library {
        cargo.args([
            "-Zbuild-std=core,alloc,compiler_builtins",
            "-Zbuild-std-features=compiler-builtins-mem",
        ]);
    }
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = cargo
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "cargo could not build for {triple}; its reasons are above"
    );
    let place = target().join(&triple).join("hearth");
    let [selector, stub] = NAMES.map(|name| place.join(name));
    Ok(Programs { selector, stub })
}
