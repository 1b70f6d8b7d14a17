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

/// What a resource of this kind is called in the manifest.
const KIND: &str = "redis";

/// A connection that was not used for so long is asked whether it is still one.
const QUIET: Duration = Duration::from_secs(1);

/// A server, with the connection to it. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    shared: Rc<Shared>,
    name: &'static str,
}

/// What all handles of one server share.
struct Shared {
    client: Client,
    config: AsyncConnectionConfig,
    patience: Patience,
    /// The connection, made by whoever needs it first. One that has ended makes room for the next.
    current: RefCell<Rc<Current>>,
    used: Cell<Instant>,
}

type Current = OnceCell<MultiplexedConnection>;

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
    /// The server's, that it has gone, or that there is no answer within [`WAIT`].
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.within(async |mut connection| command.query_async(&mut connection).await)
            .await
    }

    /// Runs several commands at once.
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
                // One that has ended meanwhile fails here, and is made anew for the command itself.
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
    /// Works with the connection, and forgets it if it has ended.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let current = Rc::clone(&self.current.borrow());
        let connection = current.get_or_try_init(|| self.connect()).await?;
        let done = work(connection.clone()).await;
        if done.as_ref().is_err_and(has_gone) {
            let mut now = self.current.borrow_mut();
            // Unless somebody else was faster.
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

/// Names as the platform resolves them.
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
