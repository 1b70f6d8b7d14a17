//! PostgreSQL, by tokio-postgres and deadpool: as many connections as handlers run at once, their
//! statements prepared once.
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

/// What a resource of this kind is called in the manifest.
const KIND: &str = "postgres";

/// After so long without a request, connections are looked after before one is used: less than any server takes to start
/// again, and long enough that who is busy pays nothing for it.
const QUIET: Duration = Duration::from_millis(10);

/// A server, with the connections to it. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool<Patient>,
    name: &'static str,
    used: Rc<Cell<Instant>>,
}

/// A connection, until it is dropped. Statements are prepared at their first use and kept with it.
pub struct Client {
    /// There until it is dropped.
    inner: Option<Object<Patient>>,
    name: &'static str,
    /// Queries under way.
    busy: Cell<u32>,
}

/// What is told on a channel, by NOTIFY. The connection is its own, and ends with it.
pub struct Listener {
    _connection: Connection,
    told: UnboundedReceiver<String>,
}

/// Why a query has no result.
pub type Error = ServerError<tokio_postgres::Error>;

impl Postgres {
    /// The resource `postgres` of the manifest. Connects when it is first asked.
    ///
    /// # Errors
    /// The manifest names none, or its address cannot be read.
    pub fn new() -> Result<Postgres, ResourceError> {
        Postgres::named(KIND)
    }

    /// The resource of this name.
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

    /// A connection, made if there is none to spare.
    ///
    /// # Errors
    /// There is none within [`WAIT`].
    pub async fn get(&self) -> Result<Client, Unavailable> {
        if self.used.replace(Instant::now()).elapsed() > QUIET {
            // A connection that has ended while nobody looked is noticed first: one step to look at the
            // sockets, one for its task to draw the conclusion.
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

    /// Listens to a channel (LISTEN), on a connection beside those of [`get`](Postgres::get).
    ///
    /// # Errors
    /// The server's, or that there is none within [`WAIT`].
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
    /// The payload of what is told next; `None` once the connection has ended. What was told meanwhile
    /// waits in memory.
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
        // Given up in the middle of a query, as where the client has gone: whoever got this connection
        // next would wait for it. So the server is asked to stop, and the connection goes.
        let connection = Object::take(inner);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            // A server that cannot be asked has ended the query by itself.
            let _ = tokio::time::timeout(WAIT, connection.cancel()).await;
        });
    }
}

/// Parameters of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Client {
    /// tokio-postgres's own client, for transactions, COPY and whatever else.
    pub fn raw(&mut self) -> &mut ClientWrapper {
        let inner = self.inner.as_mut();
        &mut inner.expect("it is there until it is dropped").client
    }

    /// All rows.
    ///
    /// # Errors
    /// The server's, or that it has gone.
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.query(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// The one row, or none.
    ///
    /// # Errors
    /// The server's, that it has gone, or that there are more rows.
    pub async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.query_opt(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// The one row.
    ///
    /// # Errors
    /// The server's, that it has gone, or that there are none or more.
    pub async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.query_one(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// How many rows it has changed.
    ///
    /// # Errors
    /// The server's, or that it has gone.
    pub async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        let work = async |client: &ClientWrapper, statement: &Statement| {
            client.execute(statement, params).await
        };
        self.prepared(sql, work).await
    }

    /// Several statements without parameters, as migrations are.
    ///
    /// # Errors
    /// The server's, or that it has gone.
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

/// Whether the server, and not the query, is the reason.
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

/// Makes connections, with patience.
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
