//! Where this system was started from: what the firmware says, and what partitions the kernel knows.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use hearth_image::disk::Scheme;

use super::{ActError, Feeder, bytes, text};
use crate::facts::{Disk, Origin, Partition, Table, efi_text, find_disk, word};

/// How long a disk may come late: by USB, or a card that is slow to wake.
const LATE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// The vendor of the variables of systemd's boot loader interface, which ours follow.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const VARIABLES: &str = "/sys/firmware/efi/efivars";
const PI: &str = "/proc/device-tree/chosen/bootloader";

/// Where the firmware started us from: `hearth.origin=GUID` on the kernel's command line, as the stub has put it there, or
/// whoever starts a kernel without firmware, as QEMU can; or what its variables say.
pub fn origin(command_line: &str) -> Option<Origin> {
    if let Some(guid) = word(command_line, "hearth.origin")
        .map(str::to_owned)
        .or_else(|| {
            let variable = format!("{VARIABLES}/LoaderDevicePartUUID-{VENDOR}");
            efi_text(&bytes(variable, 1024)?)
        })
    {
        return Some(Origin::Guid(guid.to_ascii_lowercase()));
    }
    cell(&format!("{PI}/partition")).map(Origin::Number)
}

/// Whether this boot is a trial, which the firmware does not repeat: `hearth.trial=1` or `0` on the command line has the
/// last word, since a variable may be of another slot's stub.
pub fn is_trial(command_line: &str) -> bool {
    if let Some(said) = word(command_line, "hearth.trial") {
        return said == "1";
    }
    let variable = format!("{VARIABLES}/HearthTrial-{VENDOR}");
    bytes(variable, 1024).is_some_and(|raw| efi_text(&raw).as_deref() == Some("1"))
        || cell(&format!("{PI}/tryboot")).is_some_and(|tried| tried != 0)
}

/// A number of the device tree: 32 bits, big-endian.
fn cell(path: &str) -> Option<u32> {
    let cell = bytes(path, 4)?;
    Some(u32::from_be_bytes(cell.try_into().ok()?))
}

/// The disk with it; waits for one that comes late.
pub fn find(origin: Option<&Origin>, feeder: &mut Feeder) -> Result<Disk, ActError> {
    let missing = |what: &str| ActError::Missing(what.to_owned());
    let origin = origin.ok_or_else(|| missing("the firmware names no partition"))?;
    let until = Instant::now() + LATE;
    loop {
        if let Some(disk) = find_disk(origin, &partitions()) {
            return Ok(disk);
        }
        if Instant::now() >= until {
            let named = match origin {
                Origin::Guid(guid) => guid.clone(),
                Origin::Number(number) => format!("number {number}"),
            };
            return Err(ActError::Missing(format!(
                "no disk with the partition {named} came within {} seconds",
                LATE.as_secs()
            )));
        }
        feeder.feed();
        // The kernel could tell of each disk; looking is simpler, and soon over.
        std::thread::sleep(LOOK);
    }
}

/// The partitions of all disks. (The kernel tells their numbers; their ids only from Linux 6.14 on.)
fn partitions() -> Vec<Partition> {
    const BLOCK: &str = "/sys/class/block";
    let entries = fs::read_dir(BLOCK).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let disks = names.filter(|name| !Path::new(BLOCK).join(name).join("partition").exists());
    disks
        .flat_map(|disk| of_disk(&Path::new(BLOCK).join(&disk), &disk))
        .collect()
}

fn of_disk(place: &Path, disk: &str) -> Vec<Partition> {
    // A drive without a medium, or a disk of something else.
    let Some(table) = File::open(format!("/dev/{disk}"))
        .ok()
        .and_then(|mut opened| hearth_image::disk::read(&mut opened).ok())
    else {
        return Vec::new();
    };
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let numbered: Vec<(u32, String)> = entries
        .filter_map(|entry| {
            let number = text(entry.path().join("partition"), 16)?;
            Some((
                number.trim().parse().ok()?,
                entry.file_name().into_string().ok()?,
            ))
        })
        .collect();
    let kind = match table.scheme {
        Scheme::Gpt => Table::Gpt,
        Scheme::Mbr => Table::Mbr,
    };
    let known = table.partitions.into_iter().filter_map(|partition| {
        let mut named = numbered.iter();
        let (number, name) = named.find(|(number, _)| *number == partition.number)?;
        Some(Partition {
            name: name.clone(),
            disk: disk.to_owned(),
            table: kind,
            number: *number,
            id: partition.uuid.to_ascii_lowercase(),
        })
    });
    known.collect()
}
