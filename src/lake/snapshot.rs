//! A table as of one version: its schema and its files, and nothing that a later commit can change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use chrono::{DateTime, Utc};
use deltalake::DeltaTableError;
use futures::TryStreamExt;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::log::Remove;
use super::{Table, TableName};
use crate::error::{Error, Result};

/// The table property that names the key columns, separated by commas.
pub const KEY_PROPERTY: &str = "medallion.uniqueKey";

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub name: TableName,
    pub version: u64,
    /// All columns, the partition columns among them.
    pub schema: SchemaRef,
    pub partition_columns: Vec<String>,
    /// Made once when the table is created: a table that was dropped and made again is another table.
    pub table_id: String,
    /// The columns that tell rows apart, where the writer declared any.
    pub key: Vec<String>,
    /// The metadata as the log has it.
    pub metadata: Value,
    pub retention: Retention,
    pub files: Vec<Arc<DataFile>>,
}

/// How long a table remembers, where its properties say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// `delta.logRetentionDuration`: versions that are no longer the newest.
    pub log: Option<Duration>,
    /// `delta.deletedFileRetentionDuration`: files that left the table.
    pub removals: Option<Duration>,
}

/// A Parquet file of a table, as the log describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// From the table's folder.
    pub path: String,
    pub size: u64,
    pub modified_ms: i64,
    pub partition_values: BTreeMap<String, Option<String>>,
    /// The statistics as the log has them: JSON with numRecords, minValues, maxValues, nullCount.
    pub stats: Option<String>,
}

impl DataFile {
    /// Rows, as the log counts them.
    pub fn rows(&self) -> Option<u64> {
        #[derive(serde::Deserialize)]
        struct Counted {
            #[serde(rename = "numRecords")]
            records: u64,
        }
        Some(serde_json::from_str::<Counted>(self.stats.as_deref()?).ok()?.records)
    }

    /// NULLs in a column that is not nested, as the log counts them.
    pub fn nulls(&self, column: &str) -> Option<u64> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Counted {
            null_count: BTreeMap<String, Value>,
        }
        serde_json::from_str::<Counted>(self.stats.as_deref()?).ok()?.null_count.get(column)?.as_u64()
    }

    /// The action that takes the file out of its table.
    pub fn removal(&self, at: DateTime<Utc>, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: at.timestamp_millis(),
            extended_file_metadata: true,
            partition_values: self.partition_values.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
        }
    }
}

impl Snapshot {
    /// Rows, as the statistics of the files count them; None if one of them does not.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|f| f.rows()).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }

    /// The columns that are in the files: all but the partition columns.
    pub fn file_schema(&self) -> SchemaRef {
        let in_files = self.schema.fields().iter().filter(|f| !self.partition_columns.contains(f.name()));
        Arc::new(Schema::new(in_files.cloned().collect::<Vec<_>>()))
    }
}

impl Table {
    /// The newest version, or None if the table does not exist.
    pub async fn latest(&self) -> Result<Option<Snapshot>> {
        self.load(None, true).await
    }

    /// The newest version's columns, without its files.
    pub async fn head(&self) -> Result<Option<Snapshot>> {
        self.load(None, false).await
    }

    /// The number of the newest version.
    pub async fn latest_version(&self) -> Result<Option<u64>> {
        Ok(self.log_tail().await?.newest())
    }

    /// Exactly this version.
    pub async fn at_version(&self, version: u64) -> Result<Snapshot> {
        self.load(Some(version), true).await?.ok_or_else(|| self.no_such_version(version))
    }

    fn no_such_version(&self, version: u64) -> Error {
        Error::input(format!("table {} has no version {version}", self.name))
            .hint("`medallion status` shows the current versions; old ones go when the log is cleaned up")
    }

    /// The version that was current at `time`: the last one committed at or before it.
    pub async fn version_at(&self, time: DateTime<Utc>) -> Result<u64> {
        let entries = self.log_times().await?;
        let Some((first, first_time)) = entries.first_key_value() else {
            return Err(Error::input(format!("table {} does not exist", self.name)));
        };
        entries.iter().rev().find(|(_, t)| **t <= time).map(|(v, _)| *v).ok_or_else(|| {
            Error::input(format!("table {} has nothing as old as {time}", self.name))
                .hint(format!("its oldest version is {first} of {first_time}"))
        })
    }

    /// When each version that the log still tells of was committed.
    async fn log_times(&self) -> Result<BTreeMap<u64, DateTime<Utc>>> {
        Ok(self.log_files().await?.entries().map(|f| (f.version, f.meta.last_modified)).collect())
    }

    async fn load(&self, version: Option<u64>, with_files: bool) -> Result<Option<Snapshot>> {
        let failed =
            |e: DeltaTableError| Error::outside(format!("cannot read the Delta log of {}", self.name)).because(e);
        if !self.exists().await? {
            return Ok(None);
        }
        let read = || deltalake::kernel::Snapshot::try_new(self.log.as_ref(), version);
        let loaded = match once_settled(read).await {
            Ok(loaded) => loaded,
            Err(DeltaTableError::NotATable(_)) => return Ok(None),
            Err(e) => {
                return match version {
                    Some(v) if self.commit_entry(v).await?.is_none() => Err(self.no_such_version(v)),
                    _ => Err(failed(e)),
                };
            }
        };
        let metadata = loaded.metadata();
        if let Some(mode) = metadata.configuration().get("delta.columnMapping.mode").filter(|m| *m != "none") {
            return Err(self.unsupported(&format!("column mapping (mode {mode})")));
        }
        let mut files = Vec::new();
        let mut views = loaded.file_views(self.log.as_ref(), None);
        while with_files && let Some(view) = views.try_next().await.map_err(failed)? {
            if view.deletion_vector_descriptor().is_some() {
                return Err(self.unsupported("deletion vectors"));
            }
            files.push(Arc::new(DataFile {
                path: view.path().into_owned(),
                size: u64::try_from(view.size()).unwrap_or(0),
                modified_ms: view.modification_time(),
                partition_values: view.partition_values_map().into_iter().collect(),
                stats: view.stats(),
            }));
        }
        drop(views);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Some(Snapshot {
            name: self.name.clone(),
            version: loaded.version(),
            schema: loaded.arrow_schema(),
            partition_columns: metadata.partition_columns().to_vec(),
            table_id: metadata.id().to_string(),
            key: metadata
                .configuration()
                .get(KEY_PROPERTY)
                .map_or_else(Vec::new, |k| k.split(',').map(str::to_owned).collect()),
            metadata: serde_json::to_value(metadata)
                .map_err(|e| Error::bug(format!("the metadata of {} is not JSON", self.name)).because(e))?,
            retention: Retention {
                log: loaded.table_properties().log_retention_duration,
                removals: loaded.table_properties().deleted_file_retention_duration,
            },
            files,
        }))
    }

    fn unsupported(&self, feature: &str) -> Error {
        Error::input(format!("table {} uses {feature}, which medallion does not read", self.name))
            .hint("rewrite the table without it (Databricks and Spark: REORG TABLE … APPLY (PURGE), or a plain copy)")
    }

    /// Writes a checkpoint of the given version, so that readers need not replay the log from its beginning. Where there
    /// is one already, it stays as it is.
    pub async fn checkpoint(&self, version: u64) -> Result<()> {
        let (table, runtime) = (self.clone(), Handle::current());
        // It is synchronous at heart. On a thread of its own it holds up nobody, and whoever waits for it can give up.
        let written = spawn_blocking(move || runtime.block_on(table.write_checkpoint(version)));
        written.await.map_err(|e| Error::bug("the thread of a checkpoint ended").because(e))?
    }

    async fn write_checkpoint(&self, version: u64) -> Result<()> {
        let failed = |e| Error::outside(format!("cannot write a checkpoint of {}", self.name)).because(e);
        let load = || async {
            let mut table = deltalake::DeltaTable::new(self.log.clone());
            table.load_version(version).await.map(|()| table)
        };
        let table = once_settled(load).await.map_err(failed)?;
        deltalake::checkpoints::create_checkpoint(&table, None).await.map_err(failed)
    }
}

/// Reads a log again if its listing had a hole: a folder that is listed while entries join it may show a later one and
/// not yet an earlier one. A hole that stays is an error.
async fn once_settled<T, F>(read: impl Fn() -> F) -> std::result::Result<T, DeltaTableError>
where
    F: Future<Output = std::result::Result<T, DeltaTableError>>,
{
    for wait in [10, 50, 250] {
        match read().await {
            Err(e) if e.to_string().contains("contiguous commit files") => {
                tracing::debug!(error = %e, "the log is listed again");
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            settled => return settled,
        }
    }
    read().await
}
