//! A private PostgreSQL server with a table of test data. It listens only on a Unix socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::unistd::{User, chown, geteuid};
use tokio::process::Command;

use crate::group::{Group, tied};
use crate::scratch::Scratch;
use crate::usage::{Process, tree};

/// Number of rows of the table. All of them fit into the server's memory.
pub(crate) const ROWS: u32 = 100_000;

/// Port, which is part of the socket's name. The socket is in its own directory.
const PORT: &str = "5432";

/// Database user that owns the cluster.
const USER: &str = "bench";

/// Timeout for the start. The server starts within a second; the rest is a margin for busy machines.
const START_TIME: Duration = Duration::from_secs(20);

/// Time between two attempts to get an answer during the start.
const PAUSE: Duration = Duration::from_millis(50);

/// A running server. Dropping it ends the server and then removes its directory.
pub(crate) struct Database {
    group: Group,
    scratch: Scratch,
}

impl Database {
    /// Creates a cluster, starts the server and creates the table `items` with the columns `id` and `name`.
    pub(crate) async fn start() -> anyhow::Result<Database> {
        let scratch = Scratch::new()?;
        if let Some(user) = other_user()? {
            chown(scratch.path(), Some(user.uid), Some(user.gid))?;
        }
        let data = scratch.join("data");
        let mut initdb = as_its_user(&program("initdb"))?;
        initdb.arg("--pgdata").arg(&data);
        initdb.args(["--username", USER, "--auth", "trust", "--no-sync"]);
        output(initdb).await?;
        let mut command = as_its_user(&program("postgres"))?;
        command.arg("-D").arg(data).arg("-k").arg(scratch.path());
        command.args(["-h", "", "-p", PORT, "-c", "max_connections=300"]);
        let group = Group::start("postgres", &mut command, &scratch)?;
        let database = Database { group, scratch };
        let deadline = Instant::now() + START_TIME;
        while let Err(error) = database.ask("SELECT 1").await {
            database.group.alive()?;
            if Instant::now() > deadline {
                return Err(error.context("PostgreSQL does not answer"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        for sql in [
            "CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT NOT NULL)",
            &format!(
                "INSERT INTO items SELECT id, 'item ' || id FROM generate_series(1, {ROWS}) id"
            ),
            "VACUUM (ANALYZE) items",
            "CHECKPOINT",
        ] {
            database.ask(sql).await?;
        }
        Ok(database)
    }

    /// The server's address for a function's resources.
    pub(crate) fn address(&self) -> String {
        let directory = self.scratch.path().display();
        format!("postgres:///postgres?user={USER}&host={directory}&port={PORT}")
    }

    /// Executes one statement and returns its result as text.
    pub(crate) async fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let mut command = self.client("psql");
        command.args(["-XtA", "-c", sql]);
        Ok(output(command).await?.trim().to_owned())
    }

    /// Creates a command for a PostgreSQL client, with the options to connect to this server.
    pub(crate) fn client(&self, name: &str) -> std::process::Command {
        let mut command = std::process::Command::new(program(name));
        command.arg("-h").arg(self.scratch.path());
        command.args(["-p", PORT, "-U", USER]);
        command.env("PGDATABASE", "postgres");
        command
    }

    /// Directory for files that clients need.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The current processes of the server, including one for each connection.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let role = || "PostgreSQL".to_owned();
        let found = tree(self.group.pid())?.into_iter();
        Ok(found
            .map(|(pid, _)| Process { role: role(), pid })
            .collect())
    }

    /// Returns name and version, such as `PostgreSQL 15.18`.
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let version = self.ask("SHOW server_version").await?;
        let number = version.split(' ').next().unwrap_or_default();
        Ok(format!("PostgreSQL {number}"))
    }
}

/// Runs a program and returns its output. If it fails, the error contains the program's stderr.
pub(crate) async fn output(command: std::process::Command) -> anyhow::Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await;
    let output = output.with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The user that runs the server if this program runs as root, because PostgreSQL refuses to run as root.
fn other_user() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name("postgres")? {
        Some(user) => Ok(Some(user)),
        None => bail!("PostgreSQL does not run as root, and there is no user `postgres`"),
    }
}

/// Creates a command for a server program, run as the server's user. The process ends when this program ends.
fn as_its_user(program: &Path) -> anyhow::Result<std::process::Command> {
    let Some(user) = other_user()? else {
        return tied(program);
    };
    let mut command = std::process::Command::new("setpriv");
    command.arg(format!("--reuid={}", user.uid));
    command.arg(format!("--regid={}", user.gid));
    // The kernel clears PR_SET_PDEATHSIG when the user changes, so `tied` would have no effect.
    command.args(["--clear-groups", "--pdeathsig=TERM", "--"]);
    // The current directory may be inaccessible to that user, for example root's home directory.
    command.arg(program).current_dir("/");
    Ok(command)
}

/// Finds a PostgreSQL program. Debian installs the server's programs in a directory for each version, outside PATH.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}
