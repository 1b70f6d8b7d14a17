//! Measures the memory of an idle connection, with ten thousand connections that have each served one request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::entry::{Entry, Kind};
use crate::peer::BODY;
use crate::server::Server;
use crate::{out, usage};

/// Number of connections: the gateway's default limit.
const CONNECTIONS: usize = 10_000;

/// Target: the gateway may use at most this many bytes more than hyper for each connection.
const TARGET: i64 = 1024;

/// Pause before the measurement, because some memory is freed with a delay.
const REST: Duration = Duration::from_secs(3);

/// Measures hyper alone and Hearth's gateway and prints the result. Fails if the target is missed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let hyper = measure(Kind::Hyper, "hyper").await?;
    let hearth = measure(Kind::Hearth, "gateway").await?;
    let more = hearth - hyper;
    out::data(format_args!(
        "| {CONNECTIONS} idle connections, each after one request | bytes each |\n|---|---|\n\
         | hyper alone | {hyper} |\n| Hearth's gateway | {hearth} |\n| more | {more} (at most {TARGET}) |\n"
    ))?;
    ensure!(
        more <= TARGET,
        "{more} bytes more than hyper, {TARGET} at most"
    );
    Ok(())
}

/// Memory (PSS) in bytes that each connection adds to the server's process with this role.
async fn measure(kind: Kind, role: &str) -> anyhow::Result<i64> {
    let entry = Entry::find(kind).await?;
    let installed = entry.installed.map_err(anyhow::Error::msg)?;
    let server = installed.start().await?;
    let before = memory(&server, role)?;
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for number in 1..=CONNECTIONS {
        let one = greet(server.address);
        idle.push(one.with_context(|| format!("connection {number} to {}", kind.title()))?);
    }
    tokio::time::sleep(REST).await;
    let after = memory(&server, role)?;
    Ok((after - before) / CONNECTIONS as i64)
}

fn memory(server: &Server, role: &str) -> anyhow::Result<i64> {
    let process = server.processes.iter().find(|one| one.role == role);
    let process = process.with_context(|| format!("there is no {role}"))?;
    Ok(i64::try_from(usage::memory(process)?)?)
}

/// Opens a connection, sends one request and reads the response.
fn greet(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut room = [0; 1024];
    while !answer.ends_with(BODY.as_bytes()) {
        let count = stream.read(&mut room)?;
        ensure!(count > 0, "it hung up");
        answer.extend_from_slice(&room[..count]);
    }
    Ok(stream)
}
