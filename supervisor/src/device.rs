//! The appliance that a platform runs on: its state as init and `hearth-net` record it, and requests to init. On
//! other machines every call fails.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How the device started, as init records it before it starts anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The slot: `a`, `b`, or `none` if no disk was found.
    pub slot: String,
    /// Whether this start is a trial of the slot.
    pub trial: bool,
    /// The board that the image was made for.
    pub board: String,
    /// The image's version.
    pub version: String,
    /// State of the data partition: `mounted`, `repaired`, `remade`, or `memory` if there is none.
    pub data: String,
    /// Size of the data partition in bytes.
    pub data_bytes: u64,
    /// What went wrong during the start, as texts.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// The kernel panic that ended the previous run, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<String>,
}

/// The device's network, as `hearth-net` records it at each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The network interface.
    pub interface: Option<String>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// The device's host name.
    pub hostname: String,
    /// The device's name on its local network (mDNS).
    pub mdns: Option<String>,
    /// The addresses, IPv4 and IPv6.
    pub addresses: Vec<String>,
    /// The router.
    pub gateway: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// State of the clock: `synchronised` or `unset`.
    pub clock: String,
}

/// The state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// How the device started.
    pub boot: Boot,
    /// The device's network; `None` until `hearth-net` has recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// What init can be requested to do. Each request ends the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Restart the device.
    Reboot,
    /// Switch the device off.
    PowerOff,
    /// Restart the device with a new data partition: log, secrets, versions and certificates are lost. The identity of
    /// the device stays.
    FactoryReset,
}

/// The response to such a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `reboot`, `power-off` or `factory-reset`.
    pub begun: String,
}

/// Why the state cannot be read, or the request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// This machine is not an appliance.
    #[error("this machine is no appliance: {} is not there", .0.display())]
    None(PathBuf),
    /// A state file cannot be read or parsed.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The request for a factory reset cannot be recorded.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The signal cannot be sent to init.
    #[error("cannot tell init")]
    Tell(#[source] nix::Error),
}

/// The directories of an appliance.
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
    /// Reads the state of the device.
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

    /// Requests an action from init. A factory reset is recorded on disk first, so that a power failure does not undo
    /// the request.
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
    /// The name of the action in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Ask::Reboot => "reboot",
            Ask::PowerOff => "power-off",
            Ask::FactoryReset => "factory-reset",
        }
    }

    /// The signal by which init is requested to do it.
    fn signal(self) -> Signal {
        match self {
            Ask::Reboot | Ask::FactoryReset => Signal::SIGTERM,
            Ask::PowerOff => Signal::SIGUSR2,
        }
    }
}

/// Reads a JSON file; `None` if it does not exist.
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
        // Where no appliance is, nothing is written and init gets no signal.
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
