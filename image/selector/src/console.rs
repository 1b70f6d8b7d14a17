//! What is said on the firmware's console, and a panic's end. A console that is not there, or does not work, is no
//! reason not to boot: what it answers is not looked at.

use core::fmt::{self, Write};
use core::sync::atomic::AtomicBool;
#[cfg(target_os = "uefi")]
use core::sync::atomic::Ordering;

use uefi::table::system_table_raw;
use uefi_raw::protocol::console::SimpleTextOutputProtocol;

/// Says a line, as `println!` does.
#[macro_export]
macro_rules! say {
    ($($word:tt)*) => {
        $crate::console::line(::core::format_args!($($word)*))
    };
}

/// Characters that are handed over at once.
const LENGTH: usize = 128;

/// Says a line.
pub fn line(words: fmt::Arguments<'_>) {
    let mut text = Text {
        units: [0; LENGTH + 1],
        len: 0,
    };
    // It never fails, and an argument's own error is only less that is said.
    let _ = text.write_fmt(words);
    let _ = text.write_char('\n');
    text.flush();
}

/// What is to be said, in UTF-16, with room for a zero at its end.
struct Text {
    units: [u16; LENGTH + 1],
    len: usize,
}

impl Text {
    fn flush(&mut self) {
        self.units[self.len] = 0;
        self.len = 0;
        let Some(output) = output() else {
            return;
        };
        // SAFETY: the firmware's own protocol and function, and a text that ends with a zero.
        let _ = unsafe { ((*output).output_string)(output, self.units.as_ptr()) };
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let plain = |letter: char| u16::try_from(u32::from(letter)).unwrap_or(u16::from(b'?'));
        for letter in text.chars() {
            // A line feed alone only moves down.
            let before = (letter == '\n').then_some('\r');
            for letter in before.into_iter().chain([letter]) {
                if self.len == LENGTH {
                    self.flush();
                }
                self.units[self.len] = plain(letter);
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// The console, if the firmware has one.
fn output() -> Option<*mut SimpleTextOutputProtocol> {
    let table = system_table_raw()?;
    // SAFETY: the firmware's table lives until a kernel takes over, which ends these programs.
    let output = unsafe { table.as_ref() }.stdout;
    (!output.is_null()).then_some(output)
}

/// The firmware has pointers into this program, which must not go now.
pub static HELD: AtomicBool = AtomicBool::new(false);

/// Says why, and gives up: the selector goes on with the other slot, and the firmware with its next entry, as after any
/// program that failed. Where this program must stay, the machine is restarted.
#[cfg(target_os = "uefi")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use uefi::Status;
    line(format_args!("a fault of this program itself: {info}"));
    uefi::boot::stall(crate::firmware::TO_READ);
    if !HELD.load(Ordering::Relaxed) {
        let own = uefi::boot::image_handle();
        // SAFETY: nothing of this program is used by anybody else, and what it holds of the firmware's is only not
        // freed. It comes back only if the firmware refuses.
        let _ = unsafe { uefi::boot::exit(own, Status::ABORTED, 0, core::ptr::null_mut()) };
    }
    uefi::runtime::reset(uefi::runtime::ResetType::COLD, Status::ABORTED, None)
}
