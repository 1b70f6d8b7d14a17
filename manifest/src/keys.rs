//! The table of all keys: their names, shapes, defaults and what they mean.
//!
//! Validation (`check`), the JSON Schema (`schema`) and the reference (`reference`) are all made
//! from this one table, so none of them can know a key that another does not. Rules between several
//! keys are not here but in `rules`.

use std::fmt::Display;
use std::time::Duration;

use crate::fault::{Wrong, shown};
use crate::shape::{NameRule, Shape, TextRule, absent, default, neighbour, not_yet, required};
use crate::types::{Domain, PathPattern};
use crate::{address, domain, method, path};

/// Conflicts are sought between pairs of functions, and a box that runs a thousand processes is far
/// beyond what Hearth is for.
pub(crate) const MOST_FUNCTIONS: usize = 1000;

/// The manifest as a whole.
pub(crate) static MANIFEST: Shape = Shape::Map(&[
    required(
        "service",
        &Shape::Name(&SERVICE),
        "Name of the service; it appears in logs and in `hearth status`.",
    ),
    default("gateway", &GATEWAY, "{}", "The gateway's own settings."),
    required(
        "functions",
        &Shape::Names {
            name: &FUNCTION_NAME,
            each: &FUNCTION,
            least: 1,
            most: Some(MOST_FUNCTIONS),
        },
        "The functions by name, at least one.",
    ),
]);

static GATEWAY: Shape = Shape::Map(&[
    default(
        "listen",
        &Shape::Map(&[
            default(
                "http",
                &Shape::Text(&ADDRESS),
                "off",
                "Address for HTTP/1.1 and, with prior knowledge, HTTP/2.",
            ),
            default(
                "https",
                &Shape::Text(&ADDRESS),
                "off",
                "Address for HTTP/1.1 and HTTP/2 over TLS.",
            ),
        ]),
        r#"{ http: "127.0.0.1:8080", https: "127.0.0.1:8443" }"#,
        "Where to listen. If it is given, a listener it does not name is not opened.",
    ),
    default(
        "tls",
        &Shape::Map(&[
            default(
                "certificates",
                &Shape::List {
                    each: &CERTIFICATE,
                    least: 0,
                },
                "[]",
                "Certificates from files. Domains that none of them covers get a self-signed one.",
            ),
            not_yet("acme", "Certificates from an ACME authority."),
        ]),
        "{}",
        "What TLS clients are shown.",
    ),
    default(
        "limits",
        &Shape::Map(&[
            default(
                "header_bytes",
                &Shape::Size {
                    min: 1 << 10,
                    max: 64 << 10,
                },
                "32KiB",
                "Request line and headers of one request; 431 beyond.",
            ),
            default(
                "body_bytes",
                &Shape::Size {
                    min: 0,
                    max: 1 << 40,
                },
                "10MiB",
                "Body of one request; 413 beyond.",
            ),
            default(
                "connections",
                &Shape::Whole {
                    min: 1,
                    max: 1_000_000,
                },
                "10000",
                "Connections open at once, over all listeners; further ones wait in the kernel.",
            ),
            default(
                "queue",
                &Shape::Whole {
                    min: 0,
                    max: 1_000_000,
                },
                "1024",
                "Requests of one function that wait for a worker; 503 beyond.",
            ),
            default(
                "idle_timeout",
                &CLIENT_TIME,
                "60s",
                "For so long a connection may be without a request; then it is closed.",
            ),
            default(
                "header_timeout",
                &CLIENT_TIME,
                "15s",
                "For so long the head of a request may take from its first byte; then the connection is closed.",
            ),
            default(
                "stall_timeout",
                &CLIENT_TIME,
                "30s",
                "In each such time a client must send 240 bytes a second of a body that it has announced (408), and take as much of an answer (closed).",
            ),
        ]),
        "{}",
        "What the gateway refuses.",
    ),
    default(
        "metrics",
        &Shape::Map(&[default(
            "listen",
            &Shape::Text(&ADDRESS),
            "off",
            "Address for `GET /metrics`, to whoever reaches it; nothing else is served there.",
        )]),
        "{}",
        "What is measured, for Prometheus. The control socket and `hearth metrics` have it in any case.",
    ),
    default(
        "access_log",
        &Shape::Bool,
        "false",
        "One log line for each request.",
    ),
    absent(
        "threads",
        &Shape::Whole { min: 1, max: 64 },
        "by the machine",
        "Threads that carry traffic.",
    ),
]);

/// Times that clients get: looked at once a second, so less than that means nothing.
static CLIENT_TIME: Shape = Shape::Duration {
    min: Duration::from_secs(1),
    max: Duration::from_secs(3600),
};

static CERTIFICATE: Shape = Shape::Map(&[
    required(
        "domains",
        &Shape::List {
            each: &Shape::Text(&DOMAIN),
            least: 1,
        },
        "The names it answers for; no two certificates may share one.",
    ),
    required(
        "cert",
        &Shape::Text(&FILE),
        "The chain as a PEM file, leaf first, relative to the manifest.",
    ),
    required(
        "key",
        &Shape::Text(&FILE),
        "Its private key as a PEM file, relative to the manifest.",
    ),
]);

static FUNCTION: Shape = Shape::Map(&[
    default(
        "domains",
        &Shape::List {
            each: &Shape::Text(&DOMAIN),
            least: 0,
        },
        "[]",
        "Domains it answers on: exact, or `*.example.com` for any one label. None at all means any host.",
    ),
    required(
        "routes",
        &Shape::List {
            each: &ROUTE,
            least: 1,
        },
        "What it answers, at least one.",
    ),
    required(
        "binary",
        &Shape::Text(&FILE),
        "The worker's program, relative to the manifest.",
    ),
    absent(
        "build",
        &Shape::Map(&[
            required(
                "command",
                &Shape::Text(&COMMAND),
                "Given to `sh -c` in the manifest's directory.",
            ),
            default(
                "watch",
                &Shape::List {
                    each: &Shape::Text(&FILE),
                    least: 0,
                },
                "[]",
                "Files and directories, relative to the manifest, whose changes make `hearth dev` build again, besides the manifest's own directory.",
            ),
        ]),
        "Cargo builds the binary of that name",
        "How to make the binary.",
    ),
    default(
        "env",
        &Shape::Names {
            name: &ENV_NAME,
            each: &Shape::Text(&ENV_VALUE),
            least: 0,
            most: None,
        },
        "{}",
        "Environment of the handler. It reaches the worker over its control socket, not as process environment.",
    ),
    default(
        "scale",
        &Shape::Map(&[
            default(
                "min",
                &Shape::Whole { min: 0, max: 64 },
                "1",
                "Worker processes that are kept running. With 0 the first request waits until one has been started.",
            ),
            neighbour(
                "max",
                &Shape::Whole { min: 1, max: 64 },
                "min",
                "Worker processes at most, at least 1: more than `min` are started while requests wait or workers are busy all the time.",
            ),
            default(
                "idle",
                &Shape::Duration {
                    min: Duration::from_millis(100),
                    max: Duration::from_secs(24 * 3600),
                },
                "30s",
                "For so long fewer workers must have been enough before those beyond are let go.",
            ),
        ]),
        "{}",
        "How many worker processes.",
    ),
    default(
        "concurrency",
        &Shape::Whole { min: 1, max: 1024 },
        "1",
        "Handlers that run at once in one worker.",
    ),
    default(
        "timeout",
        &Shape::Duration {
            min: Duration::from_millis(1),
            max: Duration::from_secs(3600),
        },
        "10s",
        "Until the head of the response, waiting included.",
    ),
    default(
        "start_timeout",
        &Shape::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_secs(600),
        },
        "10s",
        "For so long a worker may take from its start until it is ready; then it is killed.",
    ),
    default(
        "resources",
        &Shape::Names {
            name: &RESOURCE_NAME,
            each: &Shape::Resource,
            least: 0,
            most: None,
        },
        "{}",
        "What it connects to, by name; delivered to the worker as it stands, secrets filled in.",
    ),
    default(
        "secrets",
        &Shape::List {
            each: &SECRET_REFERENCE,
            least: 0,
        },
        "[]",
        "Secrets that the handler gets by their names.",
    ),
    default("limits", &LIMITS, "{}", "What each of its workers may use."),
    default(
        "sandbox",
        &SANDBOX,
        "{}",
        "What a worker may reach beyond its own program and the servers of its resources.",
    ),
    not_yet("cors", "Answers to cross-origin requests."),
    absent(
        "health",
        &HEALTH,
        "a worker that is ready is well",
        "A path that tells whether a worker is well, asked of each worker by itself. A new one must have said so once before it serves, and before a reload is done.",
    ),
]);

static HEALTH: Shape = Shape::Map(&[
    required(
        "path",
        &Shape::Text(&HEALTH_PATH),
        "Asked with GET; well is a status from 200 to 399. It needs no route.",
    ),
    default(
        "interval",
        &Shape::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_secs(3600),
        },
        "10s",
        "Between two questions.",
    ),
    default(
        "timeout",
        &Shape::Duration {
            min: Duration::from_millis(10),
            max: Duration::from_secs(60),
        },
        "2s",
        "For so long an answer may take, unless the worker is at requests all the time; then those judge it.",
    ),
    default(
        "failures",
        &Shape::Whole { min: 1, max: 100 },
        "3",
        "After so many bad answers in a row the worker is replaced.",
    ),
]);

static LIMITS: Shape = Shape::Map(&[
    default(
        "memory",
        &Shape::Size {
            min: 1 << 20,
            max: 1 << 40,
        },
        "128MiB",
        "Memory, files in `/tmp` included; a worker beyond is killed and started again.",
    ),
    absent(
        "cpu",
        &Shape::Decimal {
            min: 0.01,
            max: 1024.0,
        },
        "its share with others",
        "Processors; a worker that wants more waits.",
    ),
    default(
        "pids",
        &Shape::Whole {
            min: 1,
            max: 1 << 20,
        },
        "64",
        "Threads and processes; starting one more fails.",
    ),
    default(
        "open_files",
        &Shape::Whole {
            min: 16,
            max: 1 << 20,
        },
        "1024",
        "Open files and sockets; opening one more fails.",
    ),
    default(
        "tmp",
        &Shape::Size {
            min: 0,
            max: 1 << 40,
        },
        "16MiB",
        "Files in `/tmp`, which is the worker's own and ends with it; writing more fails.",
    ),
]);

static SANDBOX: Shape = Shape::Map(&[
    absent(
        "mode",
        &Shape::Text(&MODE),
        "`best-effort` with `up` and `dev`",
        "`strict`: what cannot be enforced fully is a refusal to start. `best-effort`: what the machine offers, the rest shown by `hearth status`. Where the platform is told to be strict, it is.",
    ),
    default(
        "read",
        &Shape::List {
            each: &Shape::Text(&FILE),
            least: 0,
        },
        "[]",
        "Files and directories that it may read, relative to the manifest.",
    ),
    default(
        "write",
        &Shape::List {
            each: &Shape::Text(&FILE),
            least: 0,
        },
        "[]",
        "Directories that it may read and write, relative to the manifest; made if they are missing.",
    ),
    default(
        "connect",
        &Shape::List {
            each: &Shape::Whole { min: 1, max: 65535 },
            least: 0,
        },
        "[]",
        "TCP ports that it may connect to, on any host, besides those of its resources.",
    ),
]);

static ROUTE: Shape = Shape::Map(&[
    required(
        "path",
        &Shape::Text(&PATH),
        "Literal segments, `{name}` for one segment, `{name+}` last for the rest.",
    ),
    default(
        "method",
        &Shape::Text(&METHOD),
        "ANY",
        "A method in upper case, or `ANY`. `HEAD` falls back to `GET`.",
    ),
]);

static SERVICE: NameRule = NameRule {
    what: "a service's name",
    placeholder: "NAME",
    first: "a-z0-9",
    rest: "a-z0-9_-",
    longest: 63,
};
static FUNCTION_NAME: NameRule = NameRule {
    what: "a function's name",
    placeholder: "NAME",
    first: "a-z",
    rest: "a-z0-9_-",
    longest: 63,
};
static ENV_NAME: NameRule = NameRule {
    what: "a variable's name",
    placeholder: "NAME",
    first: "A-Za-z_",
    rest: "A-Za-z0-9_",
    longest: 255,
};
static RESOURCE_NAME: NameRule = NameRule {
    what: "a resource's name",
    placeholder: "NAME",
    first: "A-Za-z_",
    rest: "A-Za-z0-9_",
    longest: 255,
};

pub(crate) static SECRET_NAME: NameRule = NameRule {
    what: "a secret's name",
    placeholder: "NAME",
    first: "A-Za-z",
    rest: "A-Za-z0-9_-",
    longest: 63,
};

/// The name of a secret, as a value.
pub(crate) static SECRET_REFERENCE: Shape = Shape::Name(&SECRET_NAME);

static DOMAIN: TextRule = TextRule::new("a domain", domain::PATTERN, |text| {
    text.parse::<Domain>()
        .map(String::from)
        .map_err(|error| no("a domain", text, &error))
});
static PATH: TextRule = TextRule::new("a path", path::PATTERN, |text| {
    text.parse::<PathPattern>()
        .map(String::from)
        .map_err(|error| no("a path", text, &error))
});
static HEALTH_PATH: TextRule = TextRule::new("a path", r"^/[!-~]*$", |text| {
    let visible = |byte: u8| byte.is_ascii_graphic() && !b"?#{}".contains(&byte);
    match text.starts_with('/') && text.bytes().all(visible) {
        true => Ok(text.to_owned()),
        false => Err(
            Wrong::new(format!("`{}` is not a path to ask for", shown(text)))
                .hint("write one without parameters and query, as `/healthz`"),
        ),
    }
});
static METHOD: TextRule = TextRule {
    note: |text| {
        let meant = method::meant(text)?;
        let note = Wrong::new(format!("`{}` is no usual method", shown(text)));
        Some(note.hint(format!("did you mean `{meant}`?")))
    },
    ..TextRule::new("a method", method::PATTERN, |text| {
        Ok(method::print(method::parse(text)?.as_deref()).to_owned())
    })
};
static ADDRESS: TextRule = TextRule::new("an address or `off`", address::PATTERN, |text| {
    Ok(address::print(address::parse(text)?))
});
pub(crate) static MODE: TextRule =
    TextRule::new("a mode", "^(strict|best-effort)$", |text| match text {
        "strict" | "best-effort" => Ok(text.to_owned()),
        _ => Err(no("a mode", text, &"it is `strict` or `best-effort`")),
    });
static FILE: TextRule = TextRule::new("a file", NOT_EMPTY, |text| not_empty(text, "a file"));
static COMMAND: TextRule =
    TextRule::new("a command", NOT_EMPTY, |text| not_empty(text, "a command"));
static ENV_VALUE: TextRule = TextRule {
    secret: true,
    ..TextRule::new("a string", r"^[^\u0000]*$", no_nul)
};

/// What `not_empty` accepts, as a regular expression.
const NOT_EMPTY: &str = r"^[^\u0000]+$";

pub(crate) fn no(what: &str, text: &str, error: &dyn Display) -> Wrong {
    Wrong::new(format!("`{}` is not {what}: {error}", shown(text)))
}

fn not_empty(text: &str, what: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        Err(Wrong::new(format!(
            "expected {what}, found an empty string"
        )))
    } else {
        no_nul(text)
    }
}

/// The system takes neither paths nor arguments nor variables with a NUL in them.
fn no_nul(text: &str) -> Result<String, Wrong> {
    if text.contains('\0') {
        Err(Wrong::new("a NUL character cannot be passed on"))
    } else {
        Ok(text.to_owned())
    }
}
