//! `hearth up --appliance`, which the appliance's init starts: the paths there, and what differs from a development
//! machine. Sandboxes are as strict as the device's settings require, listeners are open to other hosts, and the
//! log's size fits the disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hearth_manifest::{Mode, device};
use hearth_supervisor::journal::Format;
use hearth_supervisor::state::StateDir;
use hearth_supervisor::{Options, journald};
use nix::sys::statvfs::statvfs;

use crate::args::LEAST_LOG;

/// The manifest that the image was built with.
pub(crate) const MANIFEST: &str = "/factory/edge.yaml";

/// The state directory: on the data partition, or in memory if there is no data partition.
pub(crate) const STATE: &str = "/data/hearth";

/// The device's settings, which init has chosen from those on the disk and those in the image.
const DEVICE: &str = "/run/hearth/device.yaml";

/// The log takes at most one part in this many of the disk. The programs of three versions need the rest.
const LOG_PART: u64 = 4;

/// Replaces the options that differ on an appliance, and creates the directories that they name.
pub(crate) fn settle(options: Options) -> anyhow::Result<Options> {
    let state = StateDir::at(PathBuf::from(STATE));
    fs::create_dir_all(STATE).with_context(|| format!("cannot make {STATE}"))?;
    if let Some(place) = Path::new(journald::SOCKET).parent() {
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    let disk = statvfs(STATE).with_context(|| format!("cannot tell the size of {STATE}"))?;
    let bytes = disk.blocks().saturating_mul(disk.fragment_size());
    let mut listen = options.listen;
    listen.outward = true;
    Ok(Options {
        secrets: state.secrets(),
        state,
        listen,
        format: Format::Quiet,
        strict: least_mode(Path::new(DEVICE)) == Mode::Strict,
        log_bytes: options.log_bytes.min((bytes / LOG_PART).max(LEAST_LOG)),
        journal_socket: Some(journald::SOCKET.into()),
        ..options
    })
}

/// The minimum mode of all sandboxes, from the device's settings. It is `Strict` if the settings cannot be read.
fn least_mode(settings: &Path) -> Mode {
    fs::read(settings)
        .ok()
        .and_then(|text| device::parse(&settings.display().to_string(), &text).ok())
        .map_or(Mode::Strict, |device| device.sandbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_say_so_loosen_sandboxes() {
        let place = std::env::temp_dir().join(format!("hearth-settings-{}", std::process::id()));
        let mode = |text: &str| {
            fs::write(&place, text).unwrap();
            least_mode(&place)
        };
        assert_eq!(mode("sandbox: best-effort\n"), Mode::BestEffort);
        assert_eq!(mode("hostname: kitchen\n"), Mode::Strict);
        assert_eq!(mode("sandbox: lax\n"), Mode::Strict);
        fs::remove_file(&place).unwrap();
        assert_eq!(least_mode(&place), Mode::Strict);
    }
}
