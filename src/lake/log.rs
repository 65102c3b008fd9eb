//! The Delta log's own words: the actions of a commit, read and written as the protocol spells them.
//!
//! Snapshots come from deltalake. This module is for what they do not tell: which transactions a table has recorded,
//! what each single commit did, and whether a commit is ours.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, AsArray, StructArray};
use arrow::datatypes::Int64Type;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Table, store};
use crate::error::{Error, Result};

/// A file that joins the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    pub modification_time: i64,
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
}

/// A file that leaves the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    pub path: String,
    pub data_change: bool,
    #[serde(default)]
    pub deletion_timestamp: i64,
    #[serde(default)]
    pub extended_file_metadata: bool,
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub size: i64,
}

/// An application's mark in the log: replaced by the next mark with the same id, kept by checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    CommitInfo(Value),
    Protocol(Value),
    MetaData(Value),
    Txn(Txn),
    Remove(Remove),
    Add(Add),
    #[serde(untagged)]
    Other(Value),
}

/// One entry of the log.
#[derive(Debug, Clone)]
pub struct Commit {
    pub version: u64,
    pub actions: Vec<Action>,
}

impl Commit {
    pub fn info(&self) -> Option<&Value> {
        self.actions.iter().find_map(|a| match a {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        })
    }

    /// The id that the writer gave this commit (`commitInfo.txnId`), by which it knows its own.
    pub fn id(&self) -> Option<&str> {
        self.info()?.get("txnId")?.as_str()
    }
}

pub fn entry_name(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

impl Table {
    /// The entry of one version, or None if there is none (not written yet, or cleaned up).
    pub async fn commit_entry(&self, version: u64) -> Result<Option<Commit>> {
        let path = self.path_of(&entry_name(version));
        let bytes = match self.store().get(&path).await {
            Ok(found) => found.bytes().await.map_err(|e| store::error("read", &path, e))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(store::error("read", &path, e)),
        };
        let mut actions = Vec::new();
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            actions.push(serde_json::from_slice(line).map_err(|e| {
                Error::outside(format!("{path} is not a Delta log entry")).because(e).hint("the log is damaged")
            })?);
        }
        Ok(Some(Commit { version, actions }))
    }

    /// Every transaction that the log records up to `version`, by application id.
    pub async fn transactions(&self, version: u64) -> Result<HashMap<String, i64>> {
        let (mut kept, mut since) = (HashMap::new(), HashMap::new());
        let in_checkpoint = |id: &str, version| {
            kept.insert(id.to_owned(), version);
        };
        self.replay(version, ("txn", "appId", "version"), in_checkpoint, |action| {
            if let Action::Txn(txn) = action {
                since.insert(txn.app_id, txn.version);
            }
        })
        .await?;
        kept.extend(since);
        Ok(kept)
    }

    /// The files that left the table after `cutoff` (milliseconds since 1970), as far as its log up to `version` remembers.
    pub async fn removed_since(&self, version: u64, cutoff: i64) -> Result<HashSet<String>> {
        let (mut kept, mut since) = (HashSet::new(), HashSet::new());
        let in_checkpoint = |path: &str, time: i64| {
            if time >= cutoff {
                kept.insert(path.to_owned());
            }
        };
        self.replay(version, ("remove", "path", "deletionTimestamp"), in_checkpoint, |action| match action {
            Action::Remove(remove) if remove.deletion_timestamp >= cutoff => drop(since.insert(remove.path)),
            _ => {}
        })
        .await?;
        kept.extend(since);
        Ok(kept)
    }

    /// Reads what the log says of `version`: a text and a number of each action of one kind that the newest checkpoint
    /// keeps, and all actions since.
    async fn replay(
        &self,
        version: u64,
        kept: (&str, &str, &str),
        mut in_checkpoint: impl FnMut(&str, i64),
        mut since: impl FnMut(Action),
    ) -> Result<()> {
        let mut next = 0;
        if let Some((checkpoint, parts)) = self.last_checkpoint(version).await? {
            for part in parts {
                self.read_checkpoint(&part, kept, &mut in_checkpoint).await?;
            }
            next = checkpoint + 1;
        }
        for version in next..=version {
            let Some(commit) = self.commit_entry(version).await? else {
                return Err(Error::outside(format!("version {version} of {} is missing from its log", self.name))
                    .hint("the log is damaged, or was cleaned up while it was being read; try again"));
            };
            commit.actions.into_iter().for_each(&mut since);
        }
        Ok(())
    }

    /// The newest complete checkpoint at or before `version`, and its Parquet files.
    async fn last_checkpoint(&self, version: u64) -> Result<Option<(u64, Vec<Path>)>> {
        match self.log_tail().await?.checkpoint(version) {
            Some(found) => Ok(Some(found)),
            // The newest is too new.
            None => Ok(self.log_files().await?.checkpoint(version)),
        }
    }

    async fn read_checkpoint(
        &self,
        path: &Path,
        (action, text, number): (&str, &str, &str),
        found: &mut impl FnMut(&str, i64),
    ) -> Result<()> {
        let damaged = |e: &dyn std::fmt::Display| Error::outside(format!("{path} is not a checkpoint: {e}"));
        let get = self.store().get(path).await.map_err(|e| store::error("read", path, e))?;
        let bytes = get.bytes().await.map_err(|e| store::error("read", path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| damaged(&e))?;
        let columns = [format!("{action}.{text}"), format!("{action}.{number}")];
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().map(String::as_str));
        for batch in builder.with_projection(mask).build().map_err(|e| damaged(&e))? {
            let batch = batch.map_err(|e| damaged(&e))?;
            let Some(actions) = batch.column_by_name(action).and_then(|c| c.as_any().downcast_ref::<StructArray>())
            else {
                continue;
            };
            let (Some(texts), Some(numbers)) = (
                actions.column_by_name(text).and_then(|c| c.as_string_opt::<i32>()),
                actions.column_by_name(number).and_then(|c| c.as_primitive_opt::<Int64Type>()),
            ) else {
                continue;
            };
            for row in (0..actions.len()).filter(|row| actions.is_valid(*row) && texts.is_valid(*row)) {
                found(texts.value(row), if numbers.is_valid(row) { numbers.value(row) } else { 0 });
            }
        }
        Ok(())
    }
}
