//! The allocator's memory.

/// Gives memory that is free back to the system, as far as the allocator can (malloc_trim(3)). Takes
/// milliseconds: for times when there is nothing else to do.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions and keeps everything that is in use where it is.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
