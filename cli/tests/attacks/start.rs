//! Starts platforms for these tests, as a given user and without a shell, and finds the hostile program.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::platform::{Place, Platform, build, given, hearth};

const JSON: [&str; 2] = ["--log", "json"];

/// The path of the hostile worker's program.
pub(crate) fn hostile() -> PathBuf {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    given("hostile").unwrap_or_else(|| {
        let built = BUILT.get_or_init(|| build(&["--package", "hearth-hostile"]));
        let built = built.as_deref().expect("the hostile worker can be built");
        built.join("hostile")
    })
}

/// Runs a place's manifest as this user, and waits until all functions are ready.
pub(crate) fn start_as(place: Place, user: u32) -> Platform {
    // A copy, because the user may not be allowed to enter the directory of the original.
    let program = place.path().join("hearth");
    fs::copy(hearth(), &program).unwrap();
    let mut command = Command::new(program);
    command.uid(user).gid(user);
    ready(Platform::run(place, &mut command, &[], &JSON))
}

/// Runs a place's manifest, and waits until all functions are ready.
pub(crate) fn start(place: Place) -> Platform {
    ready(Platform::run(
        place,
        &mut Command::new(hearth()),
        &[],
        &JSON,
    ))
}

fn ready(platform: Platform) -> Platform {
    platform.wait_ready();
    platform
}
