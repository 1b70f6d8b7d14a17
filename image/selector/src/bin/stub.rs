//! The beginning of a slot's `\hearth.efi`, a Unified Kernel Image. It starts the kernel in the same file, with its
//! command line and its initramfs. On the command line and in EFI variables, it passes on the partition that it was
//! started from, and whether this boot is a trial.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt::{self, Display};
use core::sync::atomic::Ordering;
use core::{ptr, slice};

use hearth_selector::console::HELD;
use hearth_selector::firmware::{TO_READ, guid_of, open, options, own_partition, start};
use hearth_selector::memory::Pages;
use hearth_selector::options::is_tryboot;
use hearth_selector::pe::Headers;
use hearth_selector::say;
use uefi::boot::{self, LoadImageSource};
use uefi::prelude::*;
use uefi::proto::loaded_image::LoadedImage;
use uefi::runtime::{self, VariableAttributes, VariableVendor};
use uefi::{CStr16, Guid, Handle, guid};
use uefi_raw::Boolean;
use uefi_raw::protocol::device_path::DevicePathProtocol;
use uefi_raw::protocol::media::LoadFile2Protocol;

/// Vendor GUID of the Boot Loader Interface's variables, from which a system learns how it was started.
const VENDOR: VariableVendor = VariableVendor(guid!("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"));

/// The device path at which Linux looks for its initramfs.
const INITRD: Guid = guid!("5568e427-68fc-4f3d-ac74-ca555231cc68");

/// The variable is lost at the next start, and visible to the kernel.
const VOLATILE: VariableAttributes =
    VariableAttributes::BOOTSERVICE_ACCESS.union(VariableAttributes::RUNTIME_ACCESS);

/// A step that failed, and its status.
struct Fault {
    what: &'static str,
    why: Status,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)
    }
}

/// Adds the step that failed to an error.
trait Attempt<T> {
    fn to(self, what: &'static str) -> Result<T, Fault>;
}

impl<T> Attempt<T> for uefi::Result<T> {
    fn to(self, what: &'static str) -> Result<T, Fault> {
        self.map_err(|error| Fault {
            what,
            why: error.status(),
        })
    }
}

#[entry]
fn main() -> Status {
    if uefi::helpers::init().is_err() {
        return Status::ABORTED;
    }
    // A started kernel does not return.
    let why = match run() {
        Ok(()) => {
            say!("stub: the kernel came back");
            Status::ABORTED
        }
        Err(fault) => {
            say!("stub: {fault}");
            fault.why
        }
    };
    boot::stall(TO_READ / 10);
    why
}

fn run() -> Result<(), Fault> {
    let image = own_image().to("find this program in memory")?;
    let malformed = |what| {
        move |error| {
            say!("stub: {error}");
            let why = Status::LOAD_ERROR;
            Fault { what, why }
        }
    };
    let headers = Headers::parse(image).map_err(malformed("read this program's headers"))?;
    let section = |name| headers.in_memory(name);
    let absent = |what| Fault {
        what,
        why: Status::NOT_FOUND,
    };
    let linux = section(".linux").map_err(malformed("read the section .linux"))?;
    let linux = linux.ok_or(absent("find a section .linux"))?;
    let initrd = section(".initrd").map_err(malformed("read the section .initrd"))?;
    let command_line = section(".cmdline").map_err(malformed("read the section .cmdline"))?;
    let origin = Origin::find().to("tell where this was started from")?;
    origin.tell();
    let command_line = origin.command_line(command_line.unwrap_or_default());
    let kernel = load(linux).to("load the kernel")?;
    let offer = initrd.map(Offer::new).transpose();
    let offer = offer.to("offer the initramfs").inspect_err(|_| {
        // The kernel was loaded, but will not be started.
        let _ = boot::unload_image(kernel);
    })?;
    let started = start(kernel, &command_line).to("start the kernel");
    if let Some(offer) = offer
        && let Err(fault) = offer.withdraw().to("withdraw the initramfs")
    {
        say!("stub: {fault}");
    }
    started
}

/// Loads the kernel. If memory is scarce, keeps it out of the largest free block, where the kernel unpacks itself.
fn load(kernel: &[u8]) -> uefi::Result<Handle> {
    let load = || {
        let source = LoadImageSource::FromBuffer {
            buffer: kernel,
            file_path: None,
        };
        boot::load_image(boot::image_handle(), source)
    };
    let held = Pages::scarce();
    let loaded = load();
    match held {
        // Loading may have failed for lack of that memory, so it is freed before the retry.
        Some(held) if loaded.is_err() => {
            drop(held);
            load()
        }
        _ => loaded,
    }
}

/// Returns this program as the firmware has loaded it into memory.
fn own_image() -> uefi::Result<&'static [u8]> {
    let image = open::<LoadedImage>(boot::image_handle())?;
    let (base, size) = image.info();
    let size = usize::try_from(size).map_err(|_| Status::BAD_BUFFER_SIZE)?;
    if base.is_null() || size > isize::MAX as usize {
        return Err(Status::LOAD_ERROR.into());
    }
    // SAFETY: the firmware has loaded this program into `size` bytes at `base`, which remain until it returns. Only
    // its headers and sections without code or variables are read, and nothing writes to those.
    Ok(unsafe { slice::from_raw_parts(base.cast(), size) })
}

/// The partition that this program was started from, and whether this boot is a trial.
struct Origin {
    partition: Option<Guid>,
    trial: bool,
}

impl Origin {
    fn find() -> uefi::Result<Origin> {
        Ok(Origin {
            partition: guid_of(own_partition()?)?,
            trial: is_tryboot(&options()?),
        })
    }

    /// Sets the EFI variables, and replaces those of another slot's stub that could not start its kernel. The
    /// firmware may refuse; the command line says the same, and `hearth-init` prefers it.
    fn tell(&self) {
        let trial = cstr16!("HearthTrial");
        if let Some(guid) = self.partition {
            let guid = format!("{guid}").to_ascii_uppercase();
            let _ = set(cstr16!("LoaderDevicePartUUID"), &guid);
        }
        let _ = match self.trial {
            true => set(trial, "1"),
            false => runtime::delete_variable(trial, &VENDOR),
        };
        let _ = set(
            cstr16!("StubInfo"),
            concat!("hearth-stub ", env!("CARGO_PKG_VERSION")),
        );
    }

    /// Returns the image's command line with the origin added, as Linux expects it: UTF-16 with a terminating zero.
    fn command_line(&self, text: &[u8]) -> Vec<u16> {
        let end = text.iter().position(|byte| *byte == 0 || *byte == b'\n');
        let text = &text[..end.unwrap_or(text.len())];
        let mut more = format!(" hearth.trial={}", u8::from(self.trial));
        if let Some(guid) = self.partition {
            more.push_str(&format!(" hearth.origin={guid}"));
        }
        // The image builder allows only ASCII.
        let all = text.iter().copied().chain(more.bytes());
        all.map(u16::from).chain([0]).collect()
    }
}

fn set(name: &CStr16, text: &str) -> uefi::Result {
    let bytes: Vec<u8> = text
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    runtime::set_variable(name, &VENDOR, VOLATILE, &bytes)
}

/// A device path of one vendor-defined node, and the end node.
#[repr(C, packed)]
struct VendorPath {
    node: [u8; 4],
    vendor: Guid,
    end: [u8; 4],
}

static PATH: VendorPath = VendorPath {
    // Media, vendor-defined, 20 bytes.
    node: [4, 3, 20, 0],
    vendor: INITRD,
    end: [0x7f, 0xff, 4, 0],
};

/// The protocol through which Linux loads the initramfs.
#[repr(C)]
struct Source {
    /// The first field, so that a pointer to the protocol is also a pointer to the `Source`.
    protocol: LoadFile2Protocol,
    bytes: &'static [u8],
}

/// The handle at which Linux finds the initramfs.
struct Offer {
    handle: Handle,
    source: *mut Source,
}

impl Offer {
    fn new(bytes: &'static [u8]) -> uefi::Result<Offer> {
        let source = Box::into_raw(Box::new(Source {
            protocol: LoadFile2Protocol { load_file },
            bytes,
        }));
        let path = (&raw const PATH).cast();
        // SAFETY: `PATH` is a device path in the layout of the specification, and exists as long as this program.
        let handle =
            unsafe { boot::install_protocol_interface(None, &DevicePathProtocol::GUID, path) }?;
        HELD.store(true, Ordering::Relaxed);
        // SAFETY: `source` begins with the interface of this protocol, and is not freed before `withdraw`.
        let installed = unsafe {
            boot::install_protocol_interface(
                Some(handle),
                &LoadFile2Protocol::GUID,
                source.cast_const().cast(),
            )
        };
        if let Err(error) = installed {
            // SAFETY: the path was installed just now with this pointer, and nothing has used it yet.
            unsafe {
                boot::uninstall_protocol_interface(handle, &DevicePathProtocol::GUID, path)?;
                drop(Box::from_raw(source));
            }
            HELD.store(false, Ordering::Relaxed);
            return Err(error);
        }
        Ok(Offer { handle, source })
    }

    /// Uninstalls the protocols after a kernel that returned: this program ends, and the firmware must keep no
    /// pointers into it.
    fn withdraw(self) -> uefi::Result {
        // SAFETY: `new` installed both with these pointers, and the kernel, their only user, has ended.
        unsafe {
            boot::uninstall_protocol_interface(
                self.handle,
                &LoadFile2Protocol::GUID,
                self.source.cast_const().cast(),
            )?;
            boot::uninstall_protocol_interface(
                self.handle,
                &DevicePathProtocol::GUID,
                (&raw const PATH).cast(),
            )?;
        }
        // SAFETY: the pointer came from `Box::into_raw`, and the firmware no longer has it.
        drop(unsafe { Box::from_raw(self.source) });
        HELD.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// The function that Linux calls, first without a buffer to learn the size.
unsafe extern "efiapi" fn load_file(
    this: *mut LoadFile2Protocol,
    path: *const DevicePathProtocol,
    boot_policy: Boolean,
    size: *mut usize,
    buffer: *mut c_void,
) -> Status {
    if this.is_null() || path.is_null() || size.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // Only requests for a file are supported, not boot selections.
    if boot_policy != Boolean::FALSE {
        return Status::UNSUPPORTED;
    }
    // SAFETY: the firmware passes the pointer that was installed, which points to a `Source`. It exists until
    // `withdraw`, and nothing changes it.
    let bytes = unsafe { (*this.cast::<Source>()).bytes };
    // SAFETY: `size` is not null, and by the specification points to a size that the caller owns.
    let room = unsafe { size.replace(bytes.len()) };
    if buffer.is_null() || room < bytes.len() {
        return Status::BUFFER_TOO_SMALL;
    }
    // SAFETY: the caller states that `buffer` has `room` bytes, which is at least the number of bytes copied. The
    // caller owns it, so it does not overlap this program.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
    Status::SUCCESS
}
