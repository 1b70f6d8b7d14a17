//! Fuzzes the reader of the identity partition with arbitrary contents: nothing may panic, and an identity that is
//! written afterwards must be the one that is read.

use hearth_image::identity::{Identity, IdentityError, read};

/// Size of the partition in bytes.
const LEN: usize = 1 << 20;

/// Reads the bytes as a partition, then adds an entry and reads again.
pub fn run(bytes: &[u8]) {
    let mut partition = vec![0; LEN];
    let used = bytes.len().min(LEN);
    partition[..used].copy_from_slice(&bytes[..used]);
    let held = read(&partition);
    let mut entries = held.identity.entries.clone();
    entries.insert("name".to_owned(), b"value".to_vec());
    let wanted = Identity { entries };
    let (at, copy) = match held.replace(&wanted) {
        Ok(written) => written,
        Err(IdentityError::Room(_)) => return,
        Err(error) => panic!("what was read cannot be written: {error}"),
    };
    let at = usize::try_from(at).expect("it lies within the partition");
    partition[at..at + copy.len()].copy_from_slice(&copy);
    let after = read(&partition);
    assert_eq!(after.identity, wanted);
    assert!(after.generation > held.generation);
}
