//! The power button, as the kernel tells of it: an event of an input device
//! (Documentation/input/input.rst of the kernel).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;

/// Where input devices are.
const DEVICES: &str = "/dev/input";

/// `struct input_event` of 64-bit systems: a time of 16 bytes, type, code, value.
const EVENT: usize = 24;

/// EV_KEY and KEY_POWER (`linux/input-event-codes.h`); a value of 1 is a press.
const KEY: u16 = 1;
const POWER: u16 = 116;

/// All devices that may have one.
#[derive(Debug)]
pub(super) struct Buttons(Vec<File>);

impl Buttons {
    /// Those that are there now. A machine without any has no button.
    pub(super) fn find() -> Buttons {
        let entries = fs::read_dir(DEVICES).into_iter().flatten().flatten();
        let events =
            entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"event"));
        let open = |entry: fs::DirEntry| {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
            options.open(entry.path()).ok()
        };
        Buttons(events.filter_map(open).collect())
    }

    /// What there is to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|device| device.as_fd())
    }

    /// Whether it was pressed since this was asked last. Devices that are gone are forgotten.
    pub(super) fn pressed(&mut self) -> bool {
        let mut pressed = false;
        self.0.retain_mut(|device| {
            let mut events = [0; EVENT * 16];
            loop {
                match device.read(&mut events) {
                    Ok(0) => return false,
                    Ok(count) => {
                        let (whole, _) = events[..count].as_chunks::<EVENT>();
                        pressed |= whole.iter().any(is_press);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
        });
        pressed
    }
}

/// Whether an event is the power button's being pressed.
fn is_press(event: &[u8; EVENT]) -> bool {
    let word = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (word(16), word(18), value) == (KEY, POWER, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_press_of_the_power_button_is_one() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [0xff; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..].copy_from_slice(&value.to_ne_bytes());
            is_press(&event)
        };
        assert!(event(1, 116, 1));
        // Let go of, held, another key, and what ends each report.
        assert!(!event(1, 116, 0));
        assert!(!event(1, 116, 2));
        assert!(!event(1, 115, 1));
        assert!(!event(0, 0, 0));
    }
}
