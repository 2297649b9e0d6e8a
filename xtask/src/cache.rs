use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};

/// A folder of what is expensive to fetch or build, kept between runs: `$VIADUCT_CACHE` or
/// `~/.cache/viaduct`.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let cache = match env::var_os("VIADUCT_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither VIADUCT_CACHE nor HOME is set")?)
                .join(".cache/viaduct")
        }
    };
    let folder = cache.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
