//! Fuzzes the gateway with arbitrary bytes from a worker: every request must end, and every lease must be returned.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_gateway::channel::Channel;
use hearth_gateway::handle::StreamHandle;
use hearth_gateway::pool::{Lease, Place, Pool, Worker};
use hearth_gateway::stream::Time;
use hearth_protocol::Codec;
use hearth_protocol::head::{Limits, RequestHead};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Number of requests on the channel. The body of the last one is never complete.
const REQUESTS: u32 = 3;

/// Timeout of each step. It is far longer than any step takes, because no step waits for anything.
const LIMIT: Duration = Duration::from_secs(10);

/// Maximum number of bytes to send. The buffer of the socket takes them before the channel reads.
const LONGEST: usize = 64 * 1024;

/// Sends the bytes to a channel that has open requests.
pub fn run(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, answer(&bytes[..bytes.len().min(LONGEST)]));
}

async fn answer(bytes: &[u8]) {
    let worker = Arc::new(Worker::new(1, Codec::MessagePack, REQUESTS));
    let pool = Arc::new(Pool::new(0));
    pool.set(vec![Arc::clone(&worker)], 0);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (lost, mut losses) = mpsc::unbounded_channel();
    let channel = Channel::start(worker, ours, Limits::default(), lost).unwrap();
    let handles: Vec<StreamHandle> = (1..=REQUESTS)
        .map(|number| ask(&channel, lease(&pool), number < REQUESTS))
        .collect();
    theirs.write_all(bytes).unwrap();
    drop(theirs);
    for handle in handles {
        let all = tokio::time::timeout(LIMIT, read(handle));
        all.await.expect("a request comes to its end");
    }
    let told = tokio::time::timeout(LIMIT, losses.recv());
    assert!(told.await.expect("the loss is told").is_some());
    assert!(!channel.is_open());
    assert!(pool.is_idle(1), "every lease comes back");
}

fn lease(pool: &Arc<Pool>) -> Lease {
    match pool.lease(Instant::now(), LIMIT) {
        Place::Now(lease) => lease,
        _ => panic!("there is room"),
    }
}

fn ask(channel: &Rc<Channel>, lease: Lease, end: bool) -> StreamHandle {
    let head = RequestHead {
        method: "GET".into(),
        path: "/".into(),
        ..RequestHead::default()
    };
    let time = Time {
        asked: Instant::now(),
        limit: LIMIT,
    };
    StreamHandle::send(channel, lease, time, &head, b"body", end).unwrap()
}

async fn read(mut handle: StreamHandle) {
    let Ok(answer) = handle.answer().await else {
        return;
    };
    if answer.end {
        return;
    }
    while let Some(Ok(_)) = std::future::poll_fn(|cx| handle.poll_body(cx)).await {}
}
