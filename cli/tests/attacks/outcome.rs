//! The result of an act, and the table of all results.

use std::fmt;

use serde_json::Value;

/// The result of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The act succeeded.
    Done(String),
    /// The act failed with this error.
    Failed(String),
    /// The worker ended before it answered.
    Died,
}

impl Outcome {
    /// Reads the answer of the hostile program.
    pub(crate) fn read(said: &Value) -> Outcome {
        match (said["done"].as_str(), said["failed"].as_str()) {
            (Some(done), _) => Outcome::Done(done.to_owned()),
            (None, Some(failed)) => Outcome::Failed(failed.to_owned()),
            (None, None) => panic!("it does not know the act: {said}"),
        }
    }

    /// Whether this is one of the expected results: `done`, `died` or the name of an error.
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

/// The results of all acts that were tried.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<String>,
    wrong: Vec<String>,
}

impl Table {
    /// Adds the results of one act. `outside` and `inside` are the expected ones.
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

    /// Prints the table. Fails if it has less than `least` rows, or if any result was unexpected.
    pub(crate) fn conclude(self, least: usize) {
        println!("| act | outside | in a worker |\n|---|---|---|");
        println!("{}", self.rows.join("\n"));
        println!("{} acts", self.rows.len());
        assert!(self.rows.len() >= least, "too few acts");
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
    }
}
