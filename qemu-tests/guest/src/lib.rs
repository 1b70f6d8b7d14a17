//! The messages between host and guest. The host puts a [`Job`] into the machine's root file system. The guest's init
//! runs it with the serial console as its output, and prints [`STARTED`] before and [`ENDED`] after it.

/// The path of the job in the machine.
pub const JOB: &str = "/job";

/// Console line: the machine is ready, and the job begins.
pub const STARTED: &str = "guest-init: the job begins";

/// Beginning of a console line that ends with `status N`, `signal N`, or an error of the machine itself. The machine
/// switches itself off after this line.
pub const ENDED: &str = "guest-init: ended with ";

/// Beginning of a console line that reports how firmware has started this system, as `name=value`.
pub const REPORT: &str = "boot-report: ";

/// Exit status of the init if the init itself is the job, which measures the machine's start and checks that a
/// failure inside reaches the host.
pub const NOTHING: u8 = 7;

/// A program to run as root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The program's path and its arguments.
    pub words: Vec<String>,
    /// The program's whole environment.
    pub env: Vec<(String, String)>,
}

impl Job {
    /// Creates a job with these words and an empty environment.
    pub fn new(words: &[&str]) -> Job {
        Job {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
        }
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Job {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Encodes the job for the machine's root file system, one word or variable per line. So neither may contain a
    /// newline.
    pub fn to_text(&self) -> String {
        let words = self.words.iter().map(|word| format!("word {word}\n"));
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("env {name}={value}\n"));
        words.chain(env).collect()
    }

    /// Decodes a job. Returns `None` for text that [`Job::to_text`] does not produce.
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
