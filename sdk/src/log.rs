//! Lines of the platform's log (`hearth logs`), with the request they belong to.
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

/// What lines of one request have in common.
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

    /// Runs `work` as this request's.
    pub(crate) fn within<T>(self: &Rc<Self>, work: impl FnOnce() -> T) -> T {
        /// Also where `work` panics.
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

/// Something is broken, and somebody should look.
pub fn error(message: impl Display) {
    line("error", message, BTreeMap::new());
}

/// Something is odd.
pub fn warn(message: impl Display) {
    line("warn", message, BTreeMap::new());
}

/// Something happened.
pub fn info(message: impl Display) {
    line("info", message, BTreeMap::new());
}

/// For whoever looks for a fault.
pub fn debug(message: impl Display) {
    line("debug", message, BTreeMap::new());
}

/// Adds a field to every further line of the request under way. Without one it does nothing.
pub fn field(name: &str, value: impl Into<Value>) {
    CURRENT.with_borrow(|current| {
        if let Some(context) = current {
            let mut fields = context.fields.borrow_mut();
            fields.insert(name.to_owned(), value.into());
        }
    });
}

/// The id of the request under way.
#[cfg(any(feature = "memcache", feature = "postgres", feature = "redis"))]
pub(crate) fn request() -> Option<Text> {
    CURRENT.with_borrow(|current| current.as_ref().map(|context| context.id.clone()))
}

/// A line with fields of its own, which win over the request's.
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
        // Without a supervisor there is nobody who reads a log.
        let _ = handshake::tell(Control::Log { record: &bytes });
    }
}

/// Where a function is tested: among what its test prints.
#[expect(clippy::print_stderr, reason = "a test has no other log")]
fn print(record: &LogRecord<'_>) {
    let fields = record.fields.iter();
    let fields: String = fields
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    eprintln!("{}: {}{fields}", record.level, record.message);
}
