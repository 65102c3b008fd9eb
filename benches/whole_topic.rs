//! All records of a topic as they are when it is opened, read with rdkafka's own consumer.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(10);

/// Calls `take` with each record and whether it is the last one, and tells how many they were.
pub fn read(brokers: &str, topic: &str, mut take: impl FnMut(&BorrowedMessage<'_>, bool)) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let mut assignment = TopicPartitionList::new();
    let mut total = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).expect("watermarks");
        total += high - low;
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).expect("an assignment");
    }
    consumer.assign(&assignment).expect("assigned");
    for taken in 1..=total {
        let message = consumer.poll(PATIENCE).expect("records keep coming").expect("a record");
        take(&message, taken == total);
    }
    total
}
