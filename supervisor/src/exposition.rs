//! The text format of Prometheus (version 0.0.4): families of samples, each with one help line and one type line.

use std::fmt::{Display, Write};

use hearth_protocol::stats::BOUNDS;

use crate::histogram::Histogram;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of the buckets that are exported, in microseconds: 1, 2.5 and 5 in each power of ten, from a tenth of a
/// millisecond to ten seconds. Durations are counted by these bounds, too, so the exported counts are exact.
const SHOWN: [u32; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

const _: () = {
    let mut shown = 0;
    let mut bound = 0;
    while bound < BOUNDS.len() && shown < SHOWN.len() {
        if BOUNDS[bound] == SHOWN[shown] {
            shown += 1;
        }
        bound += 1;
    }
    assert!(
        shown == SHOWN.len(),
        "every bound that is shown is one that is counted by"
    );
};

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only increases, except at restarts.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts values in buckets.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The text, to which families are added.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A family of samples. A family without samples does not appear in the text.
#[derive(Debug)]
pub struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    begun: bool,
}

/// Names and values of labels.
pub type Labels<'l> = &'l [(&'static str, &'l str)];

impl Exposition {
    /// Begins a family. Each name may be used only once.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        Family {
            text: &mut self.0,
            name,
            kind,
            help,
            begun: false,
        }
    }

    /// The complete text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.begin();
        line(self.text, (self.name, ""), labels, None, value);
    }

    /// Adds a sample, if there is a value.
    pub fn maybe(&mut self, labels: Labels<'_>, value: Option<impl Display>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }

    /// Adds a histogram: its buckets, its sum in seconds, its count.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        self.begin();
        let count = histogram.count();
        for bound in SHOWN {
            let seconds = (f64::from(bound) / 1e6).to_string();
            let up_to = histogram.at_most(bound);
            line(
                self.text,
                (self.name, "_bucket"),
                labels,
                Some(&seconds),
                up_to,
            );
        }
        line(
            self.text,
            (self.name, "_bucket"),
            labels,
            Some("+Inf"),
            count,
        );
        let sum = histogram.sum_seconds();
        line(self.text, (self.name, "_sum"), labels, None, sum);
        line(self.text, (self.name, "_count"), labels, None, count);
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            let (name, kind, help) = (self.name, self.kind.name(), self.help);
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
    }
}

fn line(
    text: &mut String,
    (name, suffix): (&str, &str),
    labels: Labels<'_>,
    bound: Option<&str>,
    value: impl Display,
) {
    text.push_str(name);
    text.push_str(suffix);
    let mut mark = '{';
    for (label, value) in labels
        .iter()
        .copied()
        .chain(bound.map(|bound| ("le", bound)))
    {
        let _ = write!(text, "{mark}{label}=\"");
        for char in value.chars() {
            match char {
                '\\' => text.push_str(r"\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str(r"\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        mark = ',';
    }
    if mark == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use hearth_protocol::stats::{Counts, bucket};

    use super::*;

    #[test]
    fn families_have_one_head_and_labels_any_value() {
        let mut text = Exposition::default();
        let mut family = text.family("a_total", Kind::Counter, "What a is.");
        family.sample(&[], 1);
        family.sample(&[("name", "x\"y\\z\n"), ("other", "")], 2.5);
        text.family("none", Kind::Gauge, "Nothing is told of it.")
            .maybe(&[], None::<u32>);
        let expect = "# HELP a_total What a is.\n# TYPE a_total counter\na_total 1\n\
                      a_total{name=\"x\\\"y\\\\z\\n\",other=\"\"} 2.5\n";
        assert_eq!(text.into_text(), expect);
    }

    #[test]
    fn a_histogram_is_told_cumulatively_up_to_its_count() {
        let mut histogram = Histogram::default();
        for micros in [90, 251, 20_000_000] {
            let buckets = vec![(bucket(micros) as u8, 1)];
            histogram.add(&Counts {
                sum_us: micros,
                buckets,
            });
        }
        let mut text = Exposition::default();
        let mut family = text.family("d_seconds", Kind::Histogram, "Durations.");
        family.histogram(&[("f", "g")], &histogram);
        let text = text.into_text();
        for line in [
            "d_seconds_bucket{f=\"g\",le=\"0.0001\"} 1",
            "d_seconds_bucket{f=\"g\",le=\"0.00025\"} 1",
            "d_seconds_bucket{f=\"g\",le=\"0.0005\"} 2",
            "d_seconds_bucket{f=\"g\",le=\"10\"} 2",
            "d_seconds_bucket{f=\"g\",le=\"+Inf\"} 3",
            "d_seconds_sum{f=\"g\"} 20.000341",
            "d_seconds_count{f=\"g\"} 3",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }
}
