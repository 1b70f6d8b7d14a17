//! What came of an act, and the table of all of them.

use std::fmt;

use serde_json::Value;

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It could be done.
    Done(String),
    /// It failed with this error.
    Failed(String),
    /// The worker did not live to answer.
    Died,
}

impl Outcome {
    /// As the hostile program says it.
    pub(crate) fn read(said: &Value) -> Outcome {
        match (said["done"].as_str(), said["failed"].as_str()) {
            (Some(done), _) => Outcome::Done(done.to_owned()),
            (None, Some(failed)) => Outcome::Failed(failed.to_owned()),
            (None, None) => panic!("it does not know the act: {said}"),
        }
    }

    /// Whether it is one of these: `done`, or names of errors.
    pub(crate) fn is_of(&self, expected: &[&str]) -> bool {
        let own = match self {
            Outcome::Done(_) => "done",
            Outcome::Failed(error) => error,
            Outcome::Died => "died",
        };
        expected.contains(&own)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done(_) => f.write_str("done"),
            Outcome::Failed(error) => f.write_str(error),
            Outcome::Died => f.write_str("died"),
        }
    }
}

/// Everything that was tried.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<String>,
    wrong: Vec<String>,
}

impl Table {
    /// Takes what came of one act; `outside` and `inside` are what is expected.
    pub(crate) fn add(
        &mut self,
        what: &str,
        (control, outside): (&Outcome, &[&str]),
        (attack, inside): (&Outcome, &[&str]),
    ) {
        self.rows.push(format!("| {what} | {control} | {attack} |"));
        if !control.is_of(outside) {
            let text = format!("{what}: outside {control:?}, expected {outside:?}");
            self.wrong.push(text);
        }
        if !attack.is_of(inside) {
            let text = format!("{what}: inside {attack:?}, expected {inside:?}");
            self.wrong.push(text);
        }
    }

    /// Prints it, and fails if anything was not as expected.
    pub(crate) fn conclude(self, least: usize) {
        println!("| act | outside | in a worker |\n|---|---|---|");
        println!("{}", self.rows.join("\n"));
        println!("{} acts", self.rows.len());
        assert!(self.rows.len() >= least, "too few acts");
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
    }
}
