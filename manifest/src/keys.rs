//! The table of all keys: their names, shapes, defaults and descriptions.
//!
//! Validation (`check`), the JSON Schema (`schema`) and the reference (`reference`) all use this table, so they know
//! the same keys. Rules between several keys are in `rules`.

use std::fmt::Display;
use std::time::Duration;

use crate::fault::{Wrong, shown};
use crate::shape::{NameRule, Shape, TextRule, absent, default, neighbour, not_yet, required};
use crate::types::{Domain, PathPattern};
use crate::{address, domain, method, path};

/// Maximum number of functions. The check for conflicts compares pairs of functions, and Hearth is not made for
/// machines with thousands of worker processes.
pub(crate) const MOST_FUNCTIONS: usize = 1000;

/// The manifest as a whole.
pub(crate) static MANIFEST: Shape = Shape::Map(&[
    required(
        "service",
        &Shape::Name(&SERVICE),
        "Name of the service; it appears in logs and in `hearth status`.",
    ),
    default("gateway", &GATEWAY, "{}", "Settings of the gateway."),
    required(
        "functions",
        &Shape::Names {
            name: &FUNCTION_NAME,
            each: &FUNCTION,
            least: 1,
            most: Some(MOST_FUNCTIONS),
        },
        "The functions by name; at least one.",
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
                "Address for HTTP/1.1 and HTTP/2 (with prior knowledge), without TLS.",
            ),
            default(
                "https",
                &Shape::Text(&ADDRESS),
                "off",
                "Address for HTTP/1.1 and HTTP/2 over TLS.",
            ),
        ]),
        r#"{ http: "127.0.0.1:8080", https: "127.0.0.1:8443" }"#,
        "Addresses of the listeners. If `listen` is given, a listener that it does not name is not opened.",
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
                "Certificates from files. Domains that no certificate covers get a self-signed certificate.",
            ),
            not_yet("acme", "Certificates from an ACME authority."),
        ]),
        "{}",
        "Certificates for TLS.",
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
                "Maximum size of the request line and headers of a request. A larger head gets 431.",
            ),
            default(
                "body_bytes",
                &Shape::Size {
                    min: 0,
                    max: 1 << 40,
                },
                "10MiB",
                "Maximum size of a request body. A larger body gets 413.",
            ),
            default(
                "connections",
                &Shape::Whole {
                    min: 1,
                    max: 1_000_000,
                },
                "10000",
                "Maximum number of open connections of all listeners together. Further connections wait in the kernel.",
            ),
            default(
                "queue",
                &Shape::Whole {
                    min: 0,
                    max: 1_000_000,
                },
                "1024",
                "Maximum number of requests of one function that wait for a worker. Further requests get 503.",
            ),
            default(
                "idle_timeout",
                &CLIENT_TIME,
                "60s",
                "Time after which a connection without a request is closed.",
            ),
            default(
                "header_timeout",
                &CLIENT_TIME,
                "15s",
                "Maximum time from the first byte of a request to the end of its head. Then the connection is closed.",
            ),
            default(
                "stall_timeout",
                &CLIENT_TIME,
                "30s",
                "Interval over which transfer rates are measured. In each interval, a client must send at least 240 bytes a second of a request body (otherwise it gets 408), and read as much of a response (otherwise the connection is closed).",
            ),
        ]),
        "{}",
        "Limits on requests and connections.",
    ),
    default(
        "metrics",
        &Shape::Map(&[default(
            "listen",
            &Shape::Text(&ADDRESS),
            "off",
            "Address for `GET /metrics`, without authentication. Nothing else is served there.",
        )]),
        "{}",
        "Metrics for Prometheus over TCP. The control socket and `hearth metrics` provide them in any case.",
    ),
    default(
        "access_log",
        &Shape::Bool,
        "false",
        "Whether the gateway logs one line for each request.",
    ),
    absent(
        "threads",
        &Shape::Whole { min: 1, max: 64 },
        "half of the processors, 1 to 4",
        "Number of gateway threads.",
    ),
]);

/// Range of the timeouts for clients. The gateway checks them once a second, so smaller values would have no effect.
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
        "Server names that the certificate is used for. Two certificates must not have a name in common.",
    ),
    required(
        "cert",
        &Shape::Text(&FILE),
        "PEM file with the certificate chain, leaf first. The path is relative to the manifest.",
    ),
    required(
        "key",
        &Shape::Text(&FILE),
        "PEM file with the private key. The path is relative to the manifest.",
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
        "Domains that the function serves: exact, or `*.example.com` for any one label. An empty list means any host.",
    ),
    required(
        "routes",
        &Shape::List {
            each: &ROUTE,
            least: 1,
        },
        "Routes that the function serves; at least one.",
    ),
    required(
        "binary",
        &Shape::Text(&FILE),
        "The worker's program. The path is relative to the manifest.",
    ),
    absent(
        "build",
        &Shape::Map(&[
            required(
                "command",
                &Shape::Text(&COMMAND),
                "Command that `sh -c` executes in the manifest's directory.",
            ),
            default(
                "watch",
                &Shape::List {
                    each: &Shape::Text(&FILE),
                    least: 0,
                },
                "[]",
                "Files and directories, in addition to the manifest's directory, whose changes cause `hearth dev` to build again. The paths are relative to the manifest.",
            ),
        ]),
        "Cargo builds the binary that `binary` names",
        "How to build the binary.",
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
        "Environment of the handler. The supervisor sends it over the control socket; it is not in the process's environment.",
    ),
    default(
        "scale",
        &Shape::Map(&[
            default(
                "min",
                &Shape::Whole { min: 0, max: 64 },
                "1",
                "Minimum number of worker processes. With 0, the first request waits until a worker has started.",
            ),
            neighbour(
                "max",
                &Shape::Whole { min: 1, max: 64 },
                "min",
                "Maximum number of worker processes, at least 1. More than `min` are started while requests wait or all handlers are constantly busy.",
            ),
            default(
                "idle",
                &Shape::Duration {
                    min: Duration::from_millis(100),
                    max: Duration::from_secs(24 * 3600),
                },
                "30s",
                "Time for which fewer workers must have been sufficient before the surplus workers are drained.",
            ),
        ]),
        "{}",
        "Number of worker processes.",
    ),
    default(
        "concurrency",
        &Shape::Whole { min: 1, max: 1024 },
        "1",
        "Number of handlers that one worker runs concurrently.",
    ),
    default(
        "timeout",
        &Shape::Duration {
            min: Duration::from_millis(1),
            max: Duration::from_secs(3600),
        },
        "10s",
        "Maximum time until the head of the response, including the time in the queue.",
    ),
    default(
        "start_timeout",
        &Shape::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_secs(600),
        },
        "10s",
        "Maximum time from the start of a worker until it is ready. Then the worker is killed.",
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
        "Resources of the function by name. The worker gets them unchanged, except that secrets are filled in.",
    ),
    default(
        "secrets",
        &Shape::List {
            each: &SECRET_REFERENCE,
            least: 0,
        },
        "[]",
        "Names of the secrets that the handler gets.",
    ),
    default("limits", &LIMITS, "{}", "Limits of each worker."),
    default(
        "sandbox",
        &SANDBOX,
        "{}",
        "Files and ports that a worker may access, in addition to its program and the servers of its resources.",
    ),
    not_yet("cors", "Responses to cross-origin requests."),
    absent(
        "health",
        &HEALTH,
        "a ready worker counts as healthy",
        "Health check of each worker. A new worker must pass it once before it serves requests and before a reload is complete.",
    ),
]);

static HEALTH: Shape = Shape::Map(&[
    required(
        "path",
        &Shape::Text(&HEALTH_PATH),
        "Path of the GET request to each worker. A status from 200 to 399 means healthy. The path needs no route.",
    ),
    default(
        "interval",
        &Shape::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_secs(3600),
        },
        "10s",
        "Time between two probes.",
    ),
    default(
        "timeout",
        &Shape::Duration {
            min: Duration::from_millis(10),
            max: Duration::from_secs(60),
        },
        "2s",
        "Maximum time until the response to a probe. A probe that times out does not count while other requests occupy the worker; their own `timeout` applies.",
    ),
    default(
        "failures",
        &Shape::Whole { min: 1, max: 100 },
        "3",
        "Number of failed probes in a row after which the worker is replaced.",
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
        "Memory, including files in `/tmp`. A worker that exceeds it is killed and restarted.",
    ),
    absent(
        "cpu",
        &Shape::Decimal {
            min: 0.01,
            max: 1024.0,
        },
        "no limit; workers share the processors",
        "Number of processors. A worker that needs more is throttled.",
    ),
    default(
        "pids",
        &Shape::Whole {
            min: 1,
            max: 1 << 20,
        },
        "64",
        "Number of threads and processes. Starting a further one fails.",
    ),
    default(
        "open_files",
        &Shape::Whole {
            min: 16,
            max: 1 << 20,
        },
        "1024",
        "Number of open files and sockets. Opening a further one fails.",
    ),
    default(
        "tmp",
        &Shape::Size {
            min: 0,
            max: 1 << 40,
        },
        "16MiB",
        "Size of all files in `/tmp`. Writing more fails. Each worker has its own `/tmp`, which is removed when the worker ends.",
    ),
]);

static SANDBOX: Shape = Shape::Map(&[
    absent(
        "mode",
        &Shape::Text(&MODE),
        "`best-effort` with `up` and `dev`",
        "`strict`: the worker does not start unless the whole sandbox is enforced. `best-effort`: Hearth enforces what the machine supports, and `hearth status` shows the rest. If the platform runs with strict sandboxes, all functions are strict.",
    ),
    default(
        "read",
        &Shape::List {
            each: &Shape::Text(&FILE),
            least: 0,
        },
        "[]",
        "Files and directories that the worker may read. The paths are relative to the manifest.",
    ),
    default(
        "write",
        &Shape::List {
            each: &Shape::Text(&FILE),
            least: 0,
        },
        "[]",
        "Directories that the worker may read and write. The paths are relative to the manifest. Missing directories are created.",
    ),
    default(
        "connect",
        &Shape::List {
            each: &Shape::Whole { min: 1, max: 65535 },
            least: 0,
        },
        "[]",
        "TCP ports that the worker may connect to on any host, in addition to the servers of its resources.",
    ),
]);

static ROUTE: Shape = Shape::Map(&[
    required(
        "path",
        &Shape::Text(&PATH),
        "Literal segments, `{name}` for one segment, and `{name+}` as the last segment for the rest of the path.",
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

/// The shape of a secret's name as a value.
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

/// Regular expression for the texts that `not_empty` accepts.
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

/// Rejects NUL characters, which the operating system does not accept in paths, arguments and variables.
fn no_nul(text: &str) -> Result<String, Wrong> {
    if text.contains('\0') {
        Err(Wrong::new("a NUL character cannot be passed on"))
    } else {
        Ok(text.to_owned())
    }
}
