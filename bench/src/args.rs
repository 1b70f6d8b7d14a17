//! Parses the command line into validated options.

use std::time::Duration;

use crate::chaos::Fault;
use crate::entry::Kind;
use crate::peer::At;

pub(crate) const HELP: &str = "\
Hearth beside its peers: CPU per request, requests per second, latencies and memory.

  cargo xtask bench [OPTIONS]

  --rounds N     rounds over all servers, medians are told (default 3)
  --seconds N    how long each load lasts (default 5)
  --only A,B     only these of hyper, hearth, nginx, workerd
  --json         print JSON and not Markdown
  --help         print this

  cargo xtask bench idle

What ten thousand idle connections cost the gateway, beside hyper alone.

  cargo xtask bench supervisor

The supervisor at its smallest: its size, and its memory when idle with one function.

  cargo xtask bench cells [--rounds N] [--seconds N]

What a worker's cell costs each request: CPU beside the same platform without cells.

  cargo xtask bench postgres [--rounds N] [--seconds N]

A row of a PostgreSQL table by its number: through gateway and worker over connections that are kept
and over one for each request, beside pgbench; and whether the kept ones stay the same.

  cargo xtask soak [--minutes N]

Hearth under 80 % of the load that it can carry, for N minutes (default 120): fails if a request fails
or the memory of a process is not flat.

  cargo xtask chaos [--minutes N | --seconds N | --only FAULT --times N]

Hearth under mixed load while it is reloaded, its workers and gateway are killed and stopped, and its
queue is filled: what was answered, tried again, refused by which layer, and lost by which fault. By
the minute (default 10) also how much memory has come back a minute later. With --only, just one of
reload, queue-filled, worker-stopped, worker-killed, gateway-killed, so many times (default 100).
";

/// The task that the command line selects.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    /// Print the help.
    Help,
    /// Compare Hearth with other servers.
    Bench(Options),
    /// Measure the memory of idle connections.
    Idle,
    /// Measure the supervisor's size and memory.
    Supervisor,
    /// Measure the cost of cells for requests.
    Cells(Pace),
    /// `bare WORD`: start workers without cells. The cells benchmark installs this program as `hearth-cell`.
    Bare(String),
    /// Measure a function that queries a PostgreSQL server.
    Postgres(Pace),
    /// Run the soak test for this time.
    Soak(Duration),
    /// Inject faults under load.
    Chaos(Course),
    /// `peer ADDRESS`: serve as the hyper server that Hearth is compared with. The harness starts itself this way.
    Peer(At),
    /// `exec PROGRAM ARGS`: execute another program. The harness starts all servers this way.
    Exec(Vec<String>),
}

/// Number of rounds and seconds of each load. Both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
}

/// The faults of a chaos run, and its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Course {
    /// All faults, for a given time.
    All {
        /// Length of the run.
        length: Duration,
        /// Whether to measure the memory again after a minute of rest.
        rest: bool,
    },
    /// One fault, this many times.
    Only(Fault, usize),
}

/// Options of the comparison.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    /// Number of rounds, at least 1.
    pub(crate) rounds: usize,
    /// Seconds of each load, at least 1.
    pub(crate) seconds: u32,
    /// The servers to compare, in the order of each round.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) json: bool,
}

pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut args = args.into_iter();
    let mut options = Options {
        rounds: 3,
        seconds: 5,
        kinds: Kind::ALL.to_vec(),
        json: false,
    };
    while let Some(arg) = args.next() {
        let (name, mut inline) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || {
            let value = inline.take().or_else(|| args.next());
            value.ok_or_else(|| format!("{name} wants a value"))
        };
        match name {
            "--rounds" => options.rounds = positive(name, &value()?)? as usize,
            "--seconds" => options.seconds = positive(name, &value()?)?,
            "--only" => options.kinds = kinds(&value()?)?,
            "--json" => options.json = true,
            "--help" | "-h" | "help" => return Ok(Task::Help),
            "exec" => return Ok(Task::Exec(args.collect())),
            "chaos" => return chaos(args),
            "soak" => return soak(args),
            "postgres" => return pace(name, args).map(Task::Postgres),
            "cells" => return pace(name, args).map(Task::Cells),
            "bare" => return Ok(Task::Bare(value()?)),
            "idle" => return Ok(Task::Idle),
            "supervisor" => return Ok(Task::Supervisor),
            "peer" => return Ok(Task::Peer(value()?.parse()?)),
            _ => return Err(format!("there is no option `{arg}`")),
        }
        if inline.is_some() {
            return Err(format!("{name} takes no value"));
        }
    }
    Ok(Task::Bench(options))
}

fn pace(of: &str, mut args: impl Iterator<Item = String>) -> Result<Pace, String> {
    let mut pace = Pace {
        rounds: 3,
        seconds: 5,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--rounds" => pace.rounds = positive(&arg, &value()?)? as usize,
            "--seconds" => pace.seconds = positive(&arg, &value()?)?,
            _ => return Err(format!("there is no option `{arg}` of {of}")),
        }
    }
    Ok(pace)
}

fn chaos(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    let (mut length, mut rest) = (Duration::from_secs(600), true);
    let (mut only, mut times) = (None, 100);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        let seconds = |number: u32| Duration::from_secs(number.into());
        match arg.as_str() {
            "--minutes" => (length, rest) = (seconds(60 * positive(&arg, &value()?)?), true),
            "--seconds" => (length, rest) = (seconds(positive(&arg, &value()?)?), false),
            "--only" => only = Some(fault(&value()?)?),
            "--times" => times = positive(&arg, &value()?)? as usize,
            _ => return Err(format!("there is no option `{arg}` of chaos")),
        }
    }
    Ok(Task::Chaos(match only {
        Some(fault) => Course::Only(fault, times),
        None => Course::All { length, rest },
    }))
}

fn soak(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut minutes = 120;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--minutes" => {
                let value = args.next().ok_or("--minutes needs a value")?;
                minutes = positive(&arg, &value)?;
            }
            _ => return Err(format!("unknown option `{arg}` of soak")),
        }
    }
    Ok(Task::Soak(Duration::from_secs(u64::from(minutes) * 60)))
}

fn fault(text: &str) -> Result<Fault, String> {
    let known = |fault: &Fault| fault.name().replace(' ', "-") == text;
    let found = Fault::ALL.into_iter().find(known);
    found.ok_or_else(|| format!("chaos knows no fault `{text}`"))
}

fn positive(name: &str, text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} wants a number from 1 on, not `{text}`")),
    }
}

/// Parses a list of servers. The result is in the order of [`Kind::ALL`].
fn kinds(text: &str) -> Result<Vec<Kind>, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let known = |name: &&str| Kind::ALL.iter().any(|kind| kind.key() == *name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return Err(format!(
            "--only knows hyper, hearth, nginx, workerd; not `{name}`"
        ));
    }
    let wanted = |kind: &Kind| names.contains(&kind.key());
    Ok(Kind::ALL.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let expect = Options {
            rounds: 1,
            seconds: 2,
            kinds: vec![Kind::Hyper, Kind::Hearth],
            json: true,
        };
        let spelt = "--rounds 1 --seconds=2 --only hearth,hyper --json";
        assert_eq!(read(spelt), Ok(Task::Bench(expect)));
        assert_eq!(read("--rounds 1 --help"), Ok(Task::Help));
    }

    #[test]
    fn without_options_all_take_part() {
        let Ok(Task::Bench(options)) = read("") else {
            panic!("not a bench")
        };
        assert_eq!(options.kinds, Kind::ALL);
        assert_eq!((options.rounds, options.seconds), (3, 5));
    }

    #[test]
    fn the_hidden_peer_takes_an_address() {
        let at = At::Unix("/tmp/x".into());
        assert_eq!(read("peer unix:/tmp/x"), Ok(Task::Peer(at)));
        assert!(read("peer").is_err());
        assert!(read("peer nowhere").is_err());
    }

    #[test]
    fn postgres_has_a_pace_of_its_own() {
        let pace = Pace {
            rounds: 1,
            seconds: 5,
        };
        assert_eq!(read("postgres --rounds 1"), Ok(Task::Postgres(pace)));
        assert!(read("postgres --only hyper").is_err());
    }

    #[test]
    fn chaos_is_everything_for_a_while_or_one_thing_so_many_times() {
        let length = Duration::from_secs(120);
        let all = Course::All { length, rest: true };
        assert_eq!(read("chaos --minutes 2"), Ok(Task::Chaos(all)));
        let only = Course::Only(Fault::WorkerKilled, 7);
        let line = "chaos --only worker-killed --times 7";
        assert_eq!(read(line), Ok(Task::Chaos(only)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, names) in [
            ("--rounds 0", "--rounds wants a number from 1 on, not `0`"),
            ("--seconds", "--seconds wants a value"),
            (
                "--only hyper,apache",
                "--only knows hyper, hearth, nginx, workerd; not `apache`",
            ),
            ("--json=yes", "--json takes no value"),
            ("--fast", "there is no option `--fast`"),
            ("chaos --only fire", "chaos knows no fault `fire`"),
        ] {
            assert_eq!(read(line), Err(names.to_owned()));
        }
    }
}
