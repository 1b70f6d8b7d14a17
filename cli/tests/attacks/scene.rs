//! The scene of the attacks: a platform with several functions that all run the hostile program, and files and
//! servers of others that they try to reach.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::http::Answer;
use crate::outcome::Outcome;
use crate::platform::{Place, Platform, pid};
use crate::start::{hostile, start, start_as};

/// The ordinary user of the tests if root starts them: nobody.
const NOBODY: u32 = 65534;

/// Who runs the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Root,
    User,
}

/// Scenes run one after the other, because some acts exhaust a resource of the machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no other scene runs.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Scene {
    pub(crate) platform: Platform,
    pub(crate) by: By,
    /// A server that only `connected` names as its resource.
    pub(crate) server: TcpListener,
    /// A server that no function names as a resource.
    pub(crate) foreign: TcpListener,
    _abstract: UnixListener,
    pub(crate) abstract_name: String,
    _alone: MutexGuard<'static, ()>,
}

/// Small limits, which acts exceed without taking much of the machine.
const LIMITS: &str = "limits: { memory: 96MiB, pids: 24, open_files: 64, tmp: 32MiB }";

impl Scene {
    pub(crate) fn new(by: By) -> Scene {
        let alone = alone();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let functions = format!(
            r#"
gateway: {{ listen: {{ http: "127.0.0.1:0", https: "127.0.0.1:0" }} }}
functions:
  plain:
    domains: [plain.example]
    routes: [{{ path: "/" }}]
    binary: hostile
    timeout: 60s
    {LIMITS}
  connected:
    domains: [connected.example]
    routes: [{{ path: "/" }}]
    binary: hostile
    timeout: 60s
    resources: {{ server: "postgres://u:p@127.0.0.1:{port}/x" }}
    sandbox: {{ read: [gift] }}
    limits: {{ memory: 96MiB, cpu: 0.5, pids: 24, open_files: 64, tmp: 32MiB }}
  neighbour:
    domains: [neighbour.example]
    routes: [{{ path: "/" }}]
    binary: neighbour
"#
        );
        // Not below /tmp, because a sandbox has a private /tmp.
        fs::create_dir_all("/var/tmp").unwrap();
        // A virtual machine that runs only this test has no /etc.
        if by == By::Root {
            fs::create_dir_all("/etc").unwrap();
        }
        let place = Place::new_in(Path::new("/var/tmp"), &functions);
        let base = place.path().to_owned();
        for name in ["hostile", "neighbour"] {
            fs::copy(hostile(), base.join(name)).unwrap();
        }
        fs::write(base.join("stray"), "a file of the machine").unwrap();
        fs::create_dir(base.join("gift")).unwrap();
        fs::write(base.join("gift/text"), "to be read").unwrap();
        let setuid = base.join("gift/setuid");
        fs::copy(hostile(), &setuid).unwrap();
        fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
        // If an ordinary user runs these tests, the user need not change.
        let becomes = by == By::User && geteuid().is_root();
        if becomes {
            for name in ["", "hostile", "neighbour", "gift", "gift/text"] {
                chown(base.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let platform = match becomes {
            false => start(place),
            true => start_as(place, NOBODY),
        };
        let abstract_name = format!("hearth-attacks-{}", std::process::id());
        let abstract_name = format!("{abstract_name}-{by:?}");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Scene {
            platform,
            by,
            server,
            foreign,
            _abstract: UnixListener::bind_addr(&address).unwrap(),
            abstract_name,
            _alone: alone,
        }
    }

    /// A path beside the manifest.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.platform.place.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// The path of the private key of the platform's self-signed certificate.
    pub(crate) fn key(&self) -> String {
        let tls = self.platform.place.state().join("tls");
        let files = fs::read_dir(tls).unwrap();
        let mut paths = files.map(|entry| entry.unwrap().path());
        let key = paths.find(|path| path.to_str().unwrap().contains("key"));
        key.unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn worker(&self, function: &str) -> u32 {
        self.platform.worker(function)
    }

    /// An address in a process's memory that can be read.
    pub(crate) fn address_in(&self, pid: u32) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let stack = maps.lines().find(|line| line.contains("[stack]")).unwrap();
        let end = stack.split(['-', ' ']).nth(1).unwrap();
        u64::from_str_radix(end, 16).unwrap() - 8
    }

    /// Whether this mechanism of the sandbox is enforced for a function's worker.
    pub(crate) fn enforces(&self, function: &str, mechanism: &str) -> bool {
        let worker = self.platform.function(function)["workers"][0].clone();
        let all = worker["sandbox"].as_array().unwrap().clone();
        let found = all.iter().find(|one| one["name"] == mechanism);
        found.is_some_and(|one| one["enforced"] == true)
    }

    /// More processes than a worker may start. The limit is that of its control group, or of its user in the
    /// namespace. As root without control groups, only a coarse limit is left.
    pub(crate) fn too_many(&self) -> u64 {
        match self.by == By::User || self.enforces("plain", "pids") {
            true => 40,
            false => 1100,
        }
    }

    /// Tries the act outside any sandbox, as the user who runs the platform.
    pub(crate) fn outside(&self, order: &Value) -> Outcome {
        let mut program = Command::new(self.path("hostile"));
        if self.by == By::User && geteuid().is_root() {
            program.uid(NOBODY).gid(NOBODY);
        }
        control(program, order)
    }

    /// Tries the act in a function's worker.
    pub(crate) fn inside(&self, function: &str, order: &Value) -> Outcome {
        let answer = self.ask(function, order);
        match answer.status() {
            200 => Outcome::read(&answer.json()),
            502 => Outcome::Died,
            other => panic!("{order}: {other} {}", answer.text()),
        }
    }

    /// Sends the act to a function's worker, and returns the response that a client gets.
    pub(crate) fn ask(&self, function: &str, order: &Value) -> Answer {
        let host = format!("Host: {function}.example");
        let headers = [host.as_str(), "Content-Type: application/json"];
        self.platform
            .ask("POST /", &headers, order.to_string().as_bytes())
    }
}

/// Runs the hostile program as a command, outside any sandbox.
pub(crate) fn control(mut program: Command, order: &Value) -> Outcome {
    let output = program.arg("act").arg(order.to_string()).output().unwrap();
    let said = serde_json::from_slice(&output.stdout);
    Outcome::read(&said.unwrap_or_else(|_| panic!("{order}: {output:?}")))
}

/// A command that executes the setuid file as the user nobody.
pub(crate) fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY);
    command
}

pub(crate) fn order(act: &str) -> Value {
    json!({ "act": act })
}

/// The directories in /proc of the processes with this name.
pub(crate) fn processes_named(name: &str) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let processes = all.map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
        comm.trim() == name
    };
    processes.filter(named).collect()
}

/// The process id of the gateway.
pub(crate) fn gateway(scene: &Scene) -> u32 {
    pid(&scene.platform.status()["gateway"])
}
