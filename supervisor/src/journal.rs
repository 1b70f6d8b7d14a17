//! The platform's log: records of the supervisor, the gateway and the workers.
//!
//! The journal keeps the last records in memory as JSON, for `hearth logs` and its followers. It prints each record,
//! and passes it to the log on disk ([`crate::store`]). Separate threads print and write, so that neither a stopped
//! terminal nor a slow disk stops the supervisor.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::queue::{Entrance, Exit, queue};
use crate::store::writer::{self, Queue};
use crate::store::{Found, Store};

/// Maximum size in bytes of the records in memory: some 5,000 records.
const KEPT_BYTES: usize = 1024 * 1024;

/// Maximum number of lines that wait for the terminal; further lines are dropped.
const WAITING: usize = 1024;

/// A log record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since 1970, UTC.
    pub time: u64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// `supervisor`, `gateway` or `worker`; `access` for a request, `journal` for another program's message.
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
    /// Further fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As a line of text.
    Text,
    /// As JSON, one object a line.
    Json,
    /// Records are not printed.
    Quiet,
    /// Records are not printed: they go to the system's journal.
    Journal,
}

impl Record {
    /// A record with the current time.
    pub fn new(source: &str, level: &str, message: impl Into<String>) -> Record {
        Record {
            time: now(),
            level: level.to_owned(),
            source: source.to_owned(),
            message: message.into(),
            ..Record::default()
        }
    }

    /// Sets the function that the record is about, and the worker if it is about one.
    pub fn about(mut self, function: &str, worker: Option<u32>) -> Record {
        self.function = Some(function.to_owned());
        self.worker = worker;
        self
    }

    /// The record as a line of text: time of day (UTC), source, level unless it is `info`, message, fields.
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
            // These fields are part of the message already, or of interest only to programs.
            if !matches!(name.as_str(), "status" | "protocol" | "client" | "bytes") {
                line.push_str(&format!(" {name}={value}"));
            }
        }
        if let Some(request) = &self.request {
            line.push_str(&format!(" request={request}"));
        }
        line
    }
}

/// The current time in milliseconds since 1970, UTC.
pub fn now() -> u64 {
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The journal. Cheap to clone; for one thread only.
#[derive(Clone, Debug)]
pub struct Journal(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: RefCell<Kept>,
    /// Wakes followers when a record has been added.
    more: Notify,
    format: Format,
    printer: Option<Entrance<String>>,
    disk: RefCell<Option<(Store, Queue)>>,
    system: RefCell<Option<Entrance<Record>>>,
    threads: Threads,
}

/// The threads that print and write. They end when the last clone of the journal is dropped.
#[derive(Clone, Debug, Default)]
pub struct Threads(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Threads {
    fn add(&self, thread: JoinHandle<()>) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
    }

    /// Waits until all records are printed and written.
    pub fn join(self) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Records as lines of JSON, which take a third of the memory of parsed records.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    /// The number of the oldest line in memory. Lines are numbered in the order of their arrival.
    first: u64,
}

impl Kept {
    fn add(&mut self, line: Box<str>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
            self.first += 1;
        }
    }

    /// The number of the next line.
    fn next(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    /// The record with this number, if it is in memory.
    fn record(&self, number: u64) -> Option<Record> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        serde_json::from_str(self.lines.get(place)?).ok()
    }
}

/// What a follower receives.
#[derive(Debug, PartialEq)]
pub enum News {
    /// The next record.
    Record(Record),
    /// This many records were dropped before the follower could read them.
    Missed(u64),
}

/// Reads the journal from a position on.
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    next: u64,
}

impl Follower {
    /// Waits for the next record.
    pub async fn next(&mut self) -> News {
        loop {
            let more = self.journal.0.more.notified();
            {
                let kept = self.journal.0.kept.borrow();
                let missed = kept.first.saturating_sub(self.next);
                if missed > 0 {
                    self.next = kept.first;
                    return News::Missed(missed);
                }
                while self.next < kept.next() {
                    self.next += 1;
                    if let Some(record) = kept.record(self.next - 1) {
                        return News::Record(record);
                    }
                }
            }
            more.await;
        }
    }
}

/// A reference to a journal that does not keep it alive.
#[derive(Debug)]
pub struct WeakJournal(Weak<Inner>);

impl WeakJournal {
    /// The journal, if it still exists.
    pub fn upgrade(&self) -> Option<Journal> {
        self.0.upgrade().map(Journal)
    }
}

impl Journal {
    /// Makes a journal that prints to stderr in this format, and its threads.
    pub fn new(format: Format) -> (Journal, Threads) {
        let threads = Threads::default();
        let printer = match format {
            Format::Quiet | Format::Journal => None,
            Format::Text | Format::Json => {
                let (entrance, lines) = queue(WAITING);
                threads.add(std::thread::spawn(move || print(&lines)));
                Some(entrance)
            }
        };
        let journal = Journal(Rc::new(Inner {
            kept: RefCell::default(),
            more: Notify::new(),
            format,
            printer,
            disk: RefCell::default(),
            system: RefCell::default(),
            threads: threads.clone(),
        }));
        (journal, threads)
    }

    /// From now on also sends each record to the system's journal.
    pub fn tell_system(&self, (entrance, thread): (Entrance<Record>, JoinHandle<()>)) {
        self.0.threads.add(thread);
        *self.0.system.borrow_mut() = Some(entrance);
    }

    /// A reference that does not keep the journal alive.
    pub fn downgrade(&self) -> WeakJournal {
        WeakJournal(Rc::downgrade(&self.0))
    }

    /// From now on also writes records to disk, beginning with those in memory. Their numbers continue those of earlier
    /// starts. To be called once, before the first follower exists.
    pub fn keep(&self, store: Store, found: &Found, notices: UnboundedSender<Record>) {
        let (queue, thread) = writer::start(store.clone(), notices);
        self.0.threads.add(thread);
        let mut kept = self.0.kept.borrow_mut();
        kept.first += found.next;
        for (number, line) in (kept.first..).zip(&kept.lines) {
            queue.offer((number, line.clone()));
        }
        *self.0.disk.borrow_mut() = Some((store, queue));
    }

    /// Adds a record.
    pub fn add(&self, record: &Record) {
        // A record consists of texts and numbers, so it can always be written as JSON.
        let line = serde_json::to_string(record).unwrap_or_default();
        match self.0.format {
            Format::Text => self.print(record.to_line()),
            Format::Json => self.print(line.clone()),
            Format::Quiet | Format::Journal => {}
        }
        if let Some(system) = &*self.0.system.borrow() {
            // If the system's journal is too slow, it misses records; `hearth logs` has them.
            system.offer(record.clone());
        }
        let mut kept = self.0.kept.borrow_mut();
        if let Some((_, queue)) = &*self.0.disk.borrow() {
            queue.offer((kept.next(), line.as_str().into()));
        }
        kept.add(line.into_boxed_str());
        drop(kept);
        self.0.more.notify_waiters();
    }

    /// Prints a text that is for people and not a record.
    pub fn talk(&self, text: String) {
        if self.0.format == Format::Text {
            self.print(text);
        }
    }

    fn print(&self, line: String) {
        if let Some(printer) = &self.0.printer {
            // If the terminal is too slow, it misses lines; `hearth logs` has them.
            printer.offer(line);
        }
    }

    /// The log on disk, and the number below which records are on disk only.
    pub fn on_disk(&self) -> Option<(Store, u64)> {
        let disk = self.0.disk.borrow();
        let (store, _) = disk.as_ref()?;
        Some((store.clone(), self.0.kept.borrow().first))
    }

    /// The last `count` records in memory that meet `wanted`, oldest first, and a follower for the records after them.
    pub fn last(&self, count: usize, wanted: impl Fn(&Record) -> bool) -> (Vec<Record>, Follower) {
        let kept = self.0.kept.borrow();
        let numbers = (kept.first..kept.next()).rev();
        let records = numbers.filter_map(|number| kept.record(number));
        let mut last: Vec<Record> = records.filter(wanted).take(count).collect();
        last.reverse();
        let follower = Follower {
            journal: self.clone(),
            next: kept.next(),
        };
        (last, follower)
    }
}

fn print(lines: &Exit<String>) {
    while let Some(line) = lines.next() {
        // If stderr cannot be written to, the error cannot be reported either.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: &Record) -> bool {
        true
    }

    #[test]
    fn the_last_records_are_kept_within_bounds_and_filtered() {
        let (journal, _) = Journal::new(Format::Quiet);
        for number in 0..20_000 {
            let function = if number % 2 == 0 { "even" } else { "odd" };
            let record = Record::new("worker", "info", number.to_string());
            journal.add(&record.about(function, Some(1)));
        }
        let (last, _) = journal.last(2, |record| record.function.as_deref() == Some("even"));
        let texts: Vec<&str> = last.iter().map(|record| record.message.as_str()).collect();
        assert_eq!(texts, ["19996", "19998"]);
        let kept = journal.last(usize::MAX, all).0.len();
        assert!((5_000..20_000).contains(&kept), "{kept}");
        journal.add(&Record::new("worker", "info", "x".repeat(KEPT_BYTES)));
        assert!(journal.last(usize::MAX, all).0.is_empty());
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes_and_is_told_what_it_has_missed() {
        let (journal, _) = Journal::new(Format::Quiet);
        let record = Record::new("worker", "info", "one");
        journal.add(&Record::new("worker", "info", "before"));
        let (_, mut follower) = journal.last(0, all);
        journal.add(&record);
        assert_eq!(follower.next().await, News::Record(record.clone()));
        let reading = async { (follower.next().await, follower) };
        let adding = async { journal.add(&record) };
        let ((news, mut follower), ()) = tokio::join!(reading, adding);
        assert_eq!(news, News::Record(record));
        let line = "x".repeat(KEPT_BYTES / 2);
        for _ in 0..3 {
            journal.add(&Record::new("worker", "info", line.as_str()));
        }
        assert_eq!(follower.next().await, News::Missed(2));
        assert!(matches!(follower.next().await, News::Record(_)));
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
