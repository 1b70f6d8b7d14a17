//! Checks that the platform responds: connects to its listener as a client does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_protocol::link::CertifiedKey;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long the gateway may take to respond. It gives clients more time to send a request head, but no network lies
/// between it and this check.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A TLS handshake, which leaves no trace in the access log. Without TLS, the same as `Answer`.
    Handshake,
    /// A response to a request, of any status.
    Answer,
}

impl Endpoint {
    /// The endpoint at this listener. With TLS, the gateway must present one of these certificates.
    pub(crate) fn of(listener: SocketAddr, certificates: Option<&[CertifiedKey]>) -> Endpoint {
        let mut address = listener;
        if address.ip().is_unspecified() {
            // A listener at `[::]` accepts both families, and IPv6 may be off.
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Endpoint {
            address,
            tls: certificates.and_then(config).map(Arc::new),
        }
    }

    /// Checks that the gateway responds. The error says in words why it does not.
    pub(crate) async fn ask(&self, depth: Depth) -> Result<(), String> {
        let asked = tokio::time::timeout(PATIENCE, self.talk(depth)).await;
        let answered = asked.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
        answered.map_err(|why| format!("{}: {why}", self.address))
    }

    async fn talk(&self, depth: Depth) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| failed(&error))?;
        let Some(tls) = &self.tls else {
            return request(stream).await;
        };
        let name = ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        let stream = stream.await.map_err(|error| failed(&error))?;
        match depth {
            Depth::Handshake => Ok(()),
            Depth::Answer => request(stream).await,
        }
    }
}

/// Sends one request and waits for the response; every status counts as a response.
async fn request(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<(), String> {
    let failed = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // The task ends when `sender` is dropped.
    tokio::task::spawn_local(connection);
    let request = http::Request::get("/")
        .header(http::header::HOST, "localhost")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    sender.send_request(request).await.map_err(failed)?;
    Ok(())
}

/// The TLS configuration for these certificates; `None` if the crypto provider supports no version of TLS.
fn config(certificates: &[CertifiedKey]) -> Option<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let leaf = |one: &CertifiedKey| CertificateDer::from_pem_slice(one.chain.as_bytes()).ok();
    let ours = Ours {
        shown: certificates.iter().filter_map(leaf).collect(),
        algorithms: provider.signature_verification_algorithms,
    };
    let config = ClientConfig::builder_with_provider(provider as Arc<CryptoProvider>)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ours))
        .with_no_client_auth();
    Some(config)
}

/// Accepts exactly the certificates that the gateway was given, whoever issued them and whatever their names and
/// dates are. The check only has to prove that the peer holds one of their keys.
#[derive(Debug)]
struct Ours {
    shown: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Ours {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.shown.iter().any(|one| one == leaf) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
