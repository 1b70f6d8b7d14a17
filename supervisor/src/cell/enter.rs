//! The steps by which a copy of the zygote sets up its sandbox and becomes the program. The copy has one thread, and is
//! in its namespaces and control group from the start.
//!
//! Only this order of the steps works: each step needs something that a later one gives up.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hearth_sys::{fork, memfile, passing, privilege, wait};
use nix::sched::setns;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access, sethostname, setsid};

use crate::causes::with_causes;

use super::{
    Apart, Empty, Identity, Limit, Mechanism, Order, Plan, Word, calls, files, identity, reach,
};

/// Adds the name of a step to an error.
fn at(step: &str) -> impl Fn(&dyn std::fmt::Display) -> String {
    move |error| format!("{step}: {error}")
}

/// Maximum size of a filter in bytes: it has at most 4,096 instructions (BPF_MAXINSNS) of eight bytes.
const MOST_FILTER: u64 = 1 << 15;

/// The descriptors of an [`Order`].
#[derive(Debug)]
pub struct Handed {
    /// The program's stdout and stderr.
    pub outputs: [OwnedFd; 2],
    told: UnixStream,
    filter: OwnedFd,
    pub(super) cgroup: Option<OwnedFd>,
    empty: Vec<OwnedFd>,
    /// The descriptors that the program inherits from number 3 on.
    pub descriptors: Vec<OwnedFd>,
}

impl Handed {
    /// Assigns the received descriptors in the sequence of [`Order`].
    ///
    /// # Errors
    /// Descriptors are missing.
    pub(super) fn of(descriptors: Vec<OwnedFd>, order: &Order) -> Result<Handed, String> {
        let mut all = descriptors.into_iter();
        let mut next = || all.next().ok_or("descriptors are missing");
        Ok(Handed {
            outputs: [next()?, next()?],
            told: next()?.into(),
            filter: next()?,
            cgroup: order.cgroup.then(&mut next).transpose()?,
            empty: order
                .plan
                .enters
                .iter()
                .map(|_| next())
                .collect::<Result<_, _>>()?,
            descriptors: all.collect(),
        })
    }
}

/// Sets up the sandbox and executes the program. `bound` says whether the capabilities that could be gained have been
/// given up. Returns only on failure, after reporting the reason to the supervisor.
pub(super) fn enter(order: &Order, handed: Handed, bound: Result<(), String>) {
    let Handed {
        outputs,
        told,
        filter,
        cgroup: _,
        empty,
        descriptors,
    } = handed;
    let begun = bound.and_then(|()| {
        // A new session, because a program that shares the user's terminal could insert input into it.
        setsid().map_err(|error| at("a session")(&error))?;
        if order.batch {
            fork::be_batch();
        }
        fork::place(outputs, descriptors).map_err(|error| at("descriptors")(&error))?;
        begin(order, &told, filter, empty)
    });
    let failed = begun.unwrap_or_else(|error| error);
    // The report can fail only if the supervisor has gone.
    let _ = say(&told, &Word::Failed(failed), None);
}

fn say(told: &UnixStream, word: &Word, listener: Option<&OwnedFd>) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let listener: Vec<_> = listener.map(AsFd::as_fd).into_iter().collect();
    let sent = passing::send(told.as_fd(), &line, &listener)?;
    (&*told).write_all(&line[sent..])
}

/// Carries out the steps. Returns only if the program is not executed: `Ok` with the error of exec, or `Err` with the
/// error of an earlier step.
fn begin(
    order: &Order,
    told: &UnixStream,
    filter: OwnedFd,
    empty: Vec<OwnedFd>,
) -> Result<String, String> {
    let plan = &order.plan;
    let filter = memfile::read(filter, MOST_FILTER);
    let filter = filter.map_err(|error| format!("the filter of system calls: {error}"))?;
    let mut stands = Stands {
        strict: plan.strict,
        list: plan.known.clone(),
    };
    stands.none_is_missing()?;
    apart(plan, empty, &mut stands)?;
    limit(plan)?;
    become_nobody(plan, &mut stands)?;
    check_program(plan)?;
    end_with_the_parent(told)?;
    prctl::set_no_new_privs().map_err(|error| at("no_new_privs")(&error))?;
    prctl::set_dumpable(false).map_err(|error| at("dumpable")(&error))?;
    stands.list.push(Mechanism::enforced("no_new_privs", ""));

    let landlock = reach::restrict(plan, privilege::landlock_version());
    stands.add(
        landlock.unwrap_or_else(|error| Mechanism::missing("landlock", with_causes(&error))),
    )?;
    // Prepared before the filter is installed, which allows only the calls of programs.
    let mut program = Command::new(&plan.shown);
    program.args(&plan.args).env_clear();
    program.envs(order.env.iter().map(|(name, value)| (name, value)));
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

/// The mechanisms so far.
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

/// Enters the namespaces, and sets up the files in them.
fn apart(plan: &Plan, empty: Vec<OwnedFd>, stands: &mut Stands) -> Result<(), String> {
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
    for (one, descriptor) in plan.enters.iter().zip(empty) {
        let (kind, name) = one.kind();
        setns(descriptor, kind).map_err(|error| format!("the empty namespace {name}: {error}"))?;
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
        // Not above the hard limit of this process.
        let (_, most) = nix::sys::resource::getrlimit(resource)
            .map_err(|error| format!("limit {limit:?}: {error}"))?;
        let value = (*value).min(most);
        setrlimit(resource, value, value).map_err(|error| format!("limit {limit:?}: {error}"))?;
    }
    Ok(())
}

fn become_nobody(plan: &Plan, stands: &mut Stands) -> Result<(), String> {
    let own_namespace = plan.apart == Apart::ByUser;
    let privileged = own_namespace || matches!(plan.identity, Identity::Own(_));
    if own_namespace {
        // In its new user namespace, the process has all capabilities again.
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
        // An ordinary user has no capabilities, and cannot gain any because of no_new_privs.
        false => stands.add(Mechanism::enforced("capabilities", "none")),
    }
}

/// Checks access before Landlock and the filter are installed, whose errors would only be "permission denied".
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

/// Makes the kernel kill this process with its parent, the supervisor's main thread. Comes after the change of user,
/// which resets the setting (prctl(2)). Fails if the supervisor has ended already.
fn end_with_the_parent(told: &UnixStream) -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| at("the parent's end")(&error))?;
    match wait::hung_up(&[told.as_raw_fd()]).as_deref() {
        Ok([false]) => Ok(()),
        _ => Err("the supervisor has gone".to_owned()),
    }
}
