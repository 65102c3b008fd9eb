//! From chunks of rows to commits: one task encodes Parquet while another commits what is complete.
//!
//! A commit carries rows, rejected rows and next offsets together. Should another daemon have moved a fence, nothing of
//! ours is committed, and the session starts over from what the table says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::consumer::Partition;
use crate::contracts::bronze::INGEST_DATE;
use crate::error::{Error, Result};
use crate::lake::Table;
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::log::{Add, Txn};
use crate::lake::write::TableWriter;

/// Chunks waiting for the encoder. With a chunk's size this bounds what is in flight.
const QUEUED_CHUNKS: usize = 8;
/// Readers replay at most this many commits. The checkpoint is written beside ingest, not before its next commit.
const CHECKPOINT_EVERY: u64 = 100;

/// Totals of one run, read by whoever shows progress.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records taken from Kafka, committed or not.
    pub taken: AtomicU64,
    pub rows: AtomicU64,
    pub rejected: AtomicU64,
    pub bytes: AtomicU64,
    pub commits: AtomicU64,
}

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
    pub rejected: u64,
    pub bytes: u64,
}

/// How a flush ended.
pub struct Settled {
    pub topic: String,
    pub next: Vec<(Partition, i64)>,
    pub outcome: Result<Outcome>,
}

/// The way of one topic's rows into its table.
pub struct Flow {
    pub work: mpsc::Sender<Work>,
    encoder: JoinHandle<()>,
    committer: JoinHandle<()>,
}

impl Flow {
    pub fn start(
        topic: &str,
        table: Table,
        schema: SchemaRef,
        version: u64,
        patience: Duration,
        counters: Arc<Counters>,
        settled: std::sync::mpsc::Sender<Settled>,
    ) -> Flow {
        let (work, queue) = mpsc::channel(QUEUED_CHUNKS);
        // One complete file may wait while another is being committed.
        let (files, complete) = mpsc::channel(1);
        let encoder = tokio::spawn(encode(table.clone(), schema, queue, files));
        let committer = Committer { topic: topic.to_owned(), table, version, patience, counters, settled };
        Flow { work, encoder, committer: tokio::spawn(committer.run(complete)) }
    }

    /// Ends both tasks; what is not committed is dropped and will be read from Kafka again.
    pub async fn stop(self) {
        drop(self.work);
        self.encoder.abort();
        self.committer.abort();
        // The tasks hold the table; waiting for them keeps a next session from meeting a commit of this one.
        let _ = tokio::join!(self.encoder, self.committer);
    }
}

type Complete = (Result<Vec<Add>>, Flush);

async fn encode(table: Table, schema: SchemaRef, mut queue: mpsc::Receiver<Work>, files: mpsc::Sender<Complete>) {
    let mut open: Option<(NaiveDate, TableWriter)> = None;
    let mut done: Result<Vec<Add>> = Ok(Vec::new());
    while let Some(work) = queue.recv().await {
        match work {
            Work::Rows { batch, day } => {
                if done.is_ok()
                    && let Err(e) = add_rows(&table, &schema, &mut open, &mut done, batch, day).await
                {
                    done = Err(e);
                }
            }
            Work::Flush(flush) => {
                close(&mut open, &mut done).await;
                if files.send((std::mem::replace(&mut done, Ok(Vec::new())), flush)).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn add_rows(
    table: &Table,
    schema: &SchemaRef,
    open: &mut Option<(NaiveDate, TableWriter)>,
    done: &mut Result<Vec<Add>>,
    batch: RecordBatch,
    day: NaiveDate,
) -> Result<()> {
    // A file belongs to one day; at midnight a commit has two.
    if open.as_ref().is_some_and(|(current, _)| *current != day) {
        close(open, done).await;
    }
    if open.is_none() {
        let values = BTreeMap::from([(INGEST_DATE.to_owned(), Some(day.to_string()))]);
        *open = Some((day, TableWriter::new(table, schema.clone(), values)?));
    }
    match open {
        Some((_, writer)) => writer.write(&batch).await,
        None => Ok(()),
    }
}

async fn close(open: &mut Option<(NaiveDate, TableWriter)>, done: &mut Result<Vec<Add>>) {
    if let Some((_, writer)) = open.take() {
        match (writer.close().await, done.as_mut()) {
            (Ok(files), Ok(done)) => done.extend(files),
            (Err(e), Ok(_)) => *done = Err(e),
            (_, Err(_)) => {}
        }
    }
}

struct Committer {
    topic: String,
    table: Table,
    version: u64,
    patience: Duration,
    counters: Arc<Counters>,
    settled: std::sync::mpsc::Sender<Settled>,
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
            // After anything but success the session starts over: later files rely on this commit.
            if self.settled.send(Settled { topic: self.topic.clone(), next, outcome }).is_err() || !goes_on {
                return;
            }
        }
    }

    async fn commit(&mut self, files: Vec<Add>, flush: Flush) -> Result<Outcome> {
        let mut change = Commit::new("STREAMING UPDATE")
            .parameter("outputMode", "Append")
            .parameter("topic", self.topic.as_str())
            .parameter("rows", flush.rows)
            .parameter("rejected", flush.rejected);
        change.adds = files;
        change.marks = flush.marks;
        change.read_at = flush.read_at;
        let outcome = commit(&self.table, Some(self.version), &change, self.patience).await?;
        match outcome {
            Outcome::Committed { version } => {
                self.version = version;
                self.counters.rows.fetch_add(flush.rows - flush.rejected, Ordering::Relaxed);
                self.counters.rejected.fetch_add(flush.rejected, Ordering::Relaxed);
                self.counters.bytes.fetch_add(flush.bytes, Ordering::Relaxed);
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(table = %self.table.name, version, rows = flush.rows, "committed");
                if version % CHECKPOINT_EVERY == 0 {
                    let table = self.table.clone();
                    tokio::spawn(async move {
                        if let Err(e) = table.checkpoint(version).await {
                            tracing::warn!(error = %e, "no checkpoint was written; readers replay more of the log");
                        }
                    });
                }
            }
            Outcome::Fenced { .. } | Outcome::Conflict { .. } => {
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
pub fn ended(topic: &str) -> Error {
    Error::bug(format!("the writer of topic {topic} ended without saying why"))
}
