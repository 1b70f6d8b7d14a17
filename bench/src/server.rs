//! A running server: where it answers, its processes, and what ends with it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::group::Group;
use crate::peer::BODY;
use crate::probe::Probe;
use crate::scratch::Scratch;
use crate::usage::{Process, tree};

/// workerd, the slowest to start of all, answers within a second; more is for a busy machine.
const START_TIME: Duration = Duration::from_secs(20);

/// Between two looks at whether it answers.
const PAUSE: Duration = Duration::from_millis(10);

/// Dropping it ends all its processes, the first group first, and then removes its directory.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// All of them: their CPU time is the server's.
    pub(crate) processes: Vec<Process>,
    groups: Vec<Group>,
    pub(crate) scratch: Scratch,
}

impl Server {
    /// Waits until the hello comes, and then looks at which processes there are.
    pub(crate) async fn of(
        address: SocketAddr,
        groups: Vec<Group>,
        scratch: Scratch,
    ) -> anyhow::Result<Server> {
        Server::answering("/", BODY, address, groups, scratch).await
    }

    /// The same of one that answers something else.
    pub(crate) async fn answering(
        path: &str,
        json: &str,
        address: SocketAddr,
        groups: Vec<Group>,
        scratch: Scratch,
    ) -> anyhow::Result<Server> {
        let deadline = Instant::now() + START_TIME;
        while let Err(error) = answers(address, path, json).await {
            for group in &groups {
                group.alive()?;
            }
            if Instant::now() > deadline {
                return Err(error.context("it does not answer as it should"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut processes = Vec::new();
        for group in &groups {
            let found = tree(group.pid())?.into_iter();
            processes.extend(found.map(|(pid, role)| Process { role, pid }));
        }
        Ok(Server {
            address,
            processes,
            groups,
            scratch,
        })
    }

    /// Fails if one of its programs has ended, with its last words.
    pub(crate) fn alive(&self) -> anyhow::Result<()> {
        self.groups.iter().try_for_each(Group::alive)
    }
}

async fn answers(address: SocketAddr, path: &str, json: &str) -> anyhow::Result<()> {
    Probe::connect(address).await?.expect(path, json).await
}

/// An address on loopback whose port nobody uses now.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?)
}
