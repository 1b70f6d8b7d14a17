//! Encrypted connections to PostgreSQL and Redis: which certificates are trusted, and which are not.

use std::fs;
use std::path::PathBuf;

use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::server::{Cache, PASSWORD, Postgres};
use crate::tls::make_certificate;

/// A directory with the certificates `server` and `other`, both for localhost, from different authorities. Dropping
/// it deletes the directory.
struct Certificates(PathBuf);

impl Certificates {
    fn make(name: &str) -> Certificates {
        let name = format!("hearth-certificates-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        make_certificate(&directory, "server", &["localhost"]);
        make_certificate(&directory, "other", &["localhost"]);
        Certificates(directory)
    }

    fn server(&self) -> PathBuf {
        self.0.join("server.crt")
    }

    /// The certificate of an authority, as a value in a manifest.
    fn authority(&self, name: &str) -> String {
        let pem = fs::read_to_string(self.0.join(name).with_extension("ca")).unwrap();
        serde_json::to_string(&pem).unwrap()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn postgres(address: &str, more: &str) -> Place {
    Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  pg:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    binary: pg\n    \
         resources: {{ orders_db: {{ postgres: \"{address}\"{more} }} }}\n"
    ))
}

/// Asserts that a request fails because the server's certificate is not trusted, and that the log contains `why`.
fn assert_refused(platform: &Platform, path: &str, why: &str) {
    let answer = platform.get(path);
    let problem = answer.problem(503, "resource");
    assert!(!answer.text().contains(PASSWORD));
    let id = problem["request"].clone();
    platform.wait_for_record(why, |record| {
        let message = record["message"].as_str().unwrap_or_default();
        record["request"] == id && message.contains(why)
    });
}

#[test]
fn postgresql_is_believed_by_its_certificate_alone() {
    let certificates = Certificates::make("postgres");
    let server = Postgres::start_encrypted(&certificates.server());
    let encrypted = format!("{}?sslmode=require", server.address());
    let by_name = encrypted.replace("127.0.0.1", "localhost");
    let known = format!(", ca: {}", certificates.authority("server"));
    let platform = Platform::start_in(postgres(&by_name, &known));
    assert_eq!(platform.get("/sleep?1").text(), "slept");
    let ssl = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'pg'";
    assert_eq!(server.ask(ssl).unwrap(), "t");
    drop(platform);

    // Not trusted: another name than the certificate's, another authority, and the authorities of the system.
    for (address, ca) in [
        (&encrypted, known.as_str()),
        (
            &by_name,
            &format!(", ca: {}", certificates.authority("other")),
        ),
        (&by_name, ""),
    ] {
        let platform = Platform::start_in(postgres(address, ca));
        assert_refused(&platform, "/sleep?1", "certificate");
    }
    let broken = Platform::begin(postgres(&by_name, ", ca: \"no certificate\""));
    broken.wait_for_record("what is wrong with it", |record| {
        let message = record["message"].as_str().unwrap_or_default();
        message.contains("`orders_db`: its `ca` has no certificate")
    });
    broken.signal(nix::sys::signal::Signal::SIGTERM);
}

#[test]
fn who_is_trusted_by_the_system_needs_no_authority_in_the_manifest() {
    let certificates = Certificates::make("system");
    let server = Postgres::start_encrypted(&certificates.server());
    let address = server.address().replace("127.0.0.1", "localhost");
    let place = postgres(&format!("{address}?sslmode=require"), "");
    let trusted = certificates.0.join("server.ca");
    let platform = Platform::start_with(place, &[("SSL_CERT_FILE", trusted.as_path())]);
    assert_eq!(platform.get("/sleep?1").text(), "slept");
}

#[test]
fn redis_is_believed_by_its_certificate_alone() {
    let certificates = Certificates::make("redis");
    let server = Cache::redis_encrypted(&certificates.server());
    let place = |ca: &str| {
        let address = server.address();
        Place::new(&format!(
            "{HTTP_ONLY}\nfunctions:\n  caches:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    binary: caches\n    \
             resources:\n      sessions: {{ redis: \"{address}\", ca: {} }}\n      \
             memcache: \"memcache://127.0.0.1:1\"\n",
            certificates.authority(ca)
        ))
    };
    let platform = Platform::start_in(place("server"));
    assert_eq!(platform.get("/redis/count?visits").text(), "1");
    assert_eq!(platform.get("/redis/count?visits").text(), "2");
    drop(platform);
    let platform = Platform::start_in(place("other"));
    assert_refused(&platform, "/redis/count?visits", "certificate");
}
