//! The way to a server of PostgreSQL: which there are, and how a connection begins.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, CancelToken, Config, NoTls, SimpleQueryMessage};
use tokio_util::either::Either;

use super::super::{WAIT, names};

/// A connection that is silent for so long is asked whether it is still one, and a server that does not
/// answer that for as long is gone.
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

/// Where a server listens.
#[derive(Clone, Debug)]
pub(super) enum Server {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

type Stream = Either<TcpStream, UnixStream>;

/// A client, and where its server is.
pub(super) struct Connection {
    pub(super) client: ClientWrapper,
    server: Server,
}

impl Connection {
    /// Connects to the first server of the address that lets us, in the order it names them. What the
    /// server tells of channels goes to `told`, which is dropped when the connection has ended.
    pub(super) async fn open(
        config: &Config,
        told: Option<UnboundedSender<String>>,
    ) -> Result<Connection, ConnectError> {
        let hosts = hosts(config);
        let patience = WAIT / u32::try_from(hosts.len()).unwrap_or(u32::MAX).max(1);
        let patience = config.get_connect_timeout().copied().unwrap_or(patience);
        let mut last = ConnectError::NoHost;
        for (host, port) in hosts {
            let attempt = async {
                let mut last = ConnectError::NoHost;
                for server in servers(host, port).await? {
                    match begin(config, server, told.clone()).await {
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

    /// Asks the server to stop what it does on the connection of this token.
    pub(super) async fn cancel(token: CancelToken, server: Server) -> Result<(), ConnectError> {
        let stream = connect(&server).await?;
        Ok(token.cancel_query_raw(stream, NoTls).await?)
    }

    pub(super) fn server(&self) -> Server {
        self.server.clone()
    }
}

/// The hosts of an address, each with its port.
fn hosts(config: &Config) -> Vec<(Host, u16)> {
    let ports = config.get_ports();
    let port = |index| ports.get(index).or(ports.first()).copied();
    // An address in numbers stands for the name beside it.
    let numbers = config.get_hostaddrs().iter();
    let mut hosts: Vec<Host> = numbers.map(|ip| Host::Tcp(ip.to_string())).collect();
    if hosts.is_empty() {
        hosts = config.get_hosts().to_vec();
    }
    hosts
        .into_iter()
        .enumerate()
        .map(|(index, host)| (host, port(index).unwrap_or(5432)))
        .collect()
}

async fn servers(host: Host, port: u16) -> io::Result<Vec<Server>> {
    Ok(match host {
        Host::Unix(directory) => vec![Server::Unix(directory.join(format!(".s.PGSQL.{port}")))],
        Host::Tcp(name) => {
            let addresses = names::resolve(&name).await?.into_iter();
            addresses
                .map(|ip| Server::Tcp(SocketAddr::new(ip, port)))
                .collect()
        }
    })
}

async fn connect(server: &Server) -> io::Result<Stream> {
    match server {
        Server::Unix(path) => Ok(Either::Right(UnixStream::connect(path).await?)),
        Server::Tcp(address) => {
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
    server: Server,
    told: Option<UnboundedSender<String>>,
) -> Result<Connection, ConnectError> {
    let stream = connect(&server).await?;
    let (client, mut connection) = config.connect_raw(stream, NoTls).await?;
    // How it ends is told by the query that finds it ended.
    let task = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let (AsyncMessage::Notification(notification), Some(told)) = (message, &told) {
                // Fails where nobody listens any more, and the connection is about to end.
                let _ = told.send(notification.payload().to_owned());
            }
        }
    });
    let client = ClientWrapper::new(client, task);
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
    Ok(Connection { client, server })
}
