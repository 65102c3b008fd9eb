//! Log clean-up: a log tells of the retention and not of all time, and whatever it still tells of can be read.
//!
//! A version is read from a checkpoint at or before it and the entries between. So the log is cut at a checkpoint that is
//! older than every version within the retention; that checkpoint stays with all that came after it. What goes, goes
//! oldest first: clean-up that dies half-way leaves the same log, only less shortened.

use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::path::Path;

use super::{Counters, before};
use crate::error::Result;
use crate::lake::listing::LogFiles;
use crate::lake::{Snapshot, Table};

/// A log that is to be shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The oldest version that can be read afterwards, at which there is a checkpoint.
    pub oldest: u64,
    /// What goes, in this order.
    pub delete: Vec<Path>,
}

/// How clean-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaned {
    /// So many entries and checkpoints were deleted.
    Deleted(usize),
    /// This user may not delete.
    Refused,
}

/// The versions that were current at some time since `cutoff` stay, and so does the checkpoint they are read from. Readers
/// start from the checkpoint that `_last_checkpoint` names (`hint`), so nothing is cut beyond that.
pub fn plan(log: &LogFiles, hint: Option<u64>, cutoff: DateTime<Utc>) -> Option<Plan> {
    let newest = log.newest()?;
    // The first version after the cutoff; the one before it was current then.
    let young = log.entries().find(|f| f.meta.last_modified > cutoff).map(|f| f.version);
    let needed = young.map_or(newest, |version| version.saturating_sub(1));
    let (oldest, _) = log.checkpoint(needed.min(hint?))?;
    let delete: Vec<Path> =
        log.files().iter().take_while(|f| f.version < oldest).map(|f| f.meta.location.clone()).collect();
    (!delete.is_empty()).then_some(Plan { oldest, delete })
}

/// How long this table keeps versions.
pub fn retention(snapshot: &Snapshot, configured: Duration) -> Duration {
    snapshot.retention.log.unwrap_or(configured)
}

/// Shortens the log to what came after `now` less the retention.
pub async fn run(table: &Table, retention: Duration, now: DateTime<Utc>, counters: &Counters) -> Result<Cleaned> {
    let hint = table.checkpointed().await?.map(|last| last.version);
    let Some(plan) = plan(&table.log_files().await?, hint, before(now, retention)) else {
        return Ok(Cleaned::Deleted(0));
    };
    let mut deleted = 0;
    let allowed = table
        .delete_objects(&plan.delete, |n| {
            deleted += n;
            Counters::add(&counters.log_files_deleted, n);
        })
        .await?;
    tracing::debug!(table = %table.name, oldest = plan.oldest, deleted, "log clean-up");
    if allowed {
        Ok(Cleaned::Deleted(deleted))
    } else {
        Counters::add(&counters.refused, 1);
        Ok(Cleaned::Refused)
    }
}
