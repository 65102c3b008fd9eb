//! What the daemon counts, for whoever watches it: totals for a progress bar, the rest for Prometheus.
//!
//! Records are counted by the batch and commits one by one, so that counting costs nothing on the hot path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::feed::Partition;
use crate::contracts::Class;
use crate::lake::commit::Tally;
use crate::maintenance;
use crate::runtime;

#[derive(Debug)]
pub struct Metrics {
    pub started_ms: i64,
    /// Sessions after the first.
    pub restarts: AtomicU64,
    /// Records taken from Kafka, committed or not.
    pub taken: AtomicU64,
    /// What was done for the tables beside ingest.
    pub maintenance: Arc<maintenance::Counters>,
    topics: Mutex<BTreeMap<String, Arc<TopicMetrics>>>,
    partitions: Mutex<BTreeMap<Partition, Lag>>,
}

/// One topic's way into its table.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    pub table: Mutex<String>,
    pub rows: AtomicU64,
    pub rejected: AtomicU64,
    /// Rejected records by what was wrong with them.
    rejected_for: Mutex<BTreeMap<Class, u64>>,
    pub bytes: AtomicU64,
    pub files: AtomicU64,
    pub file_bytes: AtomicU64,
    pub commits: AtomicU64,
    /// Commits that another daemon's mark kept from happening.
    pub fenced: AtomicU64,
    /// When the last commit was settled, in Unix milliseconds; 0 before the first.
    pub last_commit_ms: AtomicI64,
    pub tally: Arc<Tally>,
    pub held: Held,
}

impl TopicMetrics {
    pub fn add_rejected(&self, by_class: &BTreeMap<Class, u64>) {
        self.rejected.fetch_add(by_class.values().sum(), Ordering::Relaxed);
        let mut all = self.rejected_for.lock().unwrap_or_else(PoisonError::into_inner);
        for (class, records) in by_class {
            *all.entry(*class).or_default() += records;
        }
    }

    pub fn rejected_by_class(&self) -> BTreeMap<Class, u64> {
        self.rejected_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Bytes that a topic's records hold on their way, by where they are.
#[derive(Debug, Default)]
pub struct Held {
    pub builders: AtomicUsize,
    pub queued: AtomicUsize,
    pub writer: AtomicUsize,
}

impl Held {
    pub fn total(&self) -> usize {
        [&self.builders, &self.queued, &self.writer].iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }
}

/// How far a partition of ours is behind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lag {
    pub records: u64,
    /// Age of the last record that was committed, while there are others behind it.
    pub seconds: f64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            started_ms: runtime::utc_now().timestamp_millis(),
            restarts: AtomicU64::default(),
            taken: AtomicU64::default(),
            maintenance: Arc::default(),
            topics: Mutex::default(),
            partitions: Mutex::default(),
        }
    }
}

impl Metrics {
    pub fn topic(&self, topic: &str) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_default().clone()
    }

    pub fn topics(&self) -> Vec<(String, Arc<TopicMetrics>)> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.iter().map(|(name, topic)| (name.clone(), topic.clone())).collect()
    }

    /// The partitions that are ours now, and how far each is behind.
    pub fn set_lags(&self, lags: BTreeMap<Partition, Lag>) {
        *self.partitions.lock().unwrap_or_else(PoisonError::into_inner) = lags;
    }

    pub fn lags(&self) -> BTreeMap<Partition, Lag> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn total(&self, of: impl Fn(&TopicMetrics) -> &AtomicU64) -> u64 {
        self.topics().iter().map(|(_, topic)| of(topic).load(Ordering::Relaxed)).sum()
    }

    pub fn rows(&self) -> u64 {
        self.total(|t| &t.rows)
    }

    pub fn rejected(&self) -> u64 {
        self.total(|t| &t.rejected)
    }

    pub fn commits(&self) -> u64 {
        self.total(|t| &t.commits)
    }
}
