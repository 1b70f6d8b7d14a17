//! `hearth dev` with a real project that Cargo builds, and that changes while it is served.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::http::{Client, request};
use crate::load::Load;
use crate::server::free_port;
use crate::{process, wait};

/// Limit for a build. The first one may have to compile all of the SDK.
const BUILD: Duration = Duration::from_secs(240);

struct Project {
    directory: PathBuf,
    address: SocketAddr,
    dev: Child,
    talk: Arc<Mutex<Vec<String>>>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn source(answer: &str) -> String {
    format!(
        "fn main() {{\n    hearth_sdk::serve(|| (), |(), _request| hearth_sdk::Response::text({answer}))\n}}\n"
    )
}

impl Project {
    fn start(answer: &str) -> Project {
        let name = format!("hearth-dev-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("src")).unwrap();
        let sdk = root().join("sdk");
        let cargo = format!(
            "[package]\nname = \"changing\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\nhearth-sdk = {{ path = {sdk:?} }}\n[workspace]\n"
        );
        fs::write(directory.join("Cargo.toml"), cargo).unwrap();
        // The dependencies have the versions of this workspace, so that nothing needs to be downloaded.
        fs::copy(root().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let manifest = format!(
            "service: dev\ngateway: {{ listen: {{ http: \"{address}\" }} }}\nfunctions:\n  \
             changing: {{ routes: [{{ path: / }}], binary: bin/changing }}\n"
        );
        fs::write(directory.join("edge.yaml"), manifest).unwrap();
        fs::write(directory.join("src/main.rs"), source(answer)).unwrap();

        let hearth = Path::new(env!("CARGO_BIN_EXE_hearth"));
        let built = hearth.parent().unwrap().join("dev-projects");
        let mut dev = Command::new(hearth)
            .args(["dev", "edge.yaml"])
            .current_dir(&directory)
            .env("CARGO", env!("CARGO"))
            .env("CARGO_TARGET_DIR", built)
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let talk = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (dev.stderr.take().unwrap(), Arc::clone(&talk));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Project {
            directory,
            address,
            dev,
            talk,
        }
    }

    fn write(&self, answer: &str) {
        fs::write(self.directory.join("src/main.rs"), source(answer)).unwrap();
    }

    /// Waits for a line that contains `what`, after the first `before` lines.
    fn hear(&self, what: &str, before: usize) -> String {
        wait::within(BUILD, what, || {
            let talk = self.talk.lock().unwrap();
            let mut new = talk.iter().skip(before);
            new.find(|line| line.contains(what)).cloned()
        })
    }

    fn lines(&self) -> usize {
        self.talk.lock().unwrap().len()
    }

    fn answer(&self) -> Option<String> {
        let stream = std::net::TcpStream::connect(self.address);
        stream.ok()?;
        let mut client = Client::connect(self.address);
        client.try_send(request("GET /", &[], b"")).ok()?;
        let head = client.try_head().ok()?;
        let body = client.body(&head).ok()?;
        (head.status == 200).then(|| String::from_utf8(body).unwrap())
    }

    fn serves(&self, answer: &str) {
        wait::within(BUILD, "the new version is served", || {
            (self.answer().as_deref() == Some(answer)).then_some(())
        });
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.talk.lock().unwrap().join("\n"));
        }
        let _ = self.dev.kill();
        let _ = self.dev.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn what_changes_is_built_and_served_and_what_does_not_build_leaves_the_last_good_version() {
    // The project starts with a compile error.
    let mut project = Project::start("1");
    project.hear("error[E", 0);
    project.hear("waiting for a change", 0);
    assert_eq!(project.answer(), None);
    project.write("\"one\"");
    project.serves("one");

    let load = Load::start(project.address, &["GET /"]);
    let before = project.lines();
    project.write("\"two\"");
    project.serves("two");
    let told = project.hear(", served ", before);
    let (_, later) = told.split_once(", served ").unwrap();
    let later: f32 = later.split(' ').next().unwrap().parse().unwrap();
    assert!(later < 0.7, "{told}");

    let before = project.lines();
    project.write("2");
    project.hear("error[E", before);
    project.hear("what was served before is served on", before);
    assert_eq!(project.answer().as_deref(), Some("two"));
    let before = project.lines();
    project.write("\"three\"");
    project.serves("three");
    project.hear(", served ", before);
    assert_eq!(load.stop(), Vec::<String>::new());

    // Stop it in the middle of a build.
    project.write("\"four\"");
    project.hear("building", project.lines());
    let children = process::children(project.dev.id());
    assert!(
        children.len() >= 3,
        "gateway, worker, compiler: {children:?}"
    );
    let asked = Instant::now();
    process::signal(project.dev.id(), Signal::SIGTERM);
    wait::until("it ends", || project.dev.try_wait().unwrap());
    process::wait_until_gone(&children, Duration::from_secs(10));
    assert!(asked.elapsed() < Duration::from_secs(15));
}
