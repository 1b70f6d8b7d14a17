//! `hearth metrics`: prints the metrics for Prometheus.

use crate::args::Metrics;
use crate::out::{self, Outcome};

pub(crate) fn metrics(args: &Metrics) -> anyhow::Result<Outcome> {
    let text = args.running.client().text("/v1/metrics")?;
    out::data(text.trim_end())?;
    Ok(Outcome::Done)
}
