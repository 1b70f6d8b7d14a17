//! `hearth versions`: lists the versions that are kept.

use std::fmt::Write;

use hearth_supervisor::api::VersionsStatus;
use hearth_supervisor::versions::Change;
use time::OffsetDateTime;

use crate::args::Versions;
use crate::out::{self, Outcome};

pub(crate) fn versions(args: &Versions) -> anyhow::Result<Outcome> {
    let versions: VersionsStatus = args.running.client().get("/v1/versions")?;
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

/// The changes in one line, or `-` if there are none.
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

/// A time in milliseconds since 1970 as date and time of day in UTC, or as the number itself if the calendar does not
/// reach that far.
fn when(time: u64) -> String {
    let seconds = i64::try_from(time / 1000).unwrap_or(i64::MAX);
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return time.to_string();
    };
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}")
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
        check(u64::MAX, "18446744073709551615");
    }
}
