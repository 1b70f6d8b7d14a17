//! Redis, by the crate of that name: one connection that all handlers of a worker share, since commands
//! of several are sent one behind the other without waiting.
//!
//! ```no_run
//! # async fn example() -> Result<(), hearth_sdk::Problem> {
//! use hearth_sdk::redis::{Redis, redis};
//!
//! let cache = Redis::new().map_err(|e| hearth_sdk::Problem::new(500, e.to_string()))?;
//! let seen: Option<String> = cache.run(redis::cmd("GET").arg("item:7")).await?;
//! # Ok(())
//! # }
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};

pub use redis;

use super::{ResourceError, ServerError, Unavailable, WAIT, address};

/// What a resource of this kind is called in the manifest.
const KIND: &str = "redis";

/// A connection that was not used for so long is asked whether it is still one.
const QUIET: Duration = Duration::from_secs(1);

/// Longest pause between two attempts to come back to a server.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A server, with the connection to it. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    manager: ConnectionManager,
    name: &'static str,
    used: Rc<Cell<Instant>>,
}

/// Why a command has no result.
pub type Error = ServerError<RedisError>;

impl Redis {
    /// The resource `redis` of the manifest. Connects when it is first asked. To be called where a
    /// runtime is: in an asynchronous start, or within [`block_on`](crate::block_on).
    ///
    /// # Errors
    /// The manifest names none, or its address cannot be read.
    pub fn new() -> Result<Redis, ResourceError> {
        Redis::named(KIND)
    }

    /// The resource of this name.
    ///
    /// # Errors
    /// As [`new`](Redis::new).
    pub fn named(name: &'static str) -> Result<Redis, ResourceError> {
        let bad = |error: RedisError| ResourceError::Address {
            name: name.to_owned(),
            // Its own words quote the address, and the address may have a password in it.
            why: error.kind_text(),
        };
        let client = Client::open(address(name, KIND)?).map_err(bad)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(WAIT))
            .set_response_timeout(Some(WAIT))
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(LONGEST_PAUSE)
            .set_number_of_retries(usize::MAX);
        Ok(Redis {
            manager: ConnectionManager::new_lazy_with_config(client, config).map_err(bad)?,
            name,
            used: Rc::new(Cell::new(Instant::now())),
        })
    }

    /// Runs a command.
    ///
    /// # Errors
    /// The server's, that it has gone, or that there is no answer within [`WAIT`].
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let mut connection = self.manager.clone();
        self.within(async move { command.query_async(&mut connection).await })
            .await
    }

    /// Runs several commands at once.
    ///
    /// # Errors
    /// As [`run`](Redis::run).
    pub async fn run_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        let mut connection = self.manager.clone();
        self.within(async move { commands.query_async(&mut connection).await })
            .await
    }

    async fn within<T>(&self, work: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
        let checked = async {
            if self.used.replace(Instant::now()).elapsed() > QUIET {
                // One that has ended meanwhile fails here, and is made anew for the command itself.
                let mut connection = self.manager.clone();
                let _ = redis::cmd("PING").query_async::<()>(&mut connection).await;
            }
            work.await
        };
        match tokio::time::timeout(WAIT, checked).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if has_gone(&error) => {
                Err(Unavailable::new(self.name, error.kind_text()).into())
            }
            Ok(Err(error)) => Err(Error::Refused {
                name: self.name,
                error,
            }),
            Err(_) => {
                let why = format!("no answer within {} s", WAIT.as_secs());
                Err(Unavailable::new(self.name, why).into())
            }
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("name", &self.name).finish()
    }
}

/// Whether the server, and not the command, is the reason.
fn has_gone(error: &RedisError) -> bool {
    use redis::ErrorKind::AuthenticationFailed;
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.kind() == AuthenticationFailed
}

/// What went wrong, without what was sent.
trait KindText {
    fn kind_text(&self) -> String;
}

impl KindText for RedisError {
    fn kind_text(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{}: {cause}", self.category()),
            None => self.category().to_owned(),
        }
    }
}
