//! What the host tells the guest, and the guest the host. The host puts a [`Job`] into the machine's
//! root; the guest's init runs it, with the serial console as its output, and says [`STARTED`] before
//! and [`ENDED`] after it.

/// Where the job is.
pub const JOB: &str = "/job";

/// A line of the console: the machine is ready, and the job begins.
pub const STARTED: &str = "guest-init: the job begins";

/// A line of the console, and what follows it: `status N` or `signal N`, or what went wrong with the
/// machine itself. It switches itself off after that.
pub const ENDED: &str = "guest-init: ended with ";

/// A line of the console: how firmware has started this system, in `name=value`.
pub const REPORT: &str = "boot-report: ";

/// What the init itself ends with when it is the job: the machine's start is measured, and the way that a
/// failure takes from the inside to the host is tried.
pub const NOTHING: u8 = 7;

/// A program to run, as root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The program's path, and its arguments.
    pub words: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
}

impl Job {
    /// Runs these words with an empty environment.
    pub fn new(words: &[&str]) -> Job {
        Job {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
        }
    }

    /// The same with a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Job {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As it lies in the machine's root: a word or a variable a line, so neither may contain an end of
    /// a line.
    pub fn to_text(&self) -> String {
        let words = self.words.iter().map(|word| format!("word {word}\n"));
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("env {name}={value}\n"));
        words.chain(env).collect()
    }

    /// Reads it; `None` if it is not what [`Job::to_text`] makes.
    pub fn from_text(text: &str) -> Option<Job> {
        let mut job = Job::default();
        for line in text.lines() {
            match line.split_once(' ')? {
                ("word", word) => job.words.push(word.to_owned()),
                ("env", variable) => {
                    let (name, value) = variable.split_once('=')?;
                    job.env.push((name.to_owned(), value.to_owned()));
                }
                _ => return None,
            }
        }
        (!job.words.is_empty()).then_some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_written() {
        let job = Job::new(&["/bin/a", "--b=c d", ""])
            .env("A", "1=2")
            .env("B", "");
        assert_eq!(Job::from_text(&job.to_text()), Some(job));
        for text in ["", "env A=1\n", "word\n", "other x\n", "word a\nenv A\n"] {
            assert_eq!(Job::from_text(text), None, "{text:?}");
        }
    }
}
