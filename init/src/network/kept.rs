//! A DHCP server's word, kept in memory for whoever sees to the network after this process: it holds to its end.

use std::fs;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::Given;
use super::record::replace;
use crate::act::text;

const PLACE: &str = "/run/hearth/lease.json";

/// What was given, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The card's number.
    pub(super) interface: u32,
    pub(super) given: Given,
    /// Since the machine was started.
    pub(super) until: Duration,
}

impl Kept {
    /// What a predecessor has left, if that is something.
    pub(super) fn read() -> Option<Kept> {
        serde_json::from_str(&text(PLACE, 64 * 1024)?).ok()
    }

    /// Leaves it.
    pub(super) fn write(&self) -> io::Result<()> {
        replace(PLACE, &serde_json::to_string(self)?)
    }

    /// Leaves nothing.
    pub(super) fn forget() {
        // There may be nothing.
        let _ = fs::remove_file(PLACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_is_found() {
        let kept = Kept {
            interface: 2,
            given: Given {
                address: Some(([10, 0, 2, 15].into(), 24)),
                router: Some([10, 0, 2, 2].into()),
                dns: vec![[10, 0, 2, 3].into()],
                time: Vec::new(),
            },
            until: Duration::from_millis(7_200_500),
        };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
    }
}
