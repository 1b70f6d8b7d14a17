//! Sends one record to the system's journal, as a platform with `--log journal` does, so that a test can check what
//! arrives there.
//!
//! `journal_says LEVEL LENGTH`: the record has this level, is about worker 3 of the function `items`, and its message
//! has LENGTH letters.

use std::error::Error;

use hearth_supervisor::journal::Record;
use hearth_supervisor::journald;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let level = args.next().ok_or("no level")?;
    let length: usize = args.next().ok_or("no length")?.parse()?;
    let mut record = Record::new("worker", &level, "m".repeat(length)).about("items", Some(3));
    record.request = Some("r1".to_owned());
    record.fields.insert("tenant".to_owned(), "acme".into());
    let (entrance, thread) = journald::start()?;
    entrance.offer(record);
    drop(entrance);
    thread.join().map_err(|_| "the thread panicked")?;
    Ok(())
}
