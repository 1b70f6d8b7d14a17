//! Certificates: those that the manifest names, read from files, and a self-signed one for all domains that they do
//! not cover. The self-signed certificate is generated once and stored.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_manifest::{Domain, Manifest};
use hearth_protocol::link::CertifiedKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

/// Validity of the self-signed certificate; browsers reject certificates that are valid for more than 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3600);

/// The self-signed certificate is replaced when less than this remains of its validity.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);

/// Names that the self-signed certificate always contains, so that the platform can be tried on its own machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why a certificate cannot be read, used or generated.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A certificate or key that the manifest names cannot be read.
    #[error("cannot read {path}, a certificate or key of the manifest")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The files contain no certificate or no key, or the two do not belong together.
    #[error("{cert} and {key} cannot be used together as certificate and key: {why}")]
    Unusable {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The self-signed certificate cannot be generated.
    #[error("cannot make a self-signed certificate")]
    Make(#[from] rcgen::Error),
    /// The self-signed certificate cannot be stored.
    #[error("cannot keep the self-signed certificate in {path}")]
    Keep {
        /// The directory.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
}

/// The certificates that the gateway presents.
#[derive(Debug)]
pub struct Chosen {
    /// The certificates in the order that the gateway expects: its fallback is the last.
    pub list: Vec<CertifiedKey>,
    /// The domains that need the self-signed certificate, and its file, if it is used.
    pub self_signed: Option<(Vec<String>, PathBuf)>,
}

/// Describes a stored self-signed certificate.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    names: Vec<String>,
    /// Seconds since 1970.
    expires: u64,
}

/// Reads the manifest's certificates. If necessary, generates the self-signed one and stores it in `keep`. Relative
/// paths start at `base`.
pub fn choose(manifest: &Manifest, base: &Path, keep: &Path) -> Result<Chosen, CertificateError> {
    let mut list = Vec::new();
    for certificate in &manifest.gateway.tls.certificates {
        let key = CertifiedKey {
            domains: certificate
                .domains
                .iter()
                .map(ToString::to_string)
                .collect(),
            chain: read(base, &certificate.cert)?,
            key: read(base, &certificate.key)?,
        };
        // Checked here, because an error in the gateway would come too late: by then the new manifest is served.
        check(&key).map_err(|why| CertificateError::Unusable {
            cert: base.join(&certificate.cert),
            key: base.join(&certificate.key),
            why,
        })?;
        list.push(key);
    }
    let names = uncovered(manifest);
    if names.is_empty() && !list.is_empty() {
        return Ok(Chosen {
            list,
            self_signed: None,
        });
    }
    let own = keep.join("self-signed.crt");
    list.push(kept_or_made(&names, keep, SystemTime::now())?);
    Ok(Chosen {
        list,
        self_signed: Some((names, own)),
    })
}

/// The manifest's domains that none of its certificates covers.
fn uncovered(manifest: &Manifest) -> Vec<String> {
    let certificates = &manifest.gateway.tls.certificates;
    let covers = |domain: &Domain| {
        certificates
            .iter()
            .flat_map(|one| &one.domains)
            .any(|known| match domain {
                Domain::Exact(name) => known.matches(name),
                Domain::Wildcard(_) => known == domain,
            })
    };
    let all: BTreeSet<&Domain> = manifest
        .functions
        .values()
        .flat_map(|function| &function.domains)
        .collect();
    all.into_iter()
        .filter(|domain| !covers(domain))
        .map(ToString::to_string)
        .collect()
}

/// Checks that the gateway can use this certificate with its key.
fn check(key: &CertifiedKey) -> Result<(), String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(key.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate: {error}"))?;
    if chain.is_empty() {
        return Err("the certificate's file holds none".to_owned());
    }
    let private = PrivateKeyDer::from_pem_slice(key.key.as_bytes())
        .map_err(|error| format!("the key: {error}"))?;
    rustls::sign::CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider())
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn read(base: &Path, path: &Path) -> Result<String, CertificateError> {
    let path = base.join(path);
    fs::read_to_string(&path).map_err(|source| CertificateError::Read { path, source })
}

fn kept_or_made(
    names: &[String],
    keep: &Path,
    now: SystemTime,
) -> Result<CertifiedKey, CertificateError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut wanted: Vec<String> = names.to_vec();
    wanted.extend(LOCAL.map(str::to_owned));
    if let Some(key) = kept(&wanted, keep, now) {
        return Ok(key);
    }
    let mut params = rcgen::CertificateParams::new(wanted.clone())?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Valid since yesterday, for clients whose clocks are slow.
    params.not_before = epoch + now.saturating_sub(Duration::from_secs(24 * 3600));
    params.not_after = epoch + now + LIFE;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Hearth, self-signed");
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let made = Made {
        names: wanted,
        expires: (now + LIFE).as_secs(),
    };
    store(keep, &chain, &key, &made).map_err(|source| CertificateError::Keep {
        path: keep.to_owned(),
        source,
    })?;
    Ok(CertifiedKey {
        domains: made.names,
        chain,
        key,
    })
}

/// The stored certificate, if it was generated for these names and stays valid for long enough.
fn kept(wanted: &[String], keep: &Path, now: Duration) -> Option<CertifiedKey> {
    let made: Made = serde_json::from_slice(&fs::read(keep.join("self-signed.json")).ok()?).ok()?;
    if made.names != wanted || made.expires < (now + RENEW).as_secs() {
        return None;
    }
    let chain = fs::read_to_string(keep.join("self-signed.crt")).ok()?;
    let key = fs::read_to_string(keep.join("self-signed.key")).ok()?;
    Some(CertifiedKey {
        domains: made.names,
        chain,
        key,
    })
}

/// Writes the certificate, its key and their description. The description is written last, so that an interrupted
/// write leaves none.
fn store(keep: &Path, chain: &str, key: &str, made: &Made) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(keep)?;
    let described = serde_json::to_string(made)?;
    let _ = fs::remove_file(keep.join("self-signed.json"));
    for (name, text) in [
        ("self-signed.crt", chain),
        ("self-signed.key", key),
        ("self-signed.json", &described),
    ] {
        let path = keep.join(name);
        let fresh = keep.join(format!("{name}.new"));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        hearth_manifest::parse("edge.yaml", text.as_bytes())
            .unwrap()
            .manifest
    }

    #[test]
    fn the_own_certificate_is_kept_until_names_change_or_it_ends() {
        let keep = std::env::temp_dir().join(format!("hearth-tls-{}", std::process::id()));
        let now = SystemTime::now();
        let names = ["a.example".to_owned()];
        let first = kept_or_made(&names, &keep, now).unwrap();
        assert_eq!(kept_or_made(&names, &keep, now).unwrap(), first);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(keep.join("self-signed.key"))
                .unwrap()
                .permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let later = now + LIFE - RENEW + Duration::from_secs(60);
        let second = kept_or_made(&names, &keep, later).unwrap();
        assert_ne!(second, first);
        let other = kept_or_made(&["b.example".to_owned()], &keep, now).unwrap();
        assert_ne!(other.domains, first.domains);
        fs::remove_dir_all(&keep).unwrap();
    }

    #[test]
    fn domains_that_a_certificate_covers_need_none_of_ours() {
        let text = r#"
service: s
gateway:
  tls:
    certificates:
      - { domains: ["a.example", "*.b.example"], cert: c.pem, key: k.pem }
functions:
  f:
    domains: ["a.example", "x.b.example", "*.b.example", "c.example", "*.a.example"]
    routes: [{ path: "/" }]
    binary: f
"#;
        assert_eq!(uncovered(&manifest(text)), ["c.example", "*.a.example"]);
    }
}
