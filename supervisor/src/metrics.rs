//! Metrics from a status and the statistics of requests. Names follow the conventions of Prometheus and, for requests,
//! those of other function platforms; `docs/operations.md` lists them.

use crate::api::{ProcessStatus, Status};
use crate::exposition::{Exposition, Kind, Labels};
use crate::figures::{Answers, NO_FUNCTION};

/// The status classes, as the label shows them.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The states of workers that are exported (`checking` is not one of them). Each always has a sample, so that its
/// graph has no gaps.
const STATES: [&str; 5] = ["starting", "ready", "draining", "stopping", "killed"];

/// Adds the platform's metrics.
pub fn tell(to: &mut Exposition, status: &Status, answers: &[Answers]) {
    let version = env!("CARGO_PKG_VERSION");
    to.family("hearth_info", Kind::Gauge, "1; what runs is in the labels.")
        .sample(&[("service", &status.service), ("version", version)], 1);
    to.family(
        "hearth_generation",
        Kind::Gauge,
        "How often a manifest was accepted so far.",
    )
    .sample(&[], status.generation);
    requests(to, status, answers);
    functions(to, status);
    processes(to, status);
}

fn requests(to: &mut Exposition, status: &Status, answers: &[Answers]) {
    let classes = || {
        answers.iter().flat_map(|(name, classes)| {
            let classes = CLASSES.iter().zip(classes);
            classes.filter_map(move |(class, one)| Some((name.as_str(), *class, one.as_deref()?)))
        })
    };
    let mut family = to.family(
        "http_requests_total",
        Kind::Counter,
        "Requests that were answered, by function and status; without a function, those no route fits.",
    );
    for (function, class, histogram) in classes() {
        let labels = [("function", function), ("status", class)];
        family.sample(&labels, histogram.count());
    }
    let mut family = to.family(
        "http_request_duration_seconds",
        Kind::Histogram,
        "From the head of a request to the head of its answer.",
    );
    for (function, class, histogram) in classes() {
        family.histogram(&[("function", function), ("status", class)], histogram);
    }
    let mut family = to.family(
        "http_requests_in_flight",
        Kind::Gauge,
        "Requests that wait for a worker or are with one.",
    );
    for one in &status.functions {
        let all = one.waiting + one.requests.in_flight;
        family.sample(&[("function", &one.name)], all);
    }
    let mut family = to.family(
        "hearth_queue_length",
        Kind::Gauge,
        "Requests that wait for a worker.",
    );
    for one in &status.functions {
        family.sample(&[("function", &one.name)], one.waiting);
    }
    to.family(
        "hearth_connections_open",
        Kind::Gauge,
        "Connections of clients.",
    )
    .sample(&[], status.connections);
}

fn functions(to: &mut Exposition, status: &Status) {
    let mut family = to.family(
        "hearth_workers",
        Kind::Gauge,
        "Workers of a function, by their state.",
    );
    for one in &status.functions {
        for state in STATES {
            let count = one.workers.iter().filter(|worker| worker.state == state);
            family.sample(&[("function", &one.name), ("state", state)], count.count());
        }
    }
    let mut family = to.family(
        "hearth_worker_restarts_total",
        Kind::Counter,
        "Workers of a function that were started again.",
    );
    for one in &status.functions {
        family.sample(&[("function", &one.name)], one.restarts);
    }
    let mut family = to.family(
        "hearth_function_version",
        Kind::Gauge,
        "The number of what a function's workers are.",
    );
    for one in &status.functions {
        family.sample(&[("function", &one.name)], one.version);
    }
}

fn processes(to: &mut Exposition, status: &Status) {
    let mut rows: Vec<([String; 3], &ProcessStatus)> = vec![
        (row("supervisor", NO_FUNCTION, None), &status.supervisor),
        (row("gateway", NO_FUNCTION, None), &status.gateway),
    ];
    for function in &status.functions {
        for worker in &function.workers {
            let labels = row("worker", &function.name, Some(worker.id));
            rows.push((labels, &worker.process));
        }
    }
    let mut each = |name, kind, help, value: fn(&ProcessStatus) -> Option<f64>| {
        let mut family = to.family(name, kind, help);
        for ([process, function, worker], one) in &rows {
            let all: [(&'static str, &str); 3] = [
                ("process", process),
                ("function", function),
                ("worker", worker),
            ];
            // Only workers belong to a function.
            let labels: Labels<'_> = if worker.is_empty() { &all[..1] } else { &all };
            family.maybe(labels, value(one));
        }
    };
    each(
        "hearth_process_resident_memory_bytes",
        Kind::Gauge,
        "Memory that a process has, shared pages counted whole (RSS).",
        |one| one.rss_bytes.map(|bytes| bytes as f64),
    );
    each(
        "hearth_process_proportional_memory_bytes",
        Kind::Gauge,
        "A process's share of memory (PSS).",
        |one| one.pss_bytes.map(|bytes| bytes as f64),
    );
    each(
        "hearth_process_cpu_seconds_total",
        Kind::Counter,
        "Processor time that a process has used.",
        |one| one.cpu_seconds,
    );
    each(
        "hearth_process_uptime_seconds",
        Kind::Gauge,
        "How long ago a process was started.",
        |one| one.uptime_ms.map(|millis| millis as f64 / 1000.0),
    );
    let mut family = to.family(
        "hearth_worker_requests_total",
        Kind::Counter,
        "Requests that a worker has answered.",
    );
    for function in &status.functions {
        for worker in &function.workers {
            let id = worker.id.to_string();
            let labels = [("function", function.name.as_str()), ("worker", &id)];
            family.sample(&labels, worker.requests.requests);
        }
    }
}

fn row(process: &str, function: &str, worker: Option<u32>) -> [String; 3] {
    let worker = worker.map(|id| id.to_string()).unwrap_or_default();
    [process.to_owned(), function.to_owned(), worker]
}
