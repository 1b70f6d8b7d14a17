//! Chance that outlives a restart: 32 bytes on data, replaced before they are used, so that no two boots are given
//! the same; after a cut of power neither.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use hearth_sys::entropy;
use sha2::{Digest, Sha256};

use super::{ActError, bytes, file, replace};

const PLACE: &str = "/data/system/seed";

/// What a seed that this program saved begins with.
const MAGIC: &[u8; 8] = b"hrthsed1";
const LENGTH: usize = 32;

/// Replaces the saved seed, then gives the old one to the kernel's pool. It counts as unguessable only if this
/// program saved it: root's own file, for nobody else to read, in its own form. Whether it did.
pub fn use_saved() -> Result<bool, ActError> {
    let ours = std::fs::symlink_metadata(PLACE)
        .is_ok_and(|found| found.is_file() && found.uid() == 0 && found.mode() & 0o077 == 0);
    let old = bytes(PLACE, 64).filter(|_| ours);
    let old = old.as_deref().and_then(read);
    save(old.as_ref())?;
    let Some(old) = old else {
        return Ok(false);
    };
    entropy::credit(&old).map_err(|source| ActError::Call {
        attempt: "give the seed to the kernel",
        source,
    })?;
    Ok(true)
}

/// Saves a fresh seed, made of the kernel's chance and of the old seed: if the pool is still empty, the old one
/// keeps the new one from being guessed.
pub fn save(old: Option<&[u8; LENGTH]>) -> Result<(), ActError> {
    const RANDOM: &str = "/dev/urandom";
    let mut fresh = [0; LENGTH];
    File::open(RANDOM)
        .and_then(|mut random| random.read_exact(&mut fresh))
        .map_err(file("read", RANDOM))?;
    let mut hash = Sha256::new();
    hash.update(MAGIC);
    hash.update(old.map_or(&[][..], |old| old));
    hash.update(fresh);
    let mut content = MAGIC.to_vec();
    content.extend(hash.finalize());
    replace(PLACE, &content)
}

fn read(content: &[u8]) -> Option<[u8; LENGTH]> {
    content.strip_prefix(MAGIC)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_seed_in_its_own_form_is_one() {
        let good = [&MAGIC[..], &[7; LENGTH]].concat();
        assert_eq!(read(&good), Some([7; LENGTH]));
        for bad in [&good[..39], &[&good[..], b"1"].concat(), &[0; 40], b""] {
            assert_eq!(read(bad), None);
        }
    }
}
