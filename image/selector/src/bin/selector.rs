//! The program that firmware starts from the ESP. It reads from `\autoboot.txt` which slot to boot, and starts that
//! slot's `\hearth.efi`, or the other slot's if that fails. It never writes, so the next start finds the same disk,
//! whatever happens here.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::time::Duration;

use hearth_selector::autoboot::{Autoboot, LEN, Slot, choose};
use hearth_selector::firmware::{
    TO_READ, connect, options, own_partition, partition, read, read_large, start,
};
use hearth_selector::options::{TRYBOOT, is_tryboot};
use hearth_selector::say;
use uefi::boot::{self, LoadImageSource};
use uefi::prelude::*;
use uefi::proto::device_path::{DevicePath, build};
use uefi::{CStr16, Handle};

const SETTING: &CStr16 = cstr16!("\\autoboot.txt");
const SYSTEM: &CStr16 = cstr16!("\\hearth.efi");

/// How often both slots are tried again, and the pause before each retry.
const MORE_ROUNDS: usize = 2;
const PAUSE: Duration = Duration::from_secs(2);

#[entry]
fn main() -> Status {
    if uefi::helpers::init().is_err() {
        return Status::ABORTED;
    }
    match boot_any() {
        // No slot started; `boot_round` has printed the reasons.
        Ok(status) => status,
        Err(error) => {
            say!(
                "selector: cannot tell where this was started from: {}",
                error.status()
            );
            boot::stall(TO_READ);
            error.status()
        }
    }
}

/// Tries to start a slot, with retries. Returns only if neither slot starts, or a started system returns.
fn boot_any() -> uefi::Result<Status> {
    let esp = own_partition()?;
    let trial = is_tryboot(&options()?);
    let mut last = boot_round(esp, trial);
    for _ in 0..MORE_ROUNDS {
        // A slow disk may not have been ready. Retries are not trials.
        say!("selector: trying both again");
        boot::stall(PAUSE);
        last = boot_round(esp, false);
    }
    say!("selector: no slot starts; write the image anew, or start from another disk");
    boot::stall(TO_READ);
    Ok(last)
}

/// Tries one slot, then the other. Returns why the last one did not start.
fn boot_round(esp: Handle, tryboot: bool) -> Status {
    let text = setting(esp);
    if let (false, Err(error)) = (text.is_empty(), Autoboot::parse(&text)) {
        say!("selector: {error}");
    }
    let choice = choose(&text, tryboot);
    let mut last = Status::NOT_FOUND;
    for (place, slot) in choice.slots.into_iter().enumerate() {
        // If the slot on trial does not start, the other slot is started without a trial.
        let trial = choice.trial && place == 0;
        match (trial, place) {
            (true, _) => say!("selector: starting slot {slot}, for a trial"),
            (false, 0) => say!("selector: starting slot {slot}"),
            (false, _) => say!("selector: starting slot {slot} instead"),
        }
        last = match boot_slot(esp, slot, trial) {
            Ok(()) => Status::ABORTED,
            Err(error) => error.status(),
        };
        say!("selector: slot {slot} does not start: {last}");
    }
    last
}

/// Reads `autoboot.txt`. Returns nothing if the file does not exist, or cannot be read after retries.
fn setting(esp: Handle) -> Vec<u8> {
    for _ in 0..=MORE_ROUNDS {
        // One byte more than allowed, so that `Autoboot::parse` rejects a file that is too long.
        match read(esp, SETTING, LEN + 1) {
            Ok(text) => return text,
            Err(error) => {
                say!("selector: cannot read {SETTING}: {}", error.status());
                if error.status() == Status::NOT_FOUND {
                    break;
                }
                boot::stall(PAUSE);
            }
        }
    }
    Vec::new()
}

fn boot_slot(esp: Handle, slot: Slot, trial: bool) -> uefi::Result {
    let partition = partition(esp, slot.partition())?;
    connect(partition);
    let image = load(partition)?;
    let options: Vec<u16> = match trial {
        true => TRYBOOT.encode_utf16().chain([0]).collect(),
        false => Vec::new(),
    };
    start(image, &options)
}

/// Loads the slot's program with its device path, so that the program knows its partition.
fn load(partition: Handle) -> uefi::Result<Handle> {
    let place = hearth_selector::firmware::open::<DevicePath>(partition)?;
    let mut bytes = Vec::new();
    let mut builder = build::DevicePathBuilder::with_vec(&mut bytes);
    for node in place.node_iter() {
        builder = builder.push(&node).map_err(|_| Status::OUT_OF_RESOURCES)?;
    }
    let file = build::media::FilePath { path_name: SYSTEM };
    let path = builder
        .push(&file)
        .and_then(build::DevicePathBuilder::finalize)
        .map_err(|_| Status::OUT_OF_RESOURCES)?;
    let mut file = read_large(partition, SYSTEM)?;
    let source = LoadImageSource::FromBuffer {
        buffer: file.bytes(),
        file_path: Some(path),
    };
    boot::load_image(boot::image_handle(), source)
}
