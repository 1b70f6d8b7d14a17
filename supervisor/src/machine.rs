//! What this machine offers to cells, found out once at the start, and who is who in them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use hearth_sys::{memfile, privilege, spawn};
use nix::unistd::{getgid, getuid};

use crate::cell::{Apart, Empty, Host, Kind, Plan};
use crate::cgroup::Cgroups;
use crate::gateway::Program;

/// The first user of functions, as root has it; others follow. Where systemd and Debian have none.
const FIRST_USER: u32 = 100_000;

/// The gateway's.
pub const GATEWAY_USER: u32 = FIRST_USER - 1;

/// The machine, as far as cells need it.
#[derive(Debug)]
pub struct Machine {
    /// What it offers.
    pub host: Host,
    /// The empty namespaces that could be made.
    empty: Vec<(Empty, OwnedFd)>,
    /// The platform's control groups, or why there are none.
    pub cgroups: Result<Cgroups, String>,
    /// The program that makes a cell of itself.
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
    /// That file cannot be read.
    pub fn look(cell: Program, strict: bool, users: PathBuf) -> io::Result<Machine> {
        let user = (getuid().as_raw(), getgid().as_raw());
        let (apart, why_not_apart) = match user.0 {
            0 => (Apart::ByRoot, None),
            _ => match spawn::try_user_namespace() {
                Ok(()) => (Apart::ByUser, None),
                Err(error) => {
                    let why = format!("an ordinary user may have none here: {error}");
                    (Apart::Not, Some(why))
                }
            },
        };
        let empty = match apart {
            Apart::ByRoot => Empty::ALL.into_iter().filter_map(make).collect(),
            Apart::ByUser | Apart::Not => Vec::new(),
        };
        Ok(Machine {
            host: Host {
                apart,
                why_not_apart,
                user,
                landlock: privilege::landlock_version(),
                empty: empty.iter().map(|(kind, _)| *kind).collect(),
            },
            empty,
            cgroups: Cgroups::take(),
            cell,
            strict,
            users: Users::read(users)?,
            filters: RefCell::default(),
        })
    }

    /// What a cell of this plan finds open, as `cell::enter` takes it; and the other end of the first, where it
    /// says what stands.
    pub fn handed(&self, plan: &Plan) -> io::Result<(UnixStream, Vec<OwnedFd>)> {
        let (ours, theirs) = UnixStream::pair()?;
        let sealed = memfile::sealed("cell", &serde_json::to_vec(plan)?)?;
        let mut handed = vec![theirs.into(), sealed, self.filter(Kind::of(plan))?];
        for kind in &plan.enters {
            let made = self.empty.iter().find(|(made, _)| made == kind);
            let (_, made) = made.ok_or(io::ErrorKind::NotFound)?;
            handed.push(made.try_clone()?);
        }
        Ok((ours, handed))
    }

    fn filter(&self, kind: Kind) -> io::Result<OwnedFd> {
        let mut filters = self.filters.borrow_mut();
        if let Some(filters) = filters.get(&kind) {
            return filters.try_clone();
        }
        let sealed = memfile::sealed("filter", &kind.compiled()?)?;
        let copy = sealed.try_clone()?;
        filters.insert(kind, sealed);
        Ok(copy)
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
