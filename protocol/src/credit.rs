//! Credit: how many payload bytes a sender may still send on a stream.

/// The credit of one direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit(u32);

/// A peer gave so much credit that the sum exceeds 2^32 - 1 bytes. This breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("credit beyond 4 GiB")]
pub struct CreditOverflow;

impl Credit {
    /// Creates a credit of `bytes`.
    pub fn new(bytes: u32) -> Credit {
        Credit(bytes)
    }

    /// Number of bytes that may be sent now.
    pub fn available(self) -> usize {
        self.0 as usize
    }

    /// Spends `bytes`. If the credit is too small, spends nothing and returns `false`.
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

    /// Adds the credit of a WINDOW.
    pub fn give(&mut self, bytes: u32) -> Result<(), CreditOverflow> {
        self.0 = self.0.checked_add(bytes).ok_or(CreditOverflow)?;
        Ok(())
    }
}

/// The receiver's account of one direction: the credit that the sender has left, and the bytes that have been consumed
/// but not yet given back.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    outstanding: Credit,
    consumed: u32,
    batch: u32,
}

impl Receipt {
    /// Creates the account of a stream that starts with `credit`. Credit is given back in steps of half of `credit`, so
    /// that WINDOW frames are few and the sender does not have to wait.
    pub fn new(credit: u32) -> Receipt {
        Receipt {
            outstanding: Credit::new(credit),
            consumed: 0,
            batch: (credit / 2).max(1),
        }
    }

    /// Records that `bytes` arrived. Returns `false` if the sender had no credit for them.
    #[must_use]
    pub fn arrived(&mut self, bytes: usize) -> bool {
        self.outstanding.spend(bytes)
    }

    /// Records that `bytes` were consumed. Returns the credit to send in a WINDOW now, if any.
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
