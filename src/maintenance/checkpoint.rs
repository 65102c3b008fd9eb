//! Readers replay a checkpoint and at most a few hundred entries, however long the log is.
//!
//! A checkpoint is due after so many commits. It holds the whole state of a table: where that is large, it takes more
//! commits, so that writing it costs each commit about the same.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::watch;

use super::Counters;
use crate::error::Result;
use crate::lake::Table;
use crate::lake::listing::LastCheckpoint;

/// Commits after which a checkpoint is due, and after which it is however large it is.
const EVERY: u64 = 100;
const AT_MOST: u64 = 10 * EVERY;
/// How much of the last checkpoint one commit pays for.
const ACTIONS_A_COMMIT: u64 = 100;

fn is_due(last: Option<LastCheckpoint>, version: u64) -> bool {
    let (last, size) = last.map_or((0, 0), |last| (last.version, last.size));
    version.saturating_sub(last) >= (size / ACTIONS_A_COMMIT).clamp(EVERY, AT_MOST)
}

/// Writes a checkpoint of this version, the newest, if one is due. True if it did.
pub async fn write_if_due(table: &Table, version: u64, counters: &Counters) -> Result<bool> {
    if !is_due(table.checkpointed().await?, version) {
        return Ok(false);
    }
    let began = Instant::now();
    table.checkpoint(version).await?;
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    counters.checkpoints.fetch_add(1, Ordering::Relaxed);
    counters.checkpoint_millis.store(millis, Ordering::Relaxed);
    tracing::debug!(table = %table.name, version, millis, "checkpoint");
    Ok(true)
}

/// Writes a table's checkpoints, one at a time, as its commits are told, until `stop` turns true. Commits that come while
/// one is being written do not queue up: the next one is of the newest version then.
pub async fn keep(
    table: Table,
    mut committed: watch::Receiver<u64>,
    mut stop: watch::Receiver<bool>,
    counters: &Counters,
) {
    let mut looked_at = 0;
    loop {
        tokio::select! {
            changed = committed.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let version = *committed.borrow_and_update();
        // Another process may write them too, so the store is asked, but not after each commit. After a failure it has
        // as much time: a store in trouble is not helped by another try at once.
        if looked_at > 0 && version < looked_at + EVERY / 10 {
            continue;
        }
        looked_at = version;
        if let Err(e) = write_if_due(&table, version, counters).await {
            counters.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(error = %e, "no checkpoint was written; readers replay more of the log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_checkpoint_is_written_less_often() {
        let last = |size| Some(LastCheckpoint { version: 1000, size });
        assert!(!is_due(None, 99) && is_due(None, 100));
        assert!(!is_due(last(5000), 1099) && is_due(last(5000), 1100));
        assert!(!is_due(last(50_000), 1499) && is_due(last(50_000), 1500));
        assert!(!is_due(last(50_000_000), 1999) && is_due(last(50_000_000), 2000));
        assert!(!is_due(last(1), 7), "a version before the checkpoint");
    }
}
