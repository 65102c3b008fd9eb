//! The folder for what does not fit into memory: bounded, this process's own, and gone when it is.
//!
//! A process that is killed cannot clear up. Its folder has a file that it kept locked; whoever comes later clears away
//! the folders whose lock nobody holds.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::{Error, Result};

const PREFIX: &str = "medallion-spill-";
const LOCK: &str = "lock";
/// What all queries of an engine may spill together.
pub const MOST_BYTES: u64 = 100 << 30;

#[derive(Debug)]
pub struct SpillFolder {
    path: PathBuf,
    /// Locked for as long as the folder is in use.
    _lock: File,
}

impl SpillFolder {
    /// A new folder below `parent`, from which the folders of processes that are gone are cleared away.
    pub fn below(parent: &Path) -> Result<SpillFolder> {
        clear_away(parent);
        let path = parent.join(format!("{PREFIX}{}", Uuid::new_v4()));
        let locked = || -> io::Result<File> {
            std::fs::create_dir_all(&path)?;
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            Ok(lock)
        };
        match locked() {
            Ok(lock) => Ok(SpillFolder { path, _lock: lock }),
            Err(e) => Err(Error::outside(format!("no folder for what does not fit into memory: {}", path.display()))
                .because(e)
                .hint("TMPDIR names another place for it")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be cleared away now is cleared away by the next process.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn clear_away(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX)) {
        // A folder without its lock is one that is just being made.
        let Ok(lock) = OpenOptions::new().write(true).open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok()
            && let Err(e) = std::fs::remove_dir_all(entry.path())
        {
            tracing::debug!(folder = %entry.path().display(), error = %e, "left behind by another process");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_nobody_uses_any_more_is_cleared_away_and_one_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(format!("{PREFIX}left"));
        std::fs::create_dir_all(&left).unwrap();
        File::create(left.join(LOCK)).unwrap();
        std::fs::write(left.join("rows"), "rows").unwrap();
        let first = SpillFolder::below(parent.path()).unwrap();
        assert!(!left.exists());
        let second = SpillFolder::below(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        let path = second.path().to_path_buf();
        drop(second);
        assert!(!path.exists() && first.path().exists());
    }
}
