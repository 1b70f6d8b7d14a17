//! The process that makes a cell of itself and becomes the program: single-threaded, started for this
//! alone, with the program's own descriptors from 3 on and its three after them.
//!
//! The order is the only one that works: each step needs what a later one gives up.

use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hearth_sys::{inherit, memfile, passing, privilege, wait};
use nix::sched::setns;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access, sethostname};

use crate::causes::with_causes;

use super::{Apart, Empty, Identity, Limit, Mechanism, Plan, Word, calls, files, identity, reach};

/// Largest plan: many paths and ports.
const MOST_PLAN: u64 = 1 << 20;

/// Why there is no cell; `told` has been said to the supervisor.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoCell(String);

/// What went wrong at a step.
fn at(step: &str) -> impl Fn(&dyn std::fmt::Display) -> String {
    move |error| format!("{step}: {error}")
}

/// Largest filter: it has at most 4,096 instructions (BPF_MAXINSNS) of eight bytes.
const MOST_FILTER: u64 = 1 << 15;

/// Makes a cell and becomes its program. `first` is the socket that the supervisor is told on; the plan
/// follows it, then the filter of system calls, and the empty namespaces that the plan enters.
///
/// # Errors
/// Why not, which the supervisor knows by then.
pub fn enter(first: RawFd) -> Result<Infallible, NoCell> {
    let told = inherit::take(first).map_err(|error| NoCell(format!("no supervisor: {error}")))?;
    let told = UnixStream::from(told);
    let failed = begin(first, &told).unwrap_or_else(|error| error);
    // It says so while it can; whoever is not there any more need not know.
    let _ = say(&told, &Word::Failed(failed.clone()), None);
    Err(NoCell(failed))
}

fn say(told: &UnixStream, word: &Word, listener: Option<&OwnedFd>) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let listener: Vec<_> = listener.map(AsFd::as_fd).into_iter().collect();
    let sent = passing::send(told.as_fd(), &line, &listener)?;
    (&*told).write_all(&line[sent..])
}

/// Returns why it did not become the program.
fn begin(first: RawFd, told: &UnixStream) -> Result<String, String> {
    let plan = inherit::take(first + 1).and_then(|plan| memfile::read(plan, MOST_PLAN));
    let plan: Plan = plan
        .and_then(|plan| Ok(serde_json::from_slice(&plan)?))
        .map_err(|error| format!("the plan: {error}"))?;
    let filter = inherit::take(first + 2).and_then(|filter| memfile::read(filter, MOST_FILTER));
    let filter = filter.map_err(|error| format!("the filter of system calls: {error}"))?;
    let mut stands = Stands {
        strict: plan.strict,
        list: plan.known.clone(),
    };
    stands.none_is_missing()?;
    apart(&plan, first, &mut stands)?;
    limit(&plan)?;
    become_nobody(&plan, &mut stands)?;
    check_program(&plan)?;
    end_with_the_parent(told)?;
    prctl::set_no_new_privs().map_err(|error| at("no_new_privs")(&error))?;
    prctl::set_dumpable(false).map_err(|error| at("dumpable")(&error))?;
    stands.list.push(Mechanism::enforced("no_new_privs", ""));

    let landlock = reach::restrict(&plan, privilege::landlock_version());
    stands.add(
        landlock.unwrap_or_else(|error| Mechanism::missing("landlock", with_causes(&error))),
    )?;
    // Made before: the list of calls is for the program, not for the making of it.
    let mut program = Command::new(&plan.shown);
    program.args(&plan.args);
    let listener = match calls::restrict(&filter) {
        Ok(listener) => {
            stands.add(Mechanism::enforced("seccomp", "a list of allowed calls"))?;
            Some(listener)
        }
        Err(error) => {
            stands.add(Mechanism::missing("seccomp", error.to_string()))?;
            None
        }
    };
    say(told, &Word::Stands(stands.list), listener.as_ref())
        .map_err(|error| at("telling the supervisor")(&error))?;
    drop(listener);
    let error = program.exec();
    Ok(format!("{}: {error}", plan.shown.display()))
}

/// What holds so far.
struct Stands {
    strict: bool,
    list: Vec<Mechanism>,
}

impl Stands {
    fn add(&mut self, mechanism: Mechanism) -> Result<(), String> {
        self.list.push(mechanism);
        self.none_is_missing()
    }

    fn none_is_missing(&self) -> Result<(), String> {
        match self.list.iter().find(|one| !one.enforced) {
            Some(one) if self.strict => Err(format!(
                "the sandbox is strict, and {} cannot be enforced: {}",
                one.name, one.detail
            )),
            _ => Ok(()),
        }
    }
}

/// Namespaces, and the files in them.
fn apart(plan: &Plan, first: RawFd, stands: &mut Stands) -> Result<(), String> {
    let user = match (plan.apart, plan.identity) {
        (Apart::Not, _) => {
            std::env::set_current_dir(&plan.directory)
                .map_err(|error| at("the working directory")(&error))?;
            return Ok(());
        }
        (_, Identity::Own(id)) => (id, id),
        (_, Identity::Same(uid, gid)) => (uid, gid),
    };
    if plan.apart == Apart::ByUser {
        identity::map(user.0, user.1).map_err(|error| at("the user namespace")(&error))?;
    }
    for (place, empty) in (first + 3..).zip(&plan.enters) {
        let (kind, name) = empty.kind();
        let entered = inherit::take(place).and_then(|one| Ok(setns(one, kind)?));
        entered.map_err(|error| format!("the empty namespace {name}: {error}"))?;
    }
    sethostname(&plan.name).map_err(|error| at("the host name")(&error))?;
    files::enter(plan, user).map_err(|(place, error)| format!("files: {place}: {error}"))?;
    let by = match plan.apart {
        Apart::ByUser => "user, mount, pid, ipc, uts",
        _ if plan.enters.contains(&Empty::Net) => "mount, pid, ipc, uts, net",
        _ => "mount, pid, ipc, uts",
    };
    stands.add(Mechanism::enforced("namespaces", by))?;
    stands.add(Mechanism::enforced("files", "its own root directory"))
}

fn limit(plan: &Plan) -> Result<(), String> {
    for (limit, value) in &plan.limits {
        let resource = match limit {
            Limit::Core => Resource::RLIMIT_CORE,
            Limit::Data => Resource::RLIMIT_DATA,
            Limit::Processes => Resource::RLIMIT_NPROC,
            Limit::OpenFiles => Resource::RLIMIT_NOFILE,
            Limit::Locked => Resource::RLIMIT_MEMLOCK,
            Limit::Queues => Resource::RLIMIT_MSGQUEUE,
        };
        // No more than we may have ourselves.
        let (_, most) = nix::sys::resource::getrlimit(resource)
            .map_err(|error| format!("limit {limit:?}: {error}"))?;
        let value = (*value).min(most);
        setrlimit(resource, value, value).map_err(|error| format!("limit {limit:?}: {error}"))?;
    }
    Ok(())
}

fn become_nobody(plan: &Plan, stands: &mut Stands) -> Result<(), String> {
    let privileged = plan.apart == Apart::ByUser || matches!(plan.identity, Identity::Own(_));
    if privileged {
        identity::bound().map_err(|error| at("capabilities")(&error))?;
    }
    match plan.identity {
        Identity::Own(id) => {
            identity::become_user(id).map_err(|error| at("its user")(&error))?;
            stands.add(Mechanism::enforced("user", format!("{id}, its own")))?;
        }
        Identity::Same(uid, _) => {
            let why = format!("{uid}, who runs the platform: only root can give it one of its own");
            stands.add(Mechanism::missing("user", why))?;
        }
    }
    match privileged {
        true => {
            identity::clear().map_err(|error| at("capabilities")(&error))?;
            stands.add(Mechanism::enforced(
                "capabilities",
                "none, and none to be gained",
            ))
        }
        // An ordinary user has none; no_new_privs keeps it so.
        false => stands.add(Mechanism::enforced("capabilities", "none")),
    }
}

/// Looked at before anything is enforced that would only say "permission denied".
fn check_program(plan: &Plan) -> Result<(), String> {
    access(&plan.shown, AccessFlags::X_OK).map_err(|error| {
        let path = plan.shown.display();
        format!("{path} cannot be executed by its own user: {error}; `chmod o+x` it")
    })?;
    for reach in plan
        .files
        .iter()
        .filter(|one| one.to == super::Access::Write)
    {
        access(&reach.path, AccessFlags::W_OK).map_err(|error| {
            let path = reach.path.display();
            format!("sandbox.write: {path} cannot be written by its own user: {error}")
        })?;
    }
    Ok(())
}

/// The change of user has reset it.
fn end_with_the_parent(told: &UnixStream) -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| at("the parent's end")(&error))?;
    match wait::hung_up(&[told.as_raw_fd()]).as_deref() {
        Ok([false]) => Ok(()),
        _ => Err("the supervisor has gone".to_owned()),
    }
}
