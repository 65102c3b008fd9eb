//! What the daemon does for its tables beside ingest, done for chosen tables at once.

use std::time::Duration;

use tokio::sync::watch;

use crate::config::CareConfig;
use crate::error::{Error, Result, nearest};
use crate::lake::{Lake, TableName};
use crate::maintenance::cleanup::{self, Cleaned};
use crate::maintenance::compact::{self, Compacted};
use crate::maintenance::plan::Sizes;
use crate::maintenance::vacuum::{self, Vacuumed};
use crate::maintenance::{self, Counters, checkpoint};

/// The layer whose tables are looked after. What is built belongs to releases, which name versions that have to stay.
const LAYER: &str = "bronze";

/// The Bronze tables of these names, with or without their schema; all of them if there are no names.
pub async fn chosen(lake: &Lake, names: &[String]) -> Result<Vec<TableName>> {
    let all = lake.tables().await?;
    let bronze: Vec<TableName> = all.iter().filter(|t| t.schema == LAYER).cloned().collect();
    if names.is_empty() {
        return Ok(bronze);
    }
    let find = |name: &String| {
        if let Some(found) = bronze.iter().find(|t| t.name == *name || t.to_string() == *name) {
            return Ok(found.clone());
        }
        if let Some(other) = all.iter().find(|t| t.to_string() == *name) {
            return Err(Error::input(format!("{other} is not a Bronze table"))
                .hint("versions of what is built belong to releases; only Bronze tables are compacted and vacuumed"));
        }
        let error = Error::input(format!("there is no Bronze table {name}"));
        match nearest(name, bronze.iter().map(|t| t.name.as_str())) {
            Some(near) => Err(error.hint(format!("did you mean {near}?"))),
            None => Err(error.hint("`medallion status` lists the tables")),
        }
    };
    names.iter().map(find).collect()
}

/// What was done to a table.
#[derive(Debug)]
pub struct Report {
    pub compacted: Compacted,
    /// The version of which a checkpoint was written.
    pub checkpoint: Option<u64>,
    pub cleaned: Cleaned,
}

/// Compacts a table, writes a checkpoint if one is due, and shortens its log.
pub async fn compact(
    lake: &Lake,
    name: &TableName,
    config: &CareConfig,
    stop: &watch::Receiver<bool>,
) -> Result<Report> {
    let table = lake.table(name)?;
    let lease = maintenance::lease(lake, name).await??;
    let counters = Counters::default();
    let sizes = Sizes { target: config.target_file, min_age: config.min_age };
    let done = async {
        let compacted = compact::run(&table, sizes, lease.taken_at, stop, &counters).await?;
        let newest = table.latest_version().await?.unwrap_or(0);
        let written = checkpoint::write_if_due(&table, newest, &counters).await?;
        let checkpoint = written.then_some(newest);
        let retention =
            table.head().await?.map_or(config.log_retention, |t| cleanup::retention(&t, config.log_retention));
        let cleaned = cleanup::run(&table, retention, lease.taken_at, &counters).await?;
        Ok(Report { compacted, checkpoint, cleaned })
    }
    .await;
    let released = lease.release().await;
    done.and_then(|report| released.map(|()| report))
}

/// Deletes the files of a table that no version of the retention needs.
pub async fn vacuum(lake: &Lake, name: &TableName, retention: Duration, dry_run: bool) -> Result<Vacuumed> {
    let table = lake.table(name)?;
    let lease = maintenance::lease(lake, name).await??;
    let done = vacuum::run(&table, retention, lease.taken_at, dry_run, &Counters::default()).await;
    let released = lease.release().await;
    done.and_then(|vacuumed| released.map(|()| vacuumed))
}
