//! The certificate authorities that this machine trusts. The supervisor sends them to workers, because a sandbox
//! cannot read their files.

use std::path::PathBuf;
use std::{env, fs};

/// The files in which distributions keep all of them: Debian and Alpine, Fedora, others.
const PLACES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The certificates as PEM, from the first of these files that can be read: the one that the environment variable
/// SSL_CERT_FILE names (as for OpenSSL), then those of the distributions. Without any, an encrypted connection needs
/// the `ca` of its resource.
pub fn trusted() -> Vec<String> {
    let named = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let places = named
        .into_iter()
        .chain(PLACES.into_iter().map(PathBuf::from));
    places
        .filter_map(|place| fs::read_to_string(place).ok())
        .next()
        .into_iter()
        .collect()
}
