//! TLS: the choice of the certificate, and the settings of the handshake.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hearth_protocol::link::CertifiedKey as Pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};

/// Maximum number of TLS 1.2 sessions kept for resumption. TLS 1.3 uses tickets, which need no memory here.
const SESSIONS: usize = 4096;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain or the key is not valid PEM.
    #[error("certificate for {domain}: bad PEM")]
    Pem {
        /// The first domain of the certificate.
        domain: String,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The key does not match the certificate, or its type is unknown.
    #[error("certificate for {domain}: key not usable")]
    Key {
        /// The first domain of the certificate.
        domain: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The TLS settings contradict each other.
    #[error("cannot set up TLS")]
    Config(#[source] rustls::Error),
}

/// The certificates in use. They are replaced as a whole, so a handshake sees either the old or the new ones.
#[derive(Debug, Default)]
pub struct Certificates(RwLock<Arc<ByName>>);

#[derive(Debug, Default)]
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that send no SNI or a name without a certificate: the last certificate of the list.
    fallback: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Replaces all certificates. On an error, the old ones stay in use.
    pub fn set(&self, list: &[Pem]) -> Result<(), TlsError> {
        let mut by_name = ByName::default();
        for pem in list {
            let key = Arc::new(load(pem)?);
            for domain in &pem.domains {
                match domain.strip_prefix("*.") {
                    Some(rest) => by_name.wildcard.insert(rest.to_owned(), Arc::clone(&key)),
                    None => by_name.exact.insert(domain.clone(), Arc::clone(&key)),
                };
            }
            by_name.fallback = Some(key);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(by_name);
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let by_name = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let name = hello
            .server_name()
            .map(str::to_ascii_lowercase)
            .unwrap_or_default();
        let wildcard = || by_name.wildcard.get(name.split_once('.')?.1);
        by_name
            .exact
            .get(&name)
            .or_else(wildcard)
            .or(by_name.fallback.as_ref())
            .cloned()
    }
}

fn load(pem: &Pem) -> Result<CertifiedKey, TlsError> {
    let domain = || pem.domains.first().cloned().unwrap_or_default();
    let bad_pem = |source| TlsError::Pem {
        domain: domain(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(bad_pem)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(bad_pem)?;
    CertifiedKey::from_der(chain, key, &crypto::ring::default_provider()).map_err(|source| {
        TlsError::Key {
            domain: domain(),
            source,
        }
    })
}

/// The TLS settings of the server: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1, tickets for resumption.
pub fn server_config(certificates: Arc<Certificates>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = crypto::ring::Ticketer::new().map_err(TlsError::Config)?;
    Ok(config)
}
