//! What is in the lake: every table with its version, rows, files, bytes and age.

use chrono::{DateTime, Utc};

use crate::config::CareConfig;
use crate::error::Result;
use crate::lake::{Lake, OWN_SCHEMA, TableName};
use crate::maintenance::plan::Sizes;

#[derive(Debug, Clone)]
pub struct TableStatus {
    pub name: TableName,
    pub version: u64,
    pub rows: Option<u64>,
    pub files: usize,
    /// Files that compaction would put together with others.
    pub small_files: usize,
    pub bytes: u64,
    /// When its newest file was written.
    pub changed_at: Option<DateTime<Utc>>,
}

/// The tables of the lake, without those that the product keeps for itself.
pub async fn tables(lake: &Lake, config: &CareConfig) -> Result<Vec<TableStatus>> {
    let sizes = Sizes { target: config.target_file, min_age: config.min_age };
    let mut all = Vec::new();
    for name in lake.tables().await?.into_iter().filter(|t| t.schema != OWN_SCHEMA) {
        let Some(snapshot) = lake.table(&name)?.latest().await? else { continue };
        all.push(TableStatus {
            version: snapshot.version,
            rows: snapshot.rows(),
            files: snapshot.files.len(),
            small_files: snapshot.files.iter().filter(|f| sizes.is_small(f)).count(),
            bytes: snapshot.bytes(),
            changed_at: snapshot.files.iter().map(|f| f.modified_ms).max().and_then(DateTime::from_timestamp_millis),
            name,
        });
    }
    Ok(all)
}
