//! Sends new items to clients as server-sent events: for `curl -N`, or an `EventSource`.
//!
//! This is a separate function, because each client uses one of the `concurrency` places as long as it listens. Each
//! worker LISTENs on one connection to PostgreSQL, where a trigger of the migrations of `items_postgres` sends a
//! notification for each new item. The worker sends each notification to all its clients. No events are stored: a
//! client that must not miss an item reads the list after it has connected.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hearth_sdk::postgres::{Listener, Postgres};
use hearth_sdk::{Event, Request, Response, log, serve_async};
use tokio::sync::broadcast::{Sender, channel};
use tokio::task::spawn_local;

/// The channel of the notifications, which a trigger of the migrations sends.
const CHANNEL: &str = "items_made";

/// Number of items that can wait for a slow client. A client that falls further behind is disconnected, and reconnects.
const ROOM: usize = 256;

/// Maximum time between two events to a client, so that a client that has disappeared is detected.
const BEAT: Duration = Duration::from_secs(15);

/// How long a disconnected client waits before it reconnects, and how long a worker waits before it reconnects to
/// PostgreSQL.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends new items, as JSON, to all clients of the worker.
type News = Sender<Arc<str>>;

fn main() {
    serve_async(
        start,
        |news, _request: Request| async move { listen(&news) },
    );
}

/// The start fails if PostgreSQL cannot be reached, because without it there are no events.
async fn start() -> Result<News, Box<dyn Error>> {
    let database = Postgres::new()?;
    let listener = database.listen(CHANNEL).await?;
    let news = channel(ROOM).0;
    spawn_local(hear(database, listener, news.clone()));
    Ok(news)
}

/// Responds with an event for each item that is created from now on.
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

/// Passes on the notifications of PostgreSQL until the worker ends. Reconnects whenever the connection is lost.
async fn hear(database: Postgres, listener: Listener, news: News) {
    let mut listener = Ok(listener);
    loop {
        match listener {
            Ok(mut open) => {
                while let Some(item) = open.next().await {
                    // Fails if no client is connected.
                    let _ = news.send(item.into());
                }
                log::warn("PostgreSQL has gone, and tells of no items until it is back");
            }
            Err(error) => log::warn(format_args!("PostgreSQL tells of no items yet: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
        listener = database.listen(CHANNEL).await;
    }
}
