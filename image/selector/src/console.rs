//! Output on the firmware's console, and the panic handler. A missing or broken console must not prevent the boot, so
//! results of writing to it are ignored.

use core::fmt::{self, Write};
use core::sync::atomic::AtomicBool;
#[cfg(target_os = "uefi")]
use core::sync::atomic::Ordering;

use uefi::table::system_table_raw;
use uefi_raw::protocol::console::SimpleTextOutputProtocol;

/// Prints a line, with the arguments of `println!`.
#[macro_export]
macro_rules! say {
    ($($word:tt)*) => {
        $crate::console::line(::core::format_args!($($word)*))
    };
}

/// Characters that are passed to the firmware at once.
const LENGTH: usize = 128;

/// Prints a line.
pub fn line(words: fmt::Arguments<'_>) {
    let mut text = Text {
        units: [0; LENGTH + 1],
        len: 0,
    };
    // `Text` never fails. If an argument's own formatting fails, the line is shorter.
    let _ = text.write_fmt(words);
    let _ = text.write_char('\n');
    text.flush();
}

/// A buffer of UTF-16 units, with room for a terminating zero.
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
        // SAFETY: the protocol and its function are the firmware's, and the text ends with a zero.
        let _ = unsafe { ((*output).output_string)(output, self.units.as_ptr()) };
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let plain = |letter: char| u16::try_from(u32::from(letter)).unwrap_or(u16::from(b'?'));
        for letter in text.chars() {
            // The console does not return to the first column at a line feed alone.
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

/// Returns the console, if the firmware has one.
fn output() -> Option<*mut SimpleTextOutputProtocol> {
    let table = system_table_raw()?;
    // SAFETY: the firmware's table exists until a kernel takes over, which ends these programs.
    let output = unsafe { table.as_ref() }.stdout;
    (!output.is_null()).then_some(output)
}

/// Whether the firmware has pointers into this program. If so, the program must stay in memory.
pub static HELD: AtomicBool = AtomicBool::new(false);

/// Prints the panic and ends the program. The selector then goes on with the other slot, and the firmware with its
/// next boot entry, as after any program that failed. If this program must stay in memory (`HELD`), the machine is
/// reset.
#[cfg(target_os = "uefi")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use uefi::Status;
    line(format_args!("a fault of this program itself: {info}"));
    uefi::boot::stall(crate::firmware::TO_READ);
    if !HELD.load(Ordering::Relaxed) {
        let own = uefi::boot::image_handle();
        // SAFETY: `HELD` is false, so nothing outside uses this program. What the program holds of the firmware's is
        // leaked, not freed. `exit` returns only if the firmware refuses.
        let _ = unsafe { uefi::boot::exit(own, Status::ABORTED, 0, core::ptr::null_mut()) };
    }
    uefi::runtime::reset(uefi::runtime::ResetType::COLD, Status::ABORTED, None)
}
