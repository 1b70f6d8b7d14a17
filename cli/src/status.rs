//! `hearth status`: prints the platform's processes as a table, then the details of each function.

use std::fmt::Write;

use hearth_supervisor::api::{FunctionStatus, ProcessStatus, Requests, Status, WorkerStatus};

use crate::args;
use crate::out::{self, Outcome};
use crate::table::{self, Side, lay_out};

/// The table's columns: head, and alignment.
const COLUMNS: [(&str, Side); 14] = [
    ("NAME", Side::Left),
    ("PID", Side::Right),
    ("STATE", Side::Left),
    ("VERSION", Side::Right),
    ("UPTIME", Side::Right),
    ("RESTARTS", Side::Right),
    ("WAITING", Side::Right),
    ("IN FLIGHT", Side::Right),
    ("REQUESTS", Side::Right),
    ("P50", Side::Right),
    ("P99", Side::Right),
    ("RSS", Side::Right),
    ("PSS", Side::Right),
    ("CPU", Side::Right),
];

pub(crate) fn status(args: &args::Status) -> anyhow::Result<Outcome> {
    let status: Status = args.running.client().get("/v1/status")?;
    match args.json {
        true => out::data(serde_json::to_string_pretty(&status)?)?,
        false => out::data(text(&status).trim_end())?,
    }
    Ok(Outcome::Done)
}

fn text(status: &Status) -> String {
    let mut text = format!("{}\n\n", head(status));
    if status.rolled_back {
        let _ = writeln!(
            text,
            "rolled back to version {}; `hearth reload` brings the file's version back\n",
            status.version
        );
    }
    for line in table(status, &status.functions.iter().collect::<Vec<_>>()) {
        let _ = writeln!(text, "{line}");
    }
    for function in &status.functions {
        let _ = writeln!(text, "\n{}", function.name);
        for route in &function.routes {
            let _ = writeln!(text, "  {route}");
        }
        let limits = function.limits.iter();
        let limits: Vec<String> = limits
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        let _ = writeln!(text, "  limits: {}", limits.join(", "));
        let scale = &function.scale;
        if scale.min != scale.max {
            let (wanted, min, max) = (scale.wanted, scale.min, scale.max);
            let _ = writeln!(text, "  workers: {wanted} of {min} to {max}");
        }
        sandboxes(function, &mut text);
        if let Some(error) = &function.last_error {
            let _ = writeln!(text, "  last error: {error}");
        }
    }
    text
}

/// Lists what each worker's sandbox enforces and why it does not enforce the rest; equal sandboxes are listed once.
/// Also lists the limits that workers have reached, and the system calls that were refused to them.
fn sandboxes(function: &FunctionStatus, text: &mut String) {
    let mut told = Vec::new();
    for worker in &function.workers {
        if worker.sandbox.is_empty() || told.contains(&&worker.sandbox) {
            continue;
        }
        told.push(&worker.sandbox);
        let enforced = worker.sandbox.iter().filter(|one| one.enforced);
        let enforced: Vec<&str> = enforced.map(|one| one.name.as_str()).collect();
        let _ = writeln!(text, "  sandbox: {}", enforced.join(", "));
        for one in worker.sandbox.iter().filter(|one| !one.enforced) {
            let _ = writeln!(text, "  not enforced: {}: {}", one.name, one.detail);
        }
    }
    for worker in &function.workers {
        for (key, count) in &worker.limited {
            let _ = writeln!(text, "  worker {} met {key}: {count}", worker.id);
        }
    }
    for worker in function
        .workers
        .iter()
        .filter(|one| !one.refused.is_empty())
    {
        let calls = worker.refused.iter();
        let calls: Vec<String> = calls
            .map(|(call, count)| format!("{call} ({count})"))
            .collect();
        let _ = writeln!(
            text,
            "  worker {} was refused: {}",
            worker.id,
            calls.join(", ")
        );
    }
}

/// The first line: the service, its generation, its listeners and the number of connections.
pub(crate) fn head(status: &Status) -> String {
    let listeners = status.listeners.iter();
    let listeners: Vec<String> = listeners
        .map(|one| format!("{}://{}", one.scheme, one.address))
        .collect();
    let metrics = status.metrics.as_ref();
    let metrics = metrics.map(|address| format!("; metrics: http://{address}/metrics"));
    format!(
        "{} (generation {}) on {}; connections: {}{}",
        status.service,
        status.generation,
        listeners.join(", "),
        status.connections,
        metrics.unwrap_or_default()
    )
}

/// The table of processes: the supervisor, the gateway, and each function with its workers below it.
pub(crate) fn table(status: &Status, functions: &[&FunctionStatus]) -> Vec<String> {
    let mut rows = vec![COLUMNS.map(|(head, _)| head.to_owned()).to_vec()];
    rows.push(row("supervisor", &status.supervisor));
    let mut gateway = row("gateway", &status.gateway);
    if status.gateway.pid.is_none() {
        gateway[2] = "not running".to_owned();
    }
    rows.push(gateway);
    for function in functions {
        rows.push(function_row(function));
        rows.extend(function.workers.iter().map(worker_row));
    }
    lay_out(&COLUMNS.map(|(_, side)| side), &rows)
}

fn function_row(function: &FunctionStatus) -> Vec<String> {
    let mut cells = row(&function.name, &ProcessStatus::default());
    cells[2] = function.state.clone();
    cells[3] = function.version.to_string();
    cells[5] = function.restarts.to_string();
    cells[6] = function.waiting.to_string();
    put_requests(&mut cells, &function.requests);
    cells
}

fn worker_row(worker: &WorkerStatus) -> Vec<String> {
    let mut cells = row(&format!("  worker {}", worker.id), &worker.process);
    cells[2] = worker.state.clone();
    cells[3] = worker.version.to_string();
    put_requests(&mut cells, &worker.requests);
    cells
}

fn row(name: &str, process: &ProcessStatus) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map(table::bytes).unwrap_or_default();
    let mut cells = vec![String::new(); COLUMNS.len()];
    cells[0] = name.to_owned();
    cells[1] = process.pid.map(|pid| pid.to_string()).unwrap_or_default();
    cells[4] = process.uptime_ms.map(table::time).unwrap_or_default();
    cells[11] = bytes(process.rss_bytes);
    cells[12] = bytes(process.pss_bytes);
    cells[13] = match (process.cpu_share, process.cpu_seconds) {
        (Some(share), Some(seconds)) => format!("{:.1}% {seconds:.2} s", share * 100.0),
        (None, Some(seconds)) => format!("{seconds:.2} s"),
        (_, None) => String::new(),
    };
    cells
}

fn put_requests(cells: &mut [String], requests: &Requests) {
    let latency = |millis: Option<f64>| millis.map(table::latency).unwrap_or_default();
    cells[7] = requests.in_flight.to_string();
    cells[8] = requests.requests.to_string();
    cells[9] = latency(requests.p50_ms);
    cells[10] = latency(requests.p99_ms);
}
