//! HTTP responses: complete JSON, complete text, or a stream of lines.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::{Problem, Skipped};
use crate::exposition::CONTENT_TYPE as CONTENT;
use crate::filter::LogQuery;
use crate::journal::{Journal, News, Record, now};

/// Maximum number of lines that wait for a client. Further records wait in the journal; if they leave its memory before
/// the client reads them, they are skipped and counted.
const LINES: usize = 64;

/// The body of a response.
#[derive(Debug)]
pub enum Reply {
    /// A complete body; `None` once it has been sent.
    Whole(Option<Bytes>),
    /// Lines, sent as they arrive.
    Lines(mpsc::Receiver<Bytes>),
}

impl Reply {
    fn with(status: StatusCode, kind: &'static str, body: Reply) -> Response<Reply> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    /// A value as JSON.
    pub fn json<T: Serialize>(value: &T) -> Response<Reply> {
        match serde_json::to_vec(value) {
            Ok(mut text) => {
                text.push(b'\n');
                let body = Reply::Whole(Some(text.into()));
                Reply::with(StatusCode::OK, "application/json", body)
            }
            Err(error) => Reply::problem(&Problem::internal(error.to_string())),
        }
    }

    /// Metrics.
    pub fn text(text: String) -> Response<Reply> {
        Reply::with(StatusCode::OK, CONTENT, Reply::Whole(Some(text.into())))
    }

    /// Lines of JSON.
    pub fn lines(lines: mpsc::Receiver<Bytes>) -> Response<Reply> {
        let body = Reply::Lines(lines);
        Reply::with(StatusCode::OK, "application/x-ndjson", body)
    }

    /// An error response.
    pub fn problem(problem: &Problem) -> Response<Reply> {
        let mut text = serde_json::to_vec(problem).unwrap_or_default();
        text.push(b'\n');
        let status = StatusCode::from_u16(problem.status);
        let mut response = Reply::with(
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            "application/problem+json",
            Reply::Whole(Some(text.into())),
        );
        let allow = HeaderValue::from_str(&problem.allow.join(", "));
        if let (Ok(allow), false) = (allow, problem.allow.is_empty()) {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Reply::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Reply::Lines(lines) => lines
                .poll_recv(cx)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Reply::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Reply::Lines(_) => SizeHint::default(),
        }
    }
}

/// The log records that the query selects, and then new ones if it follows the log.
pub(super) fn records(journal: &Journal, query: &LogQuery) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(LINES);
    let filter = query.filter(now());
    let (last, mut follower) = journal.last(query.lines, |record| filter.wants(record));
    let follow = query.follow;
    let missing = query.lines - last.len();
    let older = journal.on_disk().filter(|_| missing > 0);
    tokio::task::spawn_local(async move {
        if let Some((store, before)) = older {
            let (sender, filter) = (sender.clone(), filter.clone());
            let telling = tokio::task::spawn_blocking(move || {
                let wanted = |record: &Record| filter.wants(record);
                store.tell(before, missing, wanted, |json| {
                    sender
                        .blocking_send((json.to_owned() + "\n").into())
                        .is_ok()
                })
            });
            // Records that cannot be read are left out. The writer of the log reports errors of the disk.
            let _ = telling.await;
        }
        for record in last {
            if sender.send(line(&record)).await.is_err() {
                return;
            }
        }
        if !follow {
            return;
        }
        loop {
            let news = tokio::select! {
                () = sender.closed() => return,
                news = follower.next() => news,
            };
            let line = match news {
                News::Record(record) if filter.wants(&record) => line(&record),
                News::Record(_) => continue,
                News::Missed(skipped) => line(&Skipped { skipped }),
            };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    receiver
}

fn line<T: Serialize>(value: &T) -> Bytes {
    // Values for lines consist of strings and numbers, which JSON can always represent.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
