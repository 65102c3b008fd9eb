//! Vacuum: data files that no version needs any more are deleted, and nothing else.
//!
//! A file goes if it has one of our names, lies in the table's folder outside its log, is as old as the retention, is not
//! in the newest version, and did not leave the table within the retention. Files are listed before the log is read, so
//! that whatever was committed meanwhile is seen; a file that a commit is still about to name is far younger than any
//! retention that is accepted.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::{Counters, before};
use crate::error::{Error, Result};
use crate::lake::{Snapshot, Table, store, write};

/// Below this a query that began yesterday would lose its files.
const LEAST: Duration = Duration::from_secs(24 * 3600);
/// Below this a commit under way could. Nothing lifts this limit.
const LEAST_FORCED: Duration = Duration::from_secs(3600);
/// How long checkpoints remember removed files if the table does not say otherwise.
const REMOVALS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Files that no version of the retention needs.
    pub files: usize,
    pub bytes: u64,
    /// How many of them were deleted.
    pub deleted: usize,
    /// Files of such an age whose names are not ours: they are left alone.
    pub foreign: usize,
    /// This user may not delete.
    pub refused: bool,
}

/// Fails unless files may be deleted at that age. `commit_timeout` is how long a commit may be under way.
pub fn ensure_safe(retention: Duration, commit_timeout: Duration, force: bool) -> Result<()> {
    let least = LEAST_FORCED.max(commit_timeout.saturating_mul(2));
    if retention < least {
        return Err(Error::input(format!(
            "a retention of {} h is too short: a commit under way could lose its files",
            retention.as_secs_f64() / 3600.0
        ))
        .hint(format!("{} h is the least that --force allows", least.as_secs_f64() / 3600.0)));
    }
    if retention < LEAST && !force {
        return Err(Error::input(format!(
            "a retention of {} h is short: queries and builds that read older versions would lose their files",
            retention.as_secs_f64() / 3600.0
        ))
        .hint("choose 24h or more, or add --force when nothing else reads the lake"));
    }
    Ok(())
}

/// Fails if the table forgets sooner which files left it.
pub fn ensure_remembered(snapshot: &Snapshot, retention: Duration) -> Result<()> {
    let kept = snapshot.retention.removals.unwrap_or(REMOVALS_KEPT);
    if retention > kept {
        return Err(Error::input(format!(
            "{}: files cannot be kept for {} h after they left the table, whose log remembers them for {} h",
            snapshot.name,
            retention.as_secs_f64() / 3600.0,
            kept.as_secs_f64() / 3600.0
        ))
        .hint("choose a shorter retention, or raise the table's delta.deletedFileRetentionDuration"));
    }
    Ok(())
}

/// Deletes what no version has needed since `now` less the retention; with `dry_run` it only counts.
pub async fn run(
    table: &Table,
    retention: Duration,
    now: DateTime<Utc>,
    dry_run: bool,
    counters: &Counters,
) -> Result<Vacuumed> {
    let cutoff = before(now, retention);
    let mut done = Vacuumed::default();
    // The order matters: see above.
    let old = old_files(table, cutoff).await?;
    let Some(snapshot) = table.latest().await? else { return Ok(done) };
    ensure_remembered(&snapshot, retention)?;
    let removed = table.removed_since(snapshot.version, cutoff.timestamp_millis()).await?;
    let needed: HashSet<Path> = snapshot
        .files
        .iter()
        .map(|f| f.path.as_str())
        .chain(removed.iter().map(String::as_str))
        .map(|f| table.path_of(f))
        .collect();
    let mut delete = Vec::new();
    for file in old.into_iter().filter(|f| !needed.contains(&f.location)) {
        if file.location.filename().is_some_and(write::is_own_file) {
            done.files += 1;
            done.bytes += file.size;
            delete.push(file.location);
        } else {
            done.foreign += 1;
        }
    }
    if dry_run {
        return Ok(done);
    }
    let allowed = table
        .delete_objects(&delete, |n| {
            done.deleted += n;
            Counters::add(&counters.data_files_deleted, n);
        })
        .await?;
    if !allowed {
        done.refused = true;
        Counters::add(&counters.refused, 1);
    }
    Ok(done)
}

/// What lies in the table's folder but not in its log, and was written before the cutoff.
async fn old_files(table: &Table, cutoff: DateTime<Utc>) -> Result<Vec<ObjectMeta>> {
    let root = table.folder();
    let failed = |e| store::error("list", root, e);
    let top = table.store().list_with_delimiter(Some(root)).await.map_err(failed)?;
    let is_old = |file: &ObjectMeta| file.last_modified < cutoff;
    let mut old: Vec<ObjectMeta> = top.objects.into_iter().filter(is_old).collect();
    for folder in top.common_prefixes {
        // The log is long and none of it is data.
        if folder.filename() == Some("_delta_log") {
            continue;
        }
        let mut files = table.store().list(Some(&folder));
        while let Some(file) = files.try_next().await.map_err(failed)? {
            old.extend(Some(file).filter(is_old));
        }
    }
    Ok(old)
}
