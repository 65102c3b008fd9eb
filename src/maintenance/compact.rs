//! Compaction: small files become large ones, and no row changes.
//!
//! Each bin is one commit of its own that says so (`dataChange = false`): readers of changes pass it over, and appends
//! before and after it go through. It relies on nothing but that its files are still in the table, which the commit
//! checks: of two compactions of one file, one is committed and the other's files are deleted.

use std::collections::HashSet;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use tokio::sync::watch;

use super::plan::{self, Bin, Sizes};
use super::{Counters, reader};
use crate::error::{Error, Result};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::log::Add;
use crate::lake::write::TableWriter;
use crate::lake::{Snapshot, Table};

/// How long a store may be away before a compaction gives up. Its files are then left to vacuum.
const PATIENCE: Duration = Duration::from_secs(60);

/// What compaction did to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    pub commits: usize,
    pub files_before: usize,
    pub files_after: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Bins that another writer came before.
    pub conflicts: usize,
}

/// How the compaction of one bin ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Committed { files: usize, bytes: u64 },
    Conflict(String),
    Stopped,
}

/// Compacts a table until nothing is left to do or `stop` turns true.
pub async fn run(
    table: &Table,
    sizes: Sizes,
    now: DateTime<Utc>,
    stop: &watch::Receiver<bool>,
    counters: &Counters,
) -> Result<Compacted> {
    let mut done = Compacted::default();
    let mut given_up: HashSet<String> = HashSet::new();
    while !*stop.borrow() {
        // Each bin starts from what the table is now: a compaction of an hour must not meet an hour of commits.
        let Some(snapshot) = table.latest().await? else { break };
        let fresh = |bin: &Bin| bin.iter().all(|f| !given_up.contains(&f.path));
        let Some(bin) = plan::bins(&snapshot, sizes, now).into_iter().find(fresh) else { break };
        match compact(table, &snapshot, &bin, sizes.target, stop).await? {
            Ended::Committed { files, bytes } => {
                let before: u64 = bin.iter().map(|f| f.size).sum();
                done.commits += 1;
                done.files_before += bin.len();
                done.files_after += files;
                done.bytes_before += before;
                done.bytes_after += bytes;
                Counters::add(&counters.compactions, 1);
                Counters::add(&counters.files_compacted, bin.len());
                Counters::add(&counters.bytes_compacted, usize::try_from(before).unwrap_or(usize::MAX));
            }
            Ended::Conflict(why) => {
                tracing::debug!(table = %table.name, why, "a compaction came too late");
                given_up.extend(bin.iter().map(|f| f.path.clone()));
                done.conflicts += 1;
                Counters::add(&counters.conflicts, 1);
            }
            Ended::Stopped => break,
        }
    }
    Ok(done)
}

/// Puts one bin's files together and commits the result in their place.
pub async fn compact(
    table: &Table,
    snapshot: &Snapshot,
    bin: &Bin,
    target: u64,
    stop: &watch::Receiver<bool>,
) -> Result<Ended> {
    let Some(adds) = rewrite(table, snapshot, bin, stop).await? else { return Ok(Ended::Stopped) };
    let mut change = Commit::new("OPTIMIZE").parameter("targetSize", target).parameter("files", bin.len());
    let now = Utc::now();
    change.removes = bin.iter().map(|file| file.removal(now, false)).collect();
    change.adds = adds;
    match commit(table, Some(snapshot.version), &change, PATIENCE).await? {
        Outcome::Committed { version } => {
            let bytes = change.adds.iter().map(|a| a.size.unsigned_abs()).sum();
            tracing::debug!(table = %table.name, version, files = bin.len(), bytes, "compacted");
            Ok(Ended::Committed { files: change.adds.len(), bytes })
        }
        Outcome::Conflict { why, .. } | Outcome::Fenced { mark: why, .. } => {
            discard(table, change.adds.iter().map(|a| a.path.clone()).collect()).await;
            Ok(Ended::Conflict(why))
        }
    }
}

/// Deletes files that nothing names. Whoever may not delete leaves them to vacuum.
async fn discard(table: &Table, files: Vec<String>) {
    if let Err(e) = table.delete_files(files).await {
        tracing::debug!(error = %e, "files of a compaction that did not happen stay behind");
    }
}

/// Writes the rows of all files of a bin, in their order. None if it was stopped.
async fn rewrite(
    table: &Table,
    snapshot: &Snapshot,
    bin: &Bin,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Vec<Add>>> {
    let Some(first) = bin.first() else { return Err(Error::bug("a compaction of no files")) };
    let schema = snapshot.file_schema();
    // A bin is smaller than two files of the target's size. Were it cut by what the encoder holds, which is an estimate,
    // the pieces might be small again, and compaction would never end.
    let mut writer = TableWriter::new(table, schema.clone(), first.partition_values.clone())?.into_one_file();
    match copy(table, bin, &schema, &mut writer, stop).await {
        Ok(true) => {}
        Ok(false) => {
            abandon(writer).await;
            return Ok(None);
        }
        Err(e) => {
            abandon(writer).await;
            return Err(e);
        }
    }
    let mut adds = writer.close().await?;
    // A file is as old as its newest rows: its place among its neighbours, and what readers see as the time of the last
    // change, are not moved by a compaction.
    let newest = bin.iter().map(|f| f.modified_ms).max().unwrap_or_default();
    for add in &mut adds {
        add.data_change = false;
        add.modification_time = newest;
    }
    Ok(Some(adds))
}

async fn abandon(writer: TableWriter) {
    if let Err(e) = writer.abort().await {
        tracing::debug!(error = %e, "files of a compaction that did not happen stay behind");
    }
}

/// Copies all rows. False if it was stopped.
async fn copy(
    table: &Table,
    bin: &Bin,
    schema: &SchemaRef,
    writer: &mut TableWriter,
    stop: &watch::Receiver<bool>,
) -> Result<bool> {
    let mut expected = 0;
    for file in bin {
        let path = table.path_of(&file.path);
        let mut rows = reader::open(table, file, None).await?;
        expected += rows.count;
        while let Some(batch) = rows.stream.try_next().await.map_err(|e| reader::failed(&path, e))? {
            if *stop.borrow() {
                return Ok(false);
            }
            let batch = reader::aligned(&batch, schema).map_err(|e| {
                Error::outside(format!("{path} does not have the columns of {}", table.name)).because(e)
            })?;
            writer.write(&batch).await?;
        }
    }
    if writer.rows() != expected {
        return Err(Error::bug(format!("a compaction of {expected} rows would write {}", writer.rows())));
    }
    Ok(true)
}
