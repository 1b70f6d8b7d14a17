//! Real servers that functions use, each with its own port and directory.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};

use crate::{process, wait};

/// The password of the servers. No response, status or log may contain it.
pub(crate) const PASSWORD: &str = "open-sesame-17";

/// A PostgreSQL server.
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    /// Additional parameters of the server, `NAME=VALUE`.
    parameters: Vec<String>,
    process: Option<Child>,
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Postgres {
    /// Starts a new server.
    pub(crate) fn start() -> Postgres {
        let mut server = Postgres::prepare();
        server.run();
        server
    }

    /// Creates a server without starting it.
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

    /// Starts a server with the certificate in `PATH.crt` and its key in `PATH.key`.
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

    /// Starts the server, and waits until it answers queries.
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

    /// Ends the server at once, with all queries that are under way.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGQUIT is PostgreSQL's immediate shutdown: it waits for no client and leaves no process behind.
            let _ = kill(Pid::from_raw(process.id() as i32), Signal::SIGQUIT);
            let _ = process.wait();
        }
    }

    /// Kills all processes of the server with SIGKILL, so that they can clean up nothing.
    pub(crate) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let parts = process::children(process.id());
        for pid in parts.iter().copied().chain([process.id()]) {
            // The process may have ended already.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        let _ = process.wait();
        process::wait_until_gone(&parts, wait::LIMIT);
    }

    /// The server's address, as a function's resource.
    pub(crate) fn address(&self) -> String {
        format!(
            "postgres://shop:{PASSWORD}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// Runs one SQL statement. Returns its result as text, or `None` if it fails.
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
    /// The server's certificate is in `PATH.crt`, its key in `PATH.key` and its authority in `PATH.ca`.
    certificate: Option<PathBuf>,
    process: Option<Child>,
}

impl Cache {
    /// Starts a Redis server that requires [`PASSWORD`].
    pub(crate) fn redis() -> Cache {
        Cache::start("redis-server", None)
    }

    /// Starts a Redis server that accepts only encrypted connections.
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

    /// Starts the server, and waits until it accepts connections.
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

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// The server's address, as a function's resource.
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

/// The user to run PostgreSQL as if this is root, because PostgreSQL refuses to run as root.
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
    // The other user may not be allowed to enter root's current directory.
    command.current_dir("/");
    command
}

/// The path of a PostgreSQL program. Debian installs them by version, in directories that are not in `PATH`.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|entry| entry.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// A server that accepts connections and sends nothing, like one behind a broken firewall. The kernel accepts the
/// connections, because nothing calls accept(2).
pub(crate) fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let address = format!("postgres://shop:{PASSWORD}@{address}/postgres");
    (address, listener)
}
