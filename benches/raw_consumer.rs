//! The floor under ingest: a consumer that reads a topic from its beginning to its end and does nothing with it.
//!
//! `raw_consumer BROKERS TOPIC` prints the records it has read.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [brokers, topic] = arguments.as_slice() else {
        // `cargo bench` calls every bench without arguments; this one is called by benches/ingest.
        println!("raw_consumer BROKERS TOPIC");
        return;
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "raw-consumer")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let timeout = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), timeout).expect("metadata");
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), timeout).expect("watermarks");
        left += high - low;
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).expect("an assignment");
    }
    consumer.assign(&assignment).expect("assigned");
    let (total, mut bytes) = (left, 0);
    while left > 0 {
        let message = consumer.poll(timeout).expect("records keep coming").expect("a record");
        bytes += message.payload().map_or(0, <[u8]>::len);
        left -= 1;
    }
    println!("{total} records, {bytes} bytes");
}
