//! Reports to a test run what its time was spent on: machines from start to end, and waiting for time limits.
//!
//! The run names a file in the environment, and each machine and each wait appends a line of JSON to it:
//! `{"what":"machine","name":"x86_64-smoke","boot_ms":2100,"total_ms":31000}`. Without that variable, nothing is
//! written.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use serde_json::json;

/// The environment variable with the file's path. `xtask::timings` reads it.
const FILE: &str = "HEARTH_TIMINGS";

/// Reports how long a test waited for a time limit of the tested system, which cannot be shortened.
pub fn waited(time: Duration) {
    write("pause", "pause", Duration::ZERO, time);
}

/// Reports a machine that has ended.
pub(crate) fn machine(name: &str, boot: Duration, total: Duration) {
    write("machine", name, boot, total);
}

fn write(what: &str, name: &str, boot: Duration, total: Duration) {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let line = json!({
        "what": what,
        "name": name,
        "boot_ms": boot.as_millis() as u64,
        "total_ms": total.as_millis() as u64,
    });
    let opened = File::options().create(true).append(true).open(file);
    // If writing fails, only a column of the run's table is incomplete.
    let _ = opened.and_then(|mut file| writeln!(file, "{line}"));
}
