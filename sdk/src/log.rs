//! Writes lines to the platform's log (`hearth logs`), each with the id of its request.
//!
//! ```no_run
//! use hearth_sdk::log;
//!
//! log::field("tenant", "acme"); // in every further line of this request
//! log::info("order accepted");
//! log::warn(format_args!("{} left in stock", 3));
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;

use hearth_protocol::control::Control;
use hearth_protocol::head::LogRecord;
use serde_json::Value;

use crate::handshake::{self, CODEC};
use crate::text::Text;

/// What all log lines of one request share.
#[derive(Debug)]
pub(crate) struct Context {
    id: Text,
    fields: RefCell<BTreeMap<String, Value>>,
}

thread_local! {
    /// The request whose handler runs on this thread.
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

impl Context {
    pub(crate) fn of(id: Text) -> Rc<Context> {
        Rc::new(Context {
            id,
            fields: RefCell::default(),
        })
    }

    /// Runs `work` with this as the current request of the thread.
    pub(crate) fn within<T>(self: &Rc<Self>, work: impl FnOnce() -> T) -> T {
        /// Restores the previous request, also if `work` panics.
        struct Back(Option<Rc<Context>>);
        impl Drop for Back {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _back = Back(CURRENT.replace(Some(Rc::clone(self))));
        work()
    }
}

/// Logs an error: a failure that an operator should look at.
pub fn error(message: impl Display) {
    line("error", message, BTreeMap::new());
}

/// Logs a warning: something unexpected that is not a failure.
pub fn warn(message: impl Display) {
    line("warn", message, BTreeMap::new());
}

/// Logs an event of normal operation.
pub fn info(message: impl Display) {
    line("info", message, BTreeMap::new());
}

/// Logs a detail for debugging.
pub fn debug(message: impl Display) {
    line("debug", message, BTreeMap::new());
}

/// Adds a field to all later log lines of the current request. Does nothing outside a request.
pub fn field(name: &str, value: impl Into<Value>) {
    CURRENT.with_borrow(|current| {
        if let Some(context) = current {
            let mut fields = context.fields.borrow_mut();
            fields.insert(name.to_owned(), value.into());
        }
    });
}

/// The id of the current request.
#[cfg(any(feature = "memcache", feature = "postgres", feature = "redis"))]
pub(crate) fn request() -> Option<Text> {
    CURRENT.with_borrow(|current| current.as_ref().map(|context| context.id.clone()))
}

/// Logs a line with its own fields, which replace fields of the request with the same names.
pub(crate) fn line(level: &str, message: impl Display, own: BTreeMap<String, Value>) {
    let context = CURRENT.with_borrow(Clone::clone);
    let mut fields = match &context {
        Some(context) => context.fields.borrow().clone(),
        None => BTreeMap::new(),
    };
    fields.extend(own);
    let record = LogRecord {
        level: level.into(),
        message: message.to_string().into(),
        request: context.as_ref().map(|context| context.id.as_str().into()),
        fields,
    };
    if !handshake::is_real() {
        return print(&record);
    }
    let mut bytes = Vec::new();
    if record.encode(CODEC, &mut bytes).is_ok() {
        // An error means that the supervisor has ended, so there is no log either.
        let _ = handshake::tell(Control::Log { record: &bytes });
    }
}

/// Prints a record to standard error. Used in tests of functions, and before the handshake.
#[expect(clippy::print_stderr, reason = "a test has no other log")]
fn print(record: &LogRecord<'_>) {
    let fields = record.fields.iter();
    let fields: String = fields
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    eprintln!("{}: {}{fields}", record.level, record.message);
}
