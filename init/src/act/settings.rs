//! Which settings hold: those on the selector's partition, the last good copy of them on data, or the image's. They
//! are looked at by a child, for they come from outside: PID 1 reads none.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{ActError, Feeder, bytes, chain, file, program, replace};
use crate::kernel_log::KernelLog;
use crate::place::SETTINGS;

/// The last good copy.
const KEPT: &str = "/data/system/device.yaml";

/// Where they may be, in the order of preference, and what people call that.
const PLACES: [(&str, &str); 3] = [
    ("/boot/device.yaml", "the FAT partition"),
    (KEPT, "the last good copy"),
    ("/etc/hearth/device.yaml", "the image"),
];

/// Far more than settings need.
const LONGEST: u64 = 64 * 1024;

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Whose settings hold.
    pub from: &'static str,
    /// Those that are not valid, and so do not.
    pub refused: Vec<&'static str>,
}

/// Chooses, and puts them where all others read them. Keeps a copy of those on the selector's partition.
pub fn choose(log: &mut KernelLog, feeder: &mut Feeder) -> Result<Chosen, ActError> {
    let mut refused = Vec::new();
    for (path, from) in PLACES {
        let Some(content) = bytes(path, LONGEST) else {
            // Longer than can be is as bad as not valid.
            if fs::metadata(path).is_ok() {
                refused.push(from);
            }
            continue;
        };
        // A file system that lost its power shows a file that was just written as an empty one.
        let cut =
            path == PLACES[0].0 && content.trim_ascii().is_empty() && Path::new(KEPT).exists();
        let limit = Duration::from_secs(10);
        let mut check = || program::run("/bin/hearth-net", &["--check", path], limit, log, feeder);
        let valid = !cut
            && match check() {
                Ok(status) => status == 0,
                Err(error) => {
                    log.error(&format!("cannot look at {path}: {}", chain(&error)));
                    false
                }
            };
        match valid {
            true => {
                fs::write(SETTINGS, &content).map_err(file("write", SETTINGS))?;
                if path == PLACES[0].0 && bytes(KEPT, LONGEST).as_ref() != Some(&content) {
                    replace(KEPT, &content)?;
                }
                return Ok(Chosen { from, refused });
            }
            false => refused.push(from),
        }
    }
    // An empty file is one of defaults.
    fs::write(SETTINGS, "").map_err(file("write", SETTINGS))?;
    Ok(Chosen {
        from: "none: all are as they are without",
        refused,
    })
}
