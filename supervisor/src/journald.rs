//! Sends the log to the system's journal with tracing-journald. Each record has its function, worker and request as
//! separate fields. A thread sends the records, because the journal may make it wait.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread::JoinHandle;

use tracing::subscriber::with_default;
use tracing_journald::{Layer, Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

use crate::journal::Record;
use crate::queue::{Entrance, queue};

/// The socket of the system's journal; tracing-journald uses no other.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Name of the program in the journal: `journalctl -t hearth`.
const IDENTIFIER: &str = "hearth";

/// Prefix of the names of Hearth's fields, as in `HEARTH_FUNCTION`.
const PREFIX: &str = "HEARTH";

/// Maximum number of records that wait for the journal; further records are dropped.
const WAITING: usize = 1024;

/// Starts the thread. It ends when the last sender of records is dropped.
///
/// # Errors
/// No journal answers.
pub fn start() -> io::Result<(Entrance<Record>, JoinHandle<()>)> {
    let layer = Layer::new()?
        .with_syslog_identifier(IDENTIFIER.to_owned())
        .with_field_prefix(Some(PREFIX.to_owned()))
        .with_priority_mappings(PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        });
    let subscriber = Registry::default().with(layer);
    let (entrance, records) = queue::<Record>(WAITING);
    let thread = std::thread::spawn(move || {
        // The subscriber is set for this thread only: nothing else in this process emits events.
        with_default(subscriber, || {
            while let Some(record) = records.next() {
                say(&record);
            }
        });
    });
    Ok((entrance, thread))
}

/// Whether stderr goes to the journal already, as it does for a service of systemd (systemd.exec(5),
/// `JOURNAL_STREAM`). Records that are printed there would appear twice.
pub fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}

/// Sends a record as an event. A macro makes the event, because its level must be a constant.
fn say(record: &Record) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                tracing::Level::$level,
                source = record.source.as_str(),
                function = record.function.as_deref(),
                worker = record.worker,
                request = record.request.as_deref(),
                fields = fields(record).as_deref(),
                "{}",
                record.message
            )
        };
    }
    match record.level.as_str() {
        "error" => event!(ERROR),
        "warn" => event!(WARN),
        "debug" => event!(DEBUG),
        "trace" => event!(TRACE),
        _ => event!(INFO),
    }
}

/// All other fields of a record as JSON, because their names are not known at compile time.
fn fields(record: &Record) -> Option<String> {
    match record.fields.is_empty() {
        true => None,
        false => serde_json::to_string(&record.fields).ok(),
    }
}
