//! `cargo xtask soak`: runs a platform at 80 % of its capacity for a long time. Its memory must stay flat.

use std::cell::Cell;
use std::fmt::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::MissedTickBehavior;

use crate::peer::BODY;
use crate::server::Server;
use crate::usage::{self, Process};
use crate::{entry, hearth, out};

/// Number of connections that carry the load.
const CONNECTIONS: u32 = 8;

/// Time for which requests are sent as fast as possible to measure the platform's capacity.
const CALIBRATION: Duration = Duration::from_secs(10);

/// Load as a fraction of the capacity.
const LOAD: f64 = 0.8;

/// Time between two memory samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(30);

/// Fraction of the run after which a process must have allocated all the memory that it needs.
const WARM_UP: f64 = 0.1;

/// Tolerance for growth after the warm-up, as a fraction of the memory plus a number of bytes, because allocators and
/// page caches are not exact.
const GROWTH: f64 = 0.05;
const GROWTH_BYTES: u64 = 256 * 1024;

/// State that all connections share.
#[derive(Default)]
struct Shared {
    answered: Cell<u64>,
    failed: Cell<u64>,
    /// Time between two requests of a connection. With `None`, the next request follows the response at once.
    interval: Cell<Option<Duration>>,
    stop: Cell<bool>,
}

/// Memory of one process (PSS, in bytes) after the warm-up.
struct Memory {
    role: String,
    first: u64,
    peak: u64,
    last: u64,
}

impl Memory {
    fn is_flat(&self) -> bool {
        let most = self.first as f64 * (1.0 + GROWTH) + GROWTH_BYTES as f64;
        self.last as f64 <= most
    }
}

/// Runs for this time and prints the table. Fails if a request fails, the load is not reached or the memory of a
/// process grows.
pub(crate) async fn run(length: Duration) -> anyhow::Result<()> {
    let programs = entry::hearth_with_hello().await?;
    let server = hearth::start(&programs).await?;
    LocalSet::new().run_until(soak(&server, length)).await
}

async fn soak(server: &Server, length: Duration) -> anyhow::Result<()> {
    let shared = Rc::new(Shared::default());
    let clients: Vec<JoinHandle<()>> = (0..CONNECTIONS)
        .map(|_| spawn_local(client(server.address, Rc::clone(&shared))))
        .collect();
    tokio::time::sleep(CALIBRATION).await;
    let capacity = shared.answered.get() as f64 / CALIBRATION.as_secs_f64();
    ensure!(capacity > 0.0, "the platform answers nothing");
    let rate = capacity * LOAD;
    shared
        .interval
        .set(Some(Duration::from_secs_f64(f64::from(CONNECTIONS) / rate)));
    out::say(format_args!(
        "soak: {capacity:.0} requests a second at most; from now on {rate:.0}"
    ));
    let (begun, before) = (Instant::now(), shared.answered.get());
    let mut seen: Vec<Memory> = Vec::new();
    while begun.elapsed() < length {
        let left = length.saturating_sub(begun.elapsed());
        tokio::time::sleep(SAMPLE_INTERVAL.min(left)).await;
        if begun.elapsed().as_secs_f64() < length.as_secs_f64() * WARM_UP {
            continue;
        }
        for process in &server.processes {
            sample(&mut seen, process)?;
        }
    }
    let carried = (shared.answered.get() - before) as f64 / begun.elapsed().as_secs_f64();
    shared.stop.set(true);
    for client in clients {
        client.await?;
    }
    out::data(table(&seen, carried, shared.failed.get()))?;
    ensure!(
        shared.failed.get() == 0,
        "{} requests failed",
        shared.failed.get()
    );
    ensure!(
        carried > rate * 0.95,
        "only {carried:.0} requests a second were carried, instead of {rate:.0}"
    );
    let grown = seen.iter().find(|memory| !memory.is_flat());
    match grown {
        Some(memory) => anyhow::bail!(
            "the memory of the {} is not flat: {} KiB after the warm-up, {} KiB at the end",
            memory.role,
            memory.first / 1024,
            memory.last / 1024
        ),
        None => Ok(()),
    }
}

fn sample(seen: &mut Vec<Memory>, process: &Process) -> anyhow::Result<()> {
    let now = usage::memory(process)?;
    match seen.iter_mut().find(|memory| memory.role == process.role) {
        Some(memory) => {
            memory.peak = memory.peak.max(now);
            memory.last = now;
        }
        None => seen.push(Memory {
            role: process.role.clone(),
            first: now,
            peak: now,
            last: now,
        }),
    }
    Ok(())
}

/// One client, which opens a new connection when its connection is lost.
async fn client(address: SocketAddr, shared: Rc<Shared>) {
    while !shared.stop.get() {
        if let Err(error) = connection(address, &shared).await {
            shared.failed.set(shared.failed.get() + 1);
            out::say(format_args!("soak: {error:#}"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn connection(address: SocketAddr, shared: &Shared) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = spawn_local(connection);
    let mut ticks = None;
    while !shared.stop.get() {
        if let Some(interval) = shared.interval.get() {
            let ticks = ticks.get_or_insert_with(|| {
                let mut ticks = tokio::time::interval(interval);
                // Late requests are made up for, so that the load keeps its rate.
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                ticks
            });
            ticks.tick().await;
        }
        ask(&mut sender).await?;
        shared.answered.set(shared.answered.get() + 1);
    }
    driver.abort();
    Ok(())
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>) -> anyhow::Result<()> {
    sender.ready().await.context("the connection was closed")?;
    let request = Request::get("/")
        .header("host", "localhost")
        .body(Empty::new())?;
    let response = sender.send_request(request).await.context("no response")?;
    ensure!(response.status() == 200, "status {}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(body == BODY, "another body: {body:?}");
    Ok(())
}

fn table(seen: &[Memory], carried: f64, failed: u64) -> String {
    let mut text = format!(
        "{carried:.0} requests a second were carried, {failed} failed.\n\n\
         | process | after the warm-up, KiB | peak, KiB | end, KiB |\n|---|---|---|---|\n"
    );
    for memory in seen {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            memory.role,
            memory.first / 1024,
            memory.peak / 1024,
            memory.last / 1024
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_flat_within_what_allocators_need() {
        let memory = |first: u64, last: u64| Memory {
            role: "gateway".to_owned(),
            first,
            peak: last,
            last,
        };
        let mib = 1 << 20;
        assert!(memory(4 * mib, 4 * mib + 400 * 1024).is_flat());
        assert!(memory(4 * mib, 3 * mib).is_flat());
        assert!(!memory(4 * mib, 5 * mib).is_flat());
    }
}
