//! From buffers to commits: when a flush is due, what it takes along, and how to wait when the way is full.
//!
//! All topics of a table go through one outlet, so that a process makes one commit at a time to it, with the rows and
//! the marks of all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;

use super::buffer::{SinceFlush, Taken};
use super::feed::{Feed, Kafka, Partition};
use super::session::{Leave, Running};
use super::writer::{Flow, Flush, Settled, Work, ended};
use crate::error::{Error, Result};
use crate::lake::commit::Outcome;
use crate::runtime::{self, Mistake, planted};

/// How long it is waited for a commit, or between two polls while nothing may be taken.
const POLL: Duration = Duration::from_millis(50);
/// How long a full pipe is waited for before fetching is paused.
const PATIENCE_BEFORE_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked whether a full pipe has room again.
const ROOM_POLL: Duration = Duration::from_millis(1);
/// An error rate over fewer records says nothing.
const RATE_WINDOW: u64 = 1000;

/// A table in a running session.
pub struct Outlet {
    /// As it is called in messages.
    pub table: String,
    pub flow: Flow,
    in_flight: usize,
    /// Records and rejected ones of the window over which the error rate is taken.
    window: (u64, u64),
}

/// What is in hand for a table's next commit.
#[derive(Default)]
struct Waiting {
    /// When the first of it came.
    opened: Option<Instant>,
    rows: u64,
    bytes: u64,
}

impl Waiting {
    fn add(&mut self, since: &SinceFlush) {
        self.opened = [self.opened, since.opened].into_iter().flatten().min();
        self.rows += since.rows;
        self.bytes += since.bytes;
    }
}

impl<K: Kafka> Running<'_, K> {
    pub(super) async fn flush_due(&mut self) -> Result<(), Leave> {
        let config = &self.session.config;
        let bytes = self.session.flush_bytes();
        let now = runtime::now();
        let mut waiting: Vec<Waiting> = self.outlets.iter().map(|_| Waiting::default()).collect();
        for lane in self.lanes.values() {
            if let Some(waiting) = waiting.get_mut(lane.outlet) {
                waiting.add(&lane.buffer.since_flush);
            }
        }
        let due: Vec<usize> = waiting
            .iter()
            .zip(&self.outlets)
            .enumerate()
            .filter(|(_, (waiting, outlet))| {
                let full = waiting.rows >= config.flush_rows || waiting.bytes >= bytes;
                let old = waiting.opened.is_some_and(|opened| now.duration_since(opened) >= config.flush_interval);
                // While a commit is under way, age alone makes no other: the next one is larger instead.
                full || (old && outlet.in_flight == 0)
            })
            .map(|(index, _)| index)
            .collect();
        for outlet in due {
            self.flush(outlet).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, outlet: usize) -> Result<(), Leave> {
        let topics: Vec<String> =
            self.lanes.iter().filter(|(_, lane)| lane.outlet == outlet).map(|(topic, _)| topic.clone()).collect();
        for (index, topic) in topics.iter().enumerate() {
            if !planted(Mistake::MarksBeforeRows) && (index == 0 || !planted(Mistake::RowsOfOneTopic)) {
                self.send_chunk(topic).await?;
            }
        }
        let mut flush = Flush {
            marks: Vec::new(),
            read_at: HashMap::new(),
            next: Vec::new(),
            rows: 0,
            rejected: BTreeMap::new(),
            bytes: 0,
        };
        for (index, topic) in topics.iter().enumerate() {
            let Some(lane) = self.lanes.get_mut(topic) else { continue };
            if !lane.buffer.is_dirty() || (index > 0 && planted(Mistake::MarksOfOneTopic)) {
                continue;
            }
            let since = &mut lane.buffer.since_flush;
            flush.rows += since.rows;
            for (class, records) in std::mem::take(&mut since.rejected) {
                *flush.rejected.entry(class).or_default() += records;
            }
            flush.bytes += since.bytes;
            let Taken { marks, read_at, next } = lane.buffer.take_marks();
            flush.marks.extend(marks);
            flush.read_at.extend(read_at);
            let place = |(partition, next)| (Partition { topic: topic.clone(), partition }, next);
            flush.next.extend(next.into_iter().map(place));
        }
        let Some(way) = self.outlets.get_mut(outlet).filter(|_| !flush.marks.is_empty()) else { return Ok(()) };
        way.watch_error_rate(flush.rows, flush.rejected.values().sum(), self.session.config.error_rate_limit)?;
        way.in_flight += 1;
        self.send(outlet, Work::Flush(flush)).await
    }

    /// Commits all that is in hand and waits until it is settled.
    pub(super) async fn flush_all(&mut self, deadline: Option<Duration>) -> Result<(), Leave> {
        for outlet in 0..self.outlets.len() {
            self.flush(outlet).await?;
        }
        let until = deadline.map(|d| runtime::now() + d);
        while self.outlets.iter().any(|outlet| outlet.in_flight > 0) {
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

    pub(super) async fn send_chunk(&mut self, topic: &str) -> Result<(), Leave> {
        let now = runtime::utc_now();
        let Some(lane) = self.lanes.get_mut(topic) else { return Ok(()) };
        let outlet = lane.outlet;
        let Some(batch) = lane.buffer.take_chunk(now)? else { return Ok(()) };
        self.note_builders();
        if let Some(outlet) = self.outlets.get(outlet) {
            outlet.flow.metrics.held.queued.fetch_add(batch.get_array_memory_size(), Ordering::Relaxed);
        }
        self.send(outlet, Work::Rows { batch, day: now.date_naive() }).await
    }

    /// Notes what the rows hold that are not sent yet.
    pub(super) fn note_builders(&self) {
        let mut held = vec![0; self.outlets.len()];
        for lane in self.lanes.values() {
            if let Some(held) = held.get_mut(lane.outlet) {
                *held += lane.buffer.memory();
            }
        }
        for (outlet, held) in self.outlets.iter().zip(held) {
            outlet.flow.metrics.held.builders.store(held, Ordering::Relaxed);
        }
    }

    async fn send(&mut self, outlet: usize, work: Work) -> Result<(), Leave> {
        let mut work = Some(work);
        self.wait_for_room(outlet, |running| {
            let (Some(way), Some(item)) = (running.outlets.get(outlet), work.take()) else { return Ok(true) };
            match way.flow.work.try_send(item) {
                Ok(()) => Ok(true),
                Err(TrySendError::Full(back)) => {
                    work = Some(back);
                    Ok(false)
                }
                Err(TrySendError::Closed(_)) => {
                    let table = way.table.clone();
                    // The writer sends its reason before it ends.
                    running.collect_settled()?;
                    Err(ended(&table).into())
                }
            }
        })
        .await
    }

    /// Commits early when records on their way hold more than they may, and waits until they do not.
    pub(super) async fn relieve(&mut self) -> Result<(), Leave> {
        let limit = self.session.memory();
        let held = |running: &Self| running.outlets.iter().map(|o| o.flow.metrics.held.total()).sum::<usize>();
        if held(self) <= limit {
            return Ok(());
        }
        // The encoder's open files are what a commit sets free.
        let largest = self.outlets.iter().enumerate().max_by_key(|(_, outlet)| outlet.flow.metrics.held.total());
        let Some((outlet, _)) = largest else { return Ok(()) };
        self.flush(outlet).await?;
        self.wait_for_room(outlet, |running| {
            Ok(held(running) <= limit || running.outlets.iter().all(|outlet| outlet.in_flight == 0))
        })
        .await
    }

    /// Waits until `ready` says so. Should that take long, fetching is paused, while polling goes on.
    async fn wait_for_room(
        &mut self,
        outlet: usize,
        mut ready: impl FnMut(&mut Self) -> Result<bool, Leave>,
    ) -> Result<(), Leave> {
        let began = runtime::now();
        let mut paused = false;
        while !ready(self)? {
            self.collect_settled()?;
            if !paused && runtime::now().duration_since(began) > PATIENCE_BEFORE_PAUSE {
                self.feed.pause(&self.assigned, true)?;
                paused = true;
                let table = self.outlets.get(outlet).map(|outlet| outlet.table.as_str());
                tracing::info!(table, "the store is slower than Kafka; fetching is paused");
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

    pub(super) fn collect_settled(&mut self) -> Result<(), Leave> {
        while let Ok(settled) = self.settled.try_recv() {
            self.settle(settled)?;
        }
        Ok(())
    }

    fn settle(&mut self, settled: Settled) -> Result<(), Leave> {
        if let Some(outlet) = self.outlets.iter_mut().find(|outlet| outlet.table == settled.table) {
            outlet.in_flight = outlet.in_flight.saturating_sub(1);
        }
        match settled.outcome {
            Err(e) if self.session.trouble.worth_trying(&e, self.session.config.commit_timeout) => {
                Err(Leave::Restart(format!("{}: {e}", settled.table)))
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
                settled.table
            ))),
            Ok(Outcome::Conflict { version, why }) => {
                Err(Leave::Restart(format!("{}: version {version} came in between: {why}", settled.table)))
            }
        }
    }
}

impl Outlet {
    pub fn new(table: String, flow: Flow) -> Self {
        Outlet { table, flow, in_flight: 0, window: (0, 0) }
    }

    /// Stops ingest when more records than allowed are rejected, before it fills the lake with them.
    fn watch_error_rate(&mut self, rows: u64, rejected: u64, limit: f64) -> Result<()> {
        let (seen, bad) = (self.window.0 + rows, self.window.1 + rejected);
        self.window = (seen, bad);
        if seen < RATE_WINDOW {
            return Ok(());
        }
        self.window = (0, 0);
        if bad as f64 > seen as f64 * limit {
            return Err(Error::failed(format!(
                "{}: {bad} of the last {seen} records were rejected, more than ingest.error_rate_limit = {limit}",
                self.table
            ))
            .hint("the last of them are not committed and will be read again; mend the producer or the contract"));
        }
        Ok(())
    }
}
