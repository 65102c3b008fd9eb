//! The pipeline that one writes in an afternoon, beside which ingest is measured: one thread polls, decodes JSON lines
//! with arrow-json and writes Parquet with zstd(1). It commits nothing, keeps no offsets, and a bad record ends it.
//!
//! `plain_pipeline BROKERS TOPIC CONTRACT FOLDER` prints the records it has written.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const BATCH_ROWS: usize = 16 * 1024;
const FILE_ROWS: usize = 1_000_000;

/// The columns of a contract whose columns are of plain types, each on a line.
fn schema(contract: &str) -> Schema {
    let column = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, data_type) = (words.next()?, words.next()?);
        let data_type = match data_type.trim_end_matches(',') {
            "STRING" => DataType::Utf8,
            "DOUBLE" => DataType::Float64,
            "INT" => DataType::Int32,
            "BOOLEAN" => DataType::Boolean,
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => return None,
        };
        Some(Field::new(name, data_type, true))
    };
    Schema::new(contract.lines().filter_map(column).collect::<Vec<_>>())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [brokers, topic, contract, folder] = arguments.as_slice() else {
        // `cargo bench` calls every bench without arguments; this one is called by benches/ingest.
        println!("plain_pipeline BROKERS TOPIC CONTRACT FOLDER");
        return;
    };
    let schema = Arc::new(schema(&std::fs::read_to_string(contract).expect("a contract")));
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "plain-pipeline")
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

    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("a level"))).build();
    let open = |number: usize| {
        let file = File::create(Path::new(folder).join(format!("{number}.parquet"))).expect("a file");
        ArrowWriter::try_new(file, schema.clone(), Some(properties.clone())).expect("a writer")
    };
    let mut decoder =
        ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS).build_decoder().expect("a decoder");
    let mut writer = open(0);
    let (mut files, mut in_file, mut in_batch, mut total) = (1, 0, 0, 0);
    while left > 0 {
        let message = consumer.poll(timeout).expect("records keep coming").expect("a record");
        left -= 1;
        let payload = message.payload().expect("a value");
        assert_eq!(decoder.decode(payload).expect("JSON of the contract"), payload.len());
        in_batch += 1;
        if in_batch == BATCH_ROWS || left == 0 {
            let rows = decoder.flush().expect("rows").expect("some");
            writer.write(&rows).expect("written");
            total += rows.num_rows();
            in_file += rows.num_rows();
            in_batch = 0;
            if in_file >= FILE_ROWS {
                writer.close().expect("closed");
                writer = open(files);
                (files, in_file) = (files + 1, 0);
            }
        }
    }
    writer.close().expect("closed");
    println!("{total} records, {files} files");
}
