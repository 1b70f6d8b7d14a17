//! The programs that UEFI firmware starts, for either processor: the selector, and the stub of a slot's image.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use hearth_image::Arch;

use xtask::cache::Product;
use xtask::key::{Key, KeyBuilder, Tool};
use xtask::sh::{root, said, say, target};
use xtask::tree::{Scope, Tree};
use xtask::{timings, toolchain};

/// What is built.
pub(crate) struct Programs {
    /// `\EFI\BOOT\BOOTX64.EFI` or `BOOTAA64.EFI`.
    pub(crate) selector: PathBuf,
    /// What an image of a slot begins with.
    pub(crate) stub: PathBuf,
}

/// Builds both, unless programs of the same sources are in the cache. They are the same bytes wherever they are built.
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

/// Cargo's names for them.
const NAMES: [&str; 2] = ["selector.efi", "stub.efi"];

/// The files in which it is written how they are built.
const RECIPE: &[&str] = &["xtask/machines/src/firmware.rs", "xtask/src/toolchain.rs"];

/// The hash of all that both are built from.
fn key(arch: Arch) -> anyhow::Result<Key> {
    let key = KeyBuilder::new("selector and stub")
        .add("arch", arch.name().as_bytes())
        .add_tool(Tool::Rust)
        .add_tool(Tool::StaticRust);
    let scope = Scope::new(&["hearth-selector"]).with_files(RECIPE);
    Ok(Tree::read(&root())?.add_to(key, &scope)?.finish())
}

/// Compiles both, with the toolchain's library for UEFI where it has one, else with one that is built for it.
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
    // Nothing catches a panic there.
    cargo.args(["--config", "profile.hearth.panic=\"abort\""]);
    // The linker would write the time into the program, or with /Brepro a hash, in which the paths of its own record for
    // debuggers are; and Cargo its paths.
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
