//! The log as one more program's in the system's journal: each record with its function, worker and
//! request as fields of their own, by tracing-journald, in a thread that may wait for it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread::JoinHandle;

use tracing::subscriber::with_default;
use tracing_journald::{Layer, Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

use crate::journal::Record;
use crate::queue::{Entrance, queue};

/// Where a journal answers, if there is one; tracing-journald knows no other place.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Name of the program in the journal: `journalctl -t hearth`.
const IDENTIFIER: &str = "hearth";

/// What stands before the names of our fields: `HEARTH_FUNCTION`.
const PREFIX: &str = "HEARTH";

/// Records that may wait for the journal before some are passed over.
const WAITING: usize = 1024;

/// Starts the thread, which ends with the last sender of records.
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
        // This thread's alone: nothing else of this process speaks by events.
        with_default(subscriber, || {
            while let Some(record) = records.next() {
                say(&record);
            }
        });
    });
    Ok((entrance, thread))
}

/// Whether stderr is the journal's already, as it is for a service of systemd (systemd.exec(5),
/// `JOURNAL_STREAM`): what is printed there would be said twice.
pub fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|meta| stream == format!("{}:{}", meta.dev(), meta.ino()))
}

/// One record as an event. The level of an event stands in its call.
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

/// Whatever else it says, as JSON: its names are not known before.
fn fields(record: &Record) -> Option<String> {
    match record.fields.is_empty() {
        true => None,
        false => serde_json::to_string(&record.fields).ok(),
    }
}
