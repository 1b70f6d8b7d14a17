//! Opens connections to PostgreSQL over a stream, encrypted or not.

use std::future::poll_fn;

use deadpool_postgres::ClientWrapper;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection, Error, NoTls};

use super::super::ResourceError;
use super::connect::Stream;

/// Whether and how connections are encrypted.
#[derive(Clone)]
pub(super) struct Encryption {
    #[cfg(feature = "postgres-tls")]
    connector: Option<tokio_postgres_rustls::MakeRustlsConnect>,
}

impl Encryption {
    /// Encrypts if the address has `sslmode=require`. The server's certificate is then always verified.
    #[cfg(feature = "postgres-tls")]
    pub(super) fn of(config: &Config, name: &str) -> Result<Encryption, ResourceError> {
        use super::super::authorities;
        let connector = match config.get_ssl_mode() {
            SslMode::Require => Some(tokio_postgres_rustls::MakeRustlsConnect::new(
                authorities::client_config(name)?,
            )),
            _ => None,
        };
        Ok(Encryption { connector })
    }

    #[cfg(not(feature = "postgres-tls"))]
    pub(super) fn of(config: &Config, name: &str) -> Result<Encryption, ResourceError> {
        match config.get_ssl_mode() {
            SslMode::Require => Err(ResourceError::Address {
                name: name.to_owned(),
                why: "encrypted connections need the feature `postgres-tls` of hearth-sdk"
                    .to_owned(),
            }),
            _ => Ok(Encryption {}),
        }
    }

    /// Opens a connection over `stream` to the server of this name.
    pub(super) async fn begin(
        &self,
        config: &Config,
        stream: Stream,
        name: &str,
        told: Option<UnboundedSender<String>>,
    ) -> Result<ClientWrapper, Error> {
        #[cfg(feature = "postgres-tls")]
        if let Some(tls) = self.tls(name) {
            return Ok(run(config.connect_raw(stream, tls).await?, told));
        }
        let _ = name;
        Ok(run(config.connect_raw(stream, NoTls).await?, told))
    }

    /// Cancels the query of this token's connection at the server.
    pub(super) async fn cancel(
        &self,
        token: &CancelToken,
        stream: Stream,
        name: &str,
    ) -> Result<(), Error> {
        #[cfg(feature = "postgres-tls")]
        if let Some(tls) = self.tls(name) {
            return token.cancel_query_raw(stream, tls).await;
        }
        let _ = name;
        token.cancel_query_raw(stream, NoTls).await
    }

    #[cfg(feature = "postgres-tls")]
    fn tls(
        &self,
        name: &str,
    ) -> Option<
        impl tokio_postgres::tls::TlsConnect<Stream, Stream: Send + 'static, Future: Send>
        + Send
        + use<>,
    > {
        use tokio_postgres::tls::MakeTlsConnect;
        let mut connector = self.connector.clone()?;
        // `make_tls_connect` cannot fail: its error type is `Infallible`, and an invalid server name fails in the
        // handshake.
        MakeTlsConnect::<Stream>::make_tls_connect(&mut connector, name).ok()
    }
}

/// Runs a connection in its own task.
fn run<T>(
    (client, mut connection): (Client, Connection<Stream, T>),
    told: Option<UnboundedSender<String>>,
) -> ClientWrapper
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The task reports no error: the next query on the connection fails with one.
    let task = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let (AsyncMessage::Notification(notification), Some(told)) = (message, &told) {
                // Fails if the listener has been dropped; the connection ends soon after it.
                let _ = told.send(notification.payload().to_owned());
            }
        }
    });
    ClientWrapper::new(client, task)
}
