//! Real servers for functions to work with, each with a port and a directory of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};

use crate::{process, wait};

/// What the server's user must know. In no answer, status or log it may be seen.
pub(crate) const PASSWORD: &str = "open-sesame-17";

/// A PostgreSQL server.
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    /// More of its parameters, `NAME=VALUE`.
    parameters: Vec<String>,
    process: Option<Child>,
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Postgres {
    /// A server that runs.
    pub(crate) fn start() -> Postgres {
        let mut server = Postgres::prepare();
        server.run();
        server
    }

    /// One that has never run.
    pub(crate) fn prepare() -> Postgres {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hearth-postgres-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let secret = directory.join("password");
        fs::write(&secret, PASSWORD).unwrap();
        if let Some(user) = other_user() {
            for path in [&directory, &secret] {
                chown(path, Some(user.uid), Some(user.gid)).unwrap();
            }
        }
        let mut initdb = as_its_user(&program("initdb"));
        initdb.arg("--pgdata").arg(directory.join("data"));
        initdb.args(["--username", "shop", "--auth", "scram-sha-256", "--no-sync"]);
        initdb.arg("--pwfile").arg(&secret);
        let output = initdb.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Postgres {
            directory,
            port: free_port(),
            parameters: Vec::new(),
            process: None,
        }
    }

    /// One that shows this certificate: `PATH.crt`, with its key in `PATH.key`.
    pub(crate) fn start_encrypted(certificate: &Path) -> Postgres {
        let mut server = Postgres::prepare();
        server.parameters.push("ssl=on".to_owned());
        for (end, mode) in [("crt", 0o644), ("key", 0o600)] {
            let place = server.directory.join(format!("server.{end}"));
            fs::copy(certificate.with_extension(end), &place).unwrap();
            fs::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
            if let Some(user) = other_user() {
                chown(&place, Some(user.uid), Some(user.gid)).unwrap();
            }
            let name = if end == "crt" { "cert" } else { "key" };
            let parameter = format!("ssl_{name}_file={}", place.display());
            server.parameters.push(parameter);
        }
        server.run();
        server
    }

    /// Runs it, and waits until it can be asked.
    pub(crate) fn run(&mut self) {
        let mut command = as_its_user(&program("postgres"));
        command.arg("-D").arg(self.directory.join("data"));
        command.arg("-k").arg(&self.directory);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(["-c", "fsync=off", "-c", "max_connections=20"]);
        for parameter in &self.parameters {
            command.args(["-c", parameter]);
        }
        let log = fs::File::create(self.directory.join("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        wait::until("PostgreSQL can be asked", || {
            self.ask("SELECT 1")
                .filter(|answer| answer == "1")
                .map(|_| ())
        });
    }

    /// Ends it at once, with all that is under way.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGQUIT: without a word to anybody, and without leaving processes behind.
            let _ = kill(Pid::from_raw(process.id() as i32), Signal::SIGQUIT);
            let _ = process.wait();
        }
    }

    /// Ends it by SIGKILL, with all its processes: it can clean up nothing.
    pub(crate) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let parts = process::children(process.id());
        for pid in parts.iter().copied().chain([process.id()]) {
            // What has ended meanwhile is what was wanted.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        let _ = process.wait();
        process::wait_until_gone(&parts, wait::LIMIT);
    }

    /// Its address for a function.
    pub(crate) fn address(&self) -> String {
        format!(
            "postgres://shop:{PASSWORD}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// What one statement says, as text.
    pub(crate) fn ask(&self, sql: &str) -> Option<String> {
        let output = Command::new(program("psql"))
            .args(["-XtA", "-c", sql, &self.address()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A server that is one process and keeps everything in its memory.
pub(crate) struct Cache {
    kind: &'static str,
    port: u16,
    /// What it shows: `PATH.crt`, with its key in `PATH.key`.
    certificate: Option<PathBuf>,
    process: Option<Child>,
}

impl Cache {
    /// A Redis server that wants [`PASSWORD`].
    pub(crate) fn redis() -> Cache {
        Cache::start("redis-server", None)
    }

    /// One that takes encrypted connections alone.
    pub(crate) fn redis_encrypted(certificate: &Path) -> Cache {
        Cache::start("redis-server", Some(certificate.to_owned()))
    }

    pub(crate) fn memcached() -> Cache {
        Cache::start("memcached", None)
    }

    fn start(kind: &'static str, certificate: Option<PathBuf>) -> Cache {
        let mut cache = Cache {
            kind,
            port: free_port(),
            certificate,
            process: None,
        };
        cache.run();
        cache
    }

    /// Runs it, and waits until it takes connections.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(self.kind);
        let port = self.port.to_string();
        match self.kind {
            "memcached" => command.args(["-l", "127.0.0.1", "-u", "nobody", "-p", &port]),
            _ => command
                .args(["--bind", "127.0.0.1", "--save", ""])
                .args(["--requirepass", PASSWORD]),
        };
        match &self.certificate {
            Some(certificate) => {
                command.args([
                    "--port",
                    "0",
                    "--tls-auth-clients",
                    "no",
                    "--tls-port",
                    &port,
                ]);
                for (option, end) in [("cert", "crt"), ("key", "key"), ("ca-cert", "ca")] {
                    command.arg(format!("--tls-{option}-file"));
                    command.arg(certificate.with_extension(end));
                }
            }
            None if self.kind == "redis-server" => _ = command.args(["--port", &port]),
            None => {}
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        wait::until("the server takes connections", || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Its address for a function.
    pub(crate) fn address(&self) -> String {
        match self.kind {
            "memcached" => format!("memcache://127.0.0.1:{}", self.port),
            _ if self.certificate.is_some() => {
                format!("rediss://:{PASSWORD}@localhost:{}/0", self.port)
            }
            _ => format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port),
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.kill();
    }
}

/// PostgreSQL refuses to run as root.
fn other_user() -> Option<User> {
    let root = geteuid().is_root();
    root.then(|| User::from_name("postgres").unwrap().unwrap())
}

fn as_its_user(program: &Path) -> Command {
    let Some(user) = other_user() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", user.uid));
    command.arg(format!("--regid={}", user.gid));
    command.args(["--clear-groups", "--"]).arg(program);
    // Where root is at home others may not look.
    command.current_dir("/");
    command
}

/// Debian keeps a server's programs by its version, out of the way.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|entry| entry.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// A server that takes connections and says nothing, as one behind a broken firewall: the kernel takes
/// them for a listener that never accepts.
pub(crate) fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let address = format!("postgres://shop:{PASSWORD}@{address}/postgres");
    (address, listener)
}
