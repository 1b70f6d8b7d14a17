//! Certificates of the authorities that this machine trusts, for workers: a cell has no way to the files.

use std::path::PathBuf;
use std::{env, fs};

/// Where distributions keep them, in one file: Debian and Alpine, Fedora, others.
const PLACES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The file that the environment names (SSL_CERT_FILE, as OpenSSL reads it), or the first that is there,
/// as PEM. Without one, an encrypted connection needs a `ca` of its resource.
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
