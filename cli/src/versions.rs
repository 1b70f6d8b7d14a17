//! `hearth versions`.

use std::fmt::Write;

use hearth_supervisor::api::{Client, VersionsStatus};
use hearth_supervisor::versions::Change;

use crate::args::Versions;
use crate::out::{self, Outcome};

pub(crate) fn versions(args: &Versions) -> anyhow::Result<Outcome> {
    let versions: VersionsStatus = Client::of(&args.manifest).get("/v1/versions")?;
    match args.json {
        true => out::data(serde_json::to_string_pretty(&versions)?)?,
        false => out::data(text(&versions).trim_end())?,
    }
    Ok(Outcome::Done)
}

fn text(status: &VersionsStatus) -> String {
    let mut text = "   version  when (UTC)           changed\n".to_owned();
    for one in &status.versions {
        let mark = if one.current { "*" } else { " " };
        let rolled_back = match &one.rolled_back {
            Some(function) => format!("; {function} was rolled back"),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            " {mark} {:>7}  {}  {}{rolled_back}",
            one.version,
            when(one.time),
            changes(&one.changes)
        );
    }
    text.push('\n');
    for (name, editions) in &status.functions {
        let editions: Vec<String> = editions
            .iter()
            .map(|one| match one.current {
                true => format!("{}*", one.version),
                false => one.version.to_string(),
            })
            .collect();
        let _ = writeln!(text, "{name}: as of {}", editions.join(", "));
    }
    text
}

/// What changed, in one line.
pub(crate) fn changes(changes: &[Change]) -> String {
    let changes = changes.iter().map(|one| match &one.function {
        Some(function) => format!("{function} ({})", one.what),
        None => one.what.clone(),
    });
    match changes.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "-".to_owned(),
        some => some,
    }
}

/// A time in milliseconds since 1970 as date and time of day, UTC.
fn when(time: u64) -> String {
    let (days, seconds) = (time / 1000 / 86_400, time / 1000 % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The date so many days after 1970-01-01, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_of_the_calendar() {
        let check = |time: u64, expect: &str| assert_eq!(when(time), expect);
        check(0, "1970-01-01 00:00:00");
        check(951_782_400_000, "2000-02-29 00:00:00");
        check(1_709_251_199_999, "2024-02-29 23:59:59");
        check(1_735_689_600_000, "2025-01-01 00:00:00");
        check(4_107_542_400_000, "2100-03-01 00:00:00");
    }
}
