//! Where slow and large products are kept between runs.

use std::path::PathBuf;

use anyhow::bail;

/// `hearth` in the user's directory of caches (XDG Base Directory Specification).
pub(crate) fn place() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let own = || std::env::home_dir().map(|home| home.join(".cache"));
    let Some(cache) = named.or_else(own) else {
        bail!("no home directory");
    };
    Ok(cache.join("hearth"))
}
