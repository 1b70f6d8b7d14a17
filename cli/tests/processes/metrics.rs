//! Metrics, parsed as strictly as the exposition format requires: over the control socket, with `hearth metrics`, and
//! over TCP if the manifest enables that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::signal::Signal;

use crate::platform::{HTTP_ONLY, PROBE, Place, Platform};
use crate::process;
use crate::wait;

/// A metric family: its type, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

type Families = BTreeMap<String, Family>;

/// Parses the text. Panics if it violates the format or the conventions for names.
fn parse(text: &str) -> Families {
    assert!(text.ends_with('\n'), "the last line has an end");
    let mut families = Families::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
            .unwrap_or_else(|| panic!("no family begins with {line:?}"));
        assert!(is_name(name) && !help.is_empty(), "{line:?}");
        let kind = lines.next().and_then(|line| {
            let rest = line.strip_prefix("# TYPE ")?.strip_prefix(name)?;
            rest.strip_prefix(' ')
        });
        let kind = kind.unwrap_or_else(|| panic!("{name} has no type"));
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        let mut family = Family {
            kind: kind.to_owned(),
            ..Family::default()
        };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (sample, labels, value) = sample(line);
            let suffix = sample.strip_prefix(name);
            let suffix = suffix.unwrap_or_else(|| panic!("{sample} among those of {name}"));
            match kind {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            assert_eq!(suffix == "_bucket", labels.contains_key("le"), "{line}");
            if kind != "gauge" {
                assert!(value >= 0.0, "{line}");
            }
            let before = family.samples.insert((sample, labels), value);
            assert!(before.is_none(), "twice: {line}");
        }
        assert!(!family.samples.is_empty(), "{name} has no sample");
        if kind == "histogram" {
            check_histograms(name, &family);
        }
        assert!(
            families.insert(name.to_owned(), family).is_none(),
            "{name} twice"
        );
    }
    families
}

/// Checks that the buckets rise to `+Inf`, that the last one equals the count, and that there is a sum.
fn check_histograms(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in &family.samples {
        let mut labels = labels.clone();
        if let (true, Some(le)) = (sample.ends_with("_bucket"), labels.remove("le")) {
            let le = le.replace("+Inf", "inf").parse().unwrap();
            series.entry(labels).or_default().push((le, *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{buckets:?}"
        );
        let (le, all) = buckets[buckets.len() - 1];
        assert!(le.is_infinite());
        let count = family.samples[&(format!("{name}_count"), labels.clone())];
        assert_eq!(all, count);
        assert!(
            family
                .samples
                .contains_key(&(format!("{name}_sum"), labels))
        );
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Parses `name{label="value",...} number`.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line:?}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
            assert!(is_name(label), "{line:?}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap_or_else(|| panic!("{line:?}")) {
                    (place, '"') => break place,
                    (_, '\\') => value.push(match chars.next() {
                        Some((_, 'n')) => '\n',
                        Some((_, char @ ('\\' | '"'))) => char,
                        other => panic!("{other:?} in {line:?}"),
                    }),
                    (_, char) => value.push(char),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line:?}");
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    (
        name.to_owned(),
        labels,
        value.unwrap_or_else(|| panic!("{line:?}")),
    )
}

fn metrics(platform: &Platform) -> Families {
    let output = platform.place.hearth("metrics", &[]);
    assert!(output.status.success(), "{output:?}");
    parse(&String::from_utf8(output.stdout).unwrap())
}

fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter();
    let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let family = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| families.get(name.strip_suffix(suffix)?));
    let samples = &families.get(name).or(family)?.samples;
    samples.get(&(name.to_owned(), labels.collect())).copied()
}

#[test]
fn what_was_asked_is_counted_by_function_and_status() {
    let platform = Platform::start(PROBE);
    for _ in 0..5 {
        platform.get("/small");
    }
    platform.get("/panic");
    // The gateway refuses this path, so the request belongs to no function.
    platform.get("/..");
    let families = wait::until("all are counted", || {
        let families = metrics(&platform);
        let errors = [("function", "probe"), ("status", "5xx")];
        value(&families, "http_requests_total", &errors)?;
        Some(families)
    });
    let total = |labels: &[(&str, &str)]| value(&families, "http_requests_total", labels);
    assert_eq!(
        total(&[("function", "probe"), ("status", "2xx")]),
        Some(5.0)
    );
    assert_eq!(total(&[("function", ""), ("status", "4xx")]), Some(1.0));
    let of = [("function", "probe"), ("status", "2xx")];
    let count = value(&families, "http_request_duration_seconds_count", &of);
    assert_eq!(count, Some(5.0));
    let sum = value(&families, "http_request_duration_seconds_sum", &of).unwrap();
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    let function = [("function", "probe")];
    assert_eq!(
        value(&families, "http_requests_in_flight", &function),
        Some(0.0)
    );
    assert_eq!(
        value(&families, "hearth_queue_length", &function),
        Some(0.0)
    );
    let worker = [
        ("process", "worker"),
        ("function", "probe"),
        ("worker", "1"),
    ];
    for name in [
        "hearth_process_resident_memory_bytes",
        "hearth_process_proportional_memory_bytes",
        "hearth_process_cpu_seconds_total",
    ] {
        assert!(value(&families, name, &worker).unwrap() > 0.0, "{name}");
        assert!(value(&families, name, &[("process", "gateway")]).unwrap() > 0.0);
    }
    assert!(value(&families, "host_memory_total_bytes", &[]).unwrap() > 1e8);
    assert!(value(&families, "host_load_average", &[("minutes", "1")]).unwrap() >= 0.0);
}

#[test]
fn a_restart_is_counted() {
    let platform = Platform::start(PROBE);
    process::signal(platform.worker("probe"), Signal::SIGKILL);
    let restarts = || {
        let name = "hearth_worker_restarts_total";
        value(&metrics(&platform), name, &[("function", "probe")])
    };
    wait::until("it is counted", || (restarts() == Some(1.0)).then_some(()));
}

#[test]
fn the_document_names_every_metric_and_no_other() {
    let platform = Platform::start(PROBE);
    platform.get("/small");
    let families = wait::until("requests are counted", || {
        let families = metrics(&platform);
        families
            .contains_key("http_requests_total")
            .then_some(families)
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        let kind = cells.next()?;
        ["counter", "gauge", "histogram"]
            .contains(&kind)
            .then(|| (name.to_owned(), kind.to_owned()))
    });
    let documented: BTreeMap<String, String> = rows.collect();
    for (name, family) in &families {
        assert_eq!(documented.get(name), Some(&family.kind), "{name}");
    }
    // Some machines do not have these metrics.
    let told: BTreeSet<&String> = families.keys().collect();
    for name in documented.keys().filter(|name| !told.contains(name)) {
        let of_the_machine = name.starts_with("host_disk") || name.starts_with("host_temperature");
        assert!(of_the_machine, "nothing tells of {name}");
    }
}

fn over_tcp(address: SocketAddr, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

fn with_metrics(listen: &str) -> String {
    let gateway = HTTP_ONLY.replacen("{ listen", &format!("{{ metrics: {listen}, listen"), 1);
    format!("{gateway}\n{PROBE}")
}

#[test]
fn metrics_are_served_over_tcp_where_the_manifest_says_and_nothing_else_is() {
    let any = r#"{ listen: "127.0.0.1:0" }"#;
    let platform = Platform::start_in(Place::new(&with_metrics(any)));
    let address = |platform: &Platform| -> Option<SocketAddr> {
        platform.status()["metrics"].as_str()?.parse().ok()
    };
    let first = address(&platform).unwrap();
    let (status, body) = over_tcp(first, "GET /metrics");
    assert_eq!(status, 200);
    assert!(parse(&body).contains_key("hearth_info"));
    for (line, expect) in [
        ("GET /", 404),
        ("GET /v1/status", 404),
        ("POST /v1/reload", 404),
        ("GET /v1/logs", 404),
        ("POST /metrics", 405),
    ] {
        let (status, body) = over_tcp(first, line);
        assert_eq!(status, expect, "{line}");
        assert!(body.contains(r#""layer":"control""#), "{body}");
    }
    // A reload keeps the listener, and another one closes it.
    let status = platform.place.hearth("status", &[]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(
        text.contains(&format!("metrics: http://{first}/metrics")),
        "{text}"
    );
    let more = with_metrics(any).replace("binary: probe", "binary: probe\n    timeout: 9s");
    platform.place.write(&more);
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_eq!(address(&platform), Some(first));
    assert_eq!(over_tcp(first, "GET /metrics").0, 200);
    platform.place.write(&with_metrics("{ listen: off }"));
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_eq!(address(&platform), None);
    wait::until("the door is closed", || TcpStream::connect(first).err());
}

#[test]
fn an_address_for_metrics_that_somebody_has_is_refused_and_named() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap();
    let manifest = with_metrics(&format!("{{ listen: \"{taken}\" }}"));
    let refused = Place::new(&manifest).up_to_its_end();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    let expect = format!("cannot listen on {taken} for metrics; choose another address with");
    assert!(said.contains(&expect), "{said}");
    let platform = Platform::start(PROBE);
    platform.place.write(&manifest);
    let refused = platform.place.hearth("reload", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(platform.get("/small").status(), 200);
}
