//! Tables look after themselves: checkpoints, log clean-up, compaction, vacuum.
//!
//! None of it changes a row, and none of it is on the way of a commit. Whatever dies half-way leaves the table as it was,
//! with at most some files that no version names, which a later vacuum takes away. A lease a table keeps two processes
//! from doing the same work; what keeps the rows right should two do it all the same is the Delta log alone.

pub mod checkpoint;
pub mod cleanup;
pub mod compact;
pub mod keeper;
pub mod plan;
pub mod reader;
pub mod vacuum;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Result;
use crate::lake::lease::{self, Lease};
use crate::lake::{Lake, TableName};

/// What was done, for whoever watches a process. Numbers only grow, save the last duration and what waits.
#[derive(Debug, Default)]
pub struct Counters {
    pub checkpoints: AtomicU64,
    /// How long the newest checkpoint took.
    pub checkpoint_millis: AtomicU64,
    /// Compactions that were committed, the files they took away, and the bytes of those.
    pub compactions: AtomicU64,
    pub files_compacted: AtomicU64,
    pub bytes_compacted: AtomicU64,
    /// Compactions that came to nothing because another writer took one of their files.
    pub conflicts: AtomicU64,
    /// Entries and checkpoints that log clean-up deleted.
    pub log_files_deleted: AtomicU64,
    /// Data files that vacuum deleted.
    pub data_files_deleted: AtomicU64,
    /// Deletions that the store refused to this user.
    pub refused: AtomicU64,
    pub failures: AtomicU64,
    /// Files that were due to be put together when they were last looked at, and are not yet.
    pub files_waiting: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Takes the lease under which a table is compacted and cleaned. The inner error says who holds it.
pub async fn lease(lake: &Lake, table: &TableName) -> Result<Result<Lease>> {
    lease::try_acquire(lake, &format!("maintenance of {table}")).await
}

/// The time that lies so far back.
fn before(now: DateTime<Utc>, age: Duration) -> DateTime<Utc> {
    let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC)
}
