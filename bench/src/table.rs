//! Formats the report: Markdown for `docs/benchmarks.md`, JSON for programs. This module does no I/O.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::entry::Entry;
use crate::figures::{CONNECTIONS, Round, Sample};
use crate::machine::Machine;
use crate::run::Report;
use crate::targets::{Check, Ratio, Target, Unit, checks, ratios};
use crate::usage::CLOCK;

const HEAD: &str = "\
| server | 64 conn.: CPU per request | requests/s | p50 | p99 | 1 conn.: CPU per request | requests/s | p50 | p99 | memory (PSS) |
|---|---|---|---|---|---|---|---|---|---|
";

pub(crate) fn markdown(report: &Report) -> String {
    let mut text = about(&report.machine);
    let rounds = rounds(report.rounds);
    let _ = writeln!(
        text,
        "{rounds} of {} s for each load, {}, one thread. CPU time by {CLOCK}.\n",
        report.seconds, report.wrk
    );
    text.push_str(HEAD);
    for (entry, rounds) in &report.entries {
        text.push_str(&row(entry, Round::median(rounds).as_ref()));
    }
    text.push_str(&ratio_table(&ratios(report)));
    text.push_str(&check_table(&checks(report)));
    if !report.sizes.is_empty() {
        text.push_str("\n| program | size |\n|---|---|\n");
        for (name, size) in &report.sizes {
            let _ = writeln!(text, "| `{name}` | {} |", bytes(*size as f64));
        }
    }
    text
}

/// Describes the machine in one paragraph.
pub(crate) fn about(machine: &Machine) -> String {
    format!(
        "{}, {} cores, Linux {}, {:.1} GiB of memory, {}, {} (load average before: {})\n\n",
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.memory as f64 / f64::from(1 << 30),
        machine.rustc,
        machine.date,
        machine.load,
    )
}

/// Describes how the values were computed from the rounds.
pub(crate) fn rounds(count: usize) -> String {
    match count {
        1 => "One round".to_owned(),
        many => format!("Medians of {many} rounds"),
    }
}

fn row(entry: &Entry, median: Option<&Round>) -> String {
    let mut text = format!("| {}", entry.kind.title());
    if !entry.version.is_empty() {
        let _ = write!(text, " ({})", entry.version);
    }
    match (median, &entry.installed) {
        (Some(round), _) => {
            for sample in round.samples.iter().rev() {
                let [cpu, rate, p50, p99] = cells(sample);
                let _ = write!(text, " | {cpu} | {rate} | {p50} | {p99}");
            }
            let _ = writeln!(text, " | {} |", memory(round));
        }
        (None, Err(why)) => {
            let _ = writeln!(text, " | MISSING: {why} | | | | | | | | |");
        }
        (None, Ok(_)) => text.push_str(" | not measured | | | | | | | | |\n"),
    }
    text
}

fn memory(round: &Round) -> String {
    let total: u64 = round.memory.iter().map(|(_, bytes)| bytes).sum();
    let parts = round
        .memory
        .iter()
        .map(|(role, size)| format!("{role} {}", bytes(*size as f64)));
    let parts: Vec<String> = parts.collect();
    match parts.len() {
        1 => bytes(total as f64),
        _ => format!("{}: {}", bytes(total as f64), parts.join(", ")),
    }
}

/// The table of ratios: one row for each value, one column for each other server.
fn ratio_table(ratios: &[Ratio]) -> String {
    let Some(first) = ratios.first() else {
        return String::new();
    };
    let rows = ratios.iter().filter(|ratio| ratio.of == first.of);
    let mut peers = Vec::new();
    for ratio in ratios {
        if !peers.contains(&ratio.of) {
            peers.push(ratio.of);
        }
    }
    let titles: String = peers
        .iter()
        .map(|peer| format!(" | of {}", peer.title()))
        .collect();
    let mut text = format!(
        "\n| Hearth's{titles} |\n|---{}|\n",
        "|---".repeat(peers.len())
    );
    for row in rows {
        let _ = write!(text, "| {}, {} conn.", row.figure, row.connections);
        for peer in &peers {
            let same = |other: &&Ratio| {
                (other.figure, other.connections, other.of) == (row.figure, row.connections, *peer)
            };
            let cell = ratios.iter().find(same).map(ratio_cell);
            let _ = write!(text, " | {}", cell.unwrap_or_default());
        }
        text.push_str(" |\n");
    }
    text
}

fn ratio_cell(ratio: &Ratio) -> String {
    let Some(target) = ratio.target else {
        return format!("{:.3}", ratio.value);
    };
    let (sign, bound) = (target.sign(), target.bound());
    let verdict = verdict(target, ratio.value);
    format!("{:.3} (target {sign} {bound:.2}: {verdict})", ratio.value)
}

fn check_table(checks: &[Check]) -> String {
    if checks.is_empty() {
        return String::new();
    }
    let mut text = "\n| Hearth's own | measured | target | |\n|---|---|---|---|\n".to_owned();
    for check in checks {
        let shown = |value| match check.unit {
            Unit::Bytes => bytes(value),
            Unit::Milliseconds => format!("{value:.1} ms"),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} {} | {} |",
            check.what,
            shown(check.value),
            check.target.sign(),
            shown(check.target.bound()),
            verdict(check.target, check.value),
        );
    }
    text
}

pub(crate) fn verdict(target: Target, value: f64) -> &'static str {
    if target.is_met_by(value) {
        "met"
    } else {
        "**missed**"
    }
}

/// Formats a sample as one line of progress output.
pub(crate) fn line(sample: &Sample) -> String {
    let [cpu, rate, p50, p99] = cells(sample);
    format!("{cpu} CPU per request, {rate} requests/s, p50 {p50}, p99 {p99}")
}

fn cells(sample: &Sample) -> [String; 4] {
    [
        format!("{:.2} µs", sample.cpu),
        thousands(sample.rate),
        time(sample.p50),
        time(sample.p99),
    ]
}

/// Formats a time that is given in microseconds.
fn time(micros: f64) -> String {
    match micros {
        ..1000.0 => format!("{micros:.0} µs"),
        _ => format!("{:.2} ms", micros / 1000.0),
    }
}

/// Formats a number with thousands separators, such as `212,345`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: f64) -> String {
    let kib = value / 1024.0;
    match kib {
        ..1024.0 => format!("{kib:.0} KiB"),
        _ => format!("{:.2} MiB", kib / 1024.0),
    }
}

/// Formats the report as JSON, with the results of each round. The names contain the units of times.
pub(crate) fn json(report: &Report) -> String {
    let machine = &report.machine;
    let servers = report.entries.iter().map(|(entry, rounds)| {
        json!({
            "name": entry.kind.key(),
            "version": entry.version,
            "missing": entry.installed.as_ref().err(),
            "median": Round::median(rounds).as_ref().map(round_json),
            "rounds": rounds.iter().map(round_json).collect::<Vec<_>>(),
        })
    });
    let ratios = ratios(report).into_iter().map(|ratio| {
        json!({
            "figure": ratio.figure.to_string(),
            "connections": ratio.connections,
            "of": ratio.of.key(),
            "value": ratio.value,
            "target": target_json(ratio.target, ratio.value),
        })
    });
    let checks = checks(report).into_iter().map(|check| {
        json!({
            "figure": check.what,
            "value": check.value,
            "unit": match check.unit { Unit::Bytes => "bytes", Unit::Milliseconds => "ms" },
            "target": target_json(Some(check.target), check.value),
        })
    });
    let sizes = report
        .sizes
        .iter()
        .map(|(name, size)| (name.clone(), Value::from(*size)));
    let value = json!({
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "kernel": machine.kernel,
            "memory_bytes": machine.memory,
            "rustc": machine.rustc,
            "date": machine.date,
            "load_average_before": machine.load,
        },
        "method": {
            "wrk": report.wrk,
            "rounds": report.rounds,
            "seconds": report.seconds,
            "cpu_clock": CLOCK,
        },
        "servers": servers.collect::<Vec<_>>(),
        "ratios": ratios.collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
        "program_bytes": sizes.collect::<serde_json::Map<_, _>>(),
        "replacement_ms": report.replacements.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>(),
    });
    format!("{value:#}")
}

fn round_json(round: &Round) -> Value {
    let samples = CONNECTIONS
        .iter()
        .zip(&round.samples)
        .map(|(connections, sample)| {
            json!({
                "connections": connections,
                "cpu_us_per_request": sample.cpu,
                "requests_per_second": sample.rate,
                "p50_us": sample.p50,
                "p99_us": sample.p99,
            })
        });
    let memory = round
        .memory
        .iter()
        .map(|(role, bytes)| json!({ "role": role, "pss_bytes": bytes }));
    json!({
        "loads": samples.collect::<Vec<_>>(),
        "memory": memory.collect::<Vec<_>>(),
    })
}

fn target_json(target: Option<Target>, value: f64) -> Value {
    match target {
        Some(target) => json!({
            "sign": target.sign(),
            "bound": target.bound(),
            "met": target.is_met_by(value),
        }),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Installed, Kind};
    use crate::figures::tests::round;
    use std::time::Duration;

    fn report() -> Report {
        let entry = |kind, installed: Result<Installed, &str>| Entry {
            kind,
            version: String::new(),
            installed: installed.map_err(str::to_owned),
        };
        let nginx = Entry {
            version: "1.22.1".to_owned(),
            ..entry(Kind::Nginx, Ok(Installed::Nginx("nginx".into())))
        };
        let mut hearth = round(2.0);
        hearth.memory.push(("worker".to_owned(), 600 * 1024));
        Report {
            machine: Machine {
                cpu: "A CPU".to_owned(),
                cores: 2,
                kernel: "6.18".to_owned(),
                memory: 3 << 29,
                rustc: "rustc 1.95.0".to_owned(),
                date: "2026-11-23".to_owned(),
                load: "0.10".to_owned(),
            },
            wrk: "wrk 4.1.0".to_owned(),
            rounds: 1,
            seconds: 5,
            entries: vec![
                (entry(Kind::Hyper, Ok(Installed::Hyper)), vec![round(1.0)]),
                // The table does not show how a server is installed.
                (entry(Kind::Hearth, Ok(Installed::Hyper)), vec![hearth]),
                (nginx, vec![round(4.0)]),
                (entry(Kind::Workerd, Err("npm is not installed")), vec![]),
            ],
            sizes: vec![
                ("hearth".to_owned(), 5 << 20),
                ("hello".to_owned(), 400 << 10),
            ],
            replacements: vec![Duration::from_millis(10), Duration::from_millis(60)],
        }
    }

    #[test]
    fn the_tables_show_medians_ratios_targets_and_who_is_missing() {
        let expect = "\
A CPU, 2 cores, Linux 6.18, 1.5 GiB of memory, rustc 1.95.0, 2026-11-23 (load average before: 0.10)

One round of 5 s for each load, wrk 4.1.0, one thread. CPU time by CLOCK.

| server | 64 conn.: CPU per request | requests/s | p50 | p99 | 1 conn.: CPU per request | requests/s | p50 | p99 | memory (PSS) |
|---|---|---|---|---|---|---|---|---|---|
| hyper alone, one thread | 2.00 µs | 200,000 | 100 µs | 180 µs | 1.00 µs | 100,000 | 50 µs | 90 µs | 1 KiB |
| Hearth | 4.00 µs | 100,000 | 200 µs | 360 µs | 2.00 µs | 50,000 | 100 µs | 180 µs | 602 KiB: gateway 2 KiB, worker 600 KiB |
| nginx + hyper (1.22.1) | 8.00 µs | 50,000 | 400 µs | 720 µs | 4.00 µs | 25,000 | 200 µs | 360 µs | 4 KiB |
| workerd | MISSING: npm is not installed | | | | | | | | |

| Hearth's | of hyper alone, one thread | of nginx + hyper |
|---|---|---|
| CPU per request, 64 conn. | 2.000 (target ≤ 1.40: **missed**) | 0.500 (target ≤ 0.60: met) |
| requests/s, 64 conn. | 0.500 (target ≥ 0.80: **missed**) | 2.000 (target ≥ 1.40: met) |
| p50, 64 conn. | 2.000 | 0.500 |
| CPU per request, 1 conn. | 2.000 | 0.500 |
| requests/s, 1 conn. | 0.500 | 2.000 |
| p50, 1 conn. | 2.000 | 0.500 (target ≤ 1.00: met) |

| Hearth's own | measured | target | |
|---|---|---|---|
| hello worker, file | 400 KiB | < 1.00 MiB | met |
| hello worker, memory (PSS) | 600 KiB | < 1.00 MiB | met |
| replacement of a killed worker, median of 2 | 35.0 ms | ≤ 20.0 ms | **missed** |
| replacement of a killed worker, longest of 2 | 60.0 ms | ≤ 20.0 ms | **missed** |

| program | size |
|---|---|
| `hearth` | 5.00 MiB |
| `hello` | 400 KiB |
";
        assert_eq!(markdown(&report()), expect.replace("CLOCK", CLOCK));
    }

    #[test]
    fn without_hearth_there_is_nothing_to_compare() {
        let mut report = report();
        report.entries.remove(1);
        report.sizes.clear();
        report.replacements.clear();
        let text = markdown(&report);
        assert!(text.contains("| hyper alone"));
        assert!(!text.contains("Hearth's"));
        assert!(!text.contains("| program |"));
    }

    #[test]
    fn json_says_the_same() {
        let value: Value = serde_json::from_str(&json(&report())).unwrap();
        assert_eq!(value["servers"][3]["missing"], "npm is not installed");
        assert_eq!(value["servers"][0]["median"]["loads"][1]["p50_us"], 100.0);
        assert_eq!(value["ratios"][0]["target"]["met"], false);
        assert_eq!(value["ratios"].as_array().map(Vec::len), Some(12));
        assert_eq!(value["checks"][2]["value"], 35.0);
        assert_eq!(value["program_bytes"]["hello"], 400 << 10);
        assert_eq!(value["replacement_ms"][1], 60.0);
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(time(999.0), "999 µs");
        assert_eq!(time(1500.0), "1.50 ms");
        assert_eq!(bytes(1536.0), "2 KiB");
        assert_eq!(bytes(1.5 * 1024.0 * 1024.0), "1.50 MiB");
    }
}
