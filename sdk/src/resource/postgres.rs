//! A client for PostgreSQL, based on tokio-postgres and deadpool. A worker opens at most as many connections as it runs
//! handlers at the same time, and prepares each statement once per connection.
//!
//! ```no_run
//! # async fn example() -> Result<(), hearth_sdk::Problem> {
//! use hearth_sdk::postgres::Postgres;
//!
//! let orders = Postgres::named("orders_db").map_err(|e| hearth_sdk::Problem::new(500, e.to_string()))?;
//! let client = orders.get().await?;
//! let row = client.query_opt("SELECT name FROM items WHERE id = $1", &[&7i64]).await?;
//! # Ok(())
//! # }
//! ```

mod connect;
mod encryption;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use deadpool::managed::RecycleError;
use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row, Statement};

use connect::{ConnectError, Connection};
use encryption::Encryption;
pub use tokio_postgres;

use super::patience::Patience;
use super::{ResourceError, ServerError, Unavailable, WAIT, address};
use crate::causes::with_causes;

/// The manifest's name for this kind of resource.
const KIND: &str = "postgres";

/// After this time without a query, closed connections are detected before one is used. The time is shorter than any
/// server takes to restart, and so long that a busy worker skips the check.
const QUIET: Duration = Duration::from_millis(10);

/// A PostgreSQL server and the connections to it. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool<Patient>,
    name: &'static str,
    used: Rc<Cell<Instant>>,
}

/// A connection, which returns to the pool when it is dropped. A statement is prepared at its first use and kept with
/// the connection.
pub struct Client {
    /// `Some` until the client is dropped.
    inner: Option<Object<Patient>>,
    name: &'static str,
    /// Number of queries that have no result yet.
    busy: Cell<u32>,
}

/// Receives the notifications of a channel (NOTIFY). It has its own connection, which closes when the listener is
/// dropped.
pub struct Listener {
    _connection: Connection,
    told: UnboundedReceiver<String>,
}

/// Why a query has no result.
pub type Error = ServerError<tokio_postgres::Error>;

impl Postgres {
    /// Uses the resource `postgres` of the manifest. Connects at the first `get` or `listen`.
    ///
    /// # Errors
    /// The manifest has no such resource, or its address cannot be used.
    pub fn new() -> Result<Postgres, ResourceError> {
        Postgres::named(KIND)
    }

    /// Uses the resource of this name.
    ///
    /// # Errors
    /// As [`new`](Postgres::new).
    pub fn named(name: &'static str) -> Result<Postgres, ResourceError> {
        let bad = |why: String| ResourceError::Address {
            name: name.to_owned(),
            why,
        };
        let address = address(name, KIND)?;
        let mut config: Config = address.parse().map_err(|error| bad(with_causes(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(bad("the address names no host".to_owned()));
        }
        if config.get_application_name().is_none() {
            config.application_name(crate::function());
        }
        let patient = Patient {
            encryption: Encryption::of(&config, name)?,
            config,
            patience: Patience::default(),
        };
        let concurrency = crate::handshake::config().concurrency as usize;
        let pool = Pool::builder(patient).max_size(concurrency.max(1)).build();
        Ok(Postgres {
            pool: pool.map_err(|error| bad(error.to_string()))?,
            name,
            used: Rc::new(Cell::new(Instant::now())),
        })
    }

    /// Returns a connection from the pool, or a new one if no connection is free.
    ///
    /// # Errors
    /// There is no connection within [`WAIT`], or connecting failed.
    pub async fn get(&self) -> Result<Client, Unavailable> {
        if self.used.replace(Instant::now()).elapsed() > QUIET {
            // Detect connections that have closed in the meantime: the first yield lets the runtime poll the sockets,
            // the second lets the tasks of closed connections end.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        }
        let got = tokio::time::timeout(WAIT, self.pool.get()).await;
        let inner = match got {
            Ok(Ok(inner)) => inner,
            Ok(Err(PoolError::Backend(error))) => {
                return Err(Unavailable::new(self.name, with_causes(&error)));
            }
            Ok(Err(error)) => return Err(Unavailable::new(self.name, error)),
            Err(_) => {
                let why = format!("no connection within {} s", WAIT.as_secs());
                return Err(Unavailable::new(self.name, why));
            }
        };
        Ok(Client {
            inner: Some(inner),
            name: self.name,
            busy: Cell::new(0),
        })
    }

    /// Listens to a channel (LISTEN) on a separate connection, which does not count among those of
    /// [`get`](Postgres::get).
    ///
    /// # Errors
    /// An error of the server, or [`Unavailable`] if connecting fails or there is no result within [`WAIT`].
    pub async fn listen(&self, channel: &str) -> Result<Listener, Error> {
        let (sender, told) = unbounded_channel();
        let manager = self.pool.manager();
        let opened = Connection::open(&manager.config, &manager.encryption, Some(sender)).await;
        let connection = opened.map_err(|e| Unavailable::new(self.name, with_causes(&e)))?;
        let listen = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
        match tokio::time::timeout(WAIT, connection.client.batch_execute(&listen)).await {
            Ok(done) => done.map_err(|error| failure(self.name, error))?,
            Err(_) => {
                let why = format!("no answer within {} s", WAIT.as_secs());
                return Err(Unavailable::new(self.name, why).into());
            }
        }
        Ok(Listener {
            _connection: connection,
            told,
        })
    }
}

impl Listener {
    /// Waits for the next notification and returns its payload, or `None` when the connection has ended. Notifications
    /// that have not been read wait in memory, without a limit.
    pub async fn next(&mut self) -> Option<String> {
        self.told.recv().await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("name", &self.name)
            .finish()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        if self.busy.get() == 0 {
            return;
        }
        // A query was dropped before its result arrived, for example because the client has disconnected. The next user
        // of the connection would wait for this query. So cancel it at the server, and close the connection.
        let connection = Object::take(inner);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            // If this fails, the connection is closed all the same.
            let _ = tokio::time::timeout(WAIT, connection.cancel()).await;
        });
    }
}

/// Parameters of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Client {
    /// The client of tokio-postgres, for transactions, COPY and everything else. A query that is started with it is not
    /// cancelled at the server when its handler is dropped.
    pub fn raw(&mut self) -> &mut ClientWrapper {
        let inner = self.inner.as_mut();
        &mut inner.expect("it is there until it is dropped").client
    }

    /// Runs a query and returns all rows.
    ///
    /// # Errors
    /// An error of the server, or [`Unavailable`] if the connection is lost.
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.query(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// Runs a query and returns its only row, or `None`.
    ///
    /// # Errors
    /// An error of the server, more than one row, or [`Unavailable`] if the connection is lost.
    pub async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.query_opt(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// Runs a query and returns its only row.
    ///
    /// # Errors
    /// An error of the server, no row or more than one, or [`Unavailable`] if the connection is lost.
    pub async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.query_one(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// Runs a statement and returns the number of rows that it has changed.
    ///
    /// # Errors
    /// An error of the server, or [`Unavailable`] if the connection is lost.
    pub async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.execute(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// Runs several statements without parameters, such as migrations.
    ///
    /// # Errors
    /// An error of the server, or [`Unavailable`] if the connection is lost.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.work(async |client| client.batch_execute(sql).await)
            .await
    }

    async fn prepared<T>(
        &self,
        sql: &str,
        work: impl AsyncFnOnce(&ClientWrapper, &Statement) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        self.work(async |client| {
            let statement = client.prepare_cached(sql).await?;
            work(client, &statement).await
        })
        .await
    }

    async fn work<T>(
        &self,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let inner = self.inner.as_ref();
        let client = &inner.expect("it is there until it is dropped").client;
        self.busy.set(self.busy.get() + 1);
        let done = work(client).await;
        self.busy.set(self.busy.get() - 1);
        done.map_err(|error| failure(self.name, error))
    }
}

fn failure(name: &'static str, error: tokio_postgres::Error) -> Error {
    match has_gone(&error) {
        true => Unavailable::new(name, with_causes(&error)).into(),
        false => Error::Refused { name, error },
    }
}

/// Whether the connection or the server has failed, and not the query.
fn has_gone(error: &tokio_postgres::Error) -> bool {
    let ending = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    match error.code() {
        Some(code) => ending.contains(code),
        None => error.is_closed() || io_error(error),
    }
}

fn io_error(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
}

/// Opens connections, with a backoff after failures.
struct Patient {
    config: Config,
    encryption: Encryption,
    patience: Patience,
}

impl managed::Manager for Patient {
    type Type = Connection;
    type Error = ConnectError;

    async fn create(&self) -> Result<Connection, ConnectError> {
        let attempt = self.patience.attempt().await;
        let connection = Connection::open(&self.config, &self.encryption, None).await?;
        attempt.succeeded();
        Ok(connection)
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        match connection.client.is_closed() {
            false => Ok(()),
            true => Err(RecycleError::message("closed")),
        }
    }
}
