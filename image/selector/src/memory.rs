//! Allocates the firmware's memory so that the largest free block stays whole. The kernel needs more than twenty
//! megabytes in one block, which on a small machine is nearly all that is free.
//!
//! Firmware allocates from the top of the free memory. Memory that is freed later, such as that of a file that was
//! read and started, leaves a hole above the program that was loaded from it.

use core::ptr::NonNull;
use core::slice;

use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};
use uefi::mem::memory_map::MemoryMap;
use uefi::{Result, Status};

use crate::room;

/// If a free block has this many pages (256 MiB), none need to be reserved for the kernel.
const ENOUGH: usize = (256 << 20) / PAGE_SIZE;

/// Pages that this program owns.
pub struct Pages {
    start: NonNull<u8>,
    count: usize,
}

impl Pages {
    /// Reserves all of the largest free block if memory is scarce, so that programs are loaded elsewhere.
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
        // SAFETY: these are exactly the pages that `allocate_pages` returned, and nothing borrows them any more. If
        // the firmware refuses them, they are leaked.
        let _ = unsafe { boot::free_pages(self.start, self.count) };
    }
}

/// Memory for a file, at the lower end of the largest free block.
pub struct Buffer {
    pages: Pages,
    len: usize,
}

impl Buffer {
    /// Allocates `len` zero bytes. `len` must be at least 1.
    pub fn new(len: usize) -> Result<Buffer> {
        if len == 0 || len > isize::MAX as usize {
            return Err(Status::BAD_BUFFER_SIZE.into());
        }
        let count = len.div_ceil(PAGE_SIZE);
        let low = largest().and_then(|(start, _)| Pages::take(AllocateType::Address(start), count));
        let pages = low
            .or_else(|_| Pages::take(AllocateType::MaxAddress(room::TOP - 1), count))
            .or_else(|_| Pages::take(AllocateType::AnyPages, count))?;
        // SAFETY: the firmware has just allocated these pages for this program, and they are at least `len` bytes.
        unsafe { pages.start.write_bytes(0, len) };
        Ok(Buffer { pages, len })
    }

    /// Returns the bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `new` has initialised `len` bytes, and nothing else uses them until `drop`.
        unsafe { slice::from_raw_parts_mut(self.pages.start.as_ptr(), self.len) }
    }
}

/// Returns address and page count of the largest free block.
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
