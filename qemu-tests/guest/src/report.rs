//! Prints one line for the host about how firmware programs have started this system. If no trial is arranged yet, it
//! arranges one and restarts. On trial, it restarts again. The third start is of the default slot again, and switches
//! off.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hearth_guest::REPORT;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;

const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Vendor GUID of the UEFI specification's variables.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Vendor GUID of the stub's variables.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The boot option for the trial. Firmware numbers its own from 0.
const TRIAL: u16 = 0x99;

/// Attributes: non-volatile, and accessible before and after the kernel takes over.
const KEPT: [u8; 4] = [7, 0, 0, 0];

#[expect(clippy::print_stdout, reason = "the console is where the host reads")]
fn main() -> anyhow::Result<()> {
    let none: Option<&str> = None;
    mount(
        Some("efivarfs"),
        VARIABLES,
        Some("efivarfs"),
        MsFlags::empty(),
        none,
    )
    .context("cannot mount the firmware's variables")?;
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let word = |key: &str| {
        let mut words = command_line.split_whitespace();
        words.find_map(|word| word.strip_prefix(key))
    };
    let slot = word("test.slot=");
    let text = |name: &str| -> anyhow::Result<String> {
        let content = read(name, LOADER)?;
        Ok(content.map_or_else(|| "none".to_owned(), |content| wide(&content)))
    };
    let (trial, partition) = (text("HearthTrial")?, text("LoaderDevicePartUUID")?);
    // The command line says the same, in case the firmware refuses variables.
    let on_trial = if trial == "1" { "1" } else { "0" };
    let origin = word("hearth.origin=").map(str::to_uppercase);
    ensure!(
        word("hearth.trial=") == Some(on_trial) && origin.as_deref() == Some(&*partition),
        "trial {trial}, partition {partition}, and not so on the command line: {command_line}"
    );
    println!(
        "{REPORT}slot={} trial={trial} partition={partition} stub={}",
        slot.unwrap_or("none"),
        text("StubInfo")?
    );
    let arranged = read(&option(TRIAL), GLOBAL)?.is_some();
    // BootNext holds once, so the firmware must have cleared it.
    ensure!(
        read("BootNext", GLOBAL)?.is_none(),
        "the firmware has not cleared BootNext"
    );
    if !arranged {
        arrange()?;
    }
    sync();
    let mode = match arranged && trial == "none" {
        true => RebootMode::RB_POWER_OFF,
        false => RebootMode::RB_AUTOBOOT,
    };
    match reboot(mode)? {}
}

/// Copies the boot option that started this system, and adds the load option that requests a trial.
fn arrange() -> anyhow::Result<()> {
    let current = read("BootCurrent", GLOBAL)?.context("the firmware names no current option")?;
    let current = u16::from_le_bytes(current.as_slice().try_into()?);
    let own = read(&option(current), GLOBAL)?.context("the current option is not there")?;
    // EFI_LOAD_OPTION: attributes, the length of the device paths, a name that ends with a zero, the device paths,
    // and the load options.
    let paths = usize::from(u16::from_le_bytes(
        own.get(4..6).context("short")?.try_into()?,
    ));
    let name = own[6..].chunks_exact(2).position(|unit| unit == [0, 0]);
    let end = 6 + 2 * (name.context("the option's name has no end")? + 1) + paths;
    let mut trial = own.get(..end).context("the option is cut off")?.to_vec();
    trial.extend("tryboot\0".encode_utf16().flat_map(u16::to_le_bytes));
    write(&option(TRIAL), &trial)?;
    write("BootNext", &TRIAL.to_le_bytes())
}

fn option(number: u16) -> String {
    format!("Boot{number:04X}")
}

fn place(name: &str, vendor: &str) -> PathBuf {
    Path::new(VARIABLES).join(format!("{name}-{vendor}"))
}

/// Reads a variable's contents, without the attributes in front.
fn read(name: &str, vendor: &str) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(place(name, vendor)) {
        Ok(bytes) => Ok(bytes.get(4..).map(<[u8]>::to_vec)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {name}")),
    }
}

fn write(name: &str, content: &[u8]) -> anyhow::Result<()> {
    let bytes = [&KEPT, content].concat();
    fs::write(place(name, GLOBAL), bytes).with_context(|| format!("cannot write {name}"))
}

/// Decodes a variable that holds text.
fn wide(content: &[u8]) -> String {
    let units = content.chunks_exact(2);
    let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let text: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&text)
}
