//! From chunks of rows to commits: one task encodes Parquet while another commits what is complete.
//!
//! A commit carries rows, rejected rows and next offsets together. Should another daemon have moved a fence, nothing of
//! ours is committed, and the session starts over from what the table says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use tokio::sync::{mpsc, watch};

use super::feed::Partition;
use super::metrics::TopicMetrics;
use crate::contracts::Class;
use crate::contracts::bronze::INGEST_DATE;
use crate::error::{Error, Result};
use crate::lake::Table;
use crate::lake::commit::{Commit, Outcome, Passed, commit};
use crate::lake::log::{Add, Txn};
use crate::lake::write::TableWriter;
use crate::runtime::{self, Mistake, Task, planted};

/// Chunks waiting for the encoder. With a chunk's size this bounds what is in flight.
const QUEUED_CHUNKS: usize = 8;

pub enum Work {
    Rows { batch: RecordBatch, day: NaiveDate },
    Flush(Flush),
}

/// What one commit is to carry besides the rows sent before it.
pub struct Flush {
    pub marks: Vec<Txn>,
    pub read_at: HashMap<String, u64>,
    pub next: Vec<(Partition, i64)>,
    pub rows: u64,
    pub rejected: BTreeMap<Class, u64>,
    pub bytes: u64,
}

/// How a flush ended.
pub struct Settled {
    /// The table.
    pub table: String,
    pub next: Vec<(Partition, i64)>,
    pub outcome: Result<Outcome>,
}

/// The way of rows into their table.
pub struct Flow {
    pub work: mpsc::Sender<Work>,
    pub metrics: Arc<TopicMetrics>,
    encoder: Task,
    committer: Task,
}

impl Flow {
    #[expect(clippy::too_many_arguments, reason = "a flow is where all of them meet")]
    pub fn start(
        topics: &str,
        table: Table,
        schema: SchemaRef,
        version: u64,
        patience: Duration,
        metrics: Arc<TopicMetrics>,
        committed: watch::Sender<u64>,
        settled: mpsc::UnboundedSender<Settled>,
    ) -> Flow {
        let (work, queue) = mpsc::channel(QUEUED_CHUNKS);
        // One complete file may wait while another is being committed.
        let (files, complete) = mpsc::channel(1);
        metrics.held.queued.store(0, Ordering::Relaxed);
        metrics.held.writer.store(0, Ordering::Relaxed);
        let encoder =
            Encoder { table: table.clone(), schema, metrics: metrics.clone(), open: None, done: Ok(Vec::new()) };
        let encoder = runtime::spawn(encoder.run(queue, files));
        let (topics, passed) = (topics.to_owned(), Arc::default());
        let committer =
            Committer { topics, table, version, patience, metrics: metrics.clone(), passed, committed, settled };
        Flow { work, metrics, encoder, committer: runtime::spawn(committer.run(complete)) }
    }

    /// Ends both tasks; what is not committed is dropped and will be read from Kafka again.
    pub async fn stop(self) {
        drop(self.work);
        self.encoder.abort();
        self.committer.abort();
        // The tasks hold the table; waiting for them keeps a next session from meeting a commit of this one.
        self.encoder.await;
        self.committer.await;
    }
}

type Complete = (Result<Vec<Add>>, Flush);

struct Encoder {
    table: Table,
    schema: SchemaRef,
    metrics: Arc<TopicMetrics>,
    open: Option<(NaiveDate, TableWriter)>,
    done: Result<Vec<Add>>,
}

impl Encoder {
    async fn run(mut self, mut queue: mpsc::Receiver<Work>, files: mpsc::Sender<Complete>) {
        while let Some(work) = queue.recv().await {
            match work {
                Work::Rows { batch, day } => {
                    let bytes = batch.get_array_memory_size();
                    if self.done.is_ok()
                        && let Err(e) = self.add_rows(batch, day).await
                        && !planted(Mistake::LostFileIgnored)
                    {
                        self.done = Err(e);
                    }
                    self.metrics.held.queued.fetch_sub(bytes, Ordering::Relaxed);
                }
                Work::Flush(flush) => {
                    if !planted(Mistake::OpenFileCarriedOver) || flush.rows > 3 {
                        self.close().await;
                    }
                    if files.send((std::mem::replace(&mut self.done, Ok(Vec::new())), flush)).await.is_err() {
                        return;
                    }
                }
            }
            let held = self.open.as_ref().map_or(0, |(_, writer)| writer.memory());
            self.metrics.held.writer.store(held, Ordering::Relaxed);
        }
    }

    async fn add_rows(&mut self, batch: RecordBatch, day: NaiveDate) -> Result<()> {
        // A file belongs to one day; at midnight a commit has two.
        if self.open.as_ref().is_some_and(|(current, _)| *current != day) {
            self.close().await;
        }
        if self.open.is_none() {
            let values = BTreeMap::from([(INGEST_DATE.to_owned(), Some(day.to_string()))]);
            self.open = Some((day, TableWriter::new(&self.table, self.schema.clone(), values)?));
        }
        match &mut self.open {
            Some((_, writer)) => writer.write(&batch).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self) {
        if let Some((_, writer)) = self.open.take() {
            match (writer.close().await, self.done.as_mut()) {
                (Ok(files), Ok(done)) => done.extend(files),
                (Err(e), Ok(_)) if !planted(Mistake::LostFileIgnored) => self.done = Err(e),
                _ => {}
            }
        }
    }
}

struct Committer {
    /// As the contract says them.
    topics: String,
    table: Table,
    version: u64,
    patience: Duration,
    metrics: Arc<TopicMetrics>,
    passed: Arc<Passed>,
    /// Who looks after the table is told of each version, and never waited for.
    committed: watch::Sender<u64>,
    settled: mpsc::UnboundedSender<Settled>,
}

impl Committer {
    async fn run(mut self, mut complete: mpsc::Receiver<Complete>) {
        while let Some((files, flush)) = complete.recv().await {
            let next = flush.next.clone();
            let outcome = match files {
                Ok(files) => self.commit(files, flush).await,
                Err(e) => Err(e),
            };
            let goes_on = matches!(outcome, Ok(Outcome::Committed { .. }));
            let (outcome, goes_on) = match outcome {
                Err(_) if planted(Mistake::GoOnAfterFailure) => {
                    (Ok(Outcome::Committed { version: self.version }), true)
                }
                outcome => (outcome, goes_on),
            };
            // After anything but success the session starts over: later files rely on this commit.
            if self.settled.send(Settled { table: self.table.name.to_string(), next, outcome }).is_err() || !goes_on {
                return;
            }
        }
    }

    async fn commit(&mut self, files: Vec<Add>, flush: Flush) -> Result<Outcome> {
        let rejected: u64 = flush.rejected.values().sum();
        let mut change = Commit::new("STREAMING UPDATE")
            .parameter("outputMode", "Append")
            .parameter("topic", self.topics.as_str())
            .parameter("rows", flush.rows)
            .parameter("rejected", rejected);
        change.tally = self.metrics.tally.clone();
        change.passed = self.passed.clone();
        change.adds = files;
        change.marks = flush.marks;
        change.read_at = flush.read_at;
        let mut outcome = commit(&self.table, Some(self.version), &change, self.patience).await;
        if outcome.is_err() && planted(Mistake::DeleteAfterUnknown) {
            let _ = self.table.delete_files(change.adds.iter().map(|a| a.path.clone()).collect()).await;
        }
        if let Ok(Outcome::Fenced { version, .. }) = &outcome
            && planted(Mistake::FencedTakenForDone)
        {
            outcome = Ok(Outcome::Committed { version: *version });
        }
        let outcome = outcome?;
        match outcome {
            Outcome::Committed { version } => {
                self.version = version;
                let metrics = &self.metrics;
                metrics.rows.fetch_add(flush.rows - rejected, Ordering::Relaxed);
                metrics.add_rejected(&flush.rejected);
                metrics.bytes.fetch_add(flush.bytes, Ordering::Relaxed);
                metrics.files.fetch_add(change.adds.len() as u64, Ordering::Relaxed);
                let bytes = change.adds.iter().map(|a| u64::try_from(a.size).unwrap_or(0)).sum();
                metrics.file_bytes.fetch_add(bytes, Ordering::Relaxed);
                metrics.commits.fetch_add(1, Ordering::Relaxed);
                metrics.last_commit_ms.store(runtime::utc_now().timestamp_millis(), Ordering::Relaxed);
                tracing::debug!(table = %self.table.name, version, rows = flush.rows, "committed");
                self.committed.send_replace(version);
            }
            Outcome::Fenced { .. } | Outcome::Conflict { .. } => {
                self.metrics.fenced.fetch_add(1, Ordering::Relaxed);
                // Nothing names these files. A daemon that may not delete leaves them to vacuum.
                let files = change.adds.iter().map(|a| a.path.clone()).collect();
                if let Err(e) = self.table.delete_files(files).await {
                    tracing::debug!(error = %e, "files of a commit that did not happen stay behind");
                }
            }
        }
        Ok(outcome)
    }
}

/// Says that a flow's task ended, which only happens after it has sent its reason.
pub fn ended(table: &str) -> Error {
    Error::bug(format!("the writer of {table} ended without saying why"))
}
