//! What lies in a table's log folder, by version: entries and checkpoints, and which of them a reader needs.
//!
//! The newest checkpoint's number is kept in `_last_checkpoint`, so that finding the newest version lists what came
//! after it and not the whole log, which may tell of a month. It is a hint: without it everything is listed.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use serde::Deserialize;

use super::{Table, store};
use crate::error::Result;

/// One object of a log that belongs to a version.
#[derive(Debug, Clone)]
pub struct LogFile {
    pub version: u64,
    pub kind: LogKind,
    pub meta: ObjectMeta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    Entry,
    /// One of so many parts of a checkpoint.
    Checkpoint {
        parts: usize,
    },
    /// What only other writers make: checksums, checkpoints in JSON, and entries compacted up to this version.
    Other,
}

/// The versions that a log tells of, from a listing.
#[derive(Debug, Clone, Default)]
pub struct LogFiles {
    /// By version; of one version the entry comes first.
    files: Vec<LogFile>,
}

/// What the writer of the newest checkpoint noted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LastCheckpoint {
    pub version: u64,
    /// How many actions it holds: files, files that left, marks.
    pub size: u64,
}

impl LogFile {
    fn of(meta: ObjectMeta) -> Option<LogFile> {
        let name = meta.location.filename()?;
        let words: Vec<&str> = name.split('.').collect();
        let (first, rest) = words.split_first()?;
        let mut version = first.parse().ok()?;
        let kind = match rest {
            ["json"] => LogKind::Entry,
            // One file, one that a UUID tells from others of its version, or one of several parts.
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet"] => LogKind::Checkpoint { parts: 1 },
            ["checkpoint", _, parts, "parquet"] => LogKind::Checkpoint { parts: parts.parse().ok()? },
            ["crc"] | ["checkpoint", _, "json"] => LogKind::Other,
            [last, "compacted", "json"] => {
                version = last.parse().ok()?;
                LogKind::Other
            }
            _ => return None,
        };
        Some(LogFile { version, kind, meta })
    }
}

impl LogFiles {
    pub fn new(objects: impl IntoIterator<Item = ObjectMeta>, log: &Path) -> LogFiles {
        // Folders inside the log, such as the sidecars of other writers' checkpoints, are not its files.
        let inside = |m: &ObjectMeta| m.location.prefix_match(log).is_some_and(|parts| parts.count() == 1);
        let mut files: Vec<LogFile> = objects.into_iter().filter(inside).filter_map(LogFile::of).collect();
        files.sort_by(|a, b| (a.version, &a.meta.location).cmp(&(b.version, &b.meta.location)));
        LogFiles { files }
    }

    pub fn files(&self) -> &[LogFile] {
        &self.files
    }

    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &LogFile> {
        self.files.iter().filter(|f| f.kind == LogKind::Entry)
    }

    /// The newest version: that of the last entry, or of a checkpoint whose entry is gone.
    pub fn newest(&self) -> Option<u64> {
        let entry = self.entries().next_back().map(|f| f.version);
        entry.max(self.checkpoint(u64::MAX).map(|(version, _)| version))
    }

    /// The newest checkpoint at or before `version` all of whose parts are there, and its files.
    pub fn checkpoint(&self, version: u64) -> Option<(u64, Vec<Path>)> {
        let mut found: BTreeMap<(u64, usize), Vec<Path>> = BTreeMap::new();
        for file in self.files.iter().filter(|f| f.version <= version) {
            if let LogKind::Checkpoint { parts } = file.kind {
                found.entry((file.version, parts)).or_default().push(file.meta.location.clone());
            }
        }
        found.into_iter().rev().find_map(|((version, parts), mut files)| match parts {
            1 => files.pop().map(|file| (version, vec![file])),
            _ => (files.len() == parts).then_some((version, files)),
        })
    }
}

impl Table {
    pub(super) fn log_folder(&self) -> Path {
        self.path_of("_delta_log")
    }

    /// All of the log's files.
    pub async fn log_files(&self) -> Result<LogFiles> {
        let log = self.log_folder();
        let files: Vec<_> =
            self.store().list(Some(&log)).try_collect().await.map_err(|e| store::error("list", &log, e))?;
        Ok(LogFiles::new(files, &log))
    }

    /// The log's files of the newest checkpoint and after, or all if no checkpoint is known.
    pub(super) async fn log_tail(&self) -> Result<LogFiles> {
        if let Some(checkpoint) = self.checkpointed().await? {
            let log = self.log_folder();
            // Sorts right before the files of that version.
            let before = log.clone().join(format!("{:020}", checkpoint.version));
            let listed = self.store().list_with_offset(Some(&log), &before).try_collect::<Vec<_>>().await;
            let tail = LogFiles::new(listed.map_err(|e| store::error("list", &log, e))?, &log);
            if tail.newest().is_some() {
                return Ok(tail);
            }
        }
        self.log_files().await
    }

    /// The newest checkpoint, as its writer noted it.
    pub async fn checkpointed(&self) -> Result<Option<LastCheckpoint>> {
        let path = self.path_of("_delta_log/_last_checkpoint");
        match self.store().get(&path).await {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(|e| store::error("read", &path, e))?;
                // One that is half-written or of another make is no hint; nothing else depends on it.
                Ok(serde_json::from_slice(&bytes).ok())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(store::error("read", &path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn listing(names: &[&str]) -> LogFiles {
        let meta = |name: &&str| ObjectMeta {
            location: Path::from(format!("t/_delta_log/{name}")),
            last_modified: Utc::now(),
            size: 1,
            e_tag: None,
            version: None,
        };
        LogFiles::new(names.iter().map(meta), &Path::from("t/_delta_log"))
    }

    #[test]
    fn only_a_checkpoint_with_all_its_parts_counts() {
        let log = listing(&[
            "00000000000000000002.checkpoint.parquet",
            "00000000000000000004.checkpoint.0000000001.0000000002.parquet",
            "00000000000000000004.checkpoint.0000000002.0000000002.parquet",
            "00000000000000000006.checkpoint.0000000001.0000000002.parquet",
            "00000000000000000008.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet",
            "00000000000000000006.json",
            "00000000000000000007.json",
            "_last_checkpoint",
            "_sidecars/00000000000000000009.checkpoint.parquet",
        ]);
        let version_and_files = |v| log.checkpoint(v).map(|(version, files)| (version, files.len()));
        assert_eq!(version_and_files(1), None);
        assert_eq!(version_and_files(3), Some((2, 1)));
        assert_eq!(version_and_files(7), Some((4, 2)));
        assert_eq!(version_and_files(u64::MAX), Some((8, 1)));
        assert_eq!(log.newest(), Some(8));
        assert_eq!(log.entries().map(|f| f.version).collect::<Vec<_>>(), [6, 7]);
    }

    #[test]
    fn an_entry_compacted_from_several_belongs_to_the_last_of_them() {
        let log = listing(&["00000000000000000001.00000000000000000005.compacted.json", "00000000000000000003.crc"]);
        let found: Vec<_> = log.files().iter().map(|f| (f.version, f.kind)).collect();
        assert_eq!(found, [(3, LogKind::Other), (5, LogKind::Other)]);
        assert_eq!(log.newest(), None);
    }
}
