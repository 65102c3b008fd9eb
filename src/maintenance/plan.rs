//! Which small files are put together: a bounded number of files stays, and no byte is written again and again.
//!
//! Files of one partition are taken in the order in which their rows came, neighbours with neighbours, so that the rows
//! keep that order and the bounds of a file stay narrow. While more files keep coming, a file joins others only once those
//! weigh as much together: each time a byte is rewritten it ends up in a file twice as large, until that has the target's
//! size. A partition to which nothing was added for a day is packed for good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::before;
use crate::lake::{DataFile, Snapshot};

/// Fewer files than this are not worth a commit while more keep coming.
const FEWEST: usize = 8;
/// Files below this part of the target are put together without weighing them.
const TINY: u64 = 64;
/// A partition that got no file for so long gets no more.
const CLOSED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Files to be replaced by about one.
pub type Bin = Vec<Arc<DataFile>>;

#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// What a file is to have at least.
    pub target: u64,
    /// Younger files are left alone.
    pub min_age: Duration,
}

impl Sizes {
    /// Whether a file is to be put together with others. One that is nearly large enough stays: rewriting it gains nothing.
    pub fn is_small(self, file: &DataFile) -> bool {
        file.size < self.target / 4 * 3
    }
}

/// The bins of a table as of `now`, the oldest files first.
pub fn bins(snapshot: &Snapshot, sizes: Sizes, now: DateTime<Utc>) -> Vec<Bin> {
    let mut partitions: BTreeMap<_, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in &snapshot.files {
        partitions.entry(&file.partition_values).or_default().push(file);
    }
    let (young, closed) = (before(now, sizes.min_age), before(now, CLOSED_AFTER));
    let mut bins = Vec::new();
    for mut files in partitions.into_values() {
        files.sort_by_key(|f| (f.modified_ms, &f.path));
        let is_closed = files.iter().all(|f| f.modified_ms <= closed.timestamp_millis());
        let small: Vec<&Arc<DataFile>> =
            files.into_iter().filter(|f| sizes.is_small(f) && f.modified_ms <= young.timestamp_millis()).collect();
        let run = if is_closed { &small[..] } else { worth_joining(&small, sizes.target) };
        bins.extend(packed(run, sizes.target));
    }
    bins
}

/// The youngest files, as far back as the largest of them weighs no more than the others together; none if they are too few
/// to be worth it.
fn worth_joining<'a>(files: &'a [&'a Arc<DataFile>], target: u64) -> &'a [&'a Arc<DataFile>] {
    let (mut start, mut weight, mut largest) = (files.len(), 0, 0);
    let mut run_weight = 0;
    for (i, file) in files.iter().enumerate().rev() {
        weight += file.size;
        largest = file.size.max(largest);
        if weight <= target / TINY || largest <= weight - largest {
            (start, run_weight) = (i, weight);
        }
    }
    let run = &files[start..];
    if run.len() >= FEWEST || run_weight >= target { run } else { &[] }
}

/// Cuts a run into bins of the target's size. A file by itself is none.
fn packed(run: &[&Arc<DataFile>], target: u64) -> Vec<Bin> {
    let mut bins = vec![Bin::new()];
    let mut weight = 0;
    for file in run {
        if weight >= target {
            bins.push(Bin::new());
            weight = 0;
        }
        weight += file.size;
        if let Some(bin) = bins.last_mut() {
            bin.push(Arc::clone(file));
        }
    }
    bins.retain(|bin| bin.len() > 1);
    bins
}

#[cfg(test)]
mod tests;
