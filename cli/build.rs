//! Embeds the SDK's sources in `hearth` for `hearth new`, so that a new project builds although `hearth-sdk` is in no
//! registry.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The SDK and the workspace crates that it depends on.
const PACKAGES: [&str; 3] = ["sdk", "protocol", "sys"];

fn main() -> io::Result<()> {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = here.and_then(|here| here.parent().map(Path::to_owned));
    let root = root.ok_or(io::ErrorKind::NotFound)?;
    let mut list = String::from("pub(super) const FILES: &[(&str, &str)] = &[\n");
    let mut add = |place: &str, text: &str| {
        // `{:?}` writes the text as a Rust string literal. Writing to a `String` cannot fail.
        let _ = writeln!(list, "    ({place:?}, {text:?}),");
    };
    add("Cargo.toml", &workspace(&read(&root.join("Cargo.toml"))?));
    for package in PACKAGES {
        let manifest = read(&root.join(package).join("Cargo.toml"))?;
        add(&format!("{package}/Cargo.toml"), &without_tests(&manifest));
        for path in files(&root.join(package).join("src"))? {
            let place = path.strip_prefix(&root).unwrap_or(&path);
            add(&place.to_string_lossy(), &read(&path)?);
        }
    }
    list.push_str("];\n");
    let lock = read(&root.join("Cargo.lock"))?;
    let _ = writeln!(list, "pub(super) const LOCK: &str = {lock:?};");
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("sources.rs"), list)
}

fn read(path: &Path) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path)
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

/// The tables of a Cargo manifest whose headers `keep` accepts, and the lines before the first header.
fn tables(manifest: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut kept = String::new();
    let mut keeping = true;
    for line in manifest.lines() {
        if line.starts_with('[') {
            keeping = keep(line);
        }
        if keeping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The manifest of a workspace with only `PACKAGES` as members. The shared `[workspace.*]` tables are kept.
fn workspace(manifest: &str) -> String {
    let shared = |header: &str| header.starts_with("[workspace.");
    let members = format!("[workspace]\nresolver = \"3\"\nmembers = {PACKAGES:?}\n\n");
    members + &tables(manifest, shared)
}

/// The manifest of a package without its dev-dependencies and examples.
fn without_tests(manifest: &str) -> String {
    tables(manifest, |header| {
        header != "[dev-dependencies]" && header != "[[example]]"
    })
}
