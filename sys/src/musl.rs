//! What a static program is given in place of the C library's own, where that is musl. Linked only if
//! something asks for it.
//!
//! A static program takes its unwinder from gcc's `libgcc_eh.a`. One that was built beside glibc finds
//! the tables of a function with `_dl_find_object`, which glibc has since 2.35 and musl has not; this
//! is it for musl, by dl_iterate_phdr(3). And the standard library names threads with a function that
//! brings printf(3) along, 12 KiB of which nobody else has a use for.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use nix::libc::{self, dl_phdr_info, size_t};

/// `struct dl_find_object` of glibc's dlfcn.h, as it is on 64-bit x86 and ARM.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: *mut c_void,
    map_end: *mut c_void,
    link_map: *mut c_void,
    /// The segment PT_GNU_EH_FRAME.
    eh_frame: *mut c_void,
    reserved: [u64; 7],
}

struct Search {
    pc: usize,
    found: Option<Found>,
}

/// Finds the object whose code `pc` is in: 0, or -1 if there is none.
///
/// # Safety
/// `result` must be valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn _dl_find_object(pc: *mut c_void, result: *mut Found) -> c_int {
    let mut search = Search {
        pc: pc as usize,
        found: None,
    };
    // SAFETY: the callback gets this search, which outlives the call, and keeps nothing of it.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    match search.found {
        Some(found) => {
            // SAFETY: the caller gives a place to write to.
            unsafe { result.write(found) };
            0
        }
        None => -1,
    }
}

/// Names a thread, which can only be the one that asks (pthread_setname_np(3)).
///
/// # Safety
/// `name` must be text that ends with a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> c_int {
    // SAFETY: it has no preconditions.
    if thread != unsafe { libc::pthread_self() } {
        return libc::ENOSYS;
    }
    // SAFETY: the caller gives a text, of which the kernel takes 15 bytes.
    match unsafe { libc::prctl(libc::PR_SET_NAME, name) } {
        0 => 0,
        _ => libc::EINVAL,
    }
}

/// Looks at one object; ends the search if it is the one.
unsafe extern "C" fn look(info: *mut dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid object, and the search that it was given.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the object's program headers, as many as it says.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let place = |address: u64| (info.dlpi_addr + address) as usize;
    let code = headers.iter().find(|header| {
        let start = place(header.p_vaddr);
        header.p_type == libc::PT_LOAD
            && (start..start + header.p_memsz as usize).contains(&search.pc)
    });
    let tables = headers
        .iter()
        .find(|header| header.p_type == libc::PT_GNU_EH_FRAME);
    let (Some(code), Some(tables)) = (code, tables) else {
        return 0;
    };
    let start = place(code.p_vaddr);
    search.found = Some(Found {
        flags: 0,
        map_start: ptr::with_exposed_provenance_mut(start),
        map_end: ptr::with_exposed_provenance_mut(start + code.p_memsz as usize),
        link_map: ptr::null_mut(),
        eh_frame: ptr::with_exposed_provenance_mut(place(tables.p_vaddr)),
        reserved: [0; 7],
    });
    1
}
