//! A steady load of small requests on persistent connections, and the result of each request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::http::{Client, request};

/// Number of threads, each with one connection.
const CLIENTS: usize = 4;

/// A load that is running.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Sends these requests in turn until `stop`. A connection that ends before any byte of a response counts as a
    /// failure, too.
    pub(crate) fn start(address: SocketAddr, lines: &'static [&'static str]) -> Load {
        let (stop, answered) = (Arc::default(), Arc::default());
        let client = |_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || ask(address, lines, &stop, &answered))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load {
            stop,
            answered,
            clients,
        }
    }

    /// Number of responses with status 200 so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the load. Returns a description of each failure.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let clients = self.clients.into_iter();
        clients.flat_map(|one| one.join().unwrap()).collect()
    }
}

fn ask(
    address: SocketAddr,
    lines: &[&str],
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = Client::connect(address);
    for line in lines.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body: &[u8] = if line.starts_with("POST") {
            b"once"
        } else {
            b""
        };
        let answer = client
            .try_send(request(line, &[], body))
            .and_then(|()| client.try_head())
            .and_then(|head| Ok((head.status, client.body(&head)?)));
        match answer {
            Ok((200, _)) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok((status, body)) => {
                failures.push(format!(
                    "{line}: {status} {}",
                    String::from_utf8_lossy(&body)
                ));
            }
            Err(error) => {
                failures.push(format!("{line}: {error}"));
                client = Client::connect(address);
            }
        }
    }
    failures
}
