//! What a session needs of Kafka, and nothing that only one client has: so that it runs on librdkafka and, by a seed, in
//! a simulation.
//!
//! A rebalance is an event to be answered when the session is ready, after it has committed what is in hand. The end of
//! a partition is told with its offset, so that control records at the end are accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contracts::Envelope;
use crate::error::{Error, Result};
use crate::lake::offsets::Marks;

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
    /// Which topic of that name it is. None on a broker that cannot tell.
    pub topic_id: Option<i64>,
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
    /// The topic is not there, or is another one of that name.
    UnknownTopic,
    Problem(String),
}

pub trait Message: Envelope {
    fn kind(&self) -> Kind;
    /// The same for all messages of a topic while the feed lives, and cheap to compare.
    fn topic_handle(&self) -> usize;
    fn topic(&self) -> &str;
    fn partition(&self) -> i32;
    fn offset(&self) -> i64;
    fn timestamp_ms(&self) -> Option<i64>;
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

    /// Asks for the partitions of these topics, and no longer for those of any other. Which of them are ours, and which
    /// are no more, events will tell.
    fn subscribe(&self, topics: &[&str]) -> Result<()>;

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

    /// A member that is yet to subscribe.
    fn join(&self) -> Result<Self::Feed>;

    /// Where each partition begins and ends now.
    async fn ranges(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Range>>;
}

/// Whether the broker's topic is the one that a table has records of. Brokers that have no ids cannot tell.
pub fn ensure_same_topic(partition: &Partition, marks: &Marks, range: Range) -> Result<()> {
    match (marks.topic_id, range.topic_id) {
        (Some(known), Some(found)) if known != found => Err(made_again(
            partition,
            &format!("the table has records of a topic with the id {known:016x}, but the broker's has {found:016x}"),
        )),
        _ => Ok(()),
    }
}

fn made_again(partition: &Partition, seen: &str) -> Error {
    Error::outside(format!(
        "{} partition {}: {seen}: it was deleted and made again",
        partition.topic, partition.partition
    ))
    .hint("its offsets begin anew: ingest it into a new table (another contract name), or restore the old topic")
    .lasting()
}

/// Whether reading can go on from a table's marks; if not, what has happened to the topic, and what to do.
pub fn ensure_continues(partition: &Partition, marks: &Marks, range: Range) -> Result<()> {
    ensure_same_topic(partition, marks, range)?;
    let Some(next) = marks.next else { return Ok(()) };
    if next > range.high {
        let seen = format!("the table goes on at offset {next}, but the topic ends at {}", range.high);
        return Err(made_again(partition, &seen));
    }
    if next < range.low {
        return Err(Error::outside(format!(
            "{} partition {}: {} records were deleted before they were ingested: the table goes on at offset {next}, the topic begins at {}",
            partition.topic,
            partition.partition,
            range.low - next,
            range.low
        ))
        .hint(format!(
            "Kafka's retention was shorter than the time ingest was away. To go on without them: \
             medallion ingest --accept-gap {}:{}; the table records how many were lost, and verify tells",
            partition.topic, partition.partition
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a table that goes on at 100 of the topic 7.
    fn said(range: Range) -> String {
        let partition = Partition { topic: "calls".to_owned(), partition: 3 };
        let marks = Marks { first: Some(0), next: Some(100), topic_id: Some(7), ..Marks::default() };
        ensure_continues(&partition, &marks, range).map_or_else(|e| e.to_string(), |()| "goes on".to_owned())
    }

    #[test]
    fn a_topic_goes_on_when_it_is_the_same_and_has_the_next_offset() {
        let range = |low, high, topic_id| Range { low, high, topic_id };
        assert_eq!(said(range(0, 100, Some(7))), "goes on");
        assert_eq!(said(range(100, 500, Some(7))), "goes on");
        assert_eq!(said(range(0, 100, None)), "goes on", "a broker without ids");
        assert!(said(range(0, 500, Some(8))).contains("made again"));
        assert!(said(range(0, 99, None)).contains("made again"));
        assert!(said(range(101, 500, Some(8))).contains("made again"), "which gap it is cannot be told");
        assert!(said(range(101, 500, Some(7))).contains("1 records were deleted"));
    }
}
