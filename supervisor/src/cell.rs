//! Cells: what a process of ours is started in, so that it gets what its manifest says and nothing else.
//!
//! `plan` derives a [`Plan`] from the manifest and the machine, purely. A copy of the [`zygote()`] becomes the
//! worker: step by step it gives up what the plan does not name, tells the supervisor what holds
//! ([`Word`]), and executes the program. The order of the steps is that of `enter.rs`.

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

/// What a cell is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What cannot be enforced is a reason not to start.
    pub strict: bool,
    /// Its host name, where that is its own.
    pub name: String,
    /// The program, where it is kept.
    pub program: PathBuf,
    /// Where it is seen from within.
    pub shown: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Who it is.
    pub identity: Identity,
    /// Whose namespaces it begins in.
    pub apart: Apart,
    /// The empty namespaces that it enters, which come as descriptors in this order.
    pub enters: Vec<Empty>,
    /// Files and directories that it reaches; all others it does not.
    pub files: Vec<Reach>,
    /// Bytes of its `/tmp`.
    pub tmp: u64,
    /// What it reaches of networks.
    pub network: Network,
    /// Its system calls.
    pub calls: Calls,
    /// Limits of its process: name and value (setrlimit(2)).
    pub limits: Vec<(Limit, u64)>,
    /// What is known of it before it begins: the cgroup's part.
    pub known: Vec<Mechanism>,
}

/// Who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A user and group of its own, that root made it.
    Own(u32),
    /// The user that runs the platform, and the group.
    Same(u32, u32),
}

/// The namespaces of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apart {
    /// Its own, by root's right.
    ByRoot,
    /// Its own, within a user namespace.
    ByUser,
    /// The platform's.
    Not,
}

/// A kind of namespace of which there is an empty one for all cells that need nothing of it. Nothing can be put
/// into it either: their system calls do not allow that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Interfaces, addresses, ports.
    Net,
}

impl Empty {
    /// All of them.
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
    /// The namespaces to start it in.
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

/// A file or directory that is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// Where.
    pub path: PathBuf,
    /// For what.
    pub to: Access,
}

/// What may be done with what is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read.
    Read,
    /// Read, and execute: libraries, interpreters.
    Execute,
    /// Read and write.
    Write,
    /// A device that is harmless: read and write.
    Device,
    /// Sockets in it can be connected to.
    Connect,
}

/// What is reached of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Sockets of families that reach out can be made at all, and TCP ports connected to.
    pub ports: Vec<u16>,
    /// Unix sockets with a name can be connected to.
    pub unix: bool,
    /// It accepts on listeners that it was given.
    pub serve: bool,
}

/// The system calls that a process may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// It may send signals: only where they cannot leave the cell.
    pub signals: bool,
}

/// A limit of a process, in the words of getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of a core dump.
    Core,
    /// Bytes of private memory that can be written.
    Data,
    /// Processes and threads of its user.
    Processes,
    /// Open descriptors.
    OpenFiles,
    /// Bytes of memory kept from being swapped.
    Locked,
    /// Bytes of POSIX message queues.
    Queues,
}

/// What is enforced of a cell, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mechanism {
    /// `user`, `namespaces`, `files`, `network`, `capabilities`, `landlock`, `seccomp`, `memory`, ...
    pub name: String,
    /// Whether it is.
    pub enforced: bool,
    /// How, or why not.
    pub detail: String,
}

impl Mechanism {
    /// One that holds.
    pub fn enforced(name: &str, detail: impl Into<String>) -> Mechanism {
        Mechanism {
            name: name.to_owned(),
            enforced: true,
            detail: detail.into(),
        }
    }

    /// One that does not.
    pub fn missing(name: &str, why: impl Into<String>) -> Mechanism {
        Mechanism {
            name: name.to_owned(),
            enforced: false,
            detail: why.into(),
        }
    }
}

/// A cell to be made, and what its program is given. Descriptors come with it, in this order: stdout, stderr, the
/// socket that the supervisor is told on, the filter of system calls, the cgroup's directory if there is one, the
/// empty namespaces that the plan enters, and those that the program finds from number 3 on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The cell.
    pub plan: Plan,
    /// The program's whole environment.
    pub env: Vec<(String, String)>,
    /// It is scheduled as SCHED_BATCH (sched(7)).
    pub batch: bool,
    /// It begins in a cgroup of its own.
    pub cgroup: bool,
}

/// What comes of an order: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Born {
    /// This process.
    As(i32),
    /// None, and why.
    Not(String),
}

/// What a cell says before it becomes its program: one JSON object a line. With the first word comes
/// the listener of refused system calls, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// This holds.
    Stands(Vec<Mechanism>),
    /// It could not be made, and why.
    Failed(String),
}
