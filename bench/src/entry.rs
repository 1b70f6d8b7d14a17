//! Who takes part: under which name, in which version, and whether it can be had here.

use anyhow::bail;
use std::path::PathBuf;

use crate::hearth::{self, Programs};
use crate::server::Server;
use crate::{machine, nginx, peer, workerd};

/// Hearth and its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hyper,
    Hearth,
    Nginx,
    Workerd,
}

impl Kind {
    /// In the order of each round.
    pub(crate) const ALL: [Kind; 4] = [Kind::Hyper, Kind::Hearth, Kind::Nginx, Kind::Workerd];

    /// What the command line and the JSON call it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::Hyper => "hyper",
            Kind::Hearth => "hearth",
            Kind::Nginx => "nginx",
            Kind::Workerd => "workerd",
        }
    }

    /// What the tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Hyper => "hyper alone, one thread",
            Kind::Hearth => "Hearth",
            Kind::Nginx => "nginx + hyper",
            Kind::Workerd => "workerd",
        }
    }
}

/// Where to find what is started.
#[derive(Debug)]
pub(crate) enum Installed {
    Hyper,
    Hearth(Programs),
    Nginx(PathBuf),
    Workerd(PathBuf),
}

/// One that takes part, or would.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Empty where it is of this very tree.
    pub(crate) version: String,
    /// Or why it is missing.
    pub(crate) installed: Result<Installed, String>,
}

impl Entry {
    /// Looks for it; fails only where it should have been built here.
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

/// Hearth and the hello.
pub(crate) async fn hearth_with_hello() -> anyhow::Result<Programs> {
    released()?;
    hearth::build(&["hearth", "hello"], &[]).await
}

/// Hearth without the hello.
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
    /// Starts it; it is known to answer rightly when this returns.
    pub(crate) async fn start(&self) -> anyhow::Result<Server> {
        match self {
            Installed::Hyper => peer::start().await,
            Installed::Hearth(programs) => hearth::start(programs).await,
            Installed::Nginx(program) => nginx::start(program).await,
            Installed::Workerd(program) => workerd::start(program).await,
        }
    }
}
