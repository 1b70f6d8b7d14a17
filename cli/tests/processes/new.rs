//! `hearth new`: every template builds and passes its own test, and the one with a database reads from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::http::{Client, request};
use crate::server::{Postgres, free_port};
use crate::{process, wait};

pub(crate) const HEARTH: &str = env!("CARGO_BIN_EXE_hearth");

/// A temporary directory for projects. Dropping it deletes them all.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("hearth-new-{name}-{}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        fs::create_dir(&place.0).unwrap();
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command in a directory. Its builds share a target directory with other tests, and download nothing.
pub(crate) fn command(program: &str, directory: &Path) -> Command {
    let built = Path::new(HEARTH).parent().unwrap().join("dev-projects");
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", built)
        .env("CARGO_NET_OFFLINE", "true")
        .stdin(Stdio::null());
    command
}

fn new(place: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut hearth = command(HEARTH, place);
    let output = hearth.arg("new").args(args).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn every_template_passes_its_own_test() {
    let place = Place::new("all");
    for template in ["hello", "json-api", "postgres", "redis", "sse"] {
        let name = format!("a-{template}");
        let (code, said) = new(&place.0, &[&name, "--template", template]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("hearth dev"), "{said}");
        let project = place.0.join(&name);
        let tested = command(env!("CARGO"), &project)
            .args(["test", "--quiet"])
            .output()
            .unwrap();
        assert!(tested.status.success(), "{template}: {tested:?}");
        let checked = command(HEARTH, &project).arg("check").output().unwrap();
        assert!(checked.status.success(), "{template}: {checked:?}");
    }
}

#[test]
fn what_is_there_is_left_alone_and_a_bad_name_is_refused() {
    let place = Place::new("refused");
    fs::create_dir(place.0.join("here")).unwrap();
    for (name, expect) in [
        ("here", "is there already"),
        ("Upper", "cannot be the name"),
        ("a.b", "cannot be the name"),
    ] {
        let (code, said) = new(&place.0, &[name]);
        assert_eq!(code, Some(1));
        assert!(said.contains(expect), "{said}");
    }
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1);
}

#[test]
fn a_new_project_with_a_database_answers_from_it() {
    let server = Postgres::start();
    let place = Place::new("postgres");
    let begun = Instant::now();
    let (code, said) = new(&place.0, &["demo", "--template", "postgres"]);
    assert_eq!(code, Some(0), "{said}");
    let port = free_port();
    let mut dev = command(HEARTH, &place.0.join("demo"))
        .args(["dev", "--listen", &format!("http=127.0.0.1:{port}")])
        .env("DATABASE_URL", server.address())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = ([127, 0, 0, 1], port).into();
    let made = wait::within(Duration::from_secs(240), "a note is kept", || {
        std::net::TcpStream::connect(address).ok()?;
        let mut client = Client::connect(address);
        let note = br#"{"text":"remember"}"#;
        client.try_send(request("POST /notes", &[], note)).ok()?;
        client.try_head().ok().filter(|head| head.status == 201)
    });
    println!("the first answer came after {:?}", begun.elapsed());
    let place_of_note = made.header("location").unwrap();
    let line = format!("GET {place_of_note}");
    let answer = Client::connect(address).ask(&line, &[], b"");
    assert_eq!(answer.text(), r#"{"text":"remember"}"#);
    assert_eq!(server.ask("SELECT text FROM notes").unwrap(), "remember");
    process::signal(dev.id(), Signal::SIGTERM);
    assert!(dev.wait().unwrap().success());
}
