//! What a full run has done so far. A full run takes hours, so it can be resumed after an interruption or a failure.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;
use xtask::cache;
use xtask::key::Key;

use super::part::Part;
use super::report::Row;

/// The rows of parts that have passed, each in a file below `full/` in the cache whose name is the part's key.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    place: PathBuf,
    resume: bool,
}

impl Unfinished {
    /// Opens the last run to resume it, or starts a new one. A new run of all parts deletes the last one.
    pub(crate) fn open(resume: bool, all_parts: bool) -> anyhow::Result<Unfinished> {
        let place = cache::place()?.join("full");
        let run = Unfinished { place, resume };
        if !resume && all_parts {
            run.finish()?;
        }
        let shown = run.place.display();
        fs::create_dir_all(&run.place).with_context(|| format!("cannot make {shown}"))?;
        Ok(run)
    }

    /// Returns the row of a part, if the part passed with these inputs in the run that is resumed.
    pub(crate) fn row(&self, part: &Part, key: &Key) -> Option<Row> {
        if !self.resume {
            return None;
        }
        let text = fs::read_to_string(self.place.join(key.full())).ok()?;
        let written: Value = serde_json::from_str(&text).ok()?;
        Row::earlier(part, key, &written)
    }

    /// Stores that a part has passed.
    pub(crate) fn remember(&self, key: &Key, row: &Row) -> anyhow::Result<()> {
        let file = self.place.join(key.full());
        fs::write(&file, row.json().to_string())
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Deletes the run, because there is nothing left to resume.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        match self.place.exists() {
            true => fs::remove_dir_all(&self.place)
                .with_context(|| format!("cannot remove {}", self.place.display())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xtask::sh::root;
    use xtask::tree::Tree;

    use super::*;
    use crate::test::{Size, plan};

    #[test]
    fn a_resumed_run_has_the_rows_of_what_passed_with_the_same_inputs() {
        let place = std::env::temp_dir().join(format!("hearth-full-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let run = Unfinished {
            place: place.clone(),
            resume: true,
        };
        let tree = Tree::read(&root()).unwrap();
        let parts = plan::parts(&tree, &Size::Full { resume: true }).unwrap();
        let [part, other] = &parts[..2] else {
            panic!("a full run has more than two parts");
        };
        let key = part.key(&tree).unwrap();
        assert!(run.row(part, &key).is_none());
        let passed = Row::ran(part, key.clone(), Duration::from_secs(7), None);
        run.remember(&key, &passed).unwrap();
        let row = run.row(part, &key).unwrap();
        assert_eq!((&row.name, row.time), (&part.name, Duration::from_secs(7)));
        assert!(run.row(other, &other.key(&tree).unwrap()).is_none());
        let new = Unfinished {
            place,
            resume: false,
        };
        assert!(new.row(part, &key).is_none());
        run.finish().unwrap();
        assert!(run.row(part, &key).is_none());
    }
}
