//! What turns that ended half-way left behind: files beside tables that no version names.
//!
//! Vacuum would take them in time. Here they are known to be nobody's at once: whoever wrote them was the one build under
//! way, and is gone or has been stopped. Files of other writers are of maintenance, whose lease is taken for that; and
//! what is older than that build is not looked at, for an older release may still be read from it.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use object_store::ObjectMeta;

use crate::error::Result;
use crate::lake::{Lake, Table, TableName, store, write};
use crate::maintenance;

/// Clocks of writers and stores differ by less.
const MARGIN: TimeDelta = TimeDelta::minutes(10);

/// Deletes what was written since then and belongs to no version. Trouble with it is no trouble of the build.
pub async fn sweep(lake: &Lake, tables: impl IntoIterator<Item = TableName>, since: DateTime<Utc>) {
    for name in tables {
        match sweep_one(lake, &name, since).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(table = %name, files, "cleared away what a build left half-way"),
            Err(e) => {
                tracing::warn!(table = %name, error = %e, "what a build left half-way stays until the next vacuum")
            }
        }
    }
}

async fn sweep_one(lake: &Lake, name: &TableName, since: DateTime<Utc>) -> Result<usize> {
    let table = lake.table(name)?;
    let since = since - MARGIN;
    let candidates = written_since(&table, since).await?;
    if candidates.is_empty() {
        return Ok(0);
    }
    let Ok(lease) = maintenance::lease(lake, name).await? else { return Ok(0) };
    let outcome = async {
        let mut named: HashSet<String> = HashSet::new();
        if let Some(snapshot) = table.latest().await? {
            named.extend(table.removed_since(snapshot.version, since.timestamp_millis()).await?);
            named.extend(snapshot.files.iter().map(|f| f.path.clone()));
        }
        let named: HashSet<_> = named.iter().map(|f| table.path_of(f)).collect();
        let nobodys: Vec<_> = candidates.into_iter().map(|f| f.location).filter(|f| !named.contains(f)).collect();
        let mut deleted = 0;
        table.delete_objects(&nobodys, |n| deleted += n).await?;
        Ok(deleted)
    };
    let outcome = outcome.await;
    if let Err(e) = lease.release().await {
        tracing::warn!(error = %e, "a lease was not given back; it ends within a minute");
    }
    outcome
}

/// Our own data files in the table's folder. A build writes into no folder below it.
async fn written_since(table: &Table, since: DateTime<Utc>) -> Result<Vec<ObjectMeta>> {
    let root = table.folder();
    let listed = table.store().list_with_delimiter(Some(root)).await.map_err(|e| store::error("list", root, e))?;
    let is_ours = |f: &ObjectMeta| f.last_modified >= since && f.location.filename().is_some_and(write::is_own_file);
    Ok(listed.objects.into_iter().filter(is_ours).collect())
}
