//! Fuzzes the parser of journal messages: it must not panic, every field must have a valid name, and entries that are
//! written must parse to the same entries.

use hearth_supervisor::native::{parse, write};
use hearth_supervisor::receiver::record;

/// Parses the bytes.
pub fn run(bytes: &[u8]) {
    let (entries, _) = parse(bytes);
    let mut again = Vec::new();
    for entry in &entries {
        assert!(!entry.is_empty());
        for (name, value) in entry {
            assert!(name.starts_with(|first: char| first.is_ascii_uppercase()));
            assert!(value.len() <= bytes.len());
        }
        write(entry, &mut again);
        let record = record(entry, None);
        assert!(record.function.is_none() && record.worker.is_none() && record.request.is_none());
    }
    assert_eq!(parse(&again), (entries, None));
}
