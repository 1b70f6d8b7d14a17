//! What the kernel is told to refuse, since nothing on an appliance needs it, and how much it may keep unwritten
//! (Documentation/admin-guide/sysctl).

use std::fs;
use std::io;

use super::{ActError, file};

/// Place below /proc/sys, and value.
const LIMITS: &[(&str, &str)] = &[
    // Ways into the kernel that neither the platform nor a function takes.
    ("kernel/modules_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/sysrq", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("dev/tty/legacy_tiocsti", "0"),
    ("net/core/bpf_jit_harden", "1"),
    // What it tells of itself.
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    // Programs.
    ("kernel/randomize_va_space", "2"),
    ("fs/suid_dumpable", "0"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    // A kernel that has gone wrong starts again, whatever its command line says.
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    // What waits to be written: as much as a slow card takes within seconds, since a cut of power loses it, and the end
    // waits for all of it.
    ("vm/dirty_bytes", "33554432"),
    ("vm/dirty_background_bytes", "8388608"),
    // The network: an appliance is a host and no router.
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/ipv4/conf/default/rp_filter", "2"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    // hearth-net decides which interface listens to routers.
    ("net/ipv6/conf/default/accept_ra", "0"),
];

/// Sets them all. One that this kernel does not know is a way in that it does not have.
///
/// # Errors
/// The first that the kernel refuses; all others are set.
pub fn set() -> Result<(), ActError> {
    let mut refused = Ok(());
    for (name, value) in LIMITS {
        let path = format!("/proc/sys/{name}");
        match fs::write(&path, value) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if refused.is_ok() => refused = Err(file("set", path)(error)),
            Err(_) => {}
        }
    }
    refused
}
