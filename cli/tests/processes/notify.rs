//! The notifications to systemd or to the appliance's init: ready once a request has been answered, alive as long as
//! requests are answered.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::platform::{HTTP_ONLY, PROBE, Place, Platform};
use crate::process;
use crate::wait;

/// Reads messages until one contains `text`. Returns all messages.
fn heard(socket: &UnixDatagram, text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < wait::LIMIT, "no {text} in {all:?}");
        let mut buffer = [0; 4096];
        if let Ok(length) = socket.recv(&mut buffer) {
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let found = said.contains(text);
            all.push(said);
            if found {
                return all;
            }
        }
    }
}

#[test]
fn ready_is_said_after_an_answer_and_alive_only_while_there_are_some() {
    let listen = r#"gateway: { listen: { https: "127.0.0.1:0" } }"#;
    let place = Place::new(&format!("{listen}\n{PROBE}"));
    let path = place.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    // The platform sends WATCHDOG=1 every third of this time.
    let environment = [
        ("NOTIFY_SOCKET", path.as_path()),
        ("WATCHDOG_USEC", Path::new("600000")),
    ];
    let platform = Platform::start_with(place, &environment);
    let said = heard(&socket, "READY=1");
    assert!(
        said.iter().any(|one| one == "STATUS=serving 1 function"),
        "{said:?}"
    );
    heard(&socket, "WATCHDOG=1");
    heard(&socket, "WATCHDOG=1");
    // While the gateway hangs, the platform reports that, and sends no WATCHDOG=1.
    process::signal(platform.gateway(), Signal::SIGSTOP);
    heard(&socket, "STATUS=not answering: ");
    let mut buffer = [0; 4096];
    let quiet = socket.recv(&mut buffer);
    assert!(quiet.is_err(), "{:?}", String::from_utf8_lossy(&buffer));
    process::signal(platform.gateway(), Signal::SIGCONT);
    heard(&socket, "WATCHDOG=1");
    let (status, _place) = platform.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0));
    heard(&socket, "STOPPING=1");
}

#[test]
fn state_is_kept_where_it_is_told_to_be() {
    let place = Place::new(&format!("{HTTP_ONLY}\n{PROBE}"));
    let state = place.path().join("elsewhere");
    let words = ["--state", state.to_str().unwrap()];
    let mut up = place.command("up", &words).spawn().unwrap();
    let status = wait::until("the platform can be asked", || {
        let asked = place.hearth("status", &words);
        asked.status.success().then_some(asked)
    });
    assert!(String::from_utf8_lossy(&status.stdout).contains("probe"));
    assert!(!place.hearth("status", &[]).status.success());
    assert!(!place.hearth_directory().exists());
    assert!(state.join("versions").exists());
    process::signal(up.id(), Signal::SIGTERM);
    assert_eq!(up.wait().unwrap().code(), Some(0));
}
