//! What a session needs of Kafka, and nothing that only one client has: so that it runs on librdkafka and, by a seed, in
//! a simulation.
//!
//! A rebalance is an event to be answered when the session is ready, after it has committed what is in hand. The end of
//! a partition is told with its offset, so that control records at the end are accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
}

/// The offsets a partition holds: from `low` up to, not including, `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub low: i64,
    pub high: i64,
}

/// What Kafka wants of us, apart from handing over records.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours once [`Feed::assign`] is called.
    Assigned(Vec<Partition>),
    /// These partitions go to somebody else once [`Feed::unassign`] is called.
    Revoked(Vec<Partition>),
    /// The client cannot go on.
    Fatal(String),
}

/// What a message turns out to be.
pub enum Kind {
    Record,
    /// Nothing more to read for now; the message's offset is the one that comes next.
    EndOfPartition,
    /// The offset we asked for is not there.
    OffsetOutOfRange,
    Problem(String),
}

pub trait Message {
    fn kind(&self) -> Kind;
    /// The same for all messages of a topic while the feed lives, and cheap to compare.
    fn topic_handle(&self) -> usize;
    fn topic(&self) -> &str;
    fn partition(&self) -> i32;
    fn offset(&self) -> i64;
    fn timestamp_ms(&self) -> Option<i64>;
    fn key(&self) -> Option<&[u8]>;
    /// None for a tombstone.
    fn payload(&self) -> Option<&[u8]>;
}

/// Messages in the order in which they are to be taken.
pub trait Batch {
    fn messages(&self) -> impl Iterator<Item = impl Message>;

    /// Takes the messages of a topic out, from the one at `first` on, in their order.
    fn take_out(&mut self, first: usize, topic_handle: usize) -> Self;

    /// Drops the messages of partitions with this number. For a batch of one topic.
    fn forget(&mut self, partition: i32);
}

/// A member of a consumer group.
pub trait Feed {
    type Batch<'a>: Batch
    where
        Self: 'a;

    /// Waits up to `timeout` for records. Events that came up meanwhile are to be taken with [`Feed::event`].
    async fn poll(&self, timeout: Duration) -> Self::Batch<'_>;

    fn event(&self) -> Option<Event>;

    /// Takes partitions over, each from the given offset (None: from its beginning).
    fn assign(&self, partitions: &[(Partition, Option<i64>)]) -> Result<()>;

    /// Gives partitions up.
    fn unassign(&self, partitions: &[Partition]) -> Result<()>;

    /// Stops or goes on with fetching; polling has to go on either way, or the group takes the partitions away.
    fn pause(&self, partitions: &[Partition], paused: bool) -> Result<()>;

    /// Tells the group how far we are, for tools that show lag. Nothing relies on it, so nothing waits for it.
    fn report_progress(&self, partitions: &[(Partition, i64)]);

    /// Where a partition ends, as far as the client has heard.
    fn known_end(&self, partition: &Partition) -> Option<i64>;
}

/// A cluster.
pub trait Kafka {
    type Feed: Feed;

    fn subscribe(&self, topics: &[&str]) -> Result<Self::Feed>;

    /// Where each partition begins and ends now.
    async fn ranges(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Range>>;
}

/// Whether reading can go on at `next`; if not, what has happened to the topic, and what to do.
pub fn ensure_continues(partition: &Partition, next: i64, range: Range) -> Result<()> {
    let name = format!("{} partition {}", partition.topic, partition.partition);
    if next < range.low {
        return Err(Error::outside(format!(
            "{name}: {} records were deleted before they were ingested: the table goes on at offset {next}, the topic begins at {}",
            range.low - next,
            range.low
        ))
        .hint(format!(
            "Kafka's retention was shorter than the time ingest was away. To go on without them: \
             medallion ingest --accept-gap {}:{}; the table records how many were lost, and verify tells",
            partition.topic, partition.partition
        )));
    }
    if next > range.high {
        return Err(Error::outside(format!(
            "{name}: the table goes on at offset {next}, but the topic ends at {}: it was deleted and made again",
            range.high
        ))
        .hint("ingest into a new table (another contract name), or restore the topic"));
    }
    Ok(())
}
