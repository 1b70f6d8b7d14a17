//! The steps of a request: route, lease, send, receive, reply.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::data::CancelReason;
use hearth_protocol::head::{Pair, RequestHead};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;

use crate::access::Entry;
use crate::body::ReplyBody;
use crate::client::Traffic;
use crate::failure::Failure;
use crate::handle::StreamHandle;
use crate::head;
use crate::id::Id;
use crate::live::{Live, Served};
use crate::pool::{Lease, Place, Worker};
use crate::reply::{REQUEST_ID, Refusal};
use crate::route::Found;
use crate::stream::{Answer, Time};
use crate::target::{Fields, Target};
use crate::thread::Thread;
use crate::upload::{Arriving, Upload};

/// Header fields that the gateway removes from requests. A client could use them to deceive the function; only the
/// gateway may set them.
const OURS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// The start of the log line about a request's second attempt.
const AGAIN: &str = "sent to a worker once more";

/// A client's connection.
pub struct Connection {
    /// The thread that serves the connection.
    pub thread: Rc<Thread>,
    /// The connection's traffic counters.
    pub traffic: Rc<Traffic>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The client's address and port.
    pub client: Box<str>,
    /// The range of `client` that holds the address without the port.
    address: Range<usize>,
    /// The last `Forwarded` value, kept because a client usually stays with one host.
    forwarded: RefCell<Option<Rc<str>>>,
}

impl Connection {
    /// Creates the state of a connection from `client`.
    pub fn new(
        thread: Rc<Thread>,
        traffic: Rc<Traffic>,
        client: SocketAddr,
        scheme: &'static str,
    ) -> Connection {
        let shown = client.to_string();
        let port = shown.rfind(':').unwrap_or(shown.len());
        let address = match client {
            SocketAddr::V4(_) => 0..port,
            // An IPv6 address is in brackets.
            SocketAddr::V6(_) => 1..port - 1,
        };
        Connection {
            thread,
            traffic,
            scheme,
            client: shown.into_boxed_str(),
            address,
            forwarded: RefCell::default(),
        }
    }

    /// The client's address without its port.
    fn address(&self) -> &str {
        &self.client[self.address.clone()]
    }

    /// The value of the `Forwarded` field (RFC 7239) for this hop.
    fn forwarded(&self, authority: &str) -> Rc<str> {
        let address = self.address();
        let (open, close) = match address.contains(':') {
            true => ("\"[", "]\""),
            false => ("", ""),
        };
        let mut last = self.forwarded.borrow_mut();
        // The kept value contains the host that it was made for.
        let start = "for=;host=\"".len() + address.len() + open.len() + close.len();
        if let Some(field) = &*last
            && let Some(rest) = field[start..].strip_prefix(authority)
            && rest.starts_with('"')
        {
            return Rc::clone(field);
        }
        let scheme = self.scheme;
        let field = format!("for={open}{address}{close};host=\"{authority}\";proto={scheme}");
        let field: Rc<str> = Rc::from(field);
        *last = Some(Rc::clone(&field));
        field
    }
}

/// Serves one request.
pub async fn serve(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let serving = connection.traffic.begin();
    let (parts, body) = request.into_parts();
    let exchange = Exchange {
        connection: &connection,
        live: connection.thread.live(),
        id: connection.thread.ids.next(),
        started: Instant::now(),
        parts: &parts,
        fields: Fields::of(&parts),
        function: Cell::new(None),
        worker: RefCell::new(None),
    };
    let outcome = exchange.answer(body).await;
    let mut response = exchange.reply(outcome);
    if connection.traffic.has_unread() {
        // The rest of the body precedes the next request on the connection, so the connection cannot be used again.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response.body_mut().hold(serving);
    Ok(response)
}

/// A request in progress.
struct Exchange<'a> {
    connection: &'a Connection,
    live: Arc<Live>,
    id: Id,
    started: Instant,
    parts: &'a Parts,
    fields: Fields<'a>,
    function: Cell<Option<usize>>,
    worker: RefCell<Option<Arc<Worker>>>,
}

/// The result of routing: the request's target, its route and its function.
struct Routed<'a> {
    target: Target<'a>,
    found: Found<'a, 'a>,
    function: &'a Served,
}

impl Exchange<'_> {
    async fn answer(&self, body: Incoming) -> Result<(Answer, StreamHandle), Refusal> {
        let traffic = &self.connection.traffic;
        let body = Arriving::new(body, &self.live.limits, traffic, self.started);
        let routed = self.route()?;
        let mut upload = Upload::take(self.fields.length, body).await?;
        let mut retried = false;
        loop {
            let time = Time {
                asked: if retried {
                    Instant::now()
                } else {
                    self.started
                },
                limit: routed.function.timeout,
            };
            let (lease, left) = self.lease(routed.function, time).await?;
            let received = match self.send(lease, (time, left), &routed, &mut upload) {
                Ok(stream) => self.receive(stream).await,
                Err(failure) => Err(failure),
            };
            match received {
                Err(failure)
                    if !retried
                        && !matches!(upload, Upload::Spent)
                        && failure.may_retry(self.is_idempotent(&upload)) =>
                {
                    retried = true;
                    let message = format!("{AGAIN}: {failure}");
                    let thread = &self.connection.thread;
                    thread.log.about(self.id.as_str(), "warn", message);
                }
                Err(failure) => {
                    let failure = self.explained(failure).await;
                    return Err(Refusal::from(failure).at_worker(self.worker_id()));
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn route(&self) -> Result<Routed<'_>, Refusal> {
        if self.fields.bytes > self.live.limits.header_bytes {
            return Err(Failure::HeadTooLarge.into());
        }
        let target = Target::of(self.parts, &self.fields).map_err(Refusal::bad_request)?;
        let found = self
            .live
            .table
            .find(&target.host, target.path, self.parts.method.as_str())?;
        let function = &self.live.functions[found.entry.function];
        self.function.set(Some(found.entry.function));
        Ok(Routed {
            target,
            found,
            function,
        })
    }

    /// Waits for a lease. Returns it with the time that is left for the response.
    async fn lease(&self, function: &Served, time: Time) -> Result<(Lease, Duration), Failure> {
        match function.pool.lease(time.asked, time.limit) {
            Place::Now(lease) => Ok((lease, time.limit)),
            Place::Full => Err(Failure::QueueFull(function.pool.waiting())),
            Place::Closed => Err(Failure::NotServed),
            Place::Refused(why) => Err(Failure::CannotStart(why)),
            Place::Queued(turn) => {
                self.connection.thread.watch_time();
                match turn.await {
                    Ok(lease) => Ok((lease, time.limit.saturating_sub(time.asked.elapsed()))),
                    Err(_) if time.asked.elapsed() >= time.limit => {
                        Err(Failure::QueueTimeout(time.limit))
                    }
                    Err(_) => Err(match function.pool.refused() {
                        Some(why) => Failure::CannotStart(why),
                        None => Failure::NotServed,
                    }),
                }
            }
        }
    }

    fn send(
        &self,
        lease: Lease,
        (time, left): (Time, Duration),
        routed: &Routed<'_>,
        upload: &mut Upload,
    ) -> Result<StreamHandle, Failure> {
        *self.worker.borrow_mut() = Some(Arc::clone(lease.worker()));
        let thread = &self.connection.thread;
        let channel = thread.channel(lease.worker().id).ok_or(Failure::NotSent)?;
        thread.watch_time();
        let forwarded = self.connection.forwarded(routed.target.authority);
        let head = self.head(routed, &forwarded, left);
        match upload {
            Upload::Whole(bytes) => StreamHandle::send(&channel, lease, time, &head, bytes, true),
            // `answer` does not retry a request whose body has been handed to a worker.
            Upload::Spent => Err(Failure::NotSent),
            Upload::Coming(_) => {
                let stream = StreamHandle::send(&channel, lease, time, &head, &[], false)?;
                let body = std::mem::replace(upload, Upload::Spent);
                if let Upload::Coming(body) = body {
                    tokio::task::spawn_local(body.pump(stream.uploader()));
                }
                Ok(stream)
            }
        }
    }

    /// Adds how the worker ended to the failure, if the worker ended and the supervisor reports the reason in time.
    async fn explained(&self, failure: Failure) -> Failure {
        let worker = self.worker.borrow().clone();
        match (failure, worker) {
            (Failure::WorkerGone, Some(worker)) => match worker.how_it_ended().await {
                Some(how) => Failure::WorkerEnded(how),
                None => Failure::WorkerGone,
            },
            (failure, _) => failure,
        }
    }

    /// Waits for the head of the response.
    async fn receive(&self, mut stream: StreamHandle) -> Result<(Answer, StreamHandle), Failure> {
        let answer = stream.answer().await;
        if let Err(Failure::Timeout(_)) = answer {
            stream.cancel_as(CancelReason::Timeout);
        }
        answer.map(|answer| (answer, stream))
    }

    fn reply(&self, outcome: Result<(Answer, StreamHandle), Refusal>) -> Response<ReplyBody> {
        let mut layer = None;
        let mut response = match outcome {
            Ok((mut answer, stream)) => {
                if self.parts.method == Method::HEAD {
                    // The length that a GET would return, if it is known. The body must not be sent, and over HTTP/2
                    // hyper does not remove it.
                    if answer.end && !answer.head.headers.contains_key(CONTENT_LENGTH) {
                        let length = answer.first.len().into();
                        answer.head.headers.insert(CONTENT_LENGTH, length);
                    }
                    Response::from_parts(answer.head, ReplyBody::whole(bytes::Bytes::new()))
                } else if answer.end {
                    // hyper sets the length itself. A wrong length from the worker must not reach the client.
                    answer.head.headers.remove(CONTENT_LENGTH);
                    Response::from_parts(answer.head, ReplyBody::whole(answer.first))
                } else {
                    Response::from_parts(answer.head, ReplyBody::stream(answer.first, stream))
                }
            }
            Err(refusal) => {
                layer = Some(refusal.layer());
                refusal.into_response(self.id.as_str())
            }
        };
        response
            .headers_mut()
            .insert(REQUEST_ID, self.id.to_header());
        self.count(response.status().as_u16());
        if self.live.access_log {
            let entry = self.entry(response.status().as_u16(), layer);
            response.body_mut().log(entry);
        }
        response
    }

    /// Counts the response with the time until its head.
    fn count(&self, status: u16) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let answers = match self.function.get() {
            Some(function) => &self.live.functions[function].pool.answers,
            None => &self.live.unrouted,
        };
        answers.count(status, micros);
        if let Some(worker) = &*self.worker.borrow() {
            worker.answers.count(micros);
        }
    }

    fn worker_id(&self) -> Option<u32> {
        self.worker.borrow().as_ref().map(|worker| worker.id)
    }

    /// Whether the request may be sent again: its method is idempotent (RFC 9110, section 9.2.2), and its whole body is
    /// available.
    fn is_idempotent(&self, upload: &Upload) -> bool {
        let method = &self.parts.method;
        let bodiless = matches!(upload, Upload::Whole(_));
        bodiless
            && [
                Method::GET,
                Method::HEAD,
                Method::PUT,
                Method::DELETE,
                Method::OPTIONS,
            ]
            .contains(method)
    }

    fn head<'h>(
        &'h self,
        routed: &'h Routed<'_>,
        forwarded: &'h str,
        left: Duration,
    ) -> RequestHead<'h> {
        let Connection { client, scheme, .. } = self.connection;
        let address = self.connection.address();
        let Routed { target, found, .. } = routed;
        let listed = match self.fields.connection {
            true => head::connection_list(&self.parts.headers),
            false => Vec::new(),
        };
        let passed_on = |name: &HeaderName| {
            !head::is_hop_by_hop(name, &listed)
                && *name != HOST
                && *name != EXPECT
                && !OURS.contains(&name.as_str())
        };
        let mut headers: Vec<Pair<'_>> = Vec::with_capacity(self.parts.headers.len() + 5);
        headers.push(("host".into(), target.authority.into()));
        headers.extend(
            self.parts
                .headers
                .iter()
                .filter(|(name, _)| passed_on(name))
                .map(|(name, value)| (name.as_str().into(), head::value_text(value).into())),
        );
        headers.push(("x-forwarded-for".into(), address.into()));
        headers.push(("x-forwarded-host".into(), target.authority.into()));
        headers.push(("x-forwarded-proto".into(), (*scheme).into()));
        headers.push(("forwarded".into(), forwarded.into()));
        RequestHead {
            id: self.id.as_str().into(),
            method: self.parts.method.as_str().into(),
            path: target.path.into(),
            query: target.query.into(),
            route: found.entry.pattern.as_str().into(),
            params: found
                .params()
                .map(|(name, value)| (name.into(), value.as_ref().into()))
                .collect(),
            scheme: (*scheme).into(),
            host: target.host.as_ref().into(),
            client: client.as_ref().into(),
            headers,
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            trace: self
                .fields
                .trace
                .map(|value| head::value_text(value).into()),
        }
    }

    fn entry(&self, status: u16, layer: Option<&'static str>) -> Entry {
        let target = Target::of(self.parts, &self.fields).ok();
        let function = self
            .function
            .get()
            .map(|index| self.live.functions[index].name.clone());
        Entry {
            log: self.connection.thread.log.clone(),
            started: self.started,
            request: self.id.as_str().to_owned(),
            method: self.parts.method.to_string(),
            host: target
                .map(|target| target.host.into_owned())
                .unwrap_or_default(),
            path: self.parts.uri.path().to_owned(),
            client: self.connection.client.to_string(),
            protocol: match self.parts.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            status,
            layer,
            function,
            worker: self.worker_id(),
            bytes: 0,
            broken: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::Thread;

    #[test]
    fn forwarded_names_who_asked_whom_and_is_made_anew_for_another_host() {
        for (client, address, shown) in [
            ("192.0.2.1:80", "192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1", "\"[2001:db8::1]\""),
        ] {
            let traffic = Traffic::new(Instant::now());
            let thread = Rc::new(Thread::idle());
            let client = client.parse().unwrap();
            let connection = Connection::new(thread, traffic, client, "https");
            assert_eq!(connection.address(), address);
            for host in ["a", "a", "ab", "a"] {
                let field = connection.forwarded(host);
                let expect = format!("for={shown};host=\"{host}\";proto=https");
                assert_eq!(*field, *expect);
            }
        }
    }
}
