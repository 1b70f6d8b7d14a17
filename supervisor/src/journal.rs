//! The platform's log: records of the supervisor, the gateway and the workers in one place.
//!
//! Keeps the last ones in memory for `hearth logs`, hands each to those who follow, and prints it.
//! Printing has a thread of its own: a terminal that has been stopped must not stop the supervisor.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;

/// Records kept for `hearth logs`.
const KEPT: usize = 10_000;

/// Bytes of records kept: what 10,000 lines of 400 bytes take.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Records that may wait for a follower or for the terminal before some are passed over.
const WAITING: usize = 8_192;

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since 1970, UTC.
    pub time: u64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// `supervisor`, `gateway`, `worker`; `access` for a request's line.
    pub source: String,
    /// The function it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The worker it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// The request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What happened.
    pub message: String,
    /// Anything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Not at all.
    Quiet,
}

impl Record {
    /// A record of now.
    pub fn new(source: &str, level: &str, message: impl Into<String>) -> Record {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Record {
            time: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            level: level.to_owned(),
            source: source.to_owned(),
            message: message.into(),
            ..Record::default()
        }
    }

    /// The same, about a function or one of its workers.
    pub fn about(mut self, function: &str, worker: Option<u32>) -> Record {
        self.function = Some(function.to_owned());
        self.worker = worker;
        self
    }

    /// A line for people: time of day (UTC), who, how loud if not just info, what.
    pub fn to_line(&self) -> String {
        let seconds = self.time / 1000;
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        let who = match (&self.function, self.worker) {
            (Some(function), Some(worker)) => format!("{function}/{worker}"),
            (Some(function), None) => function.clone(),
            (None, _) => self.source.clone(),
        };
        let level = match self.level.as_str() {
            "info" => String::new(),
            other => format!("{other}: "),
        };
        let mut line = format!(
            "{hours:02}:{minutes:02}:{:02}.{:03} {who:<16} {level}{}",
            seconds % 60,
            self.time % 1000,
            self.message
        );
        for (name, value) in &self.fields {
            // What the line says already, or that only a machine asks for.
            if !matches!(name.as_str(), "status" | "protocol" | "client" | "bytes") {
                line.push_str(&format!(" {name}={value}"));
            }
        }
        if let Some(request) = &self.request {
            line.push_str(&format!(" request={request}"));
        }
        line
    }

    fn weight(&self) -> usize {
        self.message.len() + 64 + self.fields.len() * 32
    }
}

/// The journal. Cheap to clone; of one thread.
#[derive(Clone, Debug)]
pub struct Journal(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: RefCell<Kept>,
    followers: broadcast::Sender<Record>,
    format: Format,
    printer: Option<SyncSender<String>>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Journal {
    /// A journal that prints to stderr in this format, and the thread that does so: it ends, all
    /// being printed, once the last clone of the journal is gone.
    pub fn new(format: Format) -> (Journal, Option<JoinHandle<()>>) {
        let (printer, thread) = match format {
            Format::Quiet => (None, None),
            Format::Text | Format::Json => {
                let (sender, receiver) = sync_channel(WAITING);
                (
                    Some(sender),
                    Some(std::thread::spawn(move || print(&receiver))),
                )
            }
        };
        let (followers, _) = broadcast::channel(WAITING);
        (
            Journal(Rc::new(Inner {
                kept: RefCell::default(),
                followers,
                format,
                printer,
            })),
            thread,
        )
    }

    /// Adds a record.
    pub fn add(&self, record: Record) {
        match self.0.format {
            Format::Text => self.print(record.to_line()),
            Format::Json => self.print(serde_json::to_string(&record).unwrap_or_default()),
            Format::Quiet => {}
        }
        let _ = self.0.followers.send(record.clone());
        let mut kept = self.0.kept.borrow_mut();
        kept.bytes += record.weight();
        kept.records.push_back(record);
        while kept.records.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.records.pop_front() else {
                break;
            };
            kept.bytes -= oldest.weight();
        }
    }

    /// Prints something that is for people and no record.
    pub fn talk(&self, text: String) {
        if self.0.format == Format::Text {
            self.print(text);
        }
    }

    fn print(&self, line: String) {
        if let Some(printer) = &self.0.printer {
            // A terminal that does not keep up misses lines; `hearth logs` has them.
            let _ = printer.try_send(line);
        }
    }

    /// The last `count` records that `wanted` lets through, oldest first.
    pub fn last(&self, count: usize, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let kept = self.0.kept.borrow();
        let mut last: Vec<Record> = kept
            .records
            .iter()
            .rev()
            .filter(|record| wanted(record))
            .take(count)
            .cloned()
            .collect();
        last.reverse();
        last
    }

    /// Every record from now on.
    pub fn follow(&self) -> broadcast::Receiver<Record> {
        self.0.followers.subscribe()
    }
}

fn print(lines: &Receiver<String>) {
    while let Ok(line) = lines.recv() {
        // With nobody to read it there is nothing left to do about it.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_kept_within_bounds_and_filtered() {
        let (journal, _) = Journal::new(Format::Quiet);
        for number in 0..KEPT + 5 {
            let function = if number % 2 == 0 { "even" } else { "odd" };
            journal.add(Record::new("worker", "info", number.to_string()).about(function, Some(1)));
        }
        let last = journal.last(2, |record| record.function.as_deref() == Some("even"));
        let texts: Vec<&str> = last.iter().map(|record| record.message.as_str()).collect();
        assert_eq!(texts, ["10002", "10004"]);
        assert_eq!(journal.last(usize::MAX, |_| true).len(), KEPT);
        journal.add(Record::new("worker", "info", "x".repeat(KEPT_BYTES)));
        assert!(journal.last(usize::MAX, |_| true).is_empty());
    }

    #[test]
    fn lines_for_people_name_who_and_how_loud() {
        let mut record = Record::new("worker", "warn", "slow").about("items", Some(3));
        record.time = 3_723_004;
        record.request = Some("ab".into());
        assert_eq!(
            record.to_line(),
            "01:02:03.004 items/3          warn: slow request=ab"
        );
    }
}
