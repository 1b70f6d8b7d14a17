//! The certificate authorities that may certify a server: the resource's own `ca`, or those that the platform trusts.

use serde_json::Value;

use super::ResourceError;
use crate::handshake;

/// The certificates of the trusted authorities in PEM.
pub(super) fn pem(name: &str) -> Result<String, ResourceError> {
    let own = match crate::resource(name) {
        Some(Value::Object(map)) => map.get("ca").and_then(Value::as_str),
        _ => None,
    };
    let trusted = match own {
        Some(own) => own.to_owned(),
        None => handshake::config().ca_certificates.concat(),
    };
    match trusted.is_empty() {
        false => Ok(trusted),
        true => Err(bad(
            name,
            "nobody is trusted: the platform knows no authority, and the resource has no `ca`",
        )),
    }
}

/// The configuration of rustls for connections to this resource.
#[cfg(feature = "postgres-tls")]
pub(super) fn client_config(name: &str) -> Result<rustls::ClientConfig, ResourceError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    provider();
    let pem = pem(name)?;
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    // A certificate that cannot be parsed is skipped.
    roots.add_parsable_certificates(certificates.flatten());
    if roots.is_empty() {
        return Err(bad(name, "its `ca` has no certificate"));
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    Ok(config.with_no_client_auth())
}

/// Installs the only cryptography provider that is compiled in.
pub(super) fn provider() {
    // Fails if it has been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn bad(name: &str, why: &str) -> ResourceError {
    ResourceError::Address {
        name: name.to_owned(),
        why: why.to_owned(),
    }
}
