//! The access log: one record for each request, sent to the supervisor in batches.
//!
//! If the supervisor does not read fast enough, records are dropped and counted, so that the log cannot fill the
//! gateway's memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hearth_protocol::head::LogRecord;
use serde_json::Value;
use tokio::sync::Notify;

/// Maximum number of records that wait to be sent: about a second of a busy gateway.
const MAX_WAITING: usize = 50_000;

/// The queue of log records that all threads add to.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<LogRecord<'static>>,
    dropped: u64,
}

impl Log {
    /// Adds a record, or drops and counts it if the queue is full.
    pub fn add(&self, record: LogRecord<'static>) {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.records.len() >= MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        waiting.records.push(record);
        if waiting.records.len() == 1 {
            self.0.some.notify_one();
        }
    }

    /// Adds a line that belongs to no request.
    pub fn line(&self, level: &'static str, message: String) {
        self.add(LogRecord {
            level: level.into(),
            message: message.into(),
            ..LogRecord::default()
        });
    }

    /// Adds a line about one request.
    pub fn about(&self, request: &str, level: &'static str, message: String) {
        self.add(LogRecord {
            level: level.into(),
            message: message.into(),
            request: Some(request.to_owned().into()),
            ..LogRecord::default()
        });
    }

    /// Waits for records and takes up to `max` of them.
    pub async fn take(&self, max: usize) -> Vec<LogRecord<'static>> {
        loop {
            let notified = self.0.some.notified();
            {
                let mut waiting = self
                    .0
                    .waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let dropped = std::mem::take(&mut waiting.dropped);
                if dropped > 0 {
                    let message = format!("{dropped} log records were dropped: too many at once");
                    let level = "warn".into();
                    waiting.records.push(LogRecord {
                        level,
                        message: message.into(),
                        ..LogRecord::default()
                    });
                }
                if !waiting.records.is_empty() {
                    let count = waiting.records.len().min(max);
                    return waiting.records.drain(..count).collect();
                }
            }
            notified.await;
        }
    }
}

/// The access log record of one request. It is completed while the response is sent, and added to the log when it is
/// dropped.
#[derive(Debug)]
pub struct Entry {
    pub(crate) log: Log,
    pub(crate) started: Instant,
    pub(crate) request: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) client: String,
    pub(crate) protocol: &'static str,
    pub(crate) status: u16,
    pub(crate) layer: Option<&'static str>,
    pub(crate) function: Option<String>,
    pub(crate) worker: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) broken: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let millis = self.started.elapsed().as_micros() as f64 / 1000.0;
        let message = format!("{} {}{} {}", self.method, self.host, self.path, self.status);
        let mut fields: Vec<(&str, Value)> = vec![
            ("client", std::mem::take(&mut self.client).into()),
            ("protocol", self.protocol.into()),
            ("status", self.status.into()),
            ("bytes", self.bytes.into()),
            ("ms", millis.into()),
        ];
        let optional = [
            ("layer", self.layer.map(Value::from)),
            ("function", self.function.take().map(Value::from)),
            ("worker", self.worker.map(Value::from)),
            ("broken", self.broken.take().map(Value::from)),
        ];
        fields.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        self.log.add(LogRecord {
            level: "info".into(),
            message: message.into(),
            request: Some(std::mem::take(&mut self.request).into()),
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        });
    }
}
