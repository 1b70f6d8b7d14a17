//! `hearth status`.

use std::fmt::Write;

use anyhow::bail;
use hearth_supervisor::api::{Answer, ProcessStatus, Request, Status, ask};

use crate::args;
use crate::out::{self, Outcome};

pub(crate) fn status(args: &args::Status) -> anyhow::Result<Outcome> {
    let mut answer = None;
    ask(&args.manifest, &Request::Status, |line| {
        answer = Some(line);
        false
    })?;
    match answer {
        Some(Answer::Status(status)) if args.json => {
            out::data(serde_json::to_string_pretty(&status)?)?
        }
        Some(Answer::Status(status)) => out::data(text(&status).trim_end())?,
        Some(Answer::Failed(why)) => bail!(why),
        other => bail!("the platform gave no status: {other:?}"),
    }
    Ok(Outcome::Done)
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let listeners: Vec<String> = status
        .listeners
        .iter()
        .map(|one| format!("{}://{}", one.scheme, one.address))
        .collect();
    let _ = writeln!(
        text,
        "{} (generation {}) on {}",
        status.service,
        status.generation,
        listeners.join(", ")
    );
    if status.rolled_back {
        let _ = writeln!(
            text,
            "rolled back to version {}; `hearth reload` brings the file's version back",
            status.version
        );
    }
    let _ = writeln!(text, "gateway {}", process(&status.gateway));
    for function in &status.functions {
        let restarts = match function.restarts {
            0 => String::new(),
            1 => ", 1 restart".to_owned(),
            many => format!(", {many} restarts"),
        };
        let scale = &function.scale;
        let workers = match (scale.min, scale.max) {
            (min, max) if min == max => format!("{min}"),
            (min, max) => format!("{} of {min} to {max}", scale.wanted),
        };
        let _ = writeln!(
            text,
            "\n{}: {}, workers: {workers}{restarts}",
            function.name, function.state
        );
        for route in &function.routes {
            let _ = writeln!(text, "  {route}");
        }
        for worker in &function.workers {
            let seconds = worker.for_ms as f64 / 1000.0;
            let _ = writeln!(
                text,
                "  worker {} {} for {seconds:.1} s, {}",
                worker.id,
                worker.state,
                process(&worker.process)
            );
        }
        if let Some(error) = &function.last_error {
            let _ = writeln!(text, "  last error: {error}");
        }
    }
    text
}

fn process(process: &ProcessStatus) -> String {
    let Some(pid) = process.pid else {
        return "not running".to_owned();
    };
    match process.memory {
        Some(bytes) => format!("pid {pid}, {} KiB", bytes / 1024),
        None => format!("pid {pid}"),
    }
}
