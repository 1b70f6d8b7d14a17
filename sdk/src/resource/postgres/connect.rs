//! Connects to PostgreSQL: reads the servers from the address and opens a connection to one of them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{Config, SimpleQueryMessage};
use tokio_util::either::Either;

use super::super::{WAIT, names};
use super::encryption::Encryption;

/// After this time without traffic, the kernel probes the connection (keepalive). It closes the connection if the
/// server acknowledges nothing for as long (TCP_USER_TIMEOUT, tcp(7)).
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
    #[error("the server is {0}, and the address wants another")]
    Session(&'static str),
    #[error("the address names no host")]
    NoHost,
}

/// A server of the address.
struct Server {
    place: Place,
    /// The name that its certificate must have.
    name: String,
}

/// Where a server listens.
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

pub(super) type Stream = Either<TcpStream, UnixStream>;

/// A client and its server.
pub(super) struct Connection {
    pub(super) client: ClientWrapper,
    server: Server,
    encryption: Encryption,
}

impl Connection {
    /// Connects to the first server of the address that accepts the connection, in the order of the address.
    /// Notifications of the server go to `told`, which is dropped when the connection ends.
    pub(super) async fn open(
        config: &Config,
        encryption: &Encryption,
        told: Option<UnboundedSender<String>>,
    ) -> Result<Connection, ConnectError> {
        let hosts = hosts(config);
        let patience = WAIT / u32::try_from(hosts.len()).unwrap_or(u32::MAX).max(1);
        let patience = config.get_connect_timeout().copied().unwrap_or(patience);
        let mut last = ConnectError::NoHost;
        for (host, name, port) in hosts {
            let attempt = async {
                let mut last = ConnectError::NoHost;
                for place in places(host, port).await? {
                    let name = name.clone();
                    match begin(config, encryption, Server { place, name }, told.clone()).await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            };
            last = match tokio::time::timeout(patience, attempt).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => io::Error::from(io::ErrorKind::TimedOut).into(),
            };
        }
        Err(last)
    }

    /// Cancels the running query of this connection at the server, and closes the connection.
    pub(super) async fn cancel(self) -> Result<(), ConnectError> {
        let stream = connect(&self.server.place).await?;
        let token = self.client.cancel_token();
        Ok(self
            .encryption
            .cancel(&token, stream, &self.server.name)
            .await?)
    }
}

/// The hosts of the address, each with its name and its port.
fn hosts(config: &Config) -> Vec<(Host, String, u16)> {
    let ports = config.get_ports();
    let port = |index| ports.get(index).or(ports.first()).copied();
    let named = config.get_hosts();
    // A numeric address (`hostaddr`) replaces the lookup of the name (`host`) at the same position.
    let numbers = config.get_hostaddrs().iter();
    let mut hosts: Vec<Host> = numbers.map(|ip| Host::Tcp(ip.to_string())).collect();
    if hosts.is_empty() {
        hosts = named.to_vec();
    }
    let name = |index: usize, host: &Host| match named.get(index).unwrap_or(host) {
        Host::Tcp(name) => name.clone(),
        Host::Unix(_) => String::new(),
    };
    hosts
        .into_iter()
        .enumerate()
        .map(|(index, host)| {
            let name = name(index, &host);
            (host, name, port(index).unwrap_or(5432))
        })
        .collect()
}

async fn places(host: Host, port: u16) -> io::Result<Vec<Place>> {
    Ok(match host {
        Host::Unix(directory) => vec![Place::Unix(directory.join(format!(".s.PGSQL.{port}")))],
        Host::Tcp(name) => {
            let addresses = names::resolve(&name).await?.into_iter();
            addresses
                .map(|ip| Place::Tcp(SocketAddr::new(ip, port)))
                .collect()
        }
    })
}

async fn connect(place: &Place) -> io::Result<Stream> {
    match place {
        Place::Unix(path) => Ok(Either::Right(UnixStream::connect(path).await?)),
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let socket = SockRef::from(&stream);
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE))?;
            socket.set_tcp_user_timeout(Some(SILENCE))?;
            Ok(Either::Left(stream))
        }
    }
}

async fn begin(
    config: &Config,
    encryption: &Encryption,
    server: Server,
    told: Option<UnboundedSender<String>>,
) -> Result<Connection, ConnectError> {
    let stream = connect(&server.place).await?;
    let client = encryption.begin(config, stream, &server.name, told).await?;
    let wanted = config.get_target_session_attrs();
    if wanted != TargetSessionAttrs::Any {
        let answer = client.simple_query("SHOW transaction_read_only").await?;
        let read_only = answer.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")),
        );
        match (wanted, read_only) {
            (TargetSessionAttrs::ReadWrite, true) => {
                return Err(ConnectError::Session("read-only"));
            }
            (TargetSessionAttrs::ReadOnly, false) => return Err(ConnectError::Session("writable")),
            _ => {}
        }
    }
    Ok(Connection {
        client,
        server,
        encryption: encryption.clone(),
    })
}
