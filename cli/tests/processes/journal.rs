//! Both sides of the journal's native protocol: a platform that acts as the journal, and a platform that sends its
//! log to the journal.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::platform::{HTTP_ONLY, PROBE, Place, Platform, build};
use crate::process;
use crate::wait;

/// A platform that acts as the journal, with a socket beside its manifest.
fn journal() -> (Platform, PathBuf) {
    let place = Place::new(&format!("{HTTP_ONLY}\n{PROBE}"));
    let socket = place.path().join("journal.sock");
    let text = socket.to_str().unwrap().to_owned();
    let platform = Platform::start_told(place, &["--log", "json", "--journal-socket", &text]);
    (platform, socket)
}

fn client(socket: &Path) -> UnixDatagram {
    let client = UnixDatagram::unbound().unwrap();
    client.connect(socket).unwrap();
    client
}

/// Waits for the journal's record with this message.
fn record(platform: &Platform, message: &str) -> Value {
    platform.wait_for_record(message, |record| {
        record["source"] == "journal" && record["message"] == message
    })
}

#[test]
fn what_is_said_to_the_journal_is_in_the_log_with_its_sender() {
    let (platform, socket) = journal();
    let client = client(&socket);
    client
        .send(b"MESSAGE=plain\nPRIORITY=3\nSYSLOG_IDENTIFIER=app\n_UID=0\nHEARTH_FUNCTION=probe\n")
        .unwrap();
    let told = record(&platform, "plain");
    assert_eq!(told["level"], "error");
    assert_eq!(
        told["function"],
        Value::Null,
        "nobody speaks for a function"
    );
    let own = json!({
        "syslog_identifier": "app", "hearth_function": "probe",
        "pid": std::process::id(), "uid": geteuid().as_raw(),
    });
    assert_eq!(told["fields"], own);
    client
        .send(b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=7\n")
        .unwrap();
    assert_eq!(record(&platform, "two\nlines")["level"], "debug");
    // A message too long for a datagram comes in a sealed memory file.
    let text = "long ".repeat(10_000);
    let file = hearth_sys::memfile::sealed("m", format!("MESSAGE={text}\n").as_bytes()).unwrap();
    hearth_sys::passing::send(client.as_fd(), b"", &[file.as_fd()]).unwrap();
    record(&platform, &text);
    // Journal records are stored with all other records, and survive a restart with them.
    let (_, place) = platform.end(Signal::SIGTERM);
    assert!(!socket.exists());
    let platform = Platform::start_in(place);
    record(&platform, "plain");
}

#[test]
fn what_is_no_message_is_said_and_stops_nothing() {
    let (platform, socket) = journal();
    let client = client(&socket);
    let not_understood = |why: &str| {
        platform.wait_for_record(why, |record| {
            let message = record["message"].as_str().unwrap();
            message.contains("was not understood") && message.contains(why)
        });
    };
    client.send(b"MESSAGE=cut").unwrap();
    not_understood("the message ends within a field");
    client.send(&vec![b'x'; 150_000]).unwrap();
    // A file that others can still change, and a file without an end, are not read at all.
    let path = platform.place.path().join("file");
    fs::write(&path, "MESSAGE=from a file\n").unwrap();
    for path in [path.as_path(), Path::new("/dev/zero")] {
        let file = File::open(path).unwrap();
        hearth_sys::passing::send(client.as_fd(), b"", &[file.as_fd()]).unwrap();
    }
    not_understood("not a sealed memory file");
    client.send(b"MESSAGE=still here\n").unwrap();
    record(&platform, "still here");
    let logs = platform.logs();
    assert!(logs.iter().all(|record| record["message"] != "from a file"));
}

#[test]
fn who_says_too_much_is_passed_over_and_others_are_heard_afterwards() {
    let (platform, socket) = journal();
    let client = client(&socket);
    for number in 0..6_000 {
        client
            .send(format!("MESSAGE=flood {number}\n").as_bytes())
            .unwrap();
    }
    wait::until("it is counted", || {
        client.send(b"MESSAGE=afterwards\n").unwrap();
        platform.logs().into_iter().find(|record| {
            let message = record["message"].as_str().unwrap();
            message.contains("were passed over: too many in a second")
        })
    });
    record(&platform, "afterwards");
    assert_eq!(platform.get("/small").status(), 200);
}

#[test]
fn a_place_that_somebody_has_is_refused() {
    let (_platform, socket) = journal();
    let place = Place::new(&format!("{HTTP_ONLY}\n{PROBE}"));
    let refused = place.hearth("up", &["--journal-socket", socket.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("cannot answer as the journal at"), "{said}");
}

/// A shell for which the system's journal is at `socket`, in a private mount namespace. It executes the program and
/// the arguments that the caller adds.
fn with_journal_at(socket: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && \
                  ln -s \"$0\" /run/systemd/journal/socket && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(socket);
    command
}

/// The program that sends one message with tracing-journald, which the platform uses, too.
fn sayer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let args = [
            "--package",
            "hearth-supervisor",
            "--example",
            "journal_says",
        ];
        build(&args).unwrap().join("examples/journal_says")
    })
}

#[test]
fn tracing_journald_is_understood_with_every_level_and_a_message_of_any_length() {
    let (platform, socket) = journal();
    for (level, priority) in [
        ("error", "error"),
        ("warn", "warn"),
        ("info", "info"),
        ("debug", "debug"),
        ("trace", "debug"),
    ] {
        // The last message does not fit into a datagram and comes in a memory file.
        for length in [10, 1_000, 2_000_000] {
            let said = with_journal_at(&socket)
                .arg(sayer())
                .args([level, &length.to_string()])
                .output()
                .unwrap();
            assert!(said.status.success(), "{said:?}");
            let shown = length.min(64 * 1024);
            let told = platform.wait_for_record(level, |record| {
                let message = record["message"].as_str().unwrap();
                let letters = message.bytes().filter(|byte| *byte == b'm').count();
                record["source"] == "journal" && record["level"] == priority && letters == shown
            });
            let fields = &told["fields"];
            for (name, expect) in [
                ("syslog_identifier", json!("hearth")),
                ("hearth_source", json!("worker")),
                ("hearth_function", json!("items")),
                ("hearth_worker", json!("3")),
                ("hearth_request", json!("r1")),
                ("hearth_fields", json!(r#"{"tenant":"acme"}"#)),
            ] {
                assert_eq!(fields[name], expect, "{name} in {told}");
            }
        }
    }
}

#[test]
fn a_platform_tells_the_journal_and_prints_nothing_with_log_journal() {
    let (platform, socket) = journal();
    let place = Place::new(&format!("{HTTP_ONLY}\n{PROBE}"));
    let mut up = with_journal_at(&socket)
        .arg(crate::platform::HEARTH)
        .arg("up")
        .arg(place.manifest())
        .args(["--log", "journal"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ready = platform.wait_for_record("the other one is ready", |record| {
        record["source"] == "journal" && record["fields"]["hearth_function"] == "probe"
    });
    assert_eq!(ready["message"], "ready");
    assert_eq!(ready["fields"]["hearth_worker"], "1");
    assert_eq!(ready["fields"]["pid"], up.id());
    process::signal(up.id(), Signal::SIGTERM);
    let ended = wait::until("it ends", || up.try_wait().unwrap());
    assert!(ended.success());
    record(&platform, "told to stop; stopping");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut up.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn without_a_journal_log_journal_is_refused() {
    let place = Place::new(&format!("{HTTP_ONLY}\n{PROBE}"));
    let refused = with_journal_at(&place.path().join("nothing"))
        .arg(crate::platform::HEARTH)
        .arg("up")
        .arg(place.manifest())
        .args(["--log", "journal"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("no journal answers at /run/systemd/journal/socket"),
        "{said}"
    );
}
