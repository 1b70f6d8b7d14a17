//! The system calls of a cell: a list of what may be done, per architecture; whatever else is tried is
//! refused, and the supervisor hears which it was.
//!
//! What reaches files, ports and processes is decided elsewhere (mounts, Landlock, namespaces). Here
//! the kernel's surface is cut down to what servers use.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use hearth_sys::seccomp::{ASK, Instruction, filter, filter_with_listener};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch,
};
use syscalls::{Sysno, SysnoSet};

use super::Plan;

/// Allowed whatever their arguments. A name that an architecture does not have is passed over.
const ALLOWED: &str = "
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 sendfile copy_file_range
    open openat openat2 creat close close_range fstat stat lstat newfstatat fstatat statx lseek ftruncate
    truncate fallocate fsync fdatasync flock fcntl fadvise64 readahead getdents getdents64 getcwd chdir
    fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    readlink readlinkat access faccessat faccessat2 chmod fchmod fchmodat umask utimensat statfs fstatfs
    dup dup2 dup3 pipe pipe2 inotify_init1 inotify_add_watch inotify_rm_watch

    mmap mprotect munmap mremap madvise brk mlock munlock msync mincore membarrier

    select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd2 timerfd_create timerfd_settime timerfd_gettime signalfd4

    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait sigaltstack
    pause alarm setitimer getitimer restart_syscall

    futex futex_waitv set_robust_list get_robust_list set_tid_address rseq arch_prctl sched_yield
    sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min getcpu
    execve execveat fork vfork exit exit_group wait4 waitid
    getpid gettid getppid getpgrp getpgid setpgid getsid setsid getuid geteuid getgid getegid getresuid
    getresgid getgroups getpriority getrlimit getrusage times

    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time timer_create timer_settime
    timer_gettime timer_delete timer_getoverrun
    getrandom uname sysinfo

    recvfrom recvmsg recvmmsg shutdown getsockname getpeername getsockopt setsockopt
";

/// Besides, where there is somebody to speak to.
const CONNECTING: &str = "connect";

/// Besides, for who accepts.
const ACCEPTING: &str = "accept accept4";

/// Besides, where signals stay within the cell.
const SIGNALLING: &str =
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal";

/// `prctl` that change only what a program calls itself, and what it gives up.
const PRCTL: [libc::c_int; 9] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    libc::PR_CAPBSET_READ,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_DUMPABLE,
];

/// `ioctl` on descriptors of any kind, and what tells a terminal from a file.
const IOCTL: [libc::Ioctl; 6] = [
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
];

/// `clone` with any of these makes namespaces: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER,
/// NEWPID, NEWNET.
const CLONE_NEW: u64 = 0x80
    | 0x2_0000
    | 0x200_0000
    | 0x400_0000
    | 0x800_0000
    | 0x1000_0000
    | 0x2000_0000
    | 0x4000_0000;

/// The kind of a socket without its flags (SOCK_NONBLOCK, SOCK_CLOEXEC).
const SOCKET_KIND: u64 = 0xf;

/// What seccompiler writes in the place of [`ASK`], which it does not know: to have a tracer decide.
const MARK: u32 = 0x7ff0_0000;

/// Filters this process's calls from now on; what is refused is told to who holds the descriptor.
pub(super) fn restrict(plan: &Plan) -> io::Result<OwnedFd> {
    // In clone3 the flags lie in memory, where no filter sees them. As if it were not there: libraries
    // then use clone.
    let missing = number("clone3").map(|call| (call, vec![]));
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    filter(&compile(
        missing.into_iter().collect(),
        SeccompAction::Allow,
        absent,
    )?)?;
    let listed = compile(rules(plan), SeccompAction::Trace(0), SeccompAction::Allow)?;
    filter_with_listener(&listed)
}

fn compile(
    rules: BTreeMap<i64, Vec<Rule>>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> io::Result<Vec<Instruction>> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, then, arch).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    let ask = |k| if k == MARK { ASK } else { k };
    let instructions = program.into_iter().map(|one| Instruction {
        code: one.code,
        jt: one.jt,
        jf: one.jf,
        k: match one.code {
            // BPF_RET | BPF_K: the only instruction whose operand is an action.
            0x06 => ask(one.k),
            _ => one.k,
        },
    });
    Ok(instructions.collect())
}

fn number(name: &str) -> Option<i64> {
    Sysno::from_str(name).ok().map(|call| i64::from(call.id()))
}

/// What the plan allows: no rule for a call allows it always, several allow it if any fits.
fn rules(plan: &Plan) -> BTreeMap<i64, Vec<Rule>> {
    let network = &plan.network;
    let mut names = vec![ALLOWED];
    if !network.ports.is_empty() || network.unix {
        names.push(CONNECTING);
    }
    if network.serve {
        names.push(ACCEPTING);
    }
    if plan.calls.signals {
        names.push(SIGNALLING);
    }
    let names = names.iter().flat_map(|list| list.split_whitespace());
    let names: HashSet<&str> = names.collect();
    // Every start of a worker waits for this: all calls are looked at once, not all for each name.
    let calls = SysnoSet::all();
    let listed = calls.iter().filter(|call| names.contains(call.name()));
    let mut rules: BTreeMap<i64, Vec<Rule>> =
        listed.map(|call| (i64::from(call.id()), vec![])).collect();
    let mut only = |name: &str, any: Vec<Vec<Condition>>| {
        let any: Vec<Rule> = any
            .into_iter()
            .filter_map(|all| Rule::new(all).ok())
            .collect();
        if let (Some(call), false) = (number(name), any.is_empty()) {
            rules.insert(call, any);
        }
    };
    only("clone", vec![vec![bits(0, CLONE_NEW, 0)]]);
    // Its own limits, and nobody else's of the same user.
    only("prlimit64", vec![vec![is(0, 0)]]);
    only("prctl", PRCTL.map(|one| vec![is(0, one as u64)]).into());
    #[allow(
        clippy::unnecessary_cast,
        reason = "another C library has them in another type"
    )]
    only("ioctl", IOCTL.map(|one| vec![is(1, one as u64)]).into());
    // An unnamed pair is a pipe; of datagram sockets each could be sent elsewhere.
    let stream = |argument| bits(argument, SOCKET_KIND, libc::SOCK_STREAM as u64);
    let family = |one: libc::c_int| is(0, one as u64);
    only("socketpair", vec![vec![family(libc::AF_UNIX), stream(1)]]);
    let mut sockets = Vec::new();
    if !network.ports.is_empty() {
        for one in [libc::AF_INET, libc::AF_INET6] {
            // Other protocols over stream sockets, such as MPTCP, Landlock does not judge.
            for protocol in [0, libc::IPPROTO_TCP as u64] {
                sockets.push(vec![family(one), stream(1), is(2, protocol)]);
            }
        }
    }
    if network.unix {
        sockets.push(vec![family(libc::AF_UNIX), stream(1)]);
    }
    only("socket", sockets);
    // With this flag sending connects, past Landlock.
    let plain = |flags| vec![vec![bits(flags, libc::MSG_FASTOPEN as u64, 0)]];
    only("sendto", plain(3));
    only("sendmsg", plain(2));
    rules
}

/// The lower 32 bits of the argument are these. The kernel looks at no others for what is asked here.
fn is(argument: u8, value: u64) -> Condition {
    condition(argument, Op::Eq, value)
}

fn bits(argument: u8, mask: u64, value: u64) -> Condition {
    condition(argument, Op::MaskedEq(mask), value)
}

fn condition(argument: u8, op: Op, value: u64) -> Condition {
    Condition::new(argument, Length::Dword, op, value & 0xffff_ffff)
        .expect("arguments are numbered 0 to 5")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of the older architectures, which newer ones have only in their later forms.
    const OLDER: &str = "
        open creat stat lstat getdents mkdir rmdir unlink rename link symlink readlink access chmod dup2
        newfstatat pipe select poll epoll_create epoll_wait pause alarm arch_prctl fork vfork getpgrp getrlimit time
    ";

    /// The same call by the name that newer architectures give it.
    const NEWER: &str = "fstatat";

    #[test]
    fn every_name_is_a_call() {
        let lists = [ALLOWED, CONNECTING, ACCEPTING, SIGNALLING];
        let names = lists.iter().flat_map(|list| list.split_whitespace());
        let unknown = names.filter(|name| Sysno::from_str(name).is_err());
        for name in unknown {
            let elsewhere = match cfg!(target_arch = "x86_64") {
                true => NEWER,
                false => OLDER,
            };
            let known = elsewhere.split_whitespace().any(|one| one == name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn what_opens_other_ways_is_on_no_list() {
        let listed = format!("{ALLOWED} {CONNECTING} {ACCEPTING} {SIGNALLING}");
        for name in [
            "ptrace",
            "process_vm_readv",
            "mount",
            "umount2",
            "unshare",
            "setns",
            "pivot_root",
            "chroot",
            "clone3",
            "bpf",
            "io_uring_setup",
            "userfaultfd",
            "keyctl",
            "add_key",
            "kexec_load",
            "init_module",
            "finit_module",
            "perf_event_open",
            "bind",
            "listen",
            "socket",
            "memfd_create",
            "open_by_handle_at",
            "capset",
            "setuid",
            "sendmmsg",
            "personality",
            "swapon",
            "reboot",
        ] {
            assert!(!listed.split_whitespace().any(|one| one == name), "{name}");
        }
    }
}
