//! The README's commands print what the README shows, and the seed's manifest can be served.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod promise;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Limit for the start, which includes the build of the functions. That is slow on a small machine.
const UP_TIME: Duration = Duration::from_secs(900);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// `hearth up MANIFEST --build` in the root of the project, as in the README, but on ports that the kernel chooses.
struct Up {
    child: Child,
    manifest: &'static str,
    lines: Receiver<String>,
}

impl Up {
    fn start(manifest: &'static str) -> Up {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args(["up", manifest, "--build"])
            .args([
                "--listen",
                "http=127.0.0.1:0",
                "--listen",
                "https=127.0.0.1:0",
            ])
            .current_dir(root())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Up {
            child,
            manifest,
            lines,
        }
    }

    /// Waits until the platform prints that it is up, and returns everything that it has printed.
    fn wait(&self) -> String {
        let end = Instant::now() + UP_TIME;
        let mut said = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("never up:\n{said}"));
            said.push_str(&line);
            said.push('\n');
            if line.contains("Ctrl-C") {
                return said;
            }
        }
    }

    fn status(&self) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args(["status", self.manifest, "--json"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The addresses of the listeners `http` and `https`.
    fn addresses(&self) -> (String, String) {
        let status = self.status();
        let address = |scheme: &str| {
            let listeners = status["listeners"].as_array().unwrap();
            let one = listeners
                .iter()
                .find(|one| one["scheme"] == scheme)
                .unwrap();
            one["address"].as_str().unwrap().to_owned()
        };
        (address("http"), address("https"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

/// Whether `text` matches `pattern`, in which `...` matches any text.
fn fits(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    let mut pieces = pattern.split("...");
    let first = pieces.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    for piece in pieces {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    pattern.ends_with("...") || rest.is_empty()
}

#[test]
fn the_readme_says_what_is_so() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = promise::commands(&text, &["curl "]);
    assert!(commands.len() >= 4, "the README has lost its curl lines");
    let up = Up::start("examples/edge.yaml");
    let said = up.wait();
    let (http, https) = up.addresses();
    let ours = |text: &str| {
        let (_, port) = https.rsplit_once(':').unwrap();
        text.replace("127.0.0.1:8080", &http)
            .replace("127.0.0.1:8443", &https)
            .replace(":8443", &format!(":{port}"))
    };
    let table = text
        .split("```text\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    for line in table
        .lines()
        .filter(|line| !line.trim().is_empty() && line.trim() != "...")
    {
        assert!(said.contains(&ours(line)), "not said: {line}\nin\n{said}");
    }
    for (command, promise) in commands {
        let output = Command::new("sh")
            .args(["-c", &ours(&command.replace("curl ", "curl -sS "))])
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let promise = promise.trim_end();
        assert!(
            fits(out.trim_end(), promise),
            "{command}\ngave {out}{output:?}\nnot {promise}"
        );
    }
}

#[test]
fn the_seeds_manifest_serves() {
    let up = Up::start("examples/seed.yaml");
    let said = up.wait();
    assert!(said.contains("a placeholder, not an address"), "{said}");
    let (http, _) = up.addresses();
    let curl = |args: &[&str]| {
        let output = Command::new("curl").arg("-sS").args(args).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let items = curl(&[
        "-H",
        "Host: api.example.com",
        &format!("http://{http}/items"),
    ]);
    assert_eq!(items["items"][0]["id"], 1);
    let one = curl(&[
        "-H",
        "Host: api.example.com",
        &format!("http://{http}/items/2"),
    ]);
    assert_eq!(one["name"], "bellows");
    let login = r#"{"username":"demo","password":"warm-hearth"}"#;
    let url = format!("http://{http}/login");
    let token = curl(&["-H", "Host: auth.example.com", &url, "-d", login]);
    assert_eq!(token["token_type"], "Bearer");
}

#[test]
fn check_points_out_what_the_examples_leave_open() {
    let check = |manifest: &str, expect: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args(["check", manifest])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, expect);
    };
    let note = "a placeholder, not an address; the function will use what it has built in";
    let resource = |line_and_column: &str, name: &str| {
        format!("examples/seed.yaml:{line_and_column}: functions.{name}: {note}\n")
    };
    check(
        "examples/seed.yaml",
        &[
            resource("11:17", "auth_login.resources.postgres"),
            resource("12:14", "auth_login.resources.redis"),
            resource("23:17", "items_api.resources.postgres"),
            "examples/seed.yaml is good: 2 functions, 3 routes\n".to_owned(),
        ]
        .concat(),
    );
    check(
        "examples/edge.yaml",
        "examples/edge.yaml is good: 2 functions, 6 routes\n",
    );
    check(
        "examples/edge-postgres.yaml",
        "examples/edge-postgres.yaml is good: 3 functions, 7 routes\n",
    );
}

#[test]
fn promises_with_gaps_fit_what_they_should() {
    assert!(fits("abc", "abc"));
    assert!(fits("a 1 c", "a ... c"));
    assert!(fits("a 1 c and more", "a ..."));
    assert!(!fits("abc", "ab"));
    assert!(!fits("xbc", "abc"));
    assert!(!fits("a 1 d", "a ... c"));
}
