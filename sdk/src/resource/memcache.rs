//! A client for memcached, based on async-memcached and deadpool. A worker opens at most as many connections as it runs
//! handlers at the same time.
//!
//! The address is `memcache://HOST:PORT`, `tcp://HOST:PORT`, `HOST:PORT` or `unix:///PATH`. TCP connections use IPv4
//! only, because async-memcached does.
//!
//! ```no_run
//! # async fn example() -> Result<(), hearth_sdk::Problem> {
//! use std::time::Duration;
//! use hearth_sdk::memcache::Memcache;
//!
//! let cache = Memcache::new().map_err(|e| hearth_sdk::Problem::new(500, e.to_string()))?;
//! cache.set("greeting", b"hello", Some(Duration::from_secs(60))).await?;
//! let greeting: Option<Vec<u8>> = cache.get("greeting").await?;
//! let visits = cache.increment("visits", 1).await?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_memcached::{AsciiProtocol, Client, Status};
use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};

use super::patience::Patience;
use super::{ResourceError, ServerError, Unavailable, WAIT, address, names};

/// The manifest's name for this kind of resource.
const KIND: &str = "memcache";

/// The default port.
const PORT: u16 = 11211;

/// A connection that was not used for longer than this is tested before its next use.
const QUIET: Duration = Duration::from_secs(1);

/// A memcached server and the connections to it. Cheap to clone.
#[derive(Clone)]
pub struct Memcache {
    pool: Pool<Patient>,
    name: &'static str,
}

/// Why a command has no result.
pub type Error = ServerError<async_memcached::Error>;

impl Memcache {
    /// Uses the resource `memcache` of the manifest. Connects at the first command.
    ///
    /// # Errors
    /// The manifest has no such resource, or its address cannot be used.
    pub fn new() -> Result<Memcache, ResourceError> {
        Memcache::named(KIND)
    }

    /// Uses the resource of this name.
    ///
    /// # Errors
    /// As [`new`](Memcache::new).
    pub fn named(name: &'static str) -> Result<Memcache, ResourceError> {
        let bad = |why: String| ResourceError::Address {
            name: name.to_owned(),
            why,
        };
        let server = Server::of(address(name, KIND)?);
        let patient = Patient {
            server: server.ok_or_else(|| bad("neither HOST:PORT nor a path".to_owned()))?,
            patience: Patience::default(),
        };
        let concurrency = crate::handshake::config().concurrency as usize;
        let pool = Pool::builder(patient).max_size(concurrency.max(1)).build();
        let pool = pool.map_err(|error| bad(error.to_string()))?;
        Ok(Memcache { pool, name })
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// An error of the server, or [`Unavailable`] if the connection is lost or there is no result within [`WAIT`].
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let value = self.run(async |client| client.get(key).await).await?;
        Ok(value.and_then(|value| value.data))
    }

    /// Stores a value, for `time` if it is given. A time below one second counts as one second.
    ///
    /// # Errors
    /// As [`get`](Memcache::get).
    pub async fn set(&self, key: &str, value: &[u8], time: Option<Duration>) -> Result<(), Error> {
        let time = time.map(|time| i64::try_from(time.as_secs().max(1)).unwrap_or(i64::MAX));
        self.run(async |client| client.set(key, value, time, None).await)
            .await
    }

    /// Deletes a value. Returns `false` if there was none.
    ///
    /// # Errors
    /// As [`get`](Memcache::get).
    pub async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.run(async |client| match client.delete(key).await {
            Ok(()) => Ok(true),
            Err(async_memcached::Error::Protocol(Status::NotFound)) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Adds to a number and returns the sum. If there is no number yet, it is created and counts from 0.
    ///
    /// # Errors
    /// As [`get`](Memcache::get).
    pub async fn increment(&self, key: &str, by: u64) -> Result<u64, Error> {
        self.run(async |client| {
            loop {
                match client.increment(key, by).await {
                    Err(async_memcached::Error::Protocol(Status::NotFound)) => {}
                    other => return other,
                }
                match client.add(key, by.to_string().as_str(), None, None).await {
                    Ok(()) => return Ok(by),
                    // Another client has created the number in the meantime.
                    Err(async_memcached::Error::Protocol(Status::NotStored)) => {}
                    Err(error) => return Err(error),
                }
            }
        })
        .await
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, async_memcached::Error>,
    ) -> Result<T, Error> {
        let whole = async {
            let mut client = self.pool.get().await.map_err(|error| match error {
                PoolError::Backend(error) => Unavailable::new(self.name, error),
                error => Unavailable::new(self.name, error),
            })?;
            let done = work(&mut client).await;
            done.map_err(|error| match has_gone(&error) {
                true => {
                    // Take the connection out of the pool.
                    drop(Object::take(client));
                    Error::from(Unavailable::new(self.name, error))
                }
                false => Error::Refused {
                    name: self.name,
                    error,
                },
            })
        };
        match tokio::time::timeout(WAIT, whole).await {
            Ok(done) => done,
            Err(_) => {
                let why = format!("no answer within {} s", WAIT.as_secs());
                Err(Unavailable::new(self.name, why).into())
            }
        }
    }
}

impl fmt::Debug for Memcache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memcache")
            .field("name", &self.name)
            .finish()
    }
}

/// Whether the connection has failed, and not the command.
fn has_gone(error: &async_memcached::Error) -> bool {
    use async_memcached::Error::{Connect, ConnectionClosed, Io};
    matches!(error, Connect(_) | ConnectionClosed | Io(_))
}

/// Where a server listens.
#[derive(Debug, PartialEq, Eq)]
enum Server {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

impl Server {
    fn of(address: &str) -> Option<Server> {
        if let Some(path) = address.strip_prefix("unix://") {
            let path = path.to_owned();
            return Some(Server::Unix { path });
        }
        let schemes = ["memcache://", "memcached://", "tcp://"];
        let rest = schemes.iter().find_map(|one| address.strip_prefix(one));
        let rest = rest.unwrap_or(address).trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if port.is_empty() => PORT,
            None => return None,
        };
        let host = host.to_owned();
        (!host.is_empty() && !host.contains('/')).then_some(Server::Tcp { host, port })
    }

    async fn connect(&self) -> Result<Client, async_memcached::Error> {
        let (host, port) = match self {
            Server::Unix { path } => return Client::new(format!("unix://{path}")).await,
            Server::Tcp { host, port } => (host, *port),
        };
        let addresses = names::resolve(host).await?;
        let mut last = io::Error::other("the server has no IPv4 address").into();
        for ip in addresses.into_iter().filter(IpAddr::is_ipv4) {
            match Client::new(format!("tcp://{}", SocketAddr::new(ip, port))).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Opens connections, with a backoff after failures.
struct Patient {
    server: Server,
    patience: Patience,
}

impl managed::Manager for Patient {
    type Type = Client;
    type Error = async_memcached::Error;

    async fn create(&self) -> Result<Client, async_memcached::Error> {
        let attempt = self.patience.attempt().await;
        let client = self.server.connect().await?;
        attempt.succeeded();
        Ok(client)
    }

    async fn recycle(
        &self,
        client: &mut Client,
        metrics: &Metrics,
    ) -> RecycleResult<async_memcached::Error> {
        // A command was dropped before its result arrived; the next command would read that result.
        if client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        if metrics.last_used() > QUIET {
            client.version().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        let tcp = |host: &str, port| {
            let host = host.to_owned();
            Some(Server::Tcp { host, port })
        };
        assert_eq!(Server::of("memcache://cache"), tcp("cache", 11211));
        assert_eq!(Server::of("tcp://127.0.0.1:7/"), tcp("127.0.0.1", 7));
        assert_eq!(Server::of("cache.example:7"), tcp("cache.example", 7));
        assert_eq!(Server::of("memcache://[::1]:7"), tcp("::1", 7));
        let path = "/run/memcached.sock".to_owned();
        assert_eq!(
            Server::of("unix:///run/memcached.sock"),
            Some(Server::Unix { path })
        );
        for text in [
            "",
            "tcp://",
            "cache:x",
            "cache:70000",
            "[::1",
            "[::1]x",
            "http://a/b",
        ] {
            assert_eq!(Server::of(text), None, "{text}");
        }
    }
}
