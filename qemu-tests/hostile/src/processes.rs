//! Attacks on processes and on resource limits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};

use crate::{Act, Done, Order};

pub(crate) const ACTS: &[Act] = &[
    ("who", who),
    ("signal", signal),
    ("signal all", signal_all),
    ("ptrace", trace),
    ("read memory", read_memory),
    ("pidfd", pidfd),
    ("fork bomb", fork_bomb),
    ("thread bomb", thread_bomb),
    ("memory bomb", memory_bomb),
    ("fd bomb", fd_bomb),
    ("burn", burn),
    ("leave child", leave_child),
    ("print", print),
    ("become root", become_root),
    ("raise", raise),
    ("dumpable", dumpable),
    ("nothing", |_| Ok("nothing".to_owned())),
    ("requests", requests),
];

/// Makes the system calls of `count` requests, over its own sockets. Returns the nanoseconds per request.
fn requests(order: &Order) -> Done {
    let (mut gateway, mut worker) = UnixStream::pair()?;
    let (question, answer) = ([b'q'; 256], [b'a'; 512]);
    let mut room = [0; 1024];
    let count = order.number("count").max(1);
    let begin = Instant::now();
    for _ in 0..count {
        gateway.write_all(&question)?;
        poll(
            &mut [PollFd::new(worker.as_fd(), PollFlags::POLLIN)],
            PollTimeout::MAX,
        )?;
        worker.read_exact(&mut room[..question.len()])?;
        worker.write_all(&answer)?;
        gateway.read_exact(&mut room[..answer.len()])?;
    }
    let took = begin.elapsed().as_nanos() / u128::from(count);
    Ok(took.to_string())
}

/// Returns this process's user, group and process id, as it sees them itself.
fn who(_: &Order) -> Done {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    Ok(format!("{uid} {gid} {}", std::process::id()))
}

fn pid_of(order: &Order) -> Pid {
    Pid::from_raw(i32::try_from(order.number("pid")).unwrap_or(i32::MAX))
}

fn signal(order: &Order) -> Done {
    kill(pid_of(order), Signal::SIGCONT)?;
    Ok("signalled".to_owned())
}

/// Checks whether this process could signal any other.
fn signal_all(_: &Order) -> Done {
    kill(Pid::from_raw(-1), None)?;
    Ok("there is somebody".to_owned())
}

fn trace(order: &Order) -> Done {
    let pid = pid_of(order);
    ptrace::seize(pid, ptrace::Options::empty())?;
    let _ = ptrace::detach(pid, None);
    Ok("traced".to_owned())
}

fn read_memory(order: &Order) -> Done {
    let mut byte = 0u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: order.number("address") as *mut libc::c_void,
        iov_len: 1,
    };
    let pid = pid_of(order).as_raw();
    // SAFETY: one byte of this function is written; the other address belongs to the other process.
    match unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } {
        1 => Ok("read".to_owned()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn pidfd(order: &Order) -> Done {
    // SAFETY: all arguments are numbers.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, pid_of(order).as_raw(), 0) } {
        fd if fd >= 0 => {
            // SAFETY: the descriptor is new, and nothing else knows it.
            unsafe { libc::close(fd as libc::c_int) };
            Ok("opened".to_owned())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks the requested number of times, and ends all children.
fn fork_bomb(order: &Order) -> Done {
    let mut children = Vec::new();
    let result = loop {
        if children.len() as u64 >= order.number("count") {
            break Ok(format!("{} children", children.len()));
        }
        // SAFETY: the child only waits until it is killed.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => children.push(child),
            Ok(ForkResult::Child) => loop {
                nix::unistd::pause();
            },
            Err(errno) => break Err(errno.into()),
        }
    };
    for child in children {
        let _ = kill(child, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(child, None);
    }
    result
}

fn thread_bomb(order: &Order) -> Done {
    let (begin, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Arc::new(std::sync::Mutex::new(end));
    let mut threads = Vec::new();
    let result = loop {
        if threads.len() as u64 >= order.number("count") {
            break Ok(format!("{} threads", threads.len()));
        }
        let end = std::sync::Arc::clone(&end);
        let small = std::thread::Builder::new().stack_size(16 * 1024);
        match small.spawn(move || end.lock().map(|end| end.recv().is_ok()).is_ok()) {
            Ok(thread) => threads.push(thread),
            Err(error) => break Err(error),
        }
    };
    drop(begin);
    threads.into_iter().for_each(|thread| {
        let _ = thread.join();
    });
    result
}

/// Allocates and touches the requested number of bytes.
fn memory_bomb(order: &Order) -> Done {
    const PIECE: usize = 1 << 20;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while (taken.len() * PIECE) < usize::try_from(order.number("bytes")).unwrap_or(usize::MAX) {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        piece.resize(PIECE, 1);
        taken.push(std::hint::black_box(piece));
    }
    Ok(format!("{} MiB", taken.len()))
}

fn fd_bomb(order: &Order) -> Done {
    let mut open = Vec::new();
    while (open.len() as u64) < order.number("count") {
        open.push(File::from(std::os::fd::OwnedFd::from(std::io::pipe()?.0)));
    }
    Ok(format!("{} open", open.len()))
}

/// Uses a processor for the requested number of milliseconds.
fn burn(order: &Order) -> Done {
    let end = Instant::now() + Duration::from_millis(order.number("ms"));
    let mut turns = 0u64;
    while Instant::now() < end {
        turns = std::hint::black_box(turns + 1);
    }
    Ok("burnt".to_owned())
}

/// Leaves a child with its own session that outlives this process.
fn leave_child(_: &Order) -> Done {
    // SAFETY: the child only makes system calls.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child.to_string()),
        ForkResult::Child => {
            let _ = nix::unistd::setsid();
            // A reader of this process's output must not wait for the child.
            for fd in 0..3 {
                // SAFETY: the child does not use these descriptors any more.
                unsafe { libc::close(fd) };
            }
            loop {
                nix::unistd::pause();
            }
        }
    }
}

/// Prints lines that look like lines of other processes.
fn print(order: &Order) -> Done {
    println!("{}", order.text("text"));
    eprintln!("{}", order.text("text"));
    hearth_sdk::log::info(order.text("text"));
    Ok("printed".to_owned())
}

fn become_root(_: &Order) -> Done {
    nix::unistd::setuid(nix::unistd::Uid::from_raw(0))?;
    Ok("root".to_owned())
}

/// Makes all permitted capabilities effective.
fn raise(_: &Order) -> Done {
    // `_LINUX_CAPABILITY_VERSION_3`.
    let header = [0x2008_0522u32, 0];
    // Effective, permitted and inheritable sets, then the same for the upper 32 bits.
    let mut sets = [0u32; 6];
    // SAFETY: both structures have the layout of `linux/capability.h`.
    let set = unsafe {
        match libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) {
            0 => {
                (sets[0], sets[3]) = (sets[1], sets[4]);
                libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr())
            }
            failed => failed,
        }
    };
    match set {
        0 if sets[0] != 0 => Ok(format!("{:x}", sets[0])),
        0 => Err(io::Error::from_raw_os_error(libc::EPERM)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn dumpable(_: &Order) -> Done {
    nix::sys::prctl::set_dumpable(true)?;
    Ok("dumpable".to_owned())
}
