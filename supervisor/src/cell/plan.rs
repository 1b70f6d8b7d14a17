//! Derives the plan of a sandbox from the manifest and what the machine offers. Pure.

use std::path::{Path, PathBuf};

use hearth_manifest::{Filled, Function, Mode};

use super::{
    Access, Apart, Calls, Empty, Identity, Limit, Mechanism, Network, Plan, Program, Reach,
};

/// Where Linux systems keep libraries and the loader's cache.
const LIBRARIES: [&str; 8] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
];

/// Where Linux systems keep interpreters and the files that they need.
const INTERPRETERS: [&str; 3] = ["/bin", "/usr", "/etc/alternatives"];

/// The stores of Nix and Guix, which also contain their loaders.
const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];

/// Devices that most programs expect to find.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// Minimum of a coarse limit in bytes, which applies if no control group limits memory: private memory that a worker
/// may have mapped, used or not.
const DATA_AT_LEAST: u64 = 1 << 30;

/// Minimum of a coarse limit of processes and threads, which applies if no control group limits them. It counts all
/// processes of the worker's user.
const PROCESSES_AT_LEAST: u64 = 1024;

/// What the machine offers to sandboxes.
#[derive(Clone, Debug)]
pub struct Host {
    /// Which namespaces a sandbox can have.
    pub apart: Apart,
    /// Why it cannot have its own, if it cannot.
    pub why_not_apart: Option<String>,
    /// The user and the group that the platform runs as.
    pub user: (u32, u32),
    /// The version of Landlock; 0 if there is no Landlock.
    pub landlock: u32,
    /// The empty namespaces that a sandbox can enter.
    pub empty: Vec<Empty>,
}

impl Host {
    /// The empty namespaces that a sandbox enters. A sandbox that is `alone` has no network.
    fn enters(&self, alone: bool) -> Vec<Empty> {
        let empty = self.empty.iter().copied();
        empty.filter(|one| alone || *one != Empty::Net).collect()
    }

    fn is_root(&self) -> bool {
        self.user.0 == 0
    }

    /// Whether signals cannot leave a sandbox, because of its PID namespace or of Landlock's scopes (version 6).
    fn keeps_signals(&self) -> bool {
        self.apart != Apart::Not || self.landlock >= 6
    }
}

/// The plan for a worker of a function. `program` is the program's stored copy, `base` the manifest's directory, `user`
/// the worker's user id if the platform runs as root, and `known` the mechanisms of the control group.
pub fn for_worker(
    (name, function, filled): (&str, &Function, &Filled),
    (program, kind): (PathBuf, &Program),
    base: &Path,
    user: u32,
    host: &Host,
    strict: bool,
    known: Vec<Mechanism>,
) -> Plan {
    let sandbox = &function.sandbox;
    let mut files = needs(kind);
    let listed = |paths: &[PathBuf], to| {
        let paths = paths.iter().map(|path| base.join(path));
        paths.map(|path| Reach { path, to }).collect::<Vec<_>>()
    };
    files.extend(listed(&sandbox.read, Access::Read));
    files.extend(listed(&sandbox.write, Access::Write));
    let sockets = filled.socket_directories();
    let unix = !sockets.is_empty();
    files.extend(sockets.into_iter().map(|path| Reach {
        path,
        to: Access::Connect,
    }));
    let mut ports: Vec<u16> = filled.endpoints().iter().map(|one| one.port).collect();
    ports.extend(&sandbox.connect);
    ports.sort_unstable();
    ports.dedup();
    let limits = &function.limits;
    let enforced = |name| known.iter().any(|one| one.name == name && one.enforced);
    let mut process = vec![
        (Limit::Core, 0),
        (Limit::OpenFiles, limits.open_files.into()),
        (Limit::Locked, 64 << 10),
        (Limit::Queues, 0),
    ];
    if !enforced("memory") {
        process.push((
            Limit::Data,
            limits.memory.saturating_mul(4).max(DATA_AT_LEAST),
        ));
    }
    match host.apart {
        // In this user namespace, the user has no other processes than those of the sandbox.
        Apart::ByUser => process.push((Limit::Processes, limits.pids.into())),
        _ if enforced("pids") => {}
        // The user that runs the platform has other processes, too, which would count.
        _ if !host.is_root() => {}
        _ => process.push((
            Limit::Processes,
            u64::from(limits.pids).max(PROCESSES_AT_LEAST),
        )),
    }
    Plan {
        strict: strict || sandbox.mode == Some(Mode::Strict),
        name: name.to_owned(),
        program,
        shown: base.join(&function.binary),
        args: Vec::new(),
        directory: base.to_owned(),
        identity: match host.is_root() {
            true => Identity::Own(user),
            false => Identity::Same(host.user.0, host.user.1),
        },
        apart: host.apart,
        enters: host.enters(ports.is_empty() && !unix),
        files: in_order(files),
        tmp: limits.tmp,
        network: Network {
            ports,
            unix,
            serve: false,
        },
        calls: Calls {
            signals: host.keeps_signals(),
        },
        limits: process,
        known: known.into_iter().chain(not_apart(host)).collect(),
    }
}

/// The plan for the gateway, which is `hearth` itself. It can access only the files that it needs to start, and can
/// only accept connections on its inherited listeners.
pub fn for_gateway(
    (program, args): (PathBuf, Vec<String>),
    kind: &Program,
    user: u32,
    host: &Host,
    strict: bool,
    known: Vec<Mechanism>,
) -> Plan {
    Plan {
        strict,
        name: "gateway".to_owned(),
        shown: program.clone(),
        program,
        args,
        directory: "/".into(),
        identity: match host.is_root() {
            true => Identity::Own(user),
            false => Identity::Same(host.user.0, host.user.1),
        },
        apart: host.apart,
        // The gateway's listeners belong to the platform's network namespace.
        enters: host.enters(false),
        files: in_order(needs(kind)),
        tmp: 0,
        network: Network {
            serve: true,
            ..Network::default()
        },
        calls: Calls {
            signals: host.keeps_signals(),
        },
        // The limit of open descriptors is inherited from the supervisor: the gateway needs one for each client.
        limits: vec![(Limit::Core, 0), (Limit::Queues, 0)],
        known: known.into_iter().chain(not_apart(host)).collect(),
    }
}

fn not_apart(host: &Host) -> Option<Mechanism> {
    let why = host.why_not_apart.as_ref()?;
    Some(Mechanism::missing("namespaces", why))
}

/// The files that a program of this kind needs to start.
fn needs(kind: &Program) -> Vec<Reach> {
    let reach = |to| {
        move |path: &str| Reach {
            path: path.into(),
            to,
        }
    };
    let loader = match kind {
        Program::Static => return Vec::new(),
        Program::Dynamic(path) | Program::Script(path) => path,
    };
    let mut files: Vec<Reach> = LIBRARIES.map(reach(Access::Execute)).into();
    files.extend(DEVICES.map(reach(Access::Device)));
    if let Program::Script(_) = kind {
        files.extend(INTERPRETERS.map(reach(Access::Execute)));
    }
    match STORES.iter().find(|store| loader.starts_with(store)) {
        Some(store) => files.push(reach(Access::Execute)(store)),
        None if loader.is_absolute() => files.push(Reach {
            path: loader.clone(),
            to: Access::Execute,
        }),
        None => {}
    }
    files
}

/// Sorts directories before their contents. Of several entries for one path, the one with the last variant of
/// [`Access`] stays.
fn in_order(mut files: Vec<Reach>) -> Vec<Reach> {
    files.sort_by(|one, other| one.path.cmp(&other.path).then(other.to.cmp(&one.to)));
    files.dedup_by(|next, kept| next.path == kept.path);
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Host {
        Host {
            apart: Apart::ByRoot,
            why_not_apart: None,
            user: (0, 0),
            landlock: 7,
            empty: Empty::ALL.into(),
        }
    }

    fn plan(keys: &str, kind: &Program, host: &Host) -> Plan {
        let text = format!(
            "service: s\nfunctions:\n  f:\n    routes: [{{ path: / }}]\n    binary: bin/f\n{keys}"
        );
        let manifest = hearth_manifest::parse("edge.yaml", text.as_bytes()).unwrap();
        let function = &manifest.manifest.functions["f"];
        let filled = function.fill(|_| Err(())).unwrap();
        for_worker(
            ("f", function, &filled),
            ("/kept/f".into(), kind),
            Path::new("/srv"),
            100_000,
            host,
            false,
            vec![],
        )
    }

    fn paths(plan: &Plan) -> Vec<(&str, Access)> {
        let files = plan.files.iter();
        files
            .map(|one| (one.path.to_str().unwrap(), one.to))
            .collect()
    }

    #[test]
    fn a_static_worker_without_resources_reaches_nothing() {
        let plan = plan("", &Program::Static, &root());
        assert_eq!(paths(&plan), []);
        assert_eq!(plan.network, Network::default());
        assert_eq!(plan.enters, Empty::ALL);
        assert_eq!(plan.identity, Identity::Own(100_000));
        assert_eq!(plan.shown, Path::new("/srv/bin/f"));
        assert!(!plan.strict);
    }

    #[test]
    fn resources_are_ports_and_directories_of_sockets() {
        let keys = r#"
    resources:
      postgres: "postgres://u:p@db/shop"
      cache: "redis://cache:7000"
      local: "postgres:///shop?host=/run/postgresql"
    sandbox: { mode: strict, read: [templates], write: [/var/f, templates], connect: [9000, 7000] }
"#;
        let plan = plan(keys, &Program::Static, &root());
        assert_eq!(
            paths(&plan),
            [
                ("/run/postgresql", Access::Connect),
                ("/srv/templates", Access::Write),
                ("/var/f", Access::Write),
            ]
        );
        let network = Network {
            ports: vec![5432, 7000, 9000],
            unix: true,
            ..Network::default()
        };
        assert_eq!(plan.network, network);
        assert_eq!(plan.enters, [Empty::Ipc]);
        assert!(plan.strict);
    }

    #[test]
    fn programs_that_need_a_system_get_its_libraries_to_read() {
        let dynamic = Program::Dynamic("/lib64/ld-linux-x86-64.so.2".into());
        let seen = plan("", &dynamic, &root());
        assert!(paths(&seen).contains(&("/usr/lib", Access::Execute)));
        assert!(!paths(&seen).iter().any(|(path, _)| *path == "/usr"));
        let script = plan("", &Program::Script("/nix/store/x/bin/sh".into()), &root());
        assert!(paths(&script).contains(&("/usr", Access::Execute)));
        assert!(paths(&script).contains(&("/nix/store", Access::Execute)));
        let allowed = |one: &&(&str, Access)| one.1 != Access::Execute && one.1 != Access::Device;
        assert_eq!(paths(&script).iter().find(allowed), None);
    }

    #[test]
    fn without_root_the_user_stays_and_what_is_missing_is_said() {
        let poor = Host {
            apart: Apart::Not,
            why_not_apart: Some("forbidden here".to_owned()),
            user: (1000, 100),
            landlock: 5,
            empty: vec![],
        };
        let plan = plan("", &Program::Static, &poor);
        assert_eq!(plan.identity, Identity::Same(1000, 100));
        assert_eq!(
            plan.known,
            [Mechanism::missing("namespaces", "forbidden here")]
        );
        assert!(!plan.calls.signals, "they would reach the user's own");
        assert_eq!(plan.enters, []);
    }
}
