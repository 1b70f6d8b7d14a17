//! Selects records of the log: a query is parsed once, and its filter is then applied to each record. Pure.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::journal::Record;

/// Levels, the most severe first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The severity of a record. The most severe level is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(usize);

impl Level {
    /// The level with this name.
    pub fn of(name: &str) -> Option<Level> {
        LEVELS.iter().position(|known| *known == name).map(Level)
    }

    /// Parses a level of a query. The error is a text for the user.
    pub fn parse(text: &str) -> Result<Level, String> {
        Level::of(text).ok_or(format!(
            "`{text}` is no level; write one of {}",
            LEVELS.join(", ")
        ))
    }
}

/// The time from which on records are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This long before the query.
    Ago(Duration),
    /// Milliseconds since 1970, UTC.
    At(u64),
}

impl Since {
    /// Parses a duration such as `10m`, or a time such as `2026-11-24T14:00:00Z` (RFC 3339).
    pub fn parse(text: &str) -> Result<Since, String> {
        if let Some(ago) = hearth_manifest::read_duration(text) {
            return Ok(Since::Ago(ago));
        }
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => {
                let millis = time.unix_timestamp_nanos() / 1_000_000;
                Ok(Since::At(u64::try_from(millis).unwrap_or(0)))
            }
            Err(_) => Err(format!(
                "`{text}` is no time; write a duration as `10m` or `2h`, or a time of RFC 3339 as \
                 `2026-11-24T14:00:00Z`"
            )),
        }
    }

    fn millis(self, now: u64) -> u64 {
        match self {
            Since::Ago(ago) => {
                now.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
            }
            Since::At(at) => at,
        }
    }
}

/// A query for records of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Maximum number of past records.
    pub lines: usize,
    /// Whether later records follow.
    pub follow: bool,
    /// Selects records of this function.
    pub function: Option<String>,
    /// Selects records of this level and of more severe ones.
    pub level: Option<Level>,
    /// Selects records from this time on.
    pub since: Option<Since>,
    /// Selects records of this request.
    pub request: Option<String>,
}

/// The conditions of a query, with its start as an absolute time.
#[derive(Clone, Debug)]
pub struct Filter {
    function: Option<String>,
    level: Option<Level>,
    since: u64,
    request: Option<String>,
}

impl LogQuery {
    /// The filter of a query that is made at `now`, in milliseconds since 1970.
    pub fn filter(&self, now: u64) -> Filter {
        Filter {
            function: self.function.clone(),
            level: self.level,
            since: self.since.map_or(0, |since| since.millis(now)),
            request: self.request.clone(),
        }
    }
}

impl Filter {
    /// Whether a record meets all conditions. An unknown level counts as the most severe one, so that such a record is
    /// not missed.
    pub fn wants(&self, record: &Record) -> bool {
        let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        let grave = |least| Level::of(&record.level).is_none_or(|level| level <= least);
        record.time >= self.since
            && self.level.is_none_or(grave)
            && same(&self.function, &record.function)
            && same(&self.request, &record.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> LogQuery {
        LogQuery {
            lines: 1,
            follow: false,
            function: None,
            level: None,
            since: None,
            request: None,
        }
    }

    #[test]
    fn times_are_durations_or_rfc_3339_with_any_offset() {
        let minutes = |count: u64| Ok(Since::Ago(Duration::from_secs(60 * count)));
        assert_eq!(Since::parse("10m"), minutes(10));
        assert_eq!(Since::parse("2h"), minutes(120));
        let at = Ok(Since::At(1_000));
        assert_eq!(Since::parse("1970-01-01T00:00:01Z"), at);
        assert_eq!(Since::parse("1970-01-01T02:00:01+02:00"), at);
        assert_eq!(Since::parse("1970-01-01T00:00:01.5Z"), Ok(Since::At(1_500)));
        for wrong in ["", "10", "yesterday", "2026-13-01T00:00:00Z", "-5m"] {
            let said = Since::parse(wrong).unwrap_err();
            assert!(said.starts_with(&format!("`{wrong}` is no time")), "{said}");
        }
    }

    #[test]
    fn each_condition_must_hold() {
        let mut record = Record::new("worker", "warn", "slow").about("items", Some(3));
        record.request = Some("ab".to_owned());
        record.time = 10_000;
        let wants = |query: LogQuery| query.filter(70_000).wants(&record);
        assert!(wants(everything()));
        for (level, expect) in [("error", false), ("warn", true), ("trace", true)] {
            let level = Level::of(level);
            assert_eq!(
                wants(LogQuery {
                    level,
                    ..everything()
                }),
                expect
            );
        }
        for (since, expect) in [("1m", true), ("59s", false)] {
            let since = Some(Since::parse(since).unwrap());
            assert_eq!(
                wants(LogQuery {
                    since,
                    ..everything()
                }),
                expect
            );
        }
        for (name, expect) in [("items", true), ("item", false)] {
            let function = Some(name.to_owned());
            assert_eq!(
                wants(LogQuery {
                    function,
                    ..everything()
                }),
                expect
            );
        }
        for (id, expect) in [("ab", true), ("abc", false)] {
            let request = Some(id.to_owned());
            assert_eq!(
                wants(LogQuery {
                    request,
                    ..everything()
                }),
                expect
            );
        }
    }

    #[test]
    fn a_record_of_an_unknown_level_is_never_left_out() {
        let record = Record::new("worker", "fatal", "boom");
        let level = Level::of("error");
        assert!(
            LogQuery {
                level,
                ..everything()
            }
            .filter(0)
            .wants(&record)
        );
    }
}
