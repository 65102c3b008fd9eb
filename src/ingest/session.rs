//! The one loop: poll, decode, flush when due, and answer rebalances after committing what is in hand.
//!
//! A session ends when it is done, or when another daemon's commit shows that what it holds is no longer its own; then a
//! new one starts from the tables. It keeps polling while it waits for room, or the group would take its partitions
//! away; what it polls meanwhile waits too, for a record once handed over is never dropped. A topic that waits for a
//! schema waits alone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::buffer::{Buffer, Taken};
use super::feed::{Batch, Feed, Kafka, Kind, Message, Partition, Range, ensure_continues, ensure_same_topic};
use super::metrics::{Lag, Metrics};
use super::parked::Parked;
use super::schemas::Schemas;
use super::writer::{Flow, Flush, Settled, Work, ended};
use super::{Route, read_marks};
use crate::config::IngestConfig;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::lake::commit::Outcome;
use crate::lake::offsets::Marks;
use crate::registry::SchemaId;
use crate::runtime::{self, Mistake, planted};

/// The longest the loop waits for records: also how fast it notices a shutdown or a flush that is due.
const POLL: Duration = Duration::from_millis(50);
/// The same while a schema is about to come.
const SHORT_POLL: Duration = Duration::from_millis(1);
/// How long a full pipe is waited for before fetching is paused.
const PATIENCE_BEFORE_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked whether a full pipe has room again.
const ROOM_POLL: Duration = Duration::from_millis(1);
/// On a shutdown, what is in hand has to be committed within this.
const DEADLINE: Duration = Duration::from_secs(8);
/// How often partitions that other daemons hold are looked up, when waiting for all of them to catch up.
const LOOK_UP_OTHERS: Duration = Duration::from_secs(1);
/// How often it is noted how far each partition is behind.
const NOTE_LAG: Duration = Duration::from_secs(1);
/// An error rate over fewer records says nothing.
const RATE_WINDOW: u64 = 1000;

pub enum End {
    Done,
    Restart(String),
}

#[derive(Clone)]
pub struct Session<K> {
    pub kafka: K,
    pub config: IngestConfig,
    pub routes: Arc<Vec<Route>>,
    pub schemas: Schemas,
    /// Where "caught up" is, if that is the end.
    pub ends: Option<BTreeMap<Partition, Range>>,
    /// Partitions whose lost records somebody has accepted.
    pub accepted_gaps: Vec<Partition>,
    pub stop: watch::Receiver<bool>,
    pub metrics: Arc<Metrics>,
    pub trouble: Arc<Trouble>,
}

/// Since when the store refuses what is to be committed. A session that meets that starts over from the tables, which
/// costs nothing but reading again, until the store has had its time.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<Instant>>);

impl Trouble {
    fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is still worth trying, after an error.
    fn worth_trying(&self, error: &Error, patience: Duration) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert_with(runtime::now);
        error.kind() == ErrorKind::Outside && !error.is_lasting() && runtime::now().duration_since(since) < patience
    }
}

/// A topic in a running session.
pub(super) struct Lane {
    pub buffer: Buffer,
    flow: Flow,
    in_flight: usize,
    /// Records and rejected ones of the window over which the error rate is taken.
    window: (u64, u64),
}

pub(super) struct Running<'a, K: Kafka> {
    pub session: &'a Session<K>,
    pub feed: &'a K::Feed,
    /// By topic. In their order, so that a history repeats.
    pub lanes: BTreeMap<String, Lane>,
    /// The client's handle of a topic, so that a record costs no look-up by name.
    handles: HashMap<usize, String>,
    settled: UnboundedReceiver<Settled>,
    pub committed: BTreeMap<Partition, i64>,
    backlog: VecDeque<<K::Feed as Feed>::Batch<'a>>,
    pub assigned: Vec<Partition>,
    /// Topics whose next record waits for its schema, by the client's handle.
    pub parked: BTreeMap<usize, Parked<<K::Feed as Feed>::Batch<'a>>>,
    looked_up: Instant,
    lag_noted: Instant,
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
        let topics: Vec<&str> = self.routes.iter().map(|r| r.topic.as_str()).collect();
        let feed = self.kafka.subscribe(&topics)?;
        let (settled, settlements) = unbounded_channel();
        let mut running = Running {
            session: &self,
            feed: &feed,
            lanes: self.lanes(&settled),
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
        for lane in std::mem::take(&mut running.lanes).into_values() {
            lane.flow.stop().await;
        }
        self.metrics.set_lags(BTreeMap::new());
        match end {
            Ok(()) => Ok(End::Done),
            Err(Leave::Restart(reason)) => Ok(End::Restart(reason)),
            Err(Leave::Failed(error)) => Err(error),
        }
    }

    fn lanes(&self, settled: &UnboundedSender<Settled>) -> BTreeMap<String, Lane> {
        let mut lanes = BTreeMap::new();
        for route in self.routes.iter() {
            let metrics = self.metrics.topic(&route.topic);
            route.table.name.to_string().clone_into(&mut metrics.table.lock().unwrap_or_else(|e| e.into_inner()));
            let flow = Flow::start(
                &route.topic,
                route.table.clone(),
                route.contract.file_schema(),
                route.version,
                self.config.commit_timeout,
                metrics,
                route.committed.clone(),
                settled.clone(),
            );
            let buffer = Buffer::new(&route.topic, &route.contract);
            lanes.insert(route.topic.clone(), Lane { buffer, flow, in_flight: 0, window: (0, 0) });
        }
        lanes
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// What records may hold once they have left Kafka's queues, which have the rest.
    fn memory(&self) -> usize {
        usize::try_from(self.config.memory / 4 * 3).unwrap_or(usize::MAX)
    }

    /// A topic's share of that, as bytes of payload: what may wait before a flush must happen.
    fn flush_bytes(&self) -> u64 {
        let share = self.config.memory / 2 / u64::try_from(self.routes.len().max(1)).unwrap_or(1);
        self.config.flush_bytes.min(share).max(1)
    }
}

impl<K: Kafka> Running<'_, K> {
    async fn go(&mut self) -> Result<(), Leave> {
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
            self.collect_settled()?;
            self.flush_due().await?;
            self.note_lag();
            if self.caught_up().await? {
                return Ok(());
            }
        }
        self.flush_all(Some(DEADLINE)).await
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
        for lane in self.lanes.values() {
            lane.flow.metrics.held.builders.store(lane.buffer.memory(), Ordering::Relaxed);
        }
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

    async fn flush_due(&mut self) -> Result<(), Leave> {
        let config = &self.session.config;
        let bytes = self.session.flush_bytes();
        let now = runtime::now();
        let due: Vec<String> = self
            .lanes
            .iter()
            .filter(|(_, lane)| {
                let since = &lane.buffer.since_flush;
                let full = since.rows >= config.flush_rows || since.bytes >= bytes;
                let old = since.opened.is_some_and(|opened| now.duration_since(opened) >= config.flush_interval);
                // While a commit is under way, age alone makes no other: the next one is larger instead.
                full || (old && lane.in_flight == 0)
            })
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in due {
            self.flush(&topic).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, topic: &str) -> Result<(), Leave> {
        if !planted(Mistake::MarksBeforeRows) {
            self.send_chunk(topic).await?;
        }
        let Some(lane) = self.lanes.get_mut(topic) else { return Ok(()) };
        if !lane.buffer.is_dirty() {
            return Ok(());
        }
        let since = &mut lane.buffer.since_flush;
        let (rows, rejected, bytes) = (since.rows, std::mem::take(&mut since.rejected), since.bytes);
        lane.watch_error_rate(topic, rows, rejected.values().sum(), self.session.config.error_rate_limit)?;
        let Taken { marks, read_at, next } = lane.buffer.take_marks();
        let next =
            next.into_iter().map(|(partition, n)| (Partition { topic: topic.to_owned(), partition }, n)).collect();
        lane.in_flight += 1;
        self.send(topic, Work::Flush(Flush { marks, read_at, next, rows, rejected, bytes })).await
    }

    /// Commits all that is in hand and waits until it is settled.
    pub(super) async fn flush_all(&mut self, deadline: Option<Duration>) -> Result<(), Leave> {
        let topics: Vec<String> = self.lanes.keys().cloned().collect();
        for topic in topics {
            self.flush(&topic).await?;
        }
        let until = deadline.map(|d| runtime::now() + d);
        while self.lanes.values().any(|lane| lane.in_flight > 0) {
            match runtime::within(POLL, self.settled.recv()).await {
                Some(Some(settled)) => self.settle(settled)?,
                None if until.is_none_or(|u| runtime::now() < u) => {}
                _ => {
                    return Err(Error::outside("the last commit did not end within the deadline")
                        .hint("nothing is lost: what is not in the tables is read again")
                        .into());
                }
            }
        }
        Ok(())
    }

    async fn send_chunk(&mut self, topic: &str) -> Result<(), Leave> {
        let now = runtime::utc_now();
        let Some(lane) = self.lanes.get_mut(topic) else { return Ok(()) };
        let Some(batch) = lane.buffer.take_chunk(now)? else { return Ok(()) };
        lane.flow.metrics.held.builders.store(lane.buffer.memory(), Ordering::Relaxed);
        lane.flow.metrics.held.queued.fetch_add(batch.get_array_memory_size(), Ordering::Relaxed);
        self.send(topic, Work::Rows { batch, day: now.date_naive() }).await
    }

    async fn send(&mut self, topic: &str, work: Work) -> Result<(), Leave> {
        let mut work = Some(work);
        self.wait_for_room(topic, |running| {
            let (Some(lane), Some(item)) = (running.lanes.get(topic), work.take()) else { return Ok(true) };
            match lane.flow.work.try_send(item) {
                Ok(()) => Ok(true),
                Err(TrySendError::Full(back)) => {
                    work = Some(back);
                    Ok(false)
                }
                Err(TrySendError::Closed(_)) => {
                    // The writer sends its reason before it ends.
                    running.collect_settled()?;
                    Err(ended(topic).into())
                }
            }
        })
        .await
    }

    /// Commits early when records on their way hold more than they may, and waits until they do not.
    async fn relieve(&mut self) -> Result<(), Leave> {
        let limit = self.session.memory();
        let held = |running: &Self| running.lanes.values().map(|l| l.flow.metrics.held.total()).sum::<usize>();
        if held(self) <= limit {
            return Ok(());
        }
        // The encoder's open files are what a commit sets free.
        let largest = self.lanes.iter().max_by_key(|(_, lane)| lane.flow.metrics.held.total());
        let Some(topic) = largest.map(|(topic, _)| topic.clone()) else { return Ok(()) };
        self.flush(&topic).await?;
        self.wait_for_room(&topic, |running| {
            Ok(held(running) <= limit || running.lanes.values().all(|lane| lane.in_flight == 0))
        })
        .await
    }

    /// Waits until `ready` says so. Should that take long, fetching is paused, while polling goes on.
    async fn wait_for_room(
        &mut self,
        topic: &str,
        mut ready: impl FnMut(&mut Self) -> Result<bool, Leave>,
    ) -> Result<(), Leave> {
        let began = runtime::now();
        let mut paused = false;
        while !ready(self)? {
            self.collect_settled()?;
            if !paused && runtime::now().duration_since(began) > PATIENCE_BEFORE_PAUSE {
                self.feed.pause(&self.assigned, true)?;
                paused = true;
                tracing::info!(topic, "the store is slower than Kafka; fetching is paused");
            }
            match paused {
                true => {
                    let batch = self.feed.poll(POLL).await;
                    if !planted(Mistake::BacklogDropped) {
                        self.backlog.push_back(batch);
                    }
                }
                false => runtime::sleep(ROOM_POLL).await,
            }
        }
        if paused {
            self.feed.pause(&self.assigned, false)?;
            self.hold_parked()?;
        }
        Ok(())
    }

    fn collect_settled(&mut self) -> Result<(), Leave> {
        while let Ok(settled) = self.settled.try_recv() {
            self.settle(settled)?;
        }
        Ok(())
    }

    fn settle(&mut self, settled: Settled) -> Result<(), Leave> {
        if let Some(lane) = self.lanes.get_mut(&settled.topic) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        match settled.outcome {
            Err(e) if self.session.trouble.worth_trying(&e, self.session.config.commit_timeout) => {
                Err(Leave::Restart(format!("{}: {e}", settled.topic)))
            }
            Err(e) => Err(e.into()),
            Ok(Outcome::Committed { .. }) => {
                self.session.trouble.over();
                self.feed.report_progress(&settled.next);
                self.committed.extend(settled.next);
                Ok(())
            }
            Ok(Outcome::Fenced { version, mark }) => Err(Leave::Restart(format!(
                "{}: another daemon set {mark} in version {version}; what this one held is dropped",
                settled.topic
            ))),
            Ok(Outcome::Conflict { version, why }) => {
                Err(Leave::Restart(format!("{}: version {version} came in between: {why}", settled.topic)))
            }
        }
    }

    /// Whether every partition is committed up to the end that it had at the start.
    async fn caught_up(&mut self) -> Result<bool, Leave> {
        let Some(ends) = &self.session.ends else { return Ok(false) };
        let reached = |committed: &BTreeMap<Partition, i64>| {
            ends.iter().all(|(p, end)| end.high <= end.low || committed.get(p).is_some_and(|next| *next >= end.high))
        };
        if reached(&self.committed) {
            return Ok(true);
        }
        if runtime::now().duration_since(self.looked_up) < LOOK_UP_OTHERS {
            return Ok(false);
        }
        self.looked_up = runtime::now();
        for route in self.session.routes.iter() {
            let others: Vec<&Partition> =
                ends.keys().filter(|p| p.topic == route.topic && !self.assigned.contains(p)).collect();
            if !others.is_empty() {
                let (_, log) = read_marks(&route.table, self.session.config.commit_timeout).await?;
                for p in others {
                    if let Some(next) = Marks::from_log(&log, &p.topic, p.partition).next {
                        self.committed.insert(p.clone(), next);
                    }
                }
            }
        }
        Ok(reached(&self.committed))
    }

    fn note_lag(&mut self) {
        if runtime::now().duration_since(self.lag_noted) < NOTE_LAG {
            return;
        }
        self.lag_noted = runtime::now();
        let now_ms = runtime::utc_now().timestamp_millis();
        let lag = |partition: &Partition| {
            let next = *self.committed.get(partition)?;
            let records = u64::try_from(self.feed.known_end(partition)? - next).unwrap_or(0);
            let newest = self.lanes.get(&partition.topic)?.buffer.newest_ms(partition.partition);
            let seconds = newest.filter(|_| records > 0).map_or(0.0, |ms| (now_ms - ms).max(0) as f64 / 1000.0);
            Some((partition.clone(), Lag { records, seconds }))
        };
        self.session.metrics.set_lags(self.assigned.iter().filter_map(lag).collect());
    }
}

impl Lane {
    /// Stops ingest when more records than allowed are rejected, before it fills the lake with them.
    fn watch_error_rate(&mut self, topic: &str, rows: u64, rejected: u64, limit: f64) -> Result<()> {
        let (seen, bad) = (self.window.0 + rows, self.window.1 + rejected);
        self.window = (seen, bad);
        if seen < RATE_WINDOW {
            return Ok(());
        }
        self.window = (0, 0);
        if bad as f64 > seen as f64 * limit {
            return Err(Error::failed(format!(
                "{topic}: {bad} of the last {seen} records were rejected, more than ingest.error_rate_limit = {limit}"
            ))
            .hint("the last of them are not committed and will be read again; mend the producer or the contract"));
        }
        Ok(())
    }
}
