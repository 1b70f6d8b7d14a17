//! The firmware's memory, given out so that its largest free piece stays whole: the kernel wants more than twenty
//! megabytes in one piece, which on a small machine is nearly all that is free.
//!
//! Firmware gives pages from the top of what is free. Whatever is let go of again, such as a file that was read and
//! started, leaves its hole above the program that came of it.

use core::ptr::NonNull;
use core::slice;

use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};
use uefi::mem::memory_map::MemoryMap;
use uefi::{Result, Status};

use crate::room;

/// Where so many pages are free in one piece (256 MiB), nothing needs to be held for the kernel.
const ENOUGH: usize = (256 << 20) / PAGE_SIZE;

/// Pages that nobody else has.
pub struct Pages {
    start: NonNull<u8>,
    count: usize,
}

impl Pages {
    /// All of the largest free piece where memory is scarce, so that what is loaded meanwhile goes elsewhere.
    pub fn scarce() -> Option<Pages> {
        let (start, count) = largest().ok()?;
        let held = (count < ENOUGH).then(|| Pages::take(AllocateType::Address(start), count));
        held?.ok()
    }

    fn take(from: AllocateType, count: usize) -> Result<Pages> {
        let start = boot::allocate_pages(from, MemoryType::LOADER_DATA, count)?;
        Ok(Pages { start, count })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: they are from `allocate_pages`, all of them, and nothing borrows them any more. If the firmware does
        // not want them back, they stay ours.
        let _ = unsafe { boot::free_pages(self.start, self.count) };
    }
}

/// A file's bytes, at the lower end of the largest free piece.
pub struct Buffer {
    pages: Pages,
    len: usize,
}

impl Buffer {
    /// At least one byte, zero at first.
    pub fn new(len: usize) -> Result<Buffer> {
        if len == 0 || len > isize::MAX as usize {
            return Err(Status::BAD_BUFFER_SIZE.into());
        }
        let count = len.div_ceil(PAGE_SIZE);
        let low = largest().and_then(|(start, _)| Pages::take(AllocateType::Address(start), count));
        let pages = low
            .or_else(|_| Pages::take(AllocateType::MaxAddress(room::TOP - 1), count))
            .or_else(|_| Pages::take(AllocateType::AnyPages, count))?;
        // SAFETY: the firmware has just given these pages to us, and they are at least `len` bytes.
        unsafe { pages.start.write_bytes(0, len) };
        Ok(Buffer { pages, len })
    }

    /// They themselves.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes were written by `new`, and are nobody else's until `drop`.
        unsafe { slice::from_raw_parts_mut(self.pages.start.as_ptr(), self.len) }
    }
}

/// Address and pages of the largest free piece.
fn largest() -> Result<(u64, usize)> {
    let map = boot::memory_map(MemoryType::LOADER_DATA)?;
    let free = map
        .entries()
        .filter(|piece| piece.ty == MemoryType::CONVENTIONAL)
        .map(|piece| (piece.phys_start, piece.page_count));
    let largest = room::largest(free, PAGE_SIZE as u64);
    let (start, count) = largest.ok_or(Status::OUT_OF_RESOURCES)?;
    let count = usize::try_from(count).map_err(|_| Status::OUT_OF_RESOURCES)?;
    Ok((start, count))
}
