//! Credit: how many payload bytes a sender may still put on a stream.

/// One direction's credit on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit(u32);

/// The sum of credit does not fit: a peer that gives more than 4 GiB breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("credit beyond 4 GiB")]
pub struct CreditOverflow;

impl Credit {
    /// Starts with `bytes`.
    pub fn new(bytes: u32) -> Credit {
        Credit(bytes)
    }

    /// Bytes that may be sent now.
    pub fn available(self) -> usize {
        self.0 as usize
    }

    /// Spends `bytes`; `false`, and nothing spent, if there is not enough.
    #[must_use]
    pub fn spend(&mut self, bytes: usize) -> bool {
        match u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.0.checked_sub(bytes))
        {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }

    /// Adds what a WINDOW gave.
    pub fn give(&mut self, bytes: u32) -> Result<(), CreditOverflow> {
        self.0 = self.0.checked_add(bytes).ok_or(CreditOverflow)?;
        Ok(())
    }
}

/// The receiver's book of one direction: what the sender may still send, and what has been consumed
/// but not yet given back.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    outstanding: Credit,
    consumed: u32,
    batch: u32,
}

impl Receipt {
    /// For a stream that starts with `credit`; gives back in steps of half of it, so that WINDOW
    /// frames are few and the sender does not run dry.
    pub fn new(credit: u32) -> Receipt {
        Receipt {
            outstanding: Credit::new(credit),
            consumed: 0,
            batch: (credit / 2).max(1),
        }
    }

    /// Books `bytes` that came; `false` if the sender had no credit for them.
    #[must_use]
    pub fn arrived(&mut self, bytes: usize) -> bool {
        self.outstanding.spend(bytes)
    }

    /// Books `bytes` that were consumed; returns the credit to give with a WINDOW now, if any.
    pub fn consumed(&mut self, bytes: usize) -> Option<u32> {
        self.consumed += u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.consumed < self.batch {
            return None;
        }
        let credit = std::mem::take(&mut self.consumed);
        self.outstanding
            .give(credit)
            .expect("no more is given than was spent");
        Some(credit)
    }
}
