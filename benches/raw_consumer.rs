//! The floor under ingest: a consumer that reads a topic from its beginning to its end and does nothing with it.
//!
//! `raw_consumer BROKERS TOPIC` prints the records it has read.

mod whole_topic;

use rdkafka::Message;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [brokers, topic] = arguments.as_slice() else {
        // `cargo bench` calls every bench without arguments; this one is called by benches/ingest.
        println!("raw_consumer BROKERS TOPIC");
        return;
    };
    let mut bytes = 0;
    let total = whole_topic::read(brokers, topic, |message, _| bytes += message.payload().map_or(0, <[u8]>::len));
    println!("{total} records, {bytes} bytes");
}
