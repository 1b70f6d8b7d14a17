//! The system calls of a sandbox: a list of allowed calls, for each architecture. All other calls are refused, and the
//! supervisor receives a notification of each.
//!
//! Mounts, Landlock and namespaces control the access to files, ports and processes. This filter reduces the kernel's
//! attack surface to the calls that servers use.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use hearth_sys::seccomp::{ASK, Instruction, filter_with_listener};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch,
};
use syscalls::{Sysno, SysnoSet};

use super::Plan;

/// Calls that are allowed with any arguments. Names that an architecture does not have are ignored.
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

/// Also allowed if the plan names a port or a socket to connect to.
const CONNECTING: &str = "connect";

/// Also allowed for a process that accepts connections.
const ACCEPTING: &str = "accept accept4";

/// Also allowed if signals cannot leave the sandbox.
const SIGNALLING: &str =
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal";

/// Allowed operations of `prctl`: names of the process and its memory, the signal when its parent ends, `no_new_privs`,
/// and queries.
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

/// Allowed operations of `ioctl`: those for all kinds of descriptors, and those that distinguish a terminal from a
/// file.
const IOCTL: [libc::Ioctl; 6] = [
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
];

/// Flags of `clone` that create namespaces: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u64 = 0x80
    | 0x2_0000
    | 0x200_0000
    | 0x400_0000
    | 0x800_0000
    | 0x1000_0000
    | 0x2000_0000
    | 0x4000_0000;

/// Mask for the type of a socket without its flags (SOCK_NONBLOCK, SOCK_CLOEXEC).
const SOCKET_KIND: u64 = 0xf;

/// Opcodes of filters (`linux/bpf_common.h`): BPF_LD | BPF_W | BPF_ABS, BPF_JMP with BPF_JEQ, BPF_JGE, BPF_JA, BPF_RET.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// Offsets of the call's number and of its architecture in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;

/// `SECCOMP_RET_ERRNO` with `ENOSYS`.
const MISSING: u32 = 0x0005_0000 | libc::ENOSYS.unsigned_abs();

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` (`linux/audit.h`): 64 bits, little-endian, the machine's ELF number.
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_AARCH64: u32 = 0xc000_00b7;

/// `SECCOMP_RET_TRACE`. It stands for [`ASK`] in the output of seccompiler, which does not support [`ASK`].
const MARK: u32 = 0x7ff0_0000;

/// Size of an instruction in bytes (the kernel's `struct sock_filter`).
const INSTRUCTION: usize = 8;

/// The parts of a plan that determine its filter. Plans in which they are equal share a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    tcp: bool,
    unix: bool,
    serve: bool,
    signals: bool,
}

impl Kind {
    /// The kind of this plan.
    pub fn of(plan: &Plan) -> Kind {
        Kind {
            tcp: !plan.network.ports.is_empty(),
            unix: plan.network.unix,
            serve: plan.network.serve,
            signals: plan.calls.signals,
        }
    }

    /// The compiled filter, in the format that `restrict` reads. The supervisor compiles it once, so that starts of
    /// workers do not have to wait for it.
    pub fn compiled(self) -> io::Result<Vec<u8>> {
        Ok(packed(&self.filter()?))
    }

    fn filter(self) -> io::Result<Vec<Instruction>> {
        let rules = rules(self);
        // The flags of clone3 are in memory, which filters cannot read. Libraries use clone if clone3 does not exist.
        let mut said: BTreeMap<u32, Verdict> = number("clone3")
            .and_then(|call| Some((u32::try_from(call).ok()?, Verdict::Missing)))
            .into_iter()
            .collect();
        for (call, any) in &rules {
            let verdict = match any.is_empty() {
                true => Verdict::Allow,
                false => Verdict::Further,
            };
            said.insert(u32::try_from(*call).map_err(io::Error::other)?, verdict);
        }
        let asked = rules.into_iter().filter(|(_, any)| !any.is_empty());
        let mut filter = search(&said)?;
        filter.extend(compile(
            asked.collect(),
            SeccompAction::Trace(0),
            SeccompAction::Allow,
        )?);
        Ok(filter)
    }
}

/// What the first part of a filter decides about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Refuse,
    /// Fail with ENOSYS, as if the call did not exist.
    Missing,
    /// Let the second part of the filter check the arguments.
    Further,
}

impl Verdict {
    /// `behind` is the number of instructions that follow it in the first part.
    fn instruction(self, behind: usize) -> Instruction {
        match self {
            Verdict::Allow => instruction(RETURN, 0, 0, ALLOW),
            Verdict::Refuse => instruction(RETURN, 0, 0, ASK),
            Verdict::Missing => instruction(RETURN, 0, 0, MISSING),
            Verdict::Further => instruction(JUMP, 0, 0, behind as u32),
        }
    }
}

/// The first part of a filter. It passes calls with the verdict `Further` on to the second part, and refuses calls
/// without a verdict.
///
/// When a filter is installed, the kernel runs it for every call number, to find the calls that the filter always
/// allows. For the linear list that seccompiler makes, this took a third of the start of a worker, so this part is a
/// binary search.
fn search(said: &BTreeMap<u32, Verdict>) -> io::Result<Vec<Instruction>> {
    // The numbers from which on the verdict changes, each with the new verdict. Calls before the first are refused.
    let mut edges: Vec<(u32, Verdict)> = Vec::new();
    let last = |edges: &[(u32, Verdict)]| edges.last().map_or(Verdict::Refuse, |one| one.1);
    for (call, verdict) in said {
        if last(&edges) != *verdict {
            edges.push((*call, *verdict));
        }
        if !said.contains_key(&(call + 1)) {
            edges.push((call + 1, Verdict::Refuse));
        }
    }
    let tree = halve(&edges, Verdict::Refuse)?;
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let arch = match arch {
        TargetArch::x86_64 => AUDIT_X86_64,
        TargetArch::aarch64 => AUDIT_AARCH64,
        TargetArch::riscv64 => return Err(io::ErrorKind::Unsupported.into()),
    };
    let length = tree.len();
    // On another architecture, numbers mean other calls. The second part kills the process for each of them.
    let mut filter = vec![
        instruction(LOAD, 0, 0, ARCH_AT),
        instruction(IF_EQUAL, 1, 0, arch),
        instruction(JUMP, 0, 0, length as u32 + 1),
        instruction(LOAD, 0, 0, NUMBER_AT),
    ];
    filter.extend(tree.into_iter().enumerate().map(|(at, one)| match one {
        Node::Ask(one) => one,
        Node::Leaf(verdict) => verdict.instruction(length - at - 1),
    }));
    Ok(filter)
}

/// A node of the search tree.
enum Node {
    Ask(Instruction),
    Leaf(Verdict),
}

/// The search tree for these edges. `before` is the verdict before the first.
fn halve(edges: &[(u32, Verdict)], before: Verdict) -> io::Result<Vec<Node>> {
    let middle = edges.len() / 2;
    let Some((edge, after)) = edges.get(middle) else {
        return Ok(vec![Node::Leaf(before)]);
    };
    let below = halve(&edges[..middle], before)?;
    let above = halve(&edges[middle + 1..], *after)?;
    let over = u8::try_from(below.len()).map_err(io::Error::other)?;
    let ask = Node::Ask(instruction(IF_AT_LEAST, over, 0, *edge));
    Ok([ask].into_iter().chain(below).chain(above).collect())
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn packed(filter: &[Instruction]) -> Vec<u8> {
    let instructions = filter.iter().flat_map(|one| {
        let [code, k] = [u32::from(one.code), one.k].map(u32::to_le_bytes);
        [code[0], code[1], one.jt, one.jf, k[0], k[1], k[2], k[3]]
    });
    instructions.collect()
}

fn unpacked(bytes: &[u8]) -> Option<Vec<Instruction>> {
    let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
    let instruction = |one: &[u8; INSTRUCTION]| Instruction {
        code: u16::from_le_bytes([one[0], one[1]]),
        jt: one[2],
        jf: one[3],
        k: u32::from_le_bytes([one[4], one[5], one[6], one[7]]),
    };
    let whole = rest.is_empty() && !instructions.is_empty();
    whole.then(|| instructions.iter().map(instruction).collect())
}

/// Filters the calls of this process from now on. The returned descriptor receives the notifications of refused calls.
///
/// # Errors
/// `InvalidData` if `compiled` is not in the format of [`Kind::compiled`]; the errors of seccomp(2).
pub(super) fn restrict(compiled: &[u8]) -> io::Result<OwnedFd> {
    let torn = || io::Error::new(io::ErrorKind::InvalidData, "the filter is torn");
    filter_with_listener(&unpacked(compiled).ok_or_else(torn)?)
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
            // Only the operand of this instruction is an action.
            RETURN => ask(one.k),
            _ => one.k,
        },
    });
    Ok(instructions.collect())
}

fn number(name: &str) -> Option<i64> {
    Sysno::from_str(name).ok().map(|call| i64::from(call.id()))
}

/// The calls that the plan allows. A call without a rule is always allowed; a call with rules is allowed if one of them
/// matches.
fn rules(kind: Kind) -> BTreeMap<i64, Vec<Rule>> {
    let mut names = vec![ALLOWED];
    if kind.tcp || kind.unix {
        names.push(CONNECTING);
    }
    if kind.serve {
        names.push(ACCEPTING);
    }
    if kind.signals {
        names.push(SIGNALLING);
    }
    let names = names.iter().flat_map(|list| list.split_whitespace());
    let names: HashSet<&str> = names.collect();
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
    // Only its own limits, not those of other processes of the same user.
    only("prlimit64", vec![vec![is(0, 0)]]);
    only("prctl", PRCTL.map(|one| vec![is(0, one as u64)]).into());
    #[allow(
        clippy::unnecessary_cast,
        reason = "another C library has them in another type"
    )]
    only("ioctl", IOCTL.map(|one| vec![is(1, one as u64)]).into());
    // An unnamed pair of stream sockets is a pipe. Datagram sockets could send to other addresses.
    let stream = |argument| bits(argument, SOCKET_KIND, libc::SOCK_STREAM as u64);
    let family = |one: libc::c_int| is(0, one as u64);
    only("socketpair", vec![vec![family(libc::AF_UNIX), stream(1)]]);
    let mut sockets = Vec::new();
    if kind.tcp {
        for one in [libc::AF_INET, libc::AF_INET6] {
            // Landlock does not check other protocols of stream sockets, such as MPTCP.
            for protocol in [0, libc::IPPROTO_TCP as u64] {
                sockets.push(vec![family(one), stream(1), is(2, protocol)]);
            }
        }
    }
    if kind.unix {
        sockets.push(vec![family(libc::AF_UNIX), stream(1)]);
    }
    only("socket", sockets);
    // With MSG_FASTOPEN, sending also connects, and Landlock does not check it.
    let plain = |flags| vec![vec![bits(flags, libc::MSG_FASTOPEN as u64, 0)]];
    only("sendto", plain(3));
    only("sendmsg", plain(2));
    rules
}

/// The lower 32 bits of the argument have this value. The kernel uses no others for the arguments that are checked
/// here.
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

    /// Calls of older architectures, which newer architectures have only in later forms.
    const OLDER: &str = "
        open creat stat lstat getdents mkdir rmdir unlink rename link symlink readlink access chmod dup2
        newfstatat pipe select poll epoll_create epoll_wait pause alarm arch_prctl fork vfork getpgrp getrlimit time
    ";

    /// The name of such a call on newer architectures.
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
    fn a_filter_is_read_as_it_was_compiled() {
        let kind = Kind {
            tcp: true,
            unix: true,
            serve: true,
            signals: true,
        };
        let compiled = kind.compiled().unwrap();
        let filter = unpacked(&compiled).unwrap();
        assert_eq!(packed(&filter), compiled);
        assert!(
            filter.iter().any(|one| one.k == ASK),
            "refused calls are told"
        );
        for cut in (0..compiled.len()).filter(|cut| *cut == 0 || cut % INSTRUCTION > 0) {
            let error = restrict(&compiled[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{cut}");
        }
    }

    /// Runs a filter for a call without arguments, as the kernel would. Returns the result and the number of steps.
    fn run(filter: &[Instruction], arch: u32, number: u32) -> (u32, usize) {
        let (mut at, mut value) = (0, 0);
        for step in 1.. {
            let one = filter[at];
            at += 1;
            let over = |holds| usize::from(if holds { one.jt } else { one.jf });
            match one.code {
                LOAD => {
                    value = match one.k {
                        NUMBER_AT => number,
                        ARCH_AT => arch,
                        _ => 0,
                    }
                }
                IF_EQUAL => at += over(value == one.k),
                IF_AT_LEAST => at += over(value >= one.k),
                // BPF_ALU | BPF_AND.
                0x54 => value &= one.k,
                JUMP => at += one.k as usize,
                RETURN => return (one.k, step),
                code => panic!("instruction {code:#x}"),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_search_finds_what_a_list_says() {
        let own = if cfg!(target_arch = "x86_64") {
            AUDIT_X86_64
        } else {
            AUDIT_AARCH64
        };
        let clone3 = number("clone3").unwrap();
        for bits in 0..16 {
            let kind = Kind {
                tcp: bits & 1 > 0,
                unix: bits & 2 > 0,
                serve: bits & 4 > 0,
                signals: bits & 8 > 0,
            };
            let searched = kind.filter().unwrap();
            let then = SeccompAction::Allow;
            let list = compile(rules(kind), SeccompAction::Trace(0), then).unwrap();
            let mut most = 0;
            // Numbers of x32 begin at 1 << 30.
            for number in (0..1024)
                .chain((1 << 30)..(1 << 30) + 1024)
                .chain([u32::MAX])
            {
                let (said, steps) = run(&searched, own, number);
                let wanted = match i64::from(number) == clone3 {
                    true => MISSING,
                    false => run(&list, own, number).0,
                };
                assert_eq!(said, wanted, "{number}");
                let foreign = run(&searched, own ^ 1, number).0;
                assert_eq!(foreign, run(&list, own ^ 1, number).0, "{number}");
                assert_ne!(foreign, ALLOW, "{number}");
                most = most.max(steps);
            }
            assert!(most < 100, "{most} steps");
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
