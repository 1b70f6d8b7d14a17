//! Hashes the sources of the sandbox code, so that two programs can check whether they were built from the same ones.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The sources of this crate, and of the crate that makes its system calls.
const SOURCES: [&str; 2] = ["src", "../sys/src"];

fn main() -> io::Result<()> {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.ok_or(io::ErrorKind::NotFound)?;
    // The hash does not protect against forgery: an attacker who can replace the program does not need a forged hash.
    let mut hasher = DefaultHasher::new();
    for sources in SOURCES {
        println!("cargo::rerun-if-changed={sources}");
        read(&here.join(sources), &mut hasher)?;
    }
    println!("cargo::rustc-env=HEARTH_SOURCES={:016x}", hasher.finish());
    Ok(())
}

fn read(directory: &Path, hasher: &mut impl Hasher) -> io::Result<()> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read(&path, hasher)?;
            continue;
        }
        hasher.write(path.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.write(&fs::read(&path)?);
    }
    Ok(())
}
