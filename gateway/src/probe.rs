//! A probe of one worker's health: a request on the worker's own channel, but without a client, a route or a line in
//! the access log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::data::CancelReason;
use hearth_protocol::head::RequestHead;
use hearth_protocol::link::{Health, Probe, Verdict};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::handle::StreamHandle;
use crate::pool::Lease;
use crate::stream::Time;
use crate::thread::Thread;

/// Timeout of the stream. It is much longer than any probe's timeout, so that a worker does not count as stuck because
/// a probe waits behind a long request. The probe's own timeout, which is enforced here, decides.
const LIMIT: Duration = Duration::from_secs(3600);

/// Sends the probe and reports its result.
pub(crate) async fn ask(
    thread: Rc<Thread>,
    lease: Lease,
    probe: Probe,
    told: mpsc::UnboundedSender<Health>,
) {
    let (path, worker, pool) = (&probe.path, Arc::clone(lease.worker()), lease.pool());
    let time = Duration::from_millis(probe.timeout_ms.into());
    let verdict = match tokio::time::timeout(time, status(&thread, lease, &probe)).await {
        Ok(Ok(200..400)) => Verdict::Well,
        Ok(Ok(status)) => Verdict::Sick(format!("GET {path} answered {status}")),
        Ok(Err(failure)) => Verdict::Sick(format!("GET {path}: {failure}")),
        // Such a worker is judged by its other requests.
        Err(_) if pool.is_busy(&worker, time) => Verdict::Busy,
        Err(_) => Verdict::Sick(format!("GET {path}: no answer within {time:?}")),
    };
    let _ = told.send(Health {
        worker: probe.worker,
        verdict,
    });
}

async fn status(thread: &Rc<Thread>, lease: Lease, probe: &Probe) -> Result<u16, Failure> {
    let channel = thread.channel(probe.worker).ok_or(Failure::NotSent)?;
    let time = Time {
        asked: Instant::now(),
        limit: LIMIT,
    };
    let id = thread.ids.next();
    let head = RequestHead {
        id: id.as_str().into(),
        method: "GET".into(),
        path: probe.path.as_str().into(),
        query: "".into(),
        route: probe.path.as_str().into(),
        params: vec![],
        scheme: "http".into(),
        host: "localhost".into(),
        client: "".into(),
        headers: vec![
            ("host".into(), "localhost".into()),
            ("user-agent".into(), "hearth-health".into()),
        ],
        deadline_ms: probe.timeout_ms.into(),
        trace: None,
    };
    let mut stream = StreamHandle::send(&channel, lease, time, &head, &[], true)?;
    thread.watch_time();
    // The reason in CANCEL if the probe's timeout drops the stream.
    stream.cancel_as(CancelReason::Timeout);
    let answer = stream.answer().await;
    Ok(answer?.head.status.as_u16())
}
