//! How much slower this host is than the one that time limits were written for. Measured once, and used by all parts
//! of a test run.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use hearth_image::Arch;
use hearth_qemu_tests::{Inside, Speed};
use xtask::sh::{say, target};

/// How long a measurement is valid. The host's load changes; [`Speed`] allows for twice as much.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// Returns a recent measurement of another part, or a new one.
pub(crate) fn speed(inside: &Inside) -> anyhow::Result<Speed> {
    let file = file(inside.arch);
    if let Some(speed) = recent(&file) {
        return Ok(speed);
    }
    let speed = inside.measure()?;
    say(&format!("{}: time limits here are {speed}", inside.arch));
    fs::write(&file, speed.times().to_string())
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(speed)
}

fn file(arch: Arch) -> PathBuf {
    target().join("qemu").join(format!("speed-{arch}"))
}

fn recent(file: &PathBuf) -> Option<Speed> {
    let age = fs::metadata(file).ok()?.modified().ok()?.elapsed().ok()?;
    let text = fs::read_to_string(file).ok()?;
    (age < MAX_AGE).then(|| text.trim().parse().ok().map(Speed::known))?
}
