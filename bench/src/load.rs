//! Generates load with wrk and parses its output.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::group::tied;
use crate::machine;

/// The results of wrk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    /// Median latency.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Sends the same request over `connections` connections from one thread, for `seconds` seconds. Returns an error if
/// any response is not 2xx or 3xx or any connection fails, because the load is then not the requested one.
pub(crate) async fn load(at: SocketAddr, connections: u32, seconds: u32) -> anyhow::Result<Load> {
    wrk(tied("wrk")?, at, connections, seconds).await
}

/// Like [`load`], with the requests that a wrk script generates.
pub(crate) async fn load_by_script(
    at: SocketAddr,
    script: &Path,
    connections: u32,
    seconds: u32,
) -> anyhow::Result<Load> {
    let mut command = tied("wrk")?;
    command.arg("-s").arg(script);
    wrk(command, at, connections, seconds).await
}

async fn wrk(
    command: std::process::Command,
    at: SocketAddr,
    connections: u32,
    seconds: u32,
) -> anyhow::Result<Load> {
    let output = Command::from(command)
        .args(["-t1", "--latency"])
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"))
        .arg(format!("http://{at}/"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "wrk failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    parse(&text)
}

/// Returns the version of wrk. If wrk is not installed, the error names its package.
pub(crate) async fn version() -> anyhow::Result<String> {
    if machine::program("wrk").is_none() {
        bail!("wrk makes the load and is not installed; it is the package `wrk`");
    }
    // wrk prints `wrk debian/4.1.0-3 [epoll] Copyright ...` and exits with status 1, as after its usage text.
    let text = machine::first_line("wrk", &["-v"])
        .await
        .unwrap_or_default();
    Ok(text.split(" [").next().unwrap_or("wrk").to_owned())
}

fn parse(text: &str) -> anyhow::Result<Load> {
    for line in text.lines().map(str::trim) {
        if line.starts_with("Socket errors:") || line.starts_with("Non-2xx") {
            bail!("the load did not go through: {line}");
        }
    }
    let after = |label: &str| {
        let mut lines = text.lines().map(str::trim);
        lines
            .find_map(|line| line.strip_prefix(label))
            .map(str::trim)
    };
    let read = || {
        let counted = text.lines().find(|line| line.contains(" requests in "))?;
        Some(Load {
            requests: counted.split_whitespace().next()?.parse().ok()?,
            rate: after("Requests/sec:")?.parse().ok()?,
            p50: time(after("50%")?)?,
            p99: time(after("99%")?)?,
        })
    };
    match read() {
        Some(load) if load.requests > 0 => Ok(load),
        _ => bail!("wrk's output is not understood or counts nothing:\n{text}"),
    }
}

/// Parses wrk's durations: `412.00us`, `1.21ms`, `2.00s`, `1.50m`, `1.00h`.
fn time(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Running 2s test @ http://127.0.0.1:41001/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   337.28us  181.76us   5.66ms   92.54%
    Req/Sec   190.99k     8.50k  201.02k    80.95%
  Latency Distribution
     50%  310.00us
     75%  360.00us
     90%  453.00us
     99%    1.02ms
  399012 requests in 2.10s, 55.94MB read
Requests/sec: 190043.07
Transfer/sec:     26.64MB
";

    #[test]
    fn what_wrk_says_is_read() {
        let expect = Load {
            requests: 399_012,
            rate: 190_043.07,
            p50: Duration::from_micros(310),
            p99: Duration::from_micros(1020),
        };
        assert_eq!(parse(GOOD).unwrap(), expect);
    }

    #[test]
    fn a_load_that_did_not_go_through_is_an_error() {
        for line in [
            "  Socket errors: connect 0, read 3, write 0, timeout 0",
            "  Non-2xx or 3xx responses: 12",
        ] {
            let error = parse(&format!("{GOOD}{line}\n")).unwrap_err().to_string();
            assert!(error.ends_with(line.trim()), "{error}");
        }
        assert!(parse("").is_err());
        let none = GOOD.replace("399012 requests", "0 requests");
        assert!(parse(&none).is_err());
    }

    #[test]
    fn times_have_units() {
        for (text, micros) in [
            ("45.00us", Some(45)),
            ("1.25ms", Some(1250)),
            ("2.00s", Some(2_000_000)),
            ("1.50m", Some(90_000_000)),
            ("12", None),
            ("1.0d", None),
        ] {
            assert_eq!(time(text), micros.map(Duration::from_micros), "{text}");
        }
    }
}
