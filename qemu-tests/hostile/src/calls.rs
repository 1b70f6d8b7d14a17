//! Attacks on the kernel: system calls that no server needs. Each does only enough to show that it is allowed, and
//! undoes it.

use std::ffi::CStr;
use std::io;

use nix::libc::{self, c_long};

use crate::{Act, Done, Order};

pub(crate) const ACTS: &[Act] = &[
    ("mount", mount),
    ("unshare", unshare),
    ("clone user", clone_user),
    ("clone3 user", clone3_user),
    ("setns", setns),
    ("pivot_root", pivot_root),
    ("keyctl", |_| call(libc::SYS_keyctl, [0, -3, 1, 0, 0])),
    ("add_key", add_key),
    ("bpf", bpf),
    ("io_uring", io_uring),
    ("userfaultfd", |_| {
        opened(libc::SYS_userfaultfd, [1, 0, 0, 0, 0])
    }),
    ("kexec", |_| call(libc::SYS_kexec_load, [0, 0, 0, 0, 0])),
    ("init_module", init_module),
    ("finit_module", |_| {
        call(libc::SYS_finit_module, [-1, 0, 0, 0, 0])
    }),
    ("perf", perf),
    ("hostname", hostname),
    ("reboot", reboot),
    ("swapon", swapon),
    ("clock", clock),
    ("acct", |_| call(libc::SYS_acct, [0, 0, 0, 0, 0])),
    ("handle", handle),
    ("syslog", |_| call(libc::SYS_syslog, [10, 0, 0, 0, 0])),
    ("quotactl", |_| call(libc::SYS_quotactl, [0, 0, 0, 0, 0])),
    ("personality", |_| {
        call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0])
    }),
    ("memory file", |_| {
        opened(
            libc::SYS_memfd_create,
            [c"x".as_ptr() as c_long, 0, 0, 0, 0],
        )
    }),
    ("kcmp", |_| {
        call(
            libc::SYS_kcmp,
            [
                std::process::id().into(),
                std::process::id().into(),
                0,
                0,
                0,
            ],
        )
    }),
    ("fanotify", |_| {
        opened(libc::SYS_fanotify_init, [0, 0, 0, 0, 0])
    }),
    ("seccomp", seccomp),
    ("landlock", |_| {
        opened(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0])
    }),
    ("terminal", terminal),
    ("ports", ports),
];

fn call(number: c_long, args: [c_long; 5]) -> Done {
    let [a, b, c, d, e] = args;
    // SAFETY: the arguments are numbers, null, or memory of this program that outlives the call.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        result if result >= 0 => Ok(format!("{result}")),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A call that returns a descriptor, which is then closed.
fn opened(number: c_long, args: [c_long; 5]) -> Done {
    let fd = call(number, args)?;
    if let Some(fd) = fd.parse().ok().filter(|fd| *fd > 2) {
        // SAFETY: the descriptor is new, and nothing else knows it.
        unsafe { libc::close(fd) };
    }
    Ok("opened".to_owned())
}

fn mount(order: &Order) -> Done {
    nix::mount::mount(
        Some("x"),
        order.text("path"),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )?;
    nix::mount::umount(order.text("path"))?;
    Ok("mounted".to_owned())
}

fn unshare(_: &Order) -> Done {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?;
    Ok("a user namespace".to_owned())
}

fn clone_user(_: &Order) -> Done {
    let flags = c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // SAFETY: this is a fork whose child exits at once.
    unsafe {
        match libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) {
            0 => libc::_exit(0),
            child if child > 0 => Ok("a user namespace".to_owned()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn clone3_user(_: &Order) -> Done {
    let mut args = [0u64; 8];
    args[0] = libc::CLONE_NEWUSER as u64;
    args[4] = libc::SIGCHLD as u64;
    // SAFETY: this is a fork whose child exits at once; the structure has the kernel's first layout.
    unsafe {
        match libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) {
            0 => libc::_exit(0),
            child if child > 0 => Ok("a user namespace".to_owned()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Joins no namespace: if the call is allowed, it fails because of the invalid descriptor.
fn setns(_: &Order) -> Done {
    call(libc::SYS_setns, [-1, 0, 0, 0, 0])
}

fn pivot_root(_: &Order) -> Done {
    nix::unistd::pivot_root("/nowhere", "/nowhere")?;
    Ok("pivoted".to_owned())
}

fn add_key(_: &Order) -> Done {
    let text = |text: &'static CStr| text.as_ptr() as c_long;
    // Into the process's own keyring.
    call(
        libc::SYS_add_key,
        [text(c"user"), text(c"x"), text(c"x"), 1, -2],
    )
}

/// Creates a map with one number.
fn bpf(_: &Order) -> Done {
    let attr: [u32; 16] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    opened(libc::SYS_bpf, [0, attr.as_ptr() as c_long, 64, 0, 0])
}

fn io_uring(_: &Order) -> Done {
    let params = [0u8; 120];
    opened(
        libc::SYS_io_uring_setup,
        [1, params.as_ptr() as c_long, 0, 0, 0],
    )
}

/// Loads bytes that are not a module: if the call is allowed, it fails because of that.
fn init_module(_: &Order) -> Done {
    let text = c"no module at all".as_ptr() as c_long;
    call(
        libc::SYS_init_module,
        [text, 16, c"".as_ptr() as c_long, 0, 0],
    )
}

/// Counts context switches, which needs no hardware.
fn perf(_: &Order) -> Done {
    let mut attr = [0u32; 28];
    (attr[0], attr[1], attr[2]) = (1, 112, 3);
    opened(
        libc::SYS_perf_event_open,
        [attr.as_ptr() as c_long, 0, -1, -1, 0],
    )
}

fn hostname(_: &Order) -> Done {
    let name = nix::unistd::gethostname()?;
    nix::unistd::sethostname(name)?;
    Ok("the same again".to_owned())
}

/// Only sets the action of Ctrl-Alt-Del, to what it already is on servers.
fn reboot(_: &Order) -> Done {
    let (one, two, off) = (0xfee1_dead_u32, 672_274_793, 0);
    call(libc::SYS_reboot, [one.into(), two, off, 0, 0])
}

/// Uses a file that does not exist: if the call is allowed, it fails because of that.
fn swapon(_: &Order) -> Done {
    call(
        libc::SYS_swapon,
        [c"/nowhere".as_ptr() as c_long, 0, 0, 0, 0],
    )
}

/// Sets the clock to the current time.
fn clock(_: &Order) -> Done {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one structure of this function is written, then read.
    let set = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const now)
    };
    match set {
        0 => Ok("set".to_owned()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Opens an invalid handle: if the call is allowed, it fails because of that.
fn handle(_: &Order) -> Done {
    let handle = [8u32, 1, 0, 0];
    call(
        libc::SYS_open_by_handle_at,
        [-1, handle.as_ptr() as c_long, 0, 0, 0],
    )
}

/// Only queries (`SECCOMP_GET_NOTIF_SIZES`).
fn seccomp(_: &Order) -> Done {
    let mut sizes = [0u16; 3];
    call(
        libc::SYS_seccomp,
        [3, 0, sizes.as_mut_ptr() as c_long, 0, 0],
    )
}

/// Types into the terminal.
fn terminal(_: &Order) -> Done {
    let byte = b"x";
    // SAFETY: one byte is read.
    match unsafe { libc::ioctl(0, libc::TIOCSTI, byte.as_ptr()) } {
        0 => Ok("typed".to_owned()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Requests access to I/O ports, on architectures that have them.
fn ports(_: &Order) -> Done {
    #[cfg(target_arch = "x86_64")]
    return call(libc::SYS_iopl, [3, 0, 0, 0, 0]);
    #[cfg(not(target_arch = "x86_64"))]
    return opened(
        libc::SYS_openat,
        [-100, c"/dev/port".as_ptr() as c_long, 0, 0, 0],
    );
}
