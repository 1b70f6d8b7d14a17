//! A private PostgreSQL server with a table to read from, reached by a Unix socket alone.

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

/// Rows of the table, which all fit into the server's memory.
pub(crate) const ROWS: u32 = 100_000;

/// Names the socket, which is in a directory of its own.
const PORT: &str = "5432";

/// Who made the cluster.
const USER: &str = "bench";

/// It answers within a second; more is for a busy machine.
const START_TIME: Duration = Duration::from_secs(20);

/// Between two looks at whether it answers.
const PAUSE: Duration = Duration::from_millis(50);

/// Dropping it ends the server, and then removes its directory.
pub(crate) struct Database {
    group: Group,
    scratch: Scratch,
}

impl Database {
    /// Makes a cluster and the table `items`, number and name, and starts the server.
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

    /// Its address for a function.
    pub(crate) fn address(&self) -> String {
        let directory = self.scratch.path().display();
        format!("postgres:///postgres?user={USER}&host={directory}&port={PORT}")
    }

    /// What one statement says, as text.
    pub(crate) async fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let mut command = self.client("psql");
        command.args(["-XtA", "-c", sql]);
        Ok(output(command).await?.trim().to_owned())
    }

    /// One of its clients, told where it is.
    pub(crate) fn client(&self, name: &str) -> std::process::Command {
        let mut command = std::process::Command::new(program(name));
        command.arg("-h").arg(self.scratch.path());
        command.args(["-p", PORT, "-U", USER]);
        command.env("PGDATABASE", "postgres");
        command
    }

    /// Where to put a file for a client.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// All of its processes now, a process for each connection among them.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let role = || "PostgreSQL".to_owned();
        let found = tree(self.group.pid())?.into_iter();
        Ok(found
            .map(|(pid, _)| Process { role: role(), pid })
            .collect())
    }

    /// `PostgreSQL 15.18`.
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let version = self.ask("SHOW server_version").await?;
        let number = version.split(' ').next().unwrap_or_default();
        Ok(format!("PostgreSQL {number}"))
    }
}

/// What a program prints; an error with its last words if it fails.
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

/// PostgreSQL refuses to run as root.
fn other_user() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name("postgres")? {
        Some(user) => Ok(Some(user)),
        None => bail!("PostgreSQL does not run as root, and there is no user `postgres`"),
    }
}

/// A server's program, which ends with this one.
fn as_its_user(program: &Path) -> anyhow::Result<std::process::Command> {
    let Some(user) = other_user()? else {
        return tied(program);
    };
    let mut command = std::process::Command::new("setpriv");
    command.arg(format!("--reuid={}", user.uid));
    command.arg(format!("--regid={}", user.gid));
    // A change of user forgets what `tied` would have asked for.
    command.args(["--clear-groups", "--pdeathsig=TERM", "--"]);
    // Where root is at home others may not look.
    command.arg(program).current_dir("/");
    Ok(command)
}

/// Debian keeps a server's programs by its version, out of the way.
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
