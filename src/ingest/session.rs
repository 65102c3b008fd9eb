//! The one loop: poll, decode, flush when due, and answer rebalances after committing what is in hand.
//!
//! A session ends when it is done, or when another daemon's commit shows that what it holds is no longer its own; then a
//! new one starts from the tables. It keeps polling while it waits for room, or the group would take its partitions
//! away; what it polls meanwhile waits too, for a record once handed over is never dropped. A topic that waits for a
//! schema waits alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::Route;
use super::buffer::Buffer;
use super::feed::{Batch, Feed, Kafka, Kind, Message, Partition, Range, ensure_continues, ensure_same_topic};
use super::flush::Outlet;
use super::metrics::Metrics;
use super::parked::Parked;
use super::schemas::Schemas;
use super::topics::Existing;
use super::trouble::Trouble;
use super::writer::{Flow, Settled};
use crate::config::IngestConfig;
use crate::error::{Error, Result};
use crate::lake::offsets::Marks;
use crate::registry::SchemaId;
use crate::runtime;

/// The longest the loop waits for records: also how fast it notices a shutdown or a flush that is due.
const POLL: Duration = Duration::from_millis(50);
/// The same while a schema is about to come.
const SHORT_POLL: Duration = Duration::from_millis(1);
/// On a shutdown, what is in hand has to be committed within this.
const DEADLINE: Duration = Duration::from_secs(8);

pub enum End {
    Done,
    Restart(String),
}

#[derive(Clone)]
pub struct Session<K> {
    pub kafka: K,
    pub config: IngestConfig,
    pub routes: Arc<Vec<Route>>,
    /// What patterns find their topics among.
    pub topics: watch::Receiver<Existing>,
    pub schemas: Schemas,
    /// Where "caught up" is, if that is the end.
    pub ends: Option<BTreeMap<Partition, Range>>,
    /// Partitions whose lost records somebody has accepted.
    pub accepted_gaps: Vec<Partition>,
    pub stop: watch::Receiver<bool>,
    pub metrics: Arc<Metrics>,
    pub trouble: Arc<Trouble>,
}

/// A topic in a running session.
pub(super) struct Lane {
    pub buffer: Buffer,
    /// The index of its table's outlet.
    pub outlet: usize,
}

pub(super) struct Running<'a, K: Kafka> {
    pub session: &'a Session<K>,
    pub feed: &'a K::Feed,
    /// By topic. In their order, so that a history repeats.
    pub lanes: BTreeMap<String, Lane>,
    /// One a route.
    pub outlets: Vec<Outlet>,
    pub topics: watch::Receiver<Existing>,
    pub subscribed: BTreeSet<String>,
    /// The client's handle of a topic, so that a record costs no look-up by name.
    pub handles: HashMap<usize, String>,
    pub settled: UnboundedReceiver<Settled>,
    pub committed: BTreeMap<Partition, i64>,
    pub backlog: VecDeque<<K::Feed as Feed>::Batch<'a>>,
    pub assigned: Vec<Partition>,
    /// Topics whose next record waits for its schema, by the client's handle.
    pub parked: BTreeMap<usize, Parked<<K::Feed as Feed>::Batch<'a>>>,
    pub looked_up: Instant,
    pub lag_noted: Instant,
}

/// Why the loop leaves early: a failure, or a fence.
pub(super) enum Leave {
    Failed(Error),
    Restart(String),
}

impl From<Error> for Leave {
    fn from(error: Error) -> Self {
        Leave::Failed(error)
    }
}

impl<K: Kafka> Session<K> {
    pub async fn run(self) -> Result<End> {
        let feed = self.kafka.join()?;
        let (settled, settlements) = unbounded_channel();
        let mut running = Running {
            session: &self,
            feed: &feed,
            lanes: BTreeMap::new(),
            outlets: self.outlets(&settled),
            topics: self.topics.clone(),
            subscribed: BTreeSet::new(),
            handles: HashMap::new(),
            settled: settlements,
            committed: BTreeMap::new(),
            backlog: VecDeque::new(),
            assigned: Vec::new(),
            parked: BTreeMap::new(),
            looked_up: runtime::now(),
            lag_noted: runtime::now(),
        };
        let end = running.go().await;
        for outlet in std::mem::take(&mut running.outlets) {
            outlet.flow.stop().await;
        }
        self.metrics.set_lags(BTreeMap::new());
        match end {
            Ok(()) => Ok(End::Done),
            Err(Leave::Restart(reason)) => Ok(End::Restart(reason)),
            Err(Leave::Failed(error)) => Err(error),
        }
    }

    fn outlets(&self, settled: &UnboundedSender<Settled>) -> Vec<Outlet> {
        let mut outlets = Vec::new();
        for route in self.routes.iter() {
            let (topics, table) = (route.topics.to_string(), route.table.name.to_string());
            let metrics = self.metrics.topic(&topics);
            table.clone_into(&mut metrics.table.lock().unwrap_or_else(|e| e.into_inner()));
            let flow = Flow::start(
                &topics,
                route.table.clone(),
                route.contract.file_schema(),
                route.version,
                self.config.commit_timeout,
                metrics,
                route.committed.clone(),
                settled.clone(),
            );
            outlets.push(Outlet::new(table, flow));
        }
        outlets
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// What records may hold once they have left Kafka's queues, which have the rest.
    pub(super) fn memory(&self) -> usize {
        usize::try_from(self.config.memory / 4 * 3).unwrap_or(usize::MAX)
    }

    /// A table's share of that, as bytes of payload: what may wait before a flush must happen.
    pub(super) fn flush_bytes(&self) -> u64 {
        let share = self.config.memory / 2 / u64::try_from(self.routes.len().max(1)).unwrap_or(1);
        self.config.flush_bytes.min(share).max(1)
    }
}

impl<K: Kafka> Running<'_, K> {
    async fn go(&mut self) -> Result<(), Leave> {
        let existing = self.topics.borrow_and_update().clone();
        self.subscribe(&existing)?;
        while !self.session.stopping() {
            self.unpark().await?;
            if self.backlog.is_empty() {
                let batch = self.feed.poll(if self.expects_schema() { SHORT_POLL } else { POLL }).await;
                self.backlog.push_back(batch);
            }
            while let Some(batch) = self.backlog.pop_front() {
                self.take(batch).await?;
            }
            while let Some(event) = self.feed.event() {
                self.answer(event).await?;
            }
            self.follow_topics()?;
            self.collect_settled()?;
            self.flush_due().await?;
            self.note_lag();
            if self.caught_up().await? {
                return Ok(());
            }
        }
        self.flush_all(Some(DEADLINE)).await
    }

    /// Makes the way of a topic that is new to the session.
    pub(super) fn add_lane(&mut self, topic: String, outlet: usize, route: &Route) {
        let lane = |topic: &String| Lane { buffer: Buffer::new(topic, &route.contract), outlet };
        self.lanes.entry(topic).or_insert_with_key(lane);
    }

    /// Decodes a batch from a message on, up to the first that needs a schema, and tells where and which.
    pub(super) async fn push(&mut self, batch: &impl Batch, from: usize) -> Result<Option<(usize, SchemaId)>, Leave> {
        let mut taken = 0;
        let mut needed = None;
        for (index, message) in batch.messages().enumerate().skip(from) {
            match message.kind() {
                Kind::Record | Kind::EndOfPartition => {}
                Kind::OffsetOutOfRange => {
                    let partition = Partition { topic: message.topic().to_owned(), partition: message.partition() };
                    return Err(self.moved_away(partition).await);
                }
                Kind::UnknownTopic => {
                    let partition = Partition { topic: message.topic().to_owned(), partition: message.partition() };
                    self.ensure_known(partition).await?;
                    continue;
                }
                Kind::Problem(reason) => {
                    tracing::warn!(topic = message.topic(), partition = message.partition(), reason, "kafka");
                    continue;
                }
            }
            let topic = self.handles.entry(message.topic_handle()).or_insert_with(|| message.topic().to_owned());
            let Some(lane) = self.lanes.get_mut(topic.as_str()) else { continue };
            if matches!(message.kind(), Kind::EndOfPartition) {
                lane.buffer.end_of_partition(message.partition(), message.offset());
                continue;
            }
            if let Some(id) = lane.buffer.needs(&message) {
                needed = Some((index, id));
                break;
            }
            lane.buffer.push(&message);
            taken += 1;
            if lane.buffer.chunk_is_full() {
                let topic = topic.clone();
                self.send_chunk(&topic).await?;
                self.relieve().await?;
            }
        }
        self.session.metrics.taken.fetch_add(taken, Ordering::Relaxed);
        self.note_builders();
        Ok(needed)
    }

    /// What a partition that is ours has committed.
    fn marks(&self, partition: &Partition) -> Option<Marks> {
        let taken = self.lanes.get(&partition.topic)?.buffer.marks(partition.partition)?;
        Some(Marks { next: self.committed.get(partition).copied(), ..taken })
    }

    /// The broker knows nothing of a topic that we read. It may be about to: what is made of the name must be the same.
    async fn ensure_known(&self, partition: Partition) -> Result<(), Leave> {
        match self.session.kafka.ranges(std::slice::from_ref(&partition)).await {
            Ok(ranges) => {
                if let (Some(range), Some(marks)) = (ranges.get(&partition), self.marks(&partition)) {
                    ensure_same_topic(&partition, &marks, *range)?;
                }
            }
            Err(reason) => {
                let Partition { topic, partition } = partition;
                tracing::warn!(topic, partition, %reason, "the broker does not have the topic; waiting for it");
            }
        }
        Ok(())
    }

    /// The offset we asked for is not there: what that means.
    async fn moved_away(&self, partition: Partition) -> Leave {
        match self.session.kafka.ranges(std::slice::from_ref(&partition)).await {
            Err(e) => e.into(),
            Ok(ranges) => {
                if let (Some(range), Some(marks)) = (ranges.get(&partition), self.marks(&partition))
                    && let Err(e) = ensure_continues(&partition, &marks, *range)
                {
                    return e.into();
                }
                Leave::Restart(format!(
                    "{} partition {} moved away under the reader",
                    partition.topic, partition.partition
                ))
            }
        }
    }
}
