//! TLS: which certificate a client gets, and the self-signed certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::curl::{Curl, curl};
use crate::platform::{Place, Platform};

/// Exit status of curl for a certificate that it does not trust.
const NOT_TRUSTED: i32 = 60;

const HTTPS_ONLY: &str = r#"listen: { https: "127.0.0.1:0" }"#;

/// Writes a new authority to `NAME.ca`, and a certificate for `domains` that it has signed to `NAME.crt`, with the
/// key in `NAME.key`.
pub(crate) fn make_certificate(directory: &Path, name: &str, domains: &[&str]) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A certificate whose name is that of its issuer counts as self-signed, and authorities with the same name are
    // confused with each other. So each authority gets a different name.
    static MADE: AtomicU32 = AtomicU32::new(0);
    let called = format!("authority {}", MADE.fetch_add(1, Ordering::Relaxed));
    authority
        .distinguished_name
        .push(DnType::CommonName, called);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let domains: Vec<String> = domains.iter().map(|one| (*one).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(domains).unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    for (end, text) in [
        ("ca", authority.pem()),
        ("crt", leaf.pem()),
        ("key", key.serialize_pem()),
    ] {
        fs::write(directory.join(format!("{name}.{end}")), text).unwrap();
    }
}

/// Requests `https://HOST/x` and trusts only this authority.
fn ask(platform: &Platform, host: &str, authority: &Path) -> Curl {
    let port = platform.https().port();
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}/x");
    let authority = authority.to_str().unwrap();
    curl(&["--resolve", &resolve, "--cacert", authority, &url])
}

#[test]
fn each_domain_shows_its_own_certificate_and_the_rest_the_self_signed_one() {
    let place = Place::new(&format!(
        r#"
gateway:
  {HTTPS_ONLY}
  tls:
    certificates:
      - {{ domains: ["one.example", "*.wild.example"], cert: one.crt, key: one.key }}
      - {{ domains: ["two.example"], cert: two.crt, key: two.key }}
functions:
  f:
    domains: ["one.example", "*.wild.example", "two.example", "bare.example"]
    routes: [{{ path: /x }}]
    binary: probe
"#
    ));
    make_certificate(place.path(), "one", &["one.example", "*.wild.example"]);
    make_certificate(place.path(), "two", &["two.example"]);
    let platform = Platform::start_in(place);
    let own: PathBuf = platform.place.state().join("tls/self-signed.crt");
    let authority = |name: &str| platform.place.path().join(format!("{name}.ca"));
    let all = [authority("one"), authority("two"), own];
    for (host, trusted) in [
        ("one.example", 0),
        ("any.wild.example", 0),
        ("two.example", 1),
        ("TWO.example", 1),
        ("bare.example", 2),
    ] {
        for (number, authority) in all.iter().enumerate() {
            let expect = if number == trusted { 0 } else { NOT_TRUSTED };
            let asked = ask(&platform, host, authority);
            assert_eq!(asked.exit, expect, "{host} with {authority:?}: {asked:?}");
            if number == trusted {
                let host = host.to_ascii_lowercase();
                assert!(
                    asked.out.contains(&format!("\"host\":\"{host}\"")),
                    "{asked:?}"
                );
            }
        }
    }
}

#[test]
fn the_self_signed_certificate_is_said_kept_private_and_kept_over_a_restart() {
    let manifest = format!(
        r#"
gateway: {{ {HTTPS_ONLY} }}
functions: {{ f: {{ domains: [bare.example], routes: [{{ path: /x }}], binary: probe }} }}
"#
    );
    let platform = Platform::start_in(Place::new(&manifest));
    let tls = platform.place.state().join("tls");
    let (certificate, key) = (tls.join("self-signed.crt"), tls.join("self-signed.key"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&platform.place.state()), 0o700);
    platform.wait_for_record("it is said that the certificate is self-signed", |record| {
        let message = record["message"].as_str().unwrap();
        message.contains("signed by itself") && message.contains("bare.example")
    });
    for host in ["bare.example", "localhost"] {
        let exit = ask(&platform, host, &certificate).exit;
        assert_eq!(exit, 0, "{host}: its name stands in the certificate");
    }
    let before = fs::read(&certificate).unwrap();

    let (status, place) = platform.end(Signal::SIGTERM);
    assert!(status.success());
    let platform = Platform::start_in(place);
    assert_eq!(fs::read(&certificate).unwrap(), before);
    assert_eq!(ask(&platform, "bare.example", &certificate).exit, 0);
}

#[test]
fn plain_http_on_the_port_for_tls_harms_nobody_else() {
    let manifest = format!(
        "gateway: {{ {HTTPS_ONLY} }}\nfunctions: {{ f: {{ routes: [{{ path: /x }}], binary: probe }} }}"
    );
    let platform = Platform::start_in(Place::new(&manifest));
    let mut client = crate::http::Client::connect(platform.https());
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_head().is_err());
    let own = platform.place.state().join("tls/self-signed.crt");
    assert_eq!(ask(&platform, "localhost", &own).exit, 0);
}

fn with_certificate() -> Place {
    let place = Place::new(&format!(
        r#"
gateway:
  {HTTPS_ONLY}
  tls: {{ certificates: [{{ domains: [one.example], cert: one.crt, key: one.key }}] }}
functions: {{ f: {{ domains: [one.example], routes: [{{ path: /x }}], binary: probe }} }}
"#
    ));
    make_certificate(place.path(), "one", &["one.example"]);
    place
}

/// Files that make the certificate unusable: the name of each, and its text.
fn spoil(place: &Path) -> Vec<(&'static str, String)> {
    make_certificate(place, "other", &["one.example"]);
    vec![
        (
            "one.key",
            fs::read_to_string(place.join("other.key")).unwrap(),
        ),
        ("one.key", "no key".to_owned()),
        ("one.crt", "no certificate".to_owned()),
    ]
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    for case in 0..3 {
        let place = with_certificate();
        let (file, text) = spoil(place.path()).swap_remove(case);
        fs::write(place.path().join(file), text).unwrap();
        let ended = place.up_to_its_end();
        assert!(
            matches!(ended.status.code(), Some(1 | 2)),
            "case {case}: {ended:?}"
        );
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("one."), "{said}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_a_reload_and_the_old_one_serves_on() {
    let platform = Platform::start_in(with_certificate());
    let authority = platform.place.path().join("one.ca");
    assert_eq!(ask(&platform, "one.example", &authority).exit, 0);
    for (file, text) in spoil(platform.place.path()) {
        let path = platform.place.path().join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, text).unwrap();
        let reloaded = platform.place.hearth("reload", &[]);
        assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
        assert_eq!(ask(&platform, "one.example", &authority).exit, 0);
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload() {
    let platform = Platform::start_in(with_certificate());
    let authority = platform.place.path().join("one.ca");
    let old = platform.place.path().join("old.ca");
    fs::copy(&authority, &old).unwrap();
    assert_eq!(ask(&platform, "one.example", &old).exit, 0);
    make_certificate(platform.place.path(), "one", &["one.example"]);
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_eq!(ask(&platform, "one.example", &authority).exit, 0);
    assert_eq!(ask(&platform, "one.example", &old).exit, NOT_TRUSTED);
}
