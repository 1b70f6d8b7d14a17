//! Tells whoever listens about new items, as server-sent events: `curl -N`, or an `EventSource`.
//!
//! A function of its own, since each listener keeps its place for as long as it listens. One connection
//! of each worker LISTENs to PostgreSQL, which `items_postgres` has taught to tell of new items, and
//! what it hears goes to all listeners. Nothing is kept: who must miss no item reads the list once it
//! hears.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hearth_sdk::postgres::{Listener, Postgres};
use hearth_sdk::{Event, Request, Response, log, serve_async};
use tokio::sync::broadcast::{Sender, channel};
use tokio::task::spawn_local;

/// What the database tells on, by a trigger of the migrations.
const CHANNEL: &str = "items_made";

/// News that wait for a slow listener; one that falls behind further is let go, and comes back.
const ROOM: usize = 256;

/// So often at least something is sent: a listener that has gone without a word is found out so.
const BEAT: Duration = Duration::from_secs(15);

/// So long a listener that was let go waits before it comes back, and so long we wait before we go back
/// to a lost server.
const PAUSE: Duration = Duration::from_secs(1);

/// Items as JSON, as they are made.
type News = Sender<Arc<str>>;

fn main() {
    serve_async(
        start,
        |news, _request: Request| async move { listen(&news) },
    );
}

/// An error refuses the start: without a server there is no news.
async fn start() -> Result<News, Box<dyn Error>> {
    let database = Postgres::new()?;
    let listener = database.listen(CHANNEL).await?;
    let news = channel(ROOM).0;
    spawn_local(hear(database, listener, news.clone()));
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

/// Passes on what PostgreSQL tells, and goes back to it whenever it was away, for as long as the worker
/// lives.
async fn hear(database: Postgres, listener: Listener, news: News) {
    let mut listener = Ok(listener);
    loop {
        match listener {
            Ok(mut open) => {
                while let Some(item) = open.next().await {
                    // Fails where nobody listens, which is nobody's loss.
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
