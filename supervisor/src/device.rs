//! The box that a platform runs on, where it is an appliance: what init and the network's process tell of it,
//! and what init is asked to do. Elsewhere there is none.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How the box has started, as init writes it before it starts anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// `a`, `b`, or `none` where no disk was found.
    pub slot: String,
    /// The slot was started once, to be tried.
    pub trial: bool,
    /// The board that the image was made for.
    pub board: String,
    /// The image's version.
    pub version: String,
    /// What the data partition is: `mounted`, `repaired`, `remade`, or `memory` where there is none.
    pub data: String,
    /// Its bytes.
    pub data_bytes: u64,
    /// What went wrong, in words.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// How the kernel died before this start, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<String>,
}

/// How the box is reached, as the network's process writes it at each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The network card.
    pub interface: Option<String>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// The box's name.
    pub hostname: String,
    /// What it is found by on its local network.
    pub mdns: Option<String>,
    /// Of both families.
    pub addresses: Vec<String>,
    /// The router.
    pub gateway: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// `synchronised`, or `unset`.
    pub clock: String,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// How it has started.
    pub boot: Boot,
    /// How it is reached; not there before the network's process has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// What init can be asked to do. Each ends the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Start again.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Start again with a data partition made anew: log, secrets, versions and certificates are gone. What makes
    /// the box itself, its identity, stays.
    FactoryReset,
}

/// It has been asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `reboot`, `power-off` or `factory-reset`.
    pub begun: String,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No init of ours runs here.
    #[error("this machine is no appliance: {} is not there", .0.display())]
    None(PathBuf),
    /// What was told is not understood.
    #[error("cannot read {path}")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The wish cannot be written down.
    #[error("cannot write {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Init cannot be told.
    #[error("cannot tell init")]
    Tell(#[source] nix::Error),
}

/// Where things are on an appliance.
#[derive(Clone, Debug)]
pub struct Device {
    run: PathBuf,
    system: PathBuf,
}

impl Default for Device {
    fn default() -> Device {
        Device {
            run: "/run/hearth".into(),
            system: "/data/system".into(),
        }
    }
}

impl Device {
    /// How the box stands.
    pub fn status(&self) -> Result<DeviceStatus, DeviceError> {
        let boot = self.run.join("boot.json");
        let Some(found) = read(&boot)? else {
            return Err(DeviceError::None(boot));
        };
        Ok(DeviceStatus {
            boot: found,
            network: read(&self.run.join("net.json"))?,
        })
    }

    /// Has init do it. Before a reset the wish is on disk: power that is cut now does not undo it.
    pub fn ask(&self, what: Ask) -> Result<Asked, DeviceError> {
        self.status()?;
        if what == Ask::FactoryReset {
            let path = self.system.join("factory-reset");
            let written = fs::create_dir_all(&self.system)
                .and_then(|()| File::create(&path)?.sync_all())
                .and_then(|()| File::open(&self.system)?.sync_all());
            written.map_err(|source| DeviceError::Write { path, source })?;
        }
        kill(Pid::from_raw(1), what.signal()).map_err(DeviceError::Tell)?;
        Ok(Asked {
            begun: what.name().to_owned(),
        })
    }
}

impl Ask {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Ask::Reboot => "reboot",
            Ask::PowerOff => "power-off",
            Ask::FactoryReset => "factory-reset",
        }
    }

    /// What init understands.
    fn signal(self) -> Signal {
        match self {
            Ask::Reboot | Ask::FactoryReset => Signal::SIGTERM,
            Ask::PowerOff => Signal::SIGUSR2,
        }
    }
}

/// What a file tells, if it is there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DeviceError> {
    let failed = |source| DeviceError::Read {
        path: path.to_owned(),
        source,
    };
    match fs::read(path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(found) => Ok(Some(found)),
            Err(error) => Err(failed(error.into())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_tells_what_init_and_the_network_wrote_and_elsewhere_there_is_none() {
        let place = std::env::temp_dir().join(format!("hearth-device-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let device = Device {
            run: place.clone(),
            system: place.join("system"),
        };
        let none = device.status().unwrap_err();
        assert!(matches!(none, DeviceError::None(_)), "{none}");
        // Nothing is written, and nobody told, where there is no box.
        device.ask(Ask::FactoryReset).unwrap_err();
        assert!(!place.join("system").exists());
        let boot = r#"{"slot":"a","trial":false,"board":"nuc","version":"1","disk":"/dev/sda","data":"mounted",
            "data_bytes":1024,"reasons":[]}"#;
        fs::write(place.join("boot.json"), boot).unwrap();
        let status = device.status().unwrap();
        assert_eq!((status.boot.slot.as_str(), status.network), ("a", None));
        let network = r#"{"interface":"eth0","mac":"52:54:00:12:34:56","hostname":"hearth-3456",
            "mdns":"hearth-3456.local","addresses":["10.0.2.15/24"],"gateway":"10.0.2.2","dns":["10.0.2.3"],
            "clock":"unset"}"#;
        fs::write(place.join("net.json"), network).unwrap();
        let network = device.status().unwrap().network.unwrap();
        assert_eq!(network.addresses, ["10.0.2.15/24"]);
        fs::write(place.join("net.json"), "{").unwrap();
        let torn = device.status().unwrap_err();
        assert!(torn.to_string().contains("net.json"), "{torn}");
        fs::remove_dir_all(&place).unwrap();
    }
}
