//! The server of the control API: HTTP/1.1 on the control socket, for permitted users and within limits.
//!
//! Only root and the user who runs the platform are permitted. The mode of the state directory (0700) ensures this, and
//! so does a check of the peer's credentials from the kernel (SO_PEERCRED, unix(7)). [`crate::api::route`] parses the
//! requests. This module answers requests for the log and the device itself; all others need the runner.

pub mod door;
mod patient;
pub mod reply;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::geteuid;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::api::route::route;
use crate::api::{Answer, Problem, Reloaded, Request, Status};
use crate::causes::with_causes;
use crate::device::{Device, DeviceError};
use crate::exposition::Exposition;
use crate::figures::Figures;
use crate::journal::Journal;
use crate::measure::Meter;
use crate::{host, metrics};
use patient::Patient;
use reply::Reply;

/// Maximum number of clients at the same time. Each may follow the log.
const CLIENTS: usize = 64;

/// Maximum number of further clients at the same time that get an error response: too many clients, or not permitted.
const TURNED_AWAY: usize = 16;

/// How long a client may take to send a request head, and how long a connection may have no request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a client may read nothing of a response.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long reading the metrics of the machine may take, such as those of disks and sensors.
const HOST_TIME: Duration = Duration::from_secs(2);

/// Pause after accept has failed. The cause may be temporary.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Maximum size of a request head in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// A request that the runner must answer.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// Where to send the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// Answers requests. All connections share it, on any transport.
#[derive(Debug)]
pub struct Service {
    journal: Journal,
    asked: mpsc::UnboundedSender<Asked>,
    figures: Figures,
    meter: Arc<Mutex<Meter>>,
    /// Locked while a thread reads the metrics of the machine.
    machine: Arc<Mutex<()>>,
}

impl Service {
    /// Answers from `journal` and `figures`, and sends requests for the runner to `asked`.
    pub fn new(journal: Journal, figures: Figures, asked: mpsc::UnboundedSender<Asked>) -> Service {
        Service {
            journal,
            asked,
            figures,
            meter: Arc::default(),
            machine: Arc::default(),
        }
    }

    /// Answers one request, by its method, path and query.
    pub async fn answer(&self, method: &str, path: &str, query: Option<&str>) -> Response<Reply> {
        match route(method, path, query) {
            Ok(request) => self.respond(request).await,
            Err(problem) => Reply::problem(&problem),
        }
    }

    /// Answers a request that has been parsed.
    pub async fn respond(&self, request: Request) -> Response<Reply> {
        let answered = match request {
            Request::Logs(query) => {
                return Reply::lines(reply::records(&self.journal, &query));
            }
            Request::Status => self.status().await.map(|status| Reply::json(&status)),
            Request::Metrics => match self.status().await {
                Ok(status) => self.metrics(status).await,
                Err(problem) => Err(problem),
            },
            Request::Device => device(|device| device.status()).await,
            Request::AskDevice(what) => device(move |device| device.ask(what)).await,
            Request::Versions => match self.ask(request).await {
                Ok(Answer::Versions(versions)) => Ok(Reply::json(&versions)),
                Ok(other) => Err(unexpected(&other)),
                Err(problem) => Err(problem),
            },
            Request::Rollback { .. } => match self.ask(request).await {
                Ok(Answer::RolledBack(done)) => Ok(Reply::json(&done)),
                Ok(other) => Err(unexpected(&other)),
                Err(problem) => Err(problem),
            },
            Request::Reload => match self.ask(request).await {
                Ok(Answer::Reloaded { functions }) => Ok(Reply::json(&Reloaded { functions })),
                Ok(other) => Err(unexpected(&other)),
                Err(problem) => Err(problem),
            },
        };
        answered.unwrap_or_else(|problem| Reply::problem(&problem))
    }

    /// The status, with the resource use of its processes. Measuring many processes takes a while, so another thread
    /// does it.
    async fn status(&self) -> Result<Box<Status>, Problem> {
        let mut status = match self.ask(Request::Status).await? {
            Answer::Status(status) => status,
            other => return Err(unexpected(&other)),
        };
        let meter = Arc::clone(&self.meter);
        let measuring = tokio::task::spawn_blocking(move || {
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.fill(&mut status);
            status
        });
        let failed = |_| Problem::internal("the processes cannot be measured");
        measuring.await.map_err(failed)
    }

    async fn metrics(&self, status: Box<Status>) -> Result<Response<Reply>, Problem> {
        let answers = self.figures.answers();
        let mut text = Exposition::default();
        metrics::tell(&mut text, &status, &answers);
        let mut text = text.into_text();
        // Metrics of the machine that are not ready in time are left out. While that read still blocks, no other is
        // started.
        let machine = Arc::clone(&self.machine);
        let asking = tokio::task::spawn_blocking(move || {
            let _alone = machine.try_lock().ok()?;
            let mut text = Exposition::default();
            host::tell(&mut text);
            Some(text.into_text())
        });
        if let Ok(Ok(Some(host))) = tokio::time::timeout(HOST_TIME, asking).await {
            text.push_str(&host);
        }
        Ok(Reply::text(text))
    }

    async fn ask(&self, request: Request) -> Result<Answer, Problem> {
        let (answer, answered) = oneshot::channel();
        let _ = self.asked.send(Asked { request, answer });
        match answered.await {
            Ok(Answer::Failed(why)) => Err(Problem::refused(why)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Problem::unavailable("the platform is stopping")),
        }
    }
}

/// Queries or controls the device, on a thread that may wait for the disk.
async fn device<T: Serialize + Send + 'static>(
    what: impl FnOnce(&Device) -> Result<T, DeviceError> + Send + 'static,
) -> Result<Response<Reply>, Problem> {
    let done = tokio::task::spawn_blocking(|| what(&Device::default()));
    match done.await {
        Ok(Ok(answer)) => Ok(Reply::json(&answer)),
        Ok(Err(error)) => Err(Problem::refused(with_causes(&error))),
        Err(_) => Err(Problem::internal("the device cannot be asked")),
    }
}

fn unexpected(answer: &Answer) -> Problem {
    Problem::internal(format!("the runner answers something else: {answer:?}"))
}

/// Serves the control API at `path`.
pub fn listen(path: &Path, service: Rc<Service>) -> io::Result<()> {
    let listener = hearth_sys::unix::bind(path)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::task::spawn_local(async move {
        let clients = Arc::new(Semaphore::new(CLIENTS));
        let away = Arc::new(Semaphore::new(TURNED_AWAY));
        // Further clients wait in the kernel's queue.
        while let Ok(room) = Arc::clone(&away).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let asks = stream.peer_cred().map(|peer| peer.uid());
            let refused = match asks {
                Ok(user) if !may_ask(user, geteuid().as_raw()) => Some(Problem::forbidden(
                    "only root and the user who runs the platform may ask it",
                )),
                Err(error) => Some(Problem::forbidden(format!("cannot tell who asks: {error}"))),
                Ok(_) if clients.available_permits() == 0 => Some(Problem::unavailable(format!(
                    "{CLIENTS} clients are being served; end one, or try again later"
                ))),
                Ok(_) => None,
            };
            if let Some(problem) = refused {
                tokio::task::spawn_local(async move {
                    let _ = tokio::time::timeout(HEAD_TIME, turn_away(stream, &problem)).await;
                    drop(room);
                });
                continue;
            }
            drop(room);
            let place = Arc::clone(&clients).acquire_owned().await;
            let service = Rc::clone(&service);
            tokio::task::spawn_local(async move {
                converse(Patient::new(stream, WRITE_TIME), &service).await;
                drop(place);
            });
        }
    });
    Ok(())
}

/// Whether `user` may send requests to a platform that the user `own` runs.
fn may_ask(user: u32, own: u32) -> bool {
    user == own || user == 0
}

async fn converse(stream: Patient<UnixStream>, service: &Rc<Service>) {
    let answer = |request: http::Request<Incoming>| {
        let service = Rc::clone(service);
        async move {
            let response = if request.body().is_end_stream() {
                let uri = request.uri();
                service
                    .answer(request.method().as_str(), uri.path(), uri.query())
                    .await
            } else {
                Reply::problem(&Problem::body())
            };
            Ok::<_, Infallible>(response)
        }
    };
    // An error of a connection concerns only its client.
    let _ = connection(stream, service_fn(answer)).await;
}

/// Serves HTTP/1.1 on a connection within the limits of this API.
async fn connection<I, S>(stream: I, service: S) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = Reply>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// Reads the request head and sends an error response. Unread data could cause the response to be lost.
async fn turn_away(mut stream: UnixStream, problem: &Problem) -> io::Result<()> {
    let mut head = vec![0; HEAD_BYTES];
    let mut read = 0;
    while read < head.len() && !head[..read].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut head[read..]).await? {
            0 => break,
            count => read += count,
        }
    }
    let body = serde_json::to_string(problem)? + "\n";
    let answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        problem.status,
        problem.title,
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_same_user_may_ask_and_nobody_else() {
        assert!(may_ask(1000, 1000));
        assert!(may_ask(0, 1000));
        assert!(!may_ask(1001, 1000));
        assert!(!may_ask(65534, 0));
    }
}
