//! Measures a function that queries a database: requests for a row by its id, through gateway and worker, compared with
//! the same query by pgbench. It also checks that the function keeps the same connections.

mod database;
mod report;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::args::Pace;
use crate::hearth::{self, Programs};
use crate::load::{Load, load_by_script, version};
use crate::machine::Machine;
use crate::scratch::Scratch;
use crate::server::Server;
use crate::usage::{self, Process};
use crate::{entry, out};
use database::{Database, ROWS, output};
use report::{Report, Round, Sampled, Series};

/// Numbers of connections from the worker to the database, and of pgbench's connections.
const CONNECTIONS: [u32; 2] = [8, 64];

/// Number of clients of the gateway. It is high enough to keep every connection busy.
const CLIENTS: u32 = 64;

/// Seconds of load before the measurement.
const WARM_UP: u32 = 1;

/// Minimum number of requests during which the connections are sampled.
const REQUESTS: f64 = 100_000.0;

/// Time between two samples of the connections.
const PAUSE: Duration = Duration::from_millis(250);

/// Path and expected response of the first request, which checks that the function works.
const FIRST: (&str, &str) = ("/items/7", r#"{"id":7,"name":"item 7"}"#);

/// Everything that all rounds share.
struct Bench {
    database: Database,
    programs: Programs,
    function: PathBuf,
}

/// Measures and prints the report. Fails if the connections change.
pub(crate) async fn run(pace: Pace) -> anyhow::Result<()> {
    let (wrk, machine) = (version().await?, Machine::this().await);
    let programs = entry::hearth_alone().await?;
    let function = hearth::build_example(&programs, "item", "postgres").await?;
    out::say(format_args!("filling a table with {ROWS} rows"));
    let bench = Bench {
        database: Database::start().await?,
        programs,
        function,
    };
    let mut series = Vec::new();
    for connections in CONNECTIONS {
        series.push(bench.series(connections, pace).await?);
    }
    let report = Report {
        machine,
        versions: format!("{}, {wrk}", bench.database.version().await?),
        rounds: pace.rounds,
        seconds: pace.seconds,
        series,
    };
    out::data(report::markdown(&report))?;
    for series in &report.series {
        ensure!(
            series.sampled.is_constant(),
            "the connections to PostgreSQL changed while requests came: {:?}",
            series.sampled.looks
        );
    }
    Ok(())
}

impl Bench {
    async fn series(&self, connections: u32, pace: Pace) -> anyhow::Result<Series> {
        let mut rounds = Vec::new();
        for number in 1..=pace.rounds {
            out::say(format_args!(
                "round {number} of {}, {connections} connections",
                pace.rounds
            ));
            let pgbench = self.pgbench(connections, pace.seconds).await?;
            let server = self.start(connections).await?;
            let (kept, busy) = self.kept(&server, pace.seconds).await?;
            let apart = self.apart(&server, pace.seconds).await?;
            out::say(format_args!(
                "  pgbench {pgbench:.0}, kept {kept:.0}, apart {apart:.0} queries/s"
            ));
            rounds.push(Round {
                pgbench,
                kept,
                apart,
                busy,
            });
        }
        let slowest = rounds
            .iter()
            .map(|round| round.kept)
            .fold(f64::MAX, f64::min);
        let seconds = (1.5 * REQUESTS / slowest).ceil() as u32;
        Ok(Series {
            connections,
            rounds,
            sampled: self
                .sample(connections, seconds)
                .await
                .context("while connections were looked at")?,
        })
    }

    async fn pgbench(&self, connections: u32, seconds: u32) -> anyhow::Result<f64> {
        let script =
            format!("\\set id random(1, {ROWS})\nSELECT name FROM items WHERE id = :id;\n");
        let script = self.database.scratch().write("select.sql", &script)?;
        let mut command = self.database.client("pgbench");
        command.args(["-M", "prepared", "-n", "-j", "1"]);
        command.arg("-f").arg(script);
        command.args(["-c", &connections.to_string(), "-T", &seconds.to_string()]);
        let said = output(command).await?;
        rate(&said).with_context(|| format!("pgbench's output is not understood:\n{said}"))
    }

    /// Starts a platform whose function has one worker with `concurrency` handlers.
    async fn start(&self, concurrency: u32) -> anyhow::Result<Server> {
        let scratch = Scratch::new()?;
        let address = self.database.address();
        let manifest = format!(
            "service: bench\nfunctions:\n  item:\n    routes: [{{ path: \"/items/{{id}}\" }}, \
             {{ path: \"/apart/{{id}}\" }}]\n    binary: item\n    concurrency: {concurrency}\n    \
             resources: {{ postgres: \"{address}\" }}\n"
        );
        scratch.write(hearth::MANIFEST, &manifest)?;
        hearth::copy(&self.function, &scratch.join("item"))?;
        let (path, json) = FIRST;
        hearth::start_in(&self.programs, scratch, path, json).await
    }

    /// Measures requests per second with persistent database connections, and the CPU use of gateway, worker and
    /// database meanwhile.
    async fn kept(
        &self,
        server: &Server,
        seconds: u32,
    ) -> anyhow::Result<(f64, Vec<(String, f64)>)> {
        let script = script(server, "/items/")?;
        load(server, &script, WARM_UP).await?;
        let working = |role: &str| -> Vec<Process> {
            let all = server.processes.iter();
            all.filter(|one| one.role == role).cloned().collect()
        };
        let parts = [
            working("gateway"),
            working("worker"),
            self.database.processes()?,
        ];
        let used = || -> anyhow::Result<Vec<Duration>> {
            parts.iter().map(|part| usage::cpu(part)).collect()
        };
        let (begin, before) = (Instant::now(), used()?);
        let load = load(server, &script, seconds).await?;
        let (elapsed, after) = (begin.elapsed().as_secs_f64(), used()?);
        let busy = parts.iter().zip(after.iter().zip(before));
        let busy = busy.filter_map(|(part, (after, before))| {
            let role = part.first()?.role.clone();
            Some((role, (*after - before).as_secs_f64() / elapsed))
        });
        Ok((load.rate, busy.collect()))
    }

    /// Measures requests per second with a new database connection for each request.
    async fn apart(&self, server: &Server, seconds: u32) -> anyhow::Result<f64> {
        let script = script(server, "/apart/")?;
        load(server, &script, WARM_UP).await?;
        let load = load(server, &script, seconds).await?;
        Ok(load.rate)
    }

    /// Samples the function's connections during at least [`REQUESTS`] requests.
    async fn sample(&self, connections: u32, seconds: u32) -> anyhow::Result<Sampled> {
        let server = self.start(connections).await?;
        let script = script(&server, "/items/")?;
        load(&server, &script, WARM_UP).await?;
        let mut load = pin!(load(&server, &script, seconds));
        let mut looks = Vec::new();
        let load = loop {
            tokio::select! {
                load = &mut load => break load?,
                () = tokio::time::sleep(PAUSE) => looks.push(self.look().await?),
            }
        };
        ensure!(
            load.requests as f64 >= REQUESTS,
            "only {} requests",
            load.requests
        );
        Ok(Sampled {
            requests: load.requests,
            looks,
        })
    }

    /// Queries the ids of the server processes that currently serve the function.
    async fn look(&self) -> anyhow::Result<Vec<String>> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'item' ORDER BY pid";
        let said = self.database.ask(sql).await?;
        Ok(said.lines().map(str::to_owned).collect())
    }
}

/// Runs a load with the requests of a script. If it fails because the server has ended, that is the returned error.
async fn load(server: &Server, script: &Path, seconds: u32) -> anyhow::Result<Load> {
    let load = load_by_script(server.address, script, CLIENTS, seconds).await;
    if load.is_err() {
        server.alive()?;
    }
    load
}

/// Writes a wrk script that requests rows in random order. The requests are generated before the load starts.
fn script(server: &Server, path: &str) -> anyhow::Result<PathBuf> {
    let text = format!(
        "math.randomseed(os.time())\n\
         local requests = {{}}\n\
         function init(args)\n\
         \x20 for i = 1, 10000 do\n\
         \x20   requests[i] = wrk.format(\"GET\", \"{path}\" .. math.random(1, {ROWS}))\n\
         \x20 end\n\
         end\n\
         function request() return requests[math.random(1, 10000)] end\n"
    );
    server.scratch.write("wrk.lua", &text)
}

/// Parses pgbench's line `tps = 41234.56 (without initial connection time)`.
fn rate(text: &str) -> Option<f64> {
    let mut lines = text.lines();
    let told = lines.find_map(|line| line.strip_prefix("tps = "))?;
    told.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let text = "query mode: prepared\nlatency average = 0.2 ms\n\
                    tps = 41234.560000 (without initial connection time)\n";
        assert_eq!(rate(text), Some(41234.56));
        assert_eq!(rate("tps: none"), None);
    }
}
