//! A running server: its address, its processes and its temporary directory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::group::Group;
use crate::peer::BODY;
use crate::probe::Probe;
use crate::scratch::Scratch;
use crate::usage::{Process, tree};

/// Timeout for the start. The slowest server, workerd, starts within a second; the rest is a margin for busy machines.
const START_TIME: Duration = Duration::from_secs(20);

/// Time between two attempts to get a response during the start.
const PAUSE: Duration = Duration::from_millis(10);

/// A running server. Dropping it ends all its processes, the first group first, and then removes its directory.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// All processes of the server. The server's CPU time is the sum of theirs.
    pub(crate) processes: Vec<Process>,
    groups: Vec<Group>,
    pub(crate) scratch: Scratch,
}

impl Server {
    /// Waits until the server sends the common response, and then lists its processes.
    pub(crate) async fn of(
        address: SocketAddr,
        groups: Vec<Group>,
        scratch: Scratch,
    ) -> anyhow::Result<Server> {
        Server::answering("/", BODY, address, groups, scratch).await
    }

    /// Like [`Server::of`], for a server with another path and response.
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

    /// Fails if one of the server's programs has ended. The error contains the program's output.
    pub(crate) fn alive(&self) -> anyhow::Result<()> {
        self.groups.iter().try_for_each(Group::alive)
    }
}

async fn answers(address: SocketAddr, path: &str, json: &str) -> anyhow::Result<()> {
    Probe::connect(address).await?.expect(path, json).await
}

/// Returns a loopback address with a port that is currently free.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?)
}
