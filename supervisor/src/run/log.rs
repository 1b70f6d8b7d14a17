//! Opens the journal of a platform: where its records go, and where they are stored.

use std::path::Path;

use tokio::sync::mpsc;

use crate::accept::{Options, RunError};
use crate::journal::{Format, Journal, Record, Threads};
use crate::journald;
use crate::state::StateDir;
use crate::store::Store;

/// Opens the journal. It forwards records to the system's journal if there is one; the format `Journal` requires one.
pub(super) fn open_journal(options: &Options) -> Result<(Journal, Threads), RunError> {
    // A platform that serves as the system's journal would receive its own records forever.
    let own = options.journal_socket.as_deref() == Some(Path::new(journald::SOCKET));
    let system = match options.format {
        Format::Quiet => None,
        _ if own => None,
        Format::Journal => Some(journald::start().map_err(RunError::NoJournal)?),
        Format::Text | Format::Json => journald::start().ok(),
    };
    let format = match system {
        Some(_) if journald::is_stderr() => Format::Journal,
        _ => options.format,
    };
    let (journal, threads) = Journal::new(format);
    if let Some(system) = system {
        journal.tell_system(system);
    }
    Ok((journal, threads))
}

/// Maximum number of names in a line of the log. `hearth status` shows all of them.
const NAMES: usize = 8;

/// The first of these names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    match names.len().checked_sub(NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES].join(", ")),
    }
}

/// Stores the log on disk. An error is only logged, because the platform can serve without a stored log.
pub(super) fn keep_log(options: &Options, directory: &StateDir, journal: &Journal) {
    if options.log_bytes == 0 {
        return;
    }
    let say = |level, text| journal.add(&Record::new("supervisor", level, text));
    match Store::open(directory.log(), options.log_bytes) {
        Ok((store, found)) => {
            let (notices, mut noticed) = mpsc::unbounded_channel();
            journal.keep(store, &found, notices);
            // The journal's threads end when it is dropped, so this task must not keep it alive.
            let weak = journal.downgrade();
            tokio::task::spawn_local(async move {
                while let Some(record) = noticed.recv().await {
                    if let Some(journal) = weak.upgrade() {
                        journal.add(&record);
                    }
                }
            });
            if found.torn > 0 {
                let torn = found.torn;
                let text = format!(
                    "the last record of the log was not written whole; its {torn} bytes are left out"
                );
                say("warn", text);
            }
        }
        Err(error) => {
            let at = directory.log().display().to_string();
            say(
                "error",
                format!("the log is not kept on disk in {at}: {error}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_names_the_first_are_told() {
        let names: Vec<String> = (1..=10).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(listed(&names[..2]), "1, 2");
        assert_eq!(listed(&names[..8]), "1, 2, 3, 4, 5, 6, 7, 8");
        assert_eq!(listed(&names), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
    }
}
