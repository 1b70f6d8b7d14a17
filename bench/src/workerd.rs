//! workerd, the runtime of Cloudflare Workers, installed by npm.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::timeout;

use crate::group::{Group, tied};
use crate::machine;
use crate::out;
use crate::peer::BODY;
use crate::scratch::Scratch;
use crate::server::{Server, free_port};

/// Timeout for the installation. The download has 100 MB, which takes long over a slow connection.
const INSTALL_TIME: Duration = Duration::from_secs(300);

/// Returns the program's path in the cache, and installs it with npm first if it is missing.
pub(crate) async fn find() -> anyhow::Result<PathBuf> {
    let package = match env::consts::ARCH {
        "x86_64" => "workerd-linux-64",
        "aarch64" => "workerd-linux-arm64",
        other => bail!("npm has none for {other}"),
    };
    let cache = cache()?;
    let program = cache
        .join("node_modules/@cloudflare")
        .join(package)
        .join("bin/workerd");
    if !program.exists() {
        install(&cache).await?;
    }
    // The program is linked against glibc. If it does not run on this machine, it counts as missing.
    machine::first_line(&program, &["--version"])
        .await
        .with_context(|| format!("{} does not run", program.display()))?;
    Ok(program)
}

/// The cache directory. It is outside the target directory, so that `cargo clean` does not cause a new download.
fn cache() -> anyhow::Result<PathBuf> {
    let under = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let caches = under("XDG_CACHE_HOME").or_else(|| Some(under("HOME")?.join(".cache")));
    Ok(caches
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("hearth-bench"))
}

async fn install(cache: &Path) -> anyhow::Result<()> {
    if machine::program("npm").is_none() {
        bail!("npm is not installed");
    }
    out::say(format_args!("installing workerd into {}", cache.display()));
    std::fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let npm = tokio::process::Command::new("npm")
        .args([
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        // The package contains the program as a file, so its installation needs no scripts.
        .args(["--ignore-scripts", "--fetch-retries=1", "--prefix"])
        .arg(cache)
        .arg("workerd")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(INSTALL_TIME, npm)
        .await
        .context("npm took too long")??;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words
            .lines()
            .find(|line| line.contains("error"))
            .unwrap_or_default();
        bail!("npm failed: {last}");
    }
    Ok(())
}

/// Returns the version, such as `2026-11-17`.
pub(crate) async fn version(program: &Path) -> String {
    let line = machine::first_line(program, &["--version"]).await;
    line.unwrap_or_default().replace("workerd ", "")
}

pub(crate) async fn start(program: &Path) -> anyhow::Result<Server> {
    let scratch = Scratch::new()?;
    let address = free_port()?;
    scratch.write("hello.js", &module())?;
    let config = scratch.write("config.capnp", &config(&address.to_string()))?;
    let mut command = tied(program)?;
    command.arg("serve").arg(config);
    let group = Group::start("workerd", &mut command, &scratch)?;
    Server::of(address, vec![group], scratch).await
}

fn module() -> String {
    format!(
        "const hello = {BODY};\nexport default {{ fetch() {{ return Response.json(hello); }} }};\n"
    )
}

fn config(address: &str) -> String {
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [ (name = "main", worker = .hello) ],
  sockets = [ (name = "http", address = "{address}", http = (), service = "main") ]
);

const hello :Workerd.Worker = (
  modules = [ (name = "hello.js", esModule = embed "hello.js") ],
  compatibilityDate = "2025-01-01"
);
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_answers_the_same_hello_at_the_address_given() {
        assert!(module().contains(BODY));
        assert!(config("127.0.0.1:81").contains(r#"address = "127.0.0.1:81""#));
    }
}
