//! What this machine offers for sandboxes, determined once at the start, and the user ids of functions.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use hearth_sys::{fork, memfile, privilege, seccomp};
use nix::fcntl::OFlag;
use nix::unistd::{Pid, getgid, getuid, pipe2};

use crate::cell::{Apart, Empty, Host, Kind, Order};
use crate::cgroup::Cgroups;
use crate::gateway::Program;
use crate::zygote::Zygote;

/// The first user id for functions if the platform runs as root; each further function gets the next one. systemd and
/// Debian create no users from here on.
const FIRST_USER: u32 = 100_000;

/// The gateway's user id.
pub const GATEWAY_USER: u32 = FIRST_USER - 1;

/// Why sandboxes cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The file of user ids cannot be read.
    #[error("cannot tell which function is which user")]
    Users(#[source] io::Error),
    /// The sandbox helper cannot be started.
    #[error("cannot start what makes cells")]
    Zygote(#[source] io::Error),
}

/// The descriptors that a sandbox and its program get with the order.
#[derive(Debug)]
pub struct Given {
    /// The directory of its control group, if the order says that it has one.
    pub cgroup: Option<OwnedFd>,
    /// The descriptors that the program inherits, from number 3 on.
    pub descriptors: Vec<OwnedFd>,
}

/// A sandbox that has been started.
#[derive(Debug)]
pub struct Started {
    /// Its process, which is to be waited for.
    pub pid: Pid,
    /// What it writes to stdout.
    pub stdout: OwnedFd,
    /// What it writes to stderr.
    pub stderr: OwnedFd,
    /// The socket on which it reports which mechanisms are enforced.
    pub told: UnixStream,
}

/// The machine, as far as sandboxes need it.
#[derive(Debug)]
pub struct Machine {
    /// What it offers.
    pub host: Host,
    /// Dropped before the control groups, because its process is in one of them.
    zygote: RefCell<Option<Zygote>>,
    /// The empty namespaces that could be made.
    empty: Vec<(Empty, OwnedFd)>,
    /// The platform's control groups, or why there are none.
    pub cgroups: Result<Cgroups, String>,
    /// The sandbox helper: the zygote's program.
    pub cell: Program,
    /// Whether a worker fails to start if a part of its sandbox cannot be enforced, whatever the manifest sets.
    pub strict: bool,
    users: Users,
    /// The filters of system calls, compiled once for each kind of plan, in sealed memory files.
    filters: RefCell<HashMap<Kind, OwnedFd>>,
}

impl Machine {
    /// Examines the machine and starts the zygote. `users` is the file of user ids.
    ///
    /// # Errors
    /// The file cannot be read, or `cell` cannot be started.
    pub fn look(cell: Program, strict: bool, users: PathBuf) -> Result<Machine, LookError> {
        let user = (getuid().as_raw(), getgid().as_raw());
        let (apart, why_not_apart) = match user.0 {
            0 => (Apart::ByRoot, None),
            _ => match fork::try_user_namespace() {
                Ok(()) => (Apart::ByUser, None),
                Err(error) => {
                    let why = format!("an ordinary user may have none here: {error}");
                    (Apart::Not, Some(why))
                }
            },
        };
        let empty = match apart {
            Apart::ByRoot => Empty::ALL
                .into_iter()
                .filter(|one| *one != Empty::Ipc || seccomp::can_be_told())
                .filter_map(make)
                .collect(),
            Apart::ByUser | Apart::Not => Vec::new(),
        };
        // Before any process is started: a group that contains other processes cannot enable controllers.
        let cgroups = Cgroups::take();
        let zygote = Zygote::start(&cell).map_err(LookError::Zygote)?;
        Ok(Machine {
            host: Host {
                apart,
                why_not_apart,
                user,
                landlock: privilege::landlock_version(),
                empty: empty.iter().map(|(kind, _)| *kind).collect(),
            },
            empty,
            cgroups,
            cell,
            strict,
            users: Users::read(users).map_err(LookError::Users)?,
            filters: RefCell::default(),
            zygote: RefCell::new(Some(zygote)),
        })
    }

    /// Starts a sandbox. It is a child of this process, and ends with it (PR_SET_PDEATHSIG, prctl(2)).
    ///
    /// # Errors
    /// The process could not be started. The sandbox itself reports what fails within it.
    pub fn start(&self, order: &Order, given: &Given) -> io::Result<Started> {
        let flags = OFlag::O_CLOEXEC;
        let ((stdout, their_stdout), (stderr, their_stderr)) = (pipe2(flags)?, pipe2(flags)?);
        let (told, theirs) = UnixStream::pair()?;
        let kind = Kind::of(&order.plan);
        let mut filters = self.filters.borrow_mut();
        let filter = match filters.entry(kind) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(none) => none.insert(memfile::sealed("filter", &kind.compiled()?)?),
        };
        let mut handed = vec![
            their_stdout.as_fd(),
            their_stderr.as_fd(),
            theirs.as_fd(),
            filter.as_fd(),
        ];
        handed.extend(given.cgroup.as_ref().map(AsFd::as_fd));
        for kind in &order.plan.enters {
            let made = self.empty.iter().find(|(made, _)| made == kind);
            let (_, made) = made.ok_or(io::ErrorKind::NotFound)?;
            handed.push(made.as_fd());
        }
        handed.extend(given.descriptors.iter().map(AsFd::as_fd));
        let pid = self.bear(order, &handed)?;
        Ok(Started {
            pid,
            stdout,
            stderr,
            told,
        })
    }

    /// Sends an order to the zygote. Starts a new zygote if none is running or it does not accept the order.
    fn bear(&self, order: &Order, handed: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        let mut kept = self.zygote.borrow_mut();
        let told = |zygote: Zygote| zygote.tell(order, handed).map(|()| zygote);
        let asked = match kept.take().map(told) {
            Some(Ok(zygote)) => zygote,
            Some(Err(_)) | None => told(Zygote::start(&self.cell)?)?,
        };
        // If this fails, it is unknown whether the sandbox was started. The order is not repeated, and the zygote is
        // ended.
        let pid = asked.hear()?;
        *kept = Some(asked);
        Ok(pid)
    }

    /// The user id of a function, the same at every call. If the function has `files`, it is also the same after the
    /// next start of the platform.
    ///
    /// # Errors
    /// A new user id cannot be stored.
    pub fn user(&mut self, function: &str, files: bool) -> io::Result<u32> {
        match self.host.user.0 {
            0 => self.users.of(function, files),
            // Only root can give functions other users.
            own => Ok(own),
        }
    }
}

fn make(empty: Empty) -> Option<(Empty, OwnedFd)> {
    let (kind, name) = empty.kind();
    Some((empty, privilege::empty_namespace(kind, name).ok()?))
}

/// The user ids of functions, stored as a JSON object because files belong to users.
#[derive(Debug)]
struct Users {
    file: PathBuf,
    known: BTreeMap<String, u32>,
    kept: bool,
}

impl Users {
    fn read(file: PathBuf) -> io::Result<Users> {
        let (known, kept) = match fs::read(&file) {
            Ok(text) => (serde_json::from_slice(&text)?, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), false),
            Err(error) => return Err(error),
        };
        Ok(Users { file, known, kept })
    }

    /// The user id of a function. All ids are stored as soon as one of the functions has files.
    fn of(&mut self, function: &str, files: bool) -> io::Result<u32> {
        if let Some(user) = self.known.get(function) {
            let user = *user;
            if files && !self.kept {
                self.keep()?;
            }
            return Ok(user);
        }
        let last = self.known.values().max();
        let user = last.map_or(FIRST_USER, |last| last + 1);
        self.known.insert(function.to_owned(), user);
        if files || self.kept {
            self.keep()?;
        }
        Ok(user)
    }

    fn keep(&mut self) -> io::Result<()> {
        // The file is replaced as a whole: a torn one would give the files of one function to another.
        let next = self.file.with_extension("next");
        fs::write(&next, serde_json::to_vec(&self.known)?)?;
        File::open(&next)?.sync_all()?;
        fs::rename(&next, &self.file)?;
        self.kept = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_stays_who_it_is() {
        let directory = std::env::temp_dir().join(format!("hearth-users-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("users.json");
        let mut users = Users::read(file.clone()).unwrap();
        assert_eq!(users.of("b", false).unwrap(), FIRST_USER);
        assert!(!file.exists(), "nothing belongs to anybody");
        assert_eq!(users.of("a", true).unwrap(), FIRST_USER + 1);
        let mut again = Users::read(file.clone()).unwrap();
        assert_eq!(again.of("a", false).unwrap(), FIRST_USER + 1);
        assert_eq!(again.of("c", false).unwrap(), FIRST_USER + 2);
        assert_eq!(
            Users::read(file.clone()).unwrap().of("c", true).unwrap(),
            FIRST_USER + 2
        );
        fs::write(&file, "{ torn").unwrap();
        assert!(Users::read(file).is_err(), "who is who must not be guessed");
        fs::remove_dir_all(directory).unwrap();
    }
}
