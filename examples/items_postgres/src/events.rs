//! Tells whoever listens about new items, as server-sent events: `curl -N`, or an `EventSource`.
//!
//! A function of its own, since each listener keeps its place for as long as it listens. One connection
//! of each worker LISTENs to PostgreSQL, which `items_postgres` has taught to tell of new items, and
//! what it hears goes to all listeners. Nothing is kept: who must miss no item reads the list once it
//! hears.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use hearth_sdk::postgres::tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};
use hearth_sdk::{Event, Request, Response, log, resource, serve_async};
use tokio::sync::broadcast::{Sender, channel};
use tokio::task::{JoinHandle, spawn_local};

/// News that wait for a slow listener; one that falls behind further is let go, and comes back.
const ROOM: usize = 256;

/// So often at least something is sent: a listener that has gone without a word is found out so.
const BEAT: Duration = Duration::from_secs(15);

/// So long a listener that was let go waits before it comes back, and so long we wait before we go back
/// to a lost server.
const PAUSE: Duration = Duration::from_secs(1);

/// After so long without a word the server is looked after.
const SILENCE: Duration = Duration::from_secs(10);

/// Items as JSON, as they are made.
type News = Sender<Arc<str>>;

fn main() {
    serve_async(
        start,
        |news, _request: Request| async move { listen(&news) },
    );
}

/// An error refuses the start: without a server there is no news.
async fn start() -> Result<News, String> {
    let address = resource("postgres").and_then(|address| address.as_str());
    let address = address.ok_or("`resources.postgres` must be an address")?;
    // Its own words quote the address, which may hold a password.
    let bad = |_| "resource `postgres`: the address cannot be read";
    let mut config: Config = address.parse().map_err(bad)?;
    config.application_name(hearth_sdk::function());
    // We say nothing to it, so TCP must find out whether it is still there.
    config.keepalives_idle(SILENCE).connect_timeout(SILENCE);
    let news = channel(ROOM).0;
    let ear = Ear::open(&config, &news).await;
    let ear = ear.map_err(|error| format!("resource `postgres`: {error}"))?;
    spawn_local(keep_open(ear, config, news.clone()));
    Ok(news)
}

/// Sends each item that is made from now on.
fn listen(news: &News) -> Response {
    let mut news = news.subscribe();
    Response::events_async(async move |events| {
        let here = Event::default().with_retry(PAUSE);
        events.send(&here).await?;
        loop {
            match tokio::time::timeout(BEAT, news.recv()).await {
                Ok(Ok(item)) => events.send(&Event::data(&*item).named("item")).await?,
                Ok(Err(_)) => return Ok(()),
                Err(_) => events.send(&here).await?,
            }
        }
    })
}

/// A connection that hears what PostgreSQL tells.
struct Ear {
    /// Its end would be the connection's.
    _client: Client,
    hears: JoinHandle<Result<(), Error>>,
}

impl Ear {
    async fn open(config: &Config, news: &News) -> Result<Ear, Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let news = news.clone();
        let hears = spawn_local(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(told) = message? {
                    // Fails where nobody listens, which is nobody's loss.
                    let _ = news.send(told.payload().into());
                }
            }
            Ok(())
        });
        client.batch_execute("LISTEN items_made").await?;
        Ok(Ear {
            _client: client,
            hears,
        })
    }
}

/// Opens another ear whenever one is lost, for as long as the worker lives.
async fn keep_open(ear: Ear, config: Config, news: News) {
    let mut ear = Ok(ear);
    loop {
        match ear {
            Ok(open) => {
                let _ = open.hears.await;
                log::warn("PostgreSQL has gone, and tells of no items until it is back");
            }
            Err(error) => log::warn(format_args!("PostgreSQL is still away: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
        ear = Ear::open(&config, &news).await;
    }
}
