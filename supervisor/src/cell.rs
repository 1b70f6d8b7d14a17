//! Sandboxes, which the code calls cells: a process in one gets what the manifest grants it and nothing else.
//!
//! `plan` derives a [`Plan`] from the manifest and the machine, without I/O. A copy of the [`zygote()`] becomes the
//! worker: step by step it gives up everything that the plan does not name, reports to the supervisor which mechanisms
//! are enforced ([`Word`]), and executes the program. The order of the steps is that in `enter.rs`.

mod calls;
pub mod choice;
mod enter;
mod files;
mod identity;
mod plan;
mod program;
mod reach;
mod zygote;

use std::path::PathBuf;

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

pub use calls::Kind;
pub use enter::Handed;
pub use plan::{Host, for_gateway, for_worker};
pub use program::Program;
pub use zygote::{LONGEST, serve, zygote};

/// The plan of a sandbox: everything that its process gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whether the process fails to start if a mechanism cannot be enforced.
    pub strict: bool,
    /// The host name, if the sandbox has its own namespaces.
    pub name: String,
    /// The path of the program's stored copy.
    pub program: PathBuf,
    /// The path of the program inside the sandbox.
    pub shown: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The user and group that it runs as.
    pub identity: Identity,
    /// Which namespaces it starts in.
    pub apart: Apart,
    /// The empty namespaces that it enters. Their descriptors are passed in this order.
    pub enters: Vec<Empty>,
    /// The files and directories that it can access; it can access no others.
    pub files: Vec<Reach>,
    /// The size of its `/tmp` in bytes; 0 for no `/tmp`.
    pub tmp: u64,
    /// Its access to networks.
    pub network: Network,
    /// The system calls that it may make.
    pub calls: Calls,
    /// Limits of its process: name and value (setrlimit(2)).
    pub limits: Vec<(Limit, u64)>,
    /// Mechanisms that are known before the process starts, such as those of its control group.
    pub known: Vec<Mechanism>,
}

/// The user and group that a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A user and group of this id, for this sandbox alone. Only root can set them.
    Own(u32),
    /// The user and the group that the platform runs as.
    Same(u32, u32),
}

/// Which namespaces a process starts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apart {
    /// New ones, created with root's privileges.
    ByRoot,
    /// New ones, inside a new user namespace.
    ByUser,
    /// Those of the platform.
    Not,
}

/// A kind of namespace of which all sandboxes that need nothing in it share an empty one. Their system call filters
/// allow no call that would put something into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Interfaces, addresses, ports.
    Net,
}

impl Empty {
    /// All kinds.
    pub const ALL: [Empty; 2] = [Empty::Ipc, Empty::Net];

    /// The kernel's flag, and the name in `/proc` (namespaces(7)).
    pub fn kind(self) -> (CloneFlags, &'static str) {
        match self {
            Empty::Ipc => (CloneFlags::CLONE_NEWIPC, "ipc"),
            Empty::Net => (CloneFlags::CLONE_NEWNET, "net"),
        }
    }
}

impl Plan {
    /// The new namespaces that the process starts in.
    pub fn namespaces(&self) -> CloneFlags {
        let mut own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS;
        if !self.enters.contains(&Empty::Ipc) {
            own |= CloneFlags::CLONE_NEWIPC;
        }
        match self.apart {
            Apart::ByRoot => own,
            Apart::ByUser => own | CloneFlags::CLONE_NEWUSER,
            Apart::Not => CloneFlags::empty(),
        }
    }
}

/// A file or directory that a sandbox can access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// Its path.
    pub path: PathBuf,
    /// The kind of access.
    pub to: Access,
}

/// The kind of access to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read.
    Read,
    /// Read and execute, for libraries and interpreters.
    Execute,
    /// Read and write.
    Write,
    /// Read and write a harmless device.
    Device,
    /// Connect to the sockets in a directory.
    Connect,
}

/// The access of a process to networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// TCP ports that it may connect to. If there are none, it cannot create TCP sockets.
    pub ports: Vec<u16>,
    /// Whether it may connect to Unix sockets with a path.
    pub unix: bool,
    /// Whether it may accept connections on inherited listeners.
    pub serve: bool,
}

/// The system calls that a process may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Whether it may send signals: only if they cannot leave the sandbox.
    pub signals: bool,
}

/// A limit of a process (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of a core dump.
    Core,
    /// Bytes of private, writable memory.
    Data,
    /// Processes and threads of its user.
    Processes,
    /// Open descriptors.
    OpenFiles,
    /// Bytes of memory that is locked against swapping.
    Locked,
    /// Bytes of POSIX message queues.
    Queues,
}

/// A mechanism of a sandbox: how it is enforced, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mechanism {
    /// `user`, `namespaces`, `files`, `network`, `capabilities`, `landlock`, `seccomp`, `memory`, ...
    pub name: String,
    /// Whether it is enforced.
    pub enforced: bool,
    /// How it is enforced, or why it is not.
    pub detail: String,
}

impl Mechanism {
    /// A mechanism that is enforced.
    pub fn enforced(name: &str, detail: impl Into<String>) -> Mechanism {
        Mechanism {
            name: name.to_owned(),
            enforced: true,
            detail: detail.into(),
        }
    }

    /// A mechanism that is not enforced.
    pub fn missing(name: &str, why: impl Into<String>) -> Mechanism {
        Mechanism {
            name: name.to_owned(),
            enforced: false,
            detail: why.into(),
        }
    }
}

/// An order for a sandbox, and what its program gets. Descriptors come with it, in this sequence: stdout, stderr, the
/// socket for reports to the supervisor, the system call filter, the directory of the control group if there is one,
/// the empty namespaces that the plan enters, and the descriptors that the program inherits from number 3 on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The plan of the sandbox.
    pub plan: Plan,
    /// The program's whole environment.
    pub env: Vec<(String, String)>,
    /// Whether it is scheduled as SCHED_BATCH (sched(7)).
    pub batch: bool,
    /// Whether it starts in its own control group.
    pub cgroup: bool,
}

/// The zygote's reply to an order: one JSON object on a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Born {
    /// The id of the process that has been started.
    As(i32),
    /// No process has been started, for this reason.
    Not(String),
}

/// A report of the process in a sandbox before it executes its program: one JSON object on a line. With the first
/// report, the process passes the seccomp listener for refused system calls, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// All mechanisms of the sandbox, each with its state.
    Stands(Vec<Mechanism>),
    /// The sandbox could not be made, or the program could not be executed, for this reason.
    Failed(String),
}
