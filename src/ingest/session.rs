//! The one loop: poll, decode, flush when due, and answer rebalances after committing what is in hand.
//!
//! A session ends when it is done, or when another daemon's commit shows that what it holds is no longer its own; then a
//! new one starts from the tables. It keeps polling while it waits for room, or the group would take its partitions
//! away; what it polls meanwhile waits too, for a record once handed over is never dropped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;

use super::buffer::{Buffer, Taken};
use super::consumer::{Batch, Consumer, Event, Kind, Partition};
use super::source::{Broker, Range, ensure_continues};
use super::writer::{Counters, Flow, Flush, Settled, Work, ended};
use super::{Route, read_marks};
use crate::config::IngestConfig;
use crate::error::{Error, Result};
use crate::lake::commit::Outcome;
use crate::lake::offsets::Marks;

/// The longest the loop waits for records: also how fast it notices a shutdown or a flush that is due.
const POLL: Duration = Duration::from_millis(50);
/// How long a full pipe is waited for before fetching is paused.
const PATIENCE_BEFORE_PAUSE: Duration = Duration::from_secs(10);
/// On a shutdown, what is in hand has to be committed within this.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often partitions that other daemons hold are looked up, when waiting for all of them to catch up.
const LOOK_UP_OTHERS: Duration = Duration::from_secs(1);
/// An error rate over fewer records says nothing.
const RATE_WINDOW: u64 = 1000;

pub enum End {
    Done,
    Restart(String),
}

pub struct Session {
    broker: Broker,
    config: IngestConfig,
    routes: Arc<Vec<Route>>,
    ends: Option<BTreeMap<Partition, Range>>,
    stop: watch::Receiver<bool>,
    counters: Arc<Counters>,
    runtime: Handle,
}

/// A topic in a running session.
struct Lane {
    buffer: Buffer,
    flow: Flow,
    in_flight: usize,
}

struct Running<'a> {
    session: &'a Session,
    consumer: &'a Consumer,
    lanes: HashMap<String, Lane>,
    /// librdkafka's handle of a topic, so that a record costs no look-up by name.
    handles: HashMap<usize, String>,
    settled: Receiver<Settled>,
    committed: BTreeMap<Partition, i64>,
    backlog: VecDeque<Batch<'a>>,
    assigned: Vec<Partition>,
    looked_up: Instant,
}

/// Why the loop leaves early: a failure, or a fence.
enum Leave {
    Failed(Error),
    Restart(String),
}

impl From<Error> for Leave {
    fn from(error: Error) -> Self {
        Leave::Failed(error)
    }
}

impl Session {
    pub fn new(
        broker: Broker,
        config: IngestConfig,
        routes: Arc<Vec<Route>>,
        ends: Option<BTreeMap<Partition, Range>>,
        stop: watch::Receiver<bool>,
        counters: Arc<Counters>,
        runtime: Handle,
    ) -> Self {
        Session { broker, config, routes, ends, stop, counters, runtime }
    }

    pub fn run(self) -> Result<End> {
        let topics: Vec<&str> = self.routes.iter().map(|r| r.topic.as_str()).collect();
        let consumer = self.broker.consumer(&topics)?;
        let (settled, settlements) = channel();
        let mut running = Running {
            session: &self,
            consumer: &consumer,
            lanes: self.lanes(&settled)?,
            handles: HashMap::new(),
            settled: settlements,
            committed: BTreeMap::new(),
            backlog: VecDeque::new(),
            assigned: Vec::new(),
            looked_up: Instant::now(),
        };
        let end = running.go();
        for (_, lane) in running.lanes.drain() {
            self.runtime.block_on(lane.flow.stop());
        }
        match end {
            Ok(()) => Ok(End::Done),
            Err(Leave::Restart(reason)) => Ok(End::Restart(reason)),
            Err(Leave::Failed(error)) => Err(error),
        }
    }

    fn lanes(&self, settled: &Sender<Settled>) -> Result<HashMap<String, Lane>> {
        let _runtime = self.runtime.enter();
        let mut lanes = HashMap::new();
        for route in self.routes.iter() {
            let (version, _) = self.runtime.block_on(read_marks(&route.table))?;
            let flow = Flow::start(
                &route.topic,
                route.table.clone(),
                route.contract.file_schema(),
                version,
                self.config.commit_timeout,
                self.counters.clone(),
                settled.clone(),
            );
            lanes.insert(
                route.topic.clone(),
                Lane { buffer: Buffer::new(&route.topic, &route.contract), flow, in_flight: 0 },
            );
        }
        Ok(lanes)
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// A topic's share of the memory that is not Kafka's: what may wait in its buffer before a flush must happen.
    fn flush_bytes(&self) -> u64 {
        let share = self.config.memory / 2 / u64::try_from(self.routes.len().max(1)).unwrap_or(1);
        self.config.flush_bytes.min(share).max(1)
    }
}

impl<'a> Running<'a> {
    fn go(&mut self) -> Result<(), Leave> {
        while !self.session.stopping() {
            if self.backlog.is_empty() {
                self.backlog.push_back(self.consumer.poll(POLL));
            }
            while let Some(batch) = self.backlog.pop_front() {
                self.take(&batch)?;
            }
            while let Some(event) = self.consumer.event() {
                self.answer(event)?;
            }
            self.collect_settled()?;
            self.flush_due()?;
            if self.caught_up()? {
                return Ok(());
            }
        }
        self.flush_all(Some(DEADLINE))
    }

    fn take(&mut self, batch: &Batch<'_>) -> Result<(), Leave> {
        let mut taken = 0;
        for message in batch.messages() {
            match message.kind() {
                Kind::Record | Kind::EndOfPartition => {}
                Kind::OffsetOutOfRange => {
                    let partition = Partition { topic: message.topic().to_owned(), partition: message.partition() };
                    let range = self.session.broker.range(&partition)?;
                    if let Some(next) = self.committed.get(&partition) {
                        ensure_continues(&partition, *next, range)?;
                    }
                    return Err(Leave::Restart(format!(
                        "{} partition {} moved away under the reader",
                        partition.topic, partition.partition
                    )));
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
            lane.buffer.push(&message);
            taken += 1;
            if lane.buffer.chunk_is_full() {
                let topic = topic.clone();
                self.send_chunk(&topic)?;
            }
        }
        self.session.counters.taken.fetch_add(taken, Ordering::Relaxed);
        Ok(())
    }

    fn answer(&mut self, event: Event) -> Result<(), Leave> {
        match event {
            Event::Fatal(reason) => {
                Err(Error::outside(format!("kafka: {reason}")).hint("another client may use the same identity").into())
            }
            Event::Assigned(partitions) => self.take_over(partitions),
            Event::Revoked(partitions) => {
                // Whoever gets them reads the tables: the more is committed, the less is read twice.
                self.flush_all(None)?;
                for p in &partitions {
                    if let Some(lane) = self.lanes.get_mut(&p.topic) {
                        lane.buffer.give_up(p.partition);
                    }
                }
                self.assigned.retain(|p| !partitions.contains(p));
                Ok(self.consumer.unassign(&partitions)?)
            }
        }
    }

    fn take_over(&mut self, partitions: Vec<Partition>) -> Result<(), Leave> {
        let mut starts = Vec::with_capacity(partitions.len());
        for route in self.session.routes.iter() {
            let mine: Vec<&Partition> = partitions.iter().filter(|p| p.topic == route.topic).collect();
            if mine.is_empty() {
                continue;
            }
            let (version, log) = self.session.runtime.block_on(read_marks(&route.table))?;
            let mine: Vec<Partition> = mine.into_iter().cloned().collect();
            let ranges = self.session.broker.ends(&mine)?;
            for (partition, range) in ranges {
                let mut marks = Marks::from_log(&log, &partition.topic, partition.partition);
                match marks.next {
                    Some(next) => {
                        ensure_continues(&partition, next, range)?;
                        self.committed.insert(partition.clone(), next);
                    }
                    // From where the topic begins, every offset is accounted for, also those that Kafka passes over.
                    None => marks = Marks { first: Some(range.low), next: Some(range.low), ..marks },
                }
                if let Some(lane) = self.lanes.get_mut(&partition.topic) {
                    lane.buffer.take_over(partition.partition, marks, version);
                }
                starts.push((partition, marks.next));
            }
        }
        tracing::info!(partitions = starts.len(), "reading");
        self.assigned.extend(partitions);
        Ok(self.consumer.assign(&starts)?)
    }

    fn flush_due(&mut self) -> Result<(), Leave> {
        let config = &self.session.config;
        let bytes = self.session.flush_bytes();
        let due: Vec<String> = self
            .lanes
            .iter()
            .filter(|(_, lane)| {
                let since = &lane.buffer.since_flush;
                let full = since.rows >= config.flush_rows || since.bytes >= bytes;
                let old = since.opened.is_some_and(|opened| opened.elapsed() >= config.flush_interval);
                // While a commit is under way, age alone makes no other: the next one is larger instead.
                full || (old && lane.in_flight == 0)
            })
            .map(|(topic, _)| topic.clone())
            .collect();
        due.iter().try_for_each(|topic| self.flush(topic))
    }

    fn flush(&mut self, topic: &str) -> Result<(), Leave> {
        self.send_chunk(topic)?;
        let Some(lane) = self.lanes.get_mut(topic) else { return Ok(()) };
        if !lane.buffer.is_dirty() {
            return Ok(());
        }
        let since = &lane.buffer.since_flush;
        let (rows, rejected, bytes) = (since.rows, since.rejected, since.bytes);
        let limit = self.session.config.error_rate_limit;
        if rows >= RATE_WINDOW && rejected as f64 > rows as f64 * limit {
            return Err(Error::failed(format!(
                "{topic}: {rejected} of the last {rows} records were rejected, more than ingest.error_rate_limit = {limit}"
            ))
            .hint("they are not committed and will be read again; mend the producer or the contract")
            .into());
        }
        let Taken { marks, read_at, next } = lane.buffer.take_marks();
        let next =
            next.into_iter().map(|(partition, n)| (Partition { topic: topic.to_owned(), partition }, n)).collect();
        lane.in_flight += 1;
        self.send(topic, Work::Flush(Flush { marks, read_at, next, rows, rejected, bytes }))
    }

    /// Commits all that is in hand and waits until it is settled.
    fn flush_all(&mut self, deadline: Option<Duration>) -> Result<(), Leave> {
        let topics: Vec<String> = self.lanes.keys().cloned().collect();
        topics.iter().try_for_each(|topic| self.flush(topic))?;
        let until = deadline.map(|d| Instant::now() + d);
        while self.lanes.values().any(|lane| lane.in_flight > 0) {
            match self.settled.recv_timeout(POLL) {
                Ok(settled) => self.settle(settled)?,
                Err(RecvTimeoutError::Timeout) if until.is_none_or(|u| Instant::now() < u) => {}
                Err(_) => {
                    return Err(Error::outside("the last commit did not end within the deadline")
                        .hint("nothing is lost: what is not in the tables is read again")
                        .into());
                }
            }
        }
        Ok(())
    }

    fn send_chunk(&mut self, topic: &str) -> Result<(), Leave> {
        let now = Utc::now();
        let Some(lane) = self.lanes.get_mut(topic) else { return Ok(()) };
        match lane.buffer.take_chunk(now)? {
            Some(batch) => self.send(topic, Work::Rows { batch, day: now.date_naive() }),
            None => Ok(()),
        }
    }

    fn send(&mut self, topic: &str, mut work: Work) -> Result<(), Leave> {
        let began = Instant::now();
        let mut paused = false;
        loop {
            let Some(lane) = self.lanes.get(topic) else { return Ok(()) };
            match lane.flow.work.try_send(work) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => work = back,
                Err(TrySendError::Closed(_)) => {
                    // The writer sends its reason before it ends.
                    self.collect_settled()?;
                    return Err(ended(topic).into());
                }
            }
            self.collect_settled()?;
            if !paused && began.elapsed() > PATIENCE_BEFORE_PAUSE {
                self.consumer.pause(&self.assigned, true)?;
                paused = true;
                tracing::info!(topic, "the store is slower than Kafka; fetching is paused");
            }
            match paused {
                true => self.backlog.push_back(self.consumer.poll(POLL)),
                false => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        if paused {
            self.consumer.pause(&self.assigned, false)?;
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
        match settled.outcome? {
            Outcome::Committed { .. } => {
                self.consumer.report_progress(&settled.next);
                self.committed.extend(settled.next);
                Ok(())
            }
            Outcome::Fenced { version, mark } => Err(Leave::Restart(format!(
                "{}: another daemon set {mark} in version {version}; what this one held is dropped",
                settled.topic
            ))),
            Outcome::Conflict { version, why } => {
                Err(Leave::Restart(format!("{}: version {version} came in between: {why}", settled.topic)))
            }
        }
    }

    /// Whether every partition is committed up to the end that it had at the start.
    fn caught_up(&mut self) -> Result<bool, Leave> {
        let Some(ends) = &self.session.ends else { return Ok(false) };
        let reached = |committed: &BTreeMap<Partition, i64>| {
            ends.iter().all(|(p, end)| end.high <= end.low || committed.get(p).is_some_and(|next| *next >= end.high))
        };
        if reached(&self.committed) {
            return Ok(true);
        }
        if self.looked_up.elapsed() < LOOK_UP_OTHERS {
            return Ok(false);
        }
        self.looked_up = Instant::now();
        for route in self.session.routes.iter() {
            let others: Vec<&Partition> =
                ends.keys().filter(|p| p.topic == route.topic && !self.assigned.contains(p)).collect();
            if !others.is_empty() {
                let (_, log) = self.session.runtime.block_on(read_marks(&route.table))?;
                for p in others {
                    if let Some(next) = Marks::from_log(&log, &p.topic, p.partition).next {
                        self.committed.insert(p.clone(), next);
                    }
                }
            }
        }
        Ok(reached(&self.committed))
    }
}
