//! What this machine offers to cells, found out once at the start, and who is who in them.

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

/// The first user of functions, as root has it; others follow. Where systemd and Debian have none.
const FIRST_USER: u32 = 100_000;

/// The gateway's.
pub const GATEWAY_USER: u32 = FIRST_USER - 1;

/// Why the machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The file that keeps it.
    #[error("cannot tell which function is which user")]
    Users(#[source] io::Error),
    /// The program.
    #[error("cannot start what makes cells")]
    Zygote(#[source] io::Error),
}

/// What a cell's program is given, besides its order.
#[derive(Debug)]
pub struct Given {
    /// The directory of its cgroup, as the order says that there is one.
    pub cgroup: Option<OwnedFd>,
    /// What it finds open from descriptor 3 on.
    pub descriptors: Vec<OwnedFd>,
}

/// A cell that has begun.
#[derive(Debug)]
pub struct Started {
    /// Its process, to be waited for.
    pub pid: Pid,
    /// What it prints.
    pub stdout: OwnedFd,
    /// What it complains about.
    pub stderr: OwnedFd,
    /// Where it says what stands.
    pub told: UnixStream,
}

/// The machine, as far as cells need it.
#[derive(Debug)]
pub struct Machine {
    /// What it offers.
    pub host: Host,
    /// Dropped before the groups: it is in one of them.
    zygote: RefCell<Option<Zygote>>,
    /// The empty namespaces that could be made.
    empty: Vec<(Empty, OwnedFd)>,
    /// The platform's control groups, or why there are none.
    pub cgroups: Result<Cgroups, String>,
    /// The program that copies of itself make cells of.
    pub cell: Program,
    /// What cannot be enforced is a reason not to start, whatever the manifest says.
    pub strict: bool,
    users: Users,
    /// Compiled once for each kind of plan, in sealed memory.
    filters: RefCell<HashMap<Kind, OwnedFd>>,
}

impl Machine {
    /// Looks. `users` is the file that keeps which function is which user.
    ///
    /// # Errors
    /// That file cannot be read, or `cell` not be started.
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
        // Before anything is started: a group with other processes passes no controllers on.
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

    /// Starts a cell: a child of this process, which it ends with (PR_SET_PDEATHSIG, prctl(2)).
    ///
    /// # Errors
    /// It could not be made. What goes wrong within it, it says itself.
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

    /// Asks the zygote, and a new one if there is none any more.
    fn bear(&self, order: &Order, handed: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        let mut kept = self.zygote.borrow_mut();
        let told = |zygote: Zygote| zygote.tell(order, handed).map(|()| zygote);
        let asked = match kept.take().map(told) {
            Some(Ok(zygote)) => zygote,
            Some(Err(_)) | None => told(Zygote::start(&self.cell)?)?,
        };
        // One that fails here may have made the cell or not: it is not told again, nor kept.
        let pid = asked.hear()?;
        *kept = Some(asked);
        Ok(pid)
    }

    /// The user of a function: the same whenever it is asked for, and with `files` of its own also after
    /// the next start.
    ///
    /// # Errors
    /// A new one cannot be kept.
    pub fn user(&mut self, function: &str, files: bool) -> io::Result<u32> {
        match self.host.user.0 {
            0 => self.users.of(function, files),
            // Nobody else can be given.
            own => Ok(own),
        }
    }
}

fn make(empty: Empty) -> Option<(Empty, OwnedFd)> {
    let (kind, name) = empty.kind();
    Some((empty, privilege::empty_namespace(kind, name).ok()?))
}

/// Which function is which user: a JSON object, kept because files belong to users.
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

    /// Kept as soon as one of them has files that will belong to it.
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
        // Whole or not at all: a torn file would give files of one function to another.
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
