//! Certificates: read from files as the manifest says, and one signed by itself for every name that
//! has none, made once and kept.

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

/// How long a certificate of our own holds; browsers refuse more than 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 3600);

/// It is made anew when it holds for less than this.
const RENEW: Duration = Duration::from_secs(30 * 24 * 3600);

/// Names that always stand in it, so that the platform can be tried where it runs.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file of the manifest cannot be read.
    #[error("cannot read {path}, a certificate or key of the manifest")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// They are no certificate, no key, or do not belong together.
    #[error("{cert} and {key} cannot be used together as certificate and key: {why}")]
    Unusable {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Our own cannot be made.
    #[error("cannot make a self-signed certificate")]
    Make(#[from] rcgen::Error),
    /// Our own cannot be kept.
    #[error("cannot keep the self-signed certificate in {path}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the gateway is to show, and what to say about it.
#[derive(Debug)]
pub struct Chosen {
    /// In the order the gateway wants them: its fallback last.
    pub list: Vec<CertifiedKey>,
    /// The domains that our own certificate stands for, if there is one, and where it is kept.
    pub self_signed: Option<(Vec<String>, PathBuf)>,
}

/// What a kept certificate was made for.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    names: Vec<String>,
    /// Seconds since 1970.
    expires: u64,
}

/// Reads and makes what `manifest` needs; relative paths start at `base`.
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
        // The gateway would find out too late: it has nowhere to go back to.
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

/// The manifest's domains that no certificate of its covers.
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

/// Whether the gateway will be able to use it.
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
    // A day early, for clients whose clock is behind.
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

/// The kept one, if it still holds and was made for these names.
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

/// Writes all three, the one that says what they are last.
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
