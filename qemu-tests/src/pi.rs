//! A Raspberry Pi 4 without its firmware. QEMU has the machine (`raspi4b`), but nothing that starts it from a card,
//! so this host does what the firmware does. It reads the card's partitions, chooses a slot with `autoboot.txt`,
//! reads the files that `config.txt` names, and reports its choice to the kernel in the device tree (raspberrypi.com:
//! "config.txt", "Boot flow", `/chosen/bootloader`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use hearth_image::autoboot::choose;
use hearth_image::disk::{self, Table};

use crate::slot;

/// The device tree of a Pi 4, unless `config.txt` names another.
const DEVICES: &str = "bcm2711-rpi-4-b.dtb";

/// Devices that QEMU's machine lacks, and on which the kernel would crash or hang: HDMI. Also the watchdog, which
/// resets QEMU's machine at once.
const LACKING: [&str; 7] = [
    "/soc/clock@7ef00000",
    "/soc/interrupt-controller@7ef00100",
    "/soc/hdmi@7ef00700",
    "/soc/i2c@7ef04500",
    "/soc/hdmi@7ef05700",
    "/soc/i2c@7ef09500",
    "/soc/watchdog@7e100000",
];

/// The controller to which QEMU attaches the card, and a real Pi its radio. `OF_RADIO` are its properties for the
/// radio's power supply, over pins that QEMU does not emulate.
const CARD: &str = "/soc/mmc@7e300000";
const OF_RADIO: [&str; 3] = ["mmc-pwrseq", "pinctrl-names", "pinctrl-0"];

/// What the firmware has read from a card.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The number of the partition that it starts.
    pub partition: u32,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The device tree, with the firmware's additions.
    pub devices: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
}

/// Why a card cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PiError {
    /// A file or program of this host failed.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file or program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The card has no valid partition table.
    #[error("the card has no table of partitions")]
    Table(#[from] disk::DiskError),
    /// The card has no such partition.
    #[error("the card has no partition {0}")]
    Partition(u32),
    /// A file of a partition cannot be read.
    #[error("cannot read {path} of partition {partition}")]
    Read {
        /// The partition.
        partition: u32,
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// `config.txt` lacks a setting that the firmware needs.
    #[error("config.txt of partition {partition} names no {key}")]
    Config {
        /// The partition.
        partition: u32,
        /// The missing key.
        key: &'static str,
    },
    /// `fdtput` failed.
    #[error("the device tree does not take {what} ({status})")]
    Devices {
        /// Node and property.
        what: String,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
}

/// Does with `card` what the firmware does at power-on, or, with `trial`, after the system has requested a trial.
///
/// # Errors
/// If a Pi would not start from the card.
pub fn take(card: &Path, trial: bool, place: &Path) -> Result<Taken, PiError> {
    let mut opened = File::open(card).map_err(file("open", card))?;
    let table = disk::read(&mut opened)?;
    let autoboot = read(&mut opened, &table, 1, "autoboot.txt")?;
    let [slot, _] = choose(&autoboot, trial).slots;
    let partition = slot.partition();
    let mut of_slot = |path: &str| read(&mut opened, &table, partition, path);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let config = settings(&text(of_slot("config.txt")?));
    let named = |key: &'static str| {
        let value = config.get(key).cloned();
        value.ok_or(PiError::Config { partition, key })
    };
    let keep = |name: &str, bytes: Vec<u8>| -> Result<PathBuf, PiError> {
        let path = place.join(name);
        fs::write(&path, bytes).map_err(file("write", &path))?;
        Ok(path)
    };
    fs::create_dir_all(place).map_err(file("make", place))?;
    let kernel = keep("pi.kernel", of_slot(&named("kernel")?)?)?;
    let initramfs = keep("pi.initramfs", of_slot(&named("initramfs")?)?)?;
    let devices = config.get("device_tree").map_or(DEVICES, String::as_str);
    let devices = keep("pi.dtb", of_slot(devices)?)?;
    let command_line = text(of_slot("cmdline.txt")?);
    let bootloader = |name: &str, value: u32| {
        let value = value.to_string();
        let number = ["-p", "-t", "u"];
        fdtput(&devices, &number, &["/chosen/bootloader", name, &value])
    };
    bootloader("partition", partition)?;
    bootloader("tryboot", trial.into())?;
    for node in LACKING {
        fdtput(&devices, &["-t", "s"], &[node, "status", "disabled"])?;
    }
    fdtput(&devices, &["-d"], &[&[CARD], &OF_RADIO[..]].concat())?;
    Ok(Taken {
        partition,
        kernel,
        initramfs,
        devices,
        command_line: command_line.trim().to_owned(),
    })
}

/// Parses `config.txt`: lines of `key=value`, and `initramfs FILE ADDRESS` without `=`. Sections in brackets are for
/// other models, except `[all]` and `[pi4]`.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut ours = true;
    let mut settings = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[') {
            ours = matches!(heading.trim_end_matches(']'), "all" | "pi4");
        } else if ours && !line.starts_with('#') {
            let initramfs = line.strip_prefix("initramfs ");
            let initramfs = initramfs.and_then(|rest| rest.split_whitespace().next());
            let pair = initramfs.map(|name| ("initramfs", name));
            if let Some((key, value)) = pair.or_else(|| line.split_once('=')) {
                settings.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
    settings
}

/// Reads a file of a partition.
fn read(card: &mut File, table: &Table, number: u32, path: &str) -> Result<Vec<u8>, PiError> {
    let mut all = table.partitions.iter();
    let found = all.find(|partition| partition.number == number);
    let found = found.ok_or(PiError::Partition(number))?;
    slot::read(card, found, path).map_err(|source| PiError::Read {
        partition: number,
        path: path.to_owned(),
        source,
    })
}

/// Changes the device tree.
fn fdtput(devices: &Path, options: &[&str], what: &[&str]) -> Result<(), PiError> {
    let program = Path::new("fdtput");
    let mut fdtput = Command::new(program);
    fdtput.args(options).arg(devices).args(what);
    let status = fdtput.status().map_err(file("run", program))?;
    match status.success() {
        true => Ok(()),
        false => Err(PiError::Devices {
            what: what.join(" "),
            status,
        }),
    }
}

fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PiError + use<> {
    let path = path.to_owned();
    move |source| PiError::File {
        attempt,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_the_firmware_reads_it() {
        let text = "# words\nkernel=kernel8.img\n initramfs initramfs followkernel\n[pi3]\nkernel=other\n[all]\n\
                    arm_64bit=1\n";
        let read = settings(text);
        let of = |key: &str| read.get(key).map(String::as_str);
        assert_eq!(of("kernel"), Some("kernel8.img"));
        assert_eq!(of("initramfs"), Some("initramfs"));
        assert_eq!(of("arm_64bit"), Some("1"));
        assert_eq!(read.len(), 3);
    }
}
