//! Builds the status for `hearth status`, and the table that `hearth up` prints.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use hearth_manifest::{Function, Manifest};

use crate::api::{
    FunctionStatus, ListenerStatus, ProcessStatus, Requests, ScaleStatus, WorkerStatus,
};
use crate::confine::Confinement;
use crate::listen::Listener;
use crate::plan::{FunctionView, Phase};
use crate::worker::Worker;

/// The status of a function of this version. `worker_of` finds a worker by its id.
pub fn function<'a>(
    (name, version): (&str, u32),
    function: &Function,
    view: Option<FunctionView>,
    worker_of: impl Fn(u32) -> Option<&'a Worker>,
    now: Instant,
) -> FunctionStatus {
    let view = view.unwrap_or(FunctionView {
        wanted: function.scale.min,
        crash_loop: false,
        restarted: 0,
        last_error: None,
        workers: vec![],
    });
    let ready = view
        .workers
        .iter()
        .any(|(_, phase, _)| *phase == Phase::Ready);
    let state = match (view.crash_loop, ready) {
        (true, false) => "crash-loop",
        (_, true) => "ready",
        (false, false) if view.wanted == 0 => "idle",
        (false, false) => "starting",
    };
    let workers = view
        .workers
        .iter()
        .map(|(id, phase, since)| {
            let worker = worker_of(*id);
            let cell = worker.map(|one| &one.process.cell);
            WorkerStatus {
                id: *id,
                state: match phase {
                    Phase::Starting(_) => "starting",
                    Phase::Proving(_) => "checking",
                    Phase::Ready => "ready",
                    Phase::Replaced(_) => "draining",
                    Phase::Stopping(_) => "stopping",
                    Phase::Killed => "killed",
                }
                .to_owned(),
                for_ms: u64::try_from(now.saturating_duration_since(*since).as_millis())
                    .unwrap_or(u64::MAX),
                version: worker.map_or(0, |one| one.orders.version),
                process: ProcessStatus::of(worker.map(|one| one.process.pid())),
                requests: Requests::default(),
                sandbox: cell.map(Confinement::stands).unwrap_or_default(),
                limited: worker.map(|one| one.limited().by_key()).unwrap_or_default(),
                refused: cell.map(Confinement::refused).unwrap_or_default(),
            }
        })
        .collect();
    FunctionStatus {
        name: name.to_owned(),
        state: state.to_owned(),
        version,
        limits: limits(function),
        scale: ScaleStatus {
            wanted: view.wanted,
            min: function.scale.min,
            max: function.scale.max,
        },
        routes: routes(function)
            .into_iter()
            .map(|(method, place)| format!("{method} {place}"))
            .collect(),
        restarts: view.restarted,
        last_error: view.last_error,
        waiting: 0,
        requests: Requests::default(),
        workers,
    }
}

/// The limits of the function's workers, by the manifest's keys and in its notation.
fn limits(function: &Function) -> BTreeMap<String, String> {
    let timeout = hearth_manifest::print_duration(function.timeout);
    let size = hearth_manifest::print_size;
    let limits = &function.limits;
    let cpu = limits.cpu.map(|share| ("limits.cpu", share.to_string()));
    [
        ("concurrency", function.concurrency.to_string()),
        ("timeout", timeout),
        ("limits.memory", size(limits.memory)),
        ("limits.pids", limits.pids.to_string()),
        ("limits.open_files", limits.open_files.to_string()),
        ("limits.tmp", size(limits.tmp)),
    ]
    .into_iter()
    .chain(cpu)
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The status of the listeners.
pub fn listeners(listeners: &[Listener]) -> Vec<ListenerStatus> {
    let status = |one: &Listener| ListenerStatus {
        scheme: one.scheme.to_owned(),
        address: one.address.to_string(),
    };
    listeners.iter().map(status).collect()
}

/// The method (`ANY` for all) and `host/path` (`*` for all hosts) of each route.
fn routes(function: &Function) -> Vec<(String, String)> {
    let mut hosts: Vec<String> = function.domains.iter().map(ToString::to_string).collect();
    if hosts.is_empty() {
        hosts.push("*".to_owned());
    }
    let of_host = |host: &String| {
        let host = host.clone();
        function.routes.iter().map(move |route| {
            (
                route.method.clone().unwrap_or_else(|| "ANY".to_owned()),
                format!("{host}{}", route.path),
            )
        })
    };
    hosts.iter().flat_map(of_host).collect()
}

/// The table that `hearth up` prints: listeners, routes, and a command to try.
pub fn table(manifest: &Manifest, listeners: &[Listener], self_signed: Option<&Path>) -> String {
    let mut text = format!("\n{} is up\n\n", manifest.service);
    for listener in listeners {
        let own = match (listener.scheme, self_signed) {
            ("https", Some(path)) => format!(
                "  (certificate signed by itself, kept in {})",
                path.display()
            ),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "  {:<6} {}://{}{own}",
            listener.scheme, listener.scheme, listener.address
        );
    }
    text.push('\n');
    let width = manifest
        .functions
        .keys()
        .map(String::len)
        .max()
        .unwrap_or(0);
    let mut example = None;
    for (name, function) in &manifest.functions {
        for (method, place) in routes(function) {
            let _ = writeln!(text, "  {name:<width$}  {method:<7} {place}");
            if example.is_none() && matches!(method.as_str(), "GET" | "ANY") && !place.contains('{')
            {
                example = Some(place);
            }
        }
    }
    let http = listeners.iter().find(|one| one.scheme == "http");
    if let (Some(place), Some(listener)) = (example, http) {
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let header = match host {
            "*" => String::new(),
            host => format!("-H 'Host: {}' ", host.replacen('*', "any", 1)),
        };
        let _ = write!(
            text,
            "\n  try    curl {header}http://{}{path}\n",
            listener.address
        );
    }
    text.push_str("  stop   Ctrl-C\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_served_and_gives_a_line_to_try() {
        let manifest = hearth_manifest::parse(
            "edge.yaml",
            br#"
service: s
functions:
  a: { domains: ["a.example"], routes: [{ path: "/x/{id}", method: GET }, { path: "/x", method: GET }], binary: b }
  long_name: { routes: [{ path: "/y" }], binary: b }
"#,
        )
        .unwrap()
        .manifest;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = "127.0.0.1:8080".parse().unwrap();
        let listener = Listener {
            scheme: "http",
            address,
            asked: address,
            socket,
        };
        let expect = "
s is up

  http   http://127.0.0.1:8080

  a          GET     a.example/x/{id}
  a          GET     a.example/x
  long_name  ANY     */y

  try    curl -H 'Host: a.example' http://127.0.0.1:8080/x
  stop   Ctrl-C
";
        assert_eq!(table(&manifest, &[listener], None), expect);
    }
}
