//! How things stand, put together for `hearth status` and for the table that `up` prints.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use hearth_manifest::{Function, Manifest};

use crate::api::{FunctionStatus, ListenerStatus, ProcessStatus, ScaleStatus, WorkerStatus};
use crate::listen::Listener;
use crate::plan::{FunctionView, Phase};

/// A process and its memory.
pub fn process(pid: Option<u32>) -> ProcessStatus {
    ProcessStatus {
        pid,
        memory: pid.and_then(proportional_memory),
    }
}

/// A process's share of memory in bytes: its own pages, and its part of those it shares (PSS,
/// proc_pid_smaps(5)).
fn proportional_memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A function; `pid_of` tells a worker's process.
pub fn function(
    name: &str,
    function: &Function,
    view: Option<FunctionView>,
    pid_of: impl Fn(u32) -> Option<u32>,
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
        .map(|(id, phase, since)| WorkerStatus {
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
            process: process(pid_of(*id)),
        })
        .collect();
    FunctionStatus {
        name: name.to_owned(),
        state: state.to_owned(),
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
        workers,
    }
}

/// The listeners.
pub fn listeners(listeners: &[Listener]) -> Vec<ListenerStatus> {
    let status = |one: &Listener| ListenerStatus {
        scheme: one.scheme.to_owned(),
        address: one.address.to_string(),
    };
    listeners.iter().map(status).collect()
}

/// Method and `host/path` of each route; `*` where any will do.
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

/// What is served where, for people.
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
