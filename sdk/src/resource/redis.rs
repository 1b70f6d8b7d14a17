//! A client for Redis, based on the crate `redis`. All handlers of a worker share one connection, on which their
//! commands are pipelined.
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

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture,
    RedisResult,
};
use tokio::sync::OnceCell;

pub use redis;

use super::patience::Patience;
use super::{ResourceError, ServerError, Unavailable, WAIT, address, names};

/// The manifest's name for this kind of resource.
const KIND: &str = "redis";

/// A connection that was not used for longer than this is tested before its next use.
const QUIET: Duration = Duration::from_secs(1);

/// A Redis server and the connection to it. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    shared: Rc<Shared>,
    name: &'static str,
}

/// What all clones of a [`Redis`] share.
struct Shared {
    client: Client,
    config: AsyncConnectionConfig,
    patience: Patience,
    /// The connection, which the first command opens. If it fails, an empty cell replaces it, and the next command
    /// opens another one.
    current: RefCell<Rc<Current>>,
    used: Cell<Instant>,
}

type Current = OnceCell<MultiplexedConnection>;

/// Why a command has no result.
pub type Error = ServerError<RedisError>;

impl Redis {
    /// Uses the resource `redis` of the manifest. Connects at the first command. Call it within a runtime: in an
    /// asynchronous start, or within [`block_on`](crate::block_on).
    ///
    /// # Errors
    /// The manifest has no such resource, or its address cannot be used.
    pub fn new() -> Result<Redis, ResourceError> {
        Redis::named(KIND)
    }

    /// Uses the resource of this name.
    ///
    /// # Errors
    /// As [`new`](Redis::new).
    pub fn named(name: &'static str) -> Result<Redis, ResourceError> {
        let bad = |error: RedisError| ResourceError::Address {
            name: name.to_owned(),
            // The error's message quotes the address, which may contain a password.
            why: error.kind_text(),
        };
        let client = client(address(name, KIND)?, name, bad)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(WAIT))
            .set_response_timeout(Some(WAIT))
            .set_dns_resolver(Names);
        let shared = Shared {
            client,
            config,
            patience: Patience::default(),
            current: RefCell::default(),
            used: Cell::new(Instant::now()),
        };
        Ok(Redis {
            shared: Rc::new(shared),
            name,
        })
    }

    /// Runs a command.
    ///
    /// # Errors
    /// An error of the server, or [`Unavailable`] if the connection is lost or there is no result within [`WAIT`].
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.within(async |mut connection| command.query_async(&mut connection).await)
            .await
    }

    /// Runs several commands together.
    ///
    /// # Errors
    /// As [`run`](Redis::run).
    pub async fn run_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        self.within(async |mut connection| commands.query_async(&mut connection).await)
            .await
    }

    async fn within<T>(
        &self,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Error> {
        let shared = &self.shared;
        let checked = async {
            if shared.used.replace(Instant::now()).elapsed() > QUIET {
                // If the connection has closed in the meantime, the PING fails, and the command itself opens another
                // connection.
                let ping = redis::cmd("PING");
                let _ = shared
                    .run(async |mut connection| ping.query_async::<()>(&mut connection).await)
                    .await;
            }
            shared.run(work).await
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

fn client(
    address: &str,
    name: &str,
    bad: impl FnOnce(RedisError) -> ResourceError,
) -> Result<Client, ResourceError> {
    if !address.starts_with("rediss://") {
        return Client::open(address).map_err(bad);
    }
    #[cfg(not(feature = "redis-tls"))]
    return Err(ResourceError::Address {
        name: name.to_owned(),
        why: "encrypted connections need the feature `redis-tls` of hearth-sdk".to_owned(),
    });
    #[cfg(feature = "redis-tls")]
    {
        super::authorities::provider();
        let certificates = redis::TlsCertificates {
            client_tls: None,
            root_cert: Some(super::authorities::pem(name)?.into_bytes()),
        };
        Client::build_with_tls(address, certificates).map_err(bad)
    }
}

impl Shared {
    /// Runs `work` with the connection, and discards the connection if it has failed.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let current = Rc::clone(&self.current.borrow());
        let connection = current.get_or_try_init(|| self.connect()).await?;
        let done = work(connection.clone()).await;
        if done.as_ref().is_err_and(has_gone) {
            let mut now = self.current.borrow_mut();
            // Unless another task has replaced it already.
            if Rc::ptr_eq(&now, &current) {
                *now = Rc::default();
            }
        }
        done
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let attempt = self.patience.attempt().await;
        let client = &self.client;
        let connection = client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await?;
        attempt.succeeded();
        Ok(connection)
    }
}

/// Resolves names through the platform.
struct Names;

impl AsyncDNSResolver for Names {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = names::resolve(host).await?.into_iter();
            let with_port = addresses.map(move |ip| SocketAddr::new(ip, port));
            Ok(Box::new(with_port) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("name", &self.name).finish()
    }
}

/// Whether the connection or the server has failed, and not the command.
fn has_gone(error: &RedisError) -> bool {
    use redis::ErrorKind::AuthenticationFailed;
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.kind() == AuthenticationFailed
}

/// A description of an error that contains no part of the command or the address.
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
