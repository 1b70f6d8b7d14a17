//! The servers of the comparison: their names, versions and whether they are installed.

use anyhow::bail;
use std::path::PathBuf;

use crate::hearth::{self, Programs};
use crate::server::Server;
use crate::{machine, nginx, peer, workerd};

/// A server of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hyper,
    Hearth,
    Nginx,
    Workerd,
}

impl Kind {
    /// All servers, in the order of each round.
    pub(crate) const ALL: [Kind; 4] = [Kind::Hyper, Kind::Hearth, Kind::Nginx, Kind::Workerd];

    /// Name on the command line and in the JSON report.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::Hyper => "hyper",
            Kind::Hearth => "hearth",
            Kind::Nginx => "nginx",
            Kind::Workerd => "workerd",
        }
    }

    /// Name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Hyper => "hyper alone, one thread",
            Kind::Hearth => "Hearth",
            Kind::Nginx => "nginx + hyper",
            Kind::Workerd => "workerd",
        }
    }
}

/// An installed server, with the programs that start it.
#[derive(Debug)]
pub(crate) enum Installed {
    Hyper,
    Hearth(Programs),
    Nginx(PathBuf),
    Workerd(PathBuf),
}

/// A server of the comparison, installed or not.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Version; empty for servers of this repository.
    pub(crate) version: String,
    /// The installed server, or the reason why it is missing.
    pub(crate) installed: Result<Installed, String>,
}

impl Entry {
    /// Finds a server. Fails only if a program of this repository cannot be built.
    pub(crate) async fn find(kind: Kind) -> anyhow::Result<Entry> {
        let mut version = String::new();
        let installed = match kind {
            Kind::Hyper => Ok(Installed::Hyper),
            Kind::Hearth => Ok(Installed::Hearth(hearth_with_hello().await?)),
            Kind::Nginx => match machine::program("nginx") {
                Some(program) => {
                    version = nginx::version(&program).await;
                    Ok(Installed::Nginx(program))
                }
                None => Err("nginx is not installed".to_owned()),
            },
            Kind::Workerd => match workerd::find().await {
                Ok(program) => {
                    version = workerd::version(&program).await;
                    Ok(Installed::Workerd(program))
                }
                Err(error) => Err(format!("{error:#}")),
            },
        };
        Ok(Entry {
            kind,
            version,
            installed,
        })
    }
}

/// Builds Hearth and the `hello` example.
pub(crate) async fn hearth_with_hello() -> anyhow::Result<Programs> {
    released()?;
    hearth::build(&["hearth", "hello"], &[]).await
}

/// Builds Hearth without the `hello` example.
pub(crate) async fn hearth_alone() -> anyhow::Result<Programs> {
    released()?;
    hearth::build(&["hearth"], &[]).await
}

fn released() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build measures nothing; run `cargo xtask bench`");
    }
    Ok(())
}

impl Installed {
    /// Starts the server. When this function returns, the server has sent a correct response.
    pub(crate) async fn start(&self) -> anyhow::Result<Server> {
        match self {
            Installed::Hyper => peer::start().await,
            Installed::Hearth(programs) => hearth::start(programs).await,
            Installed::Nginx(program) => nginx::start(program).await,
            Installed::Workerd(program) => workerd::start(program).await,
        }
    }
}
