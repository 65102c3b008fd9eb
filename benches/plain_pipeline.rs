//! The pipeline that one writes in an afternoon, beside which ingest is measured: one thread polls, decodes JSON lines
//! with arrow-json and writes Parquet with zstd(1). It commits nothing, keeps no offsets, and a bad record ends it.
//!
//! `plain_pipeline BROKERS TOPIC CONTRACT FOLDER` prints the records it has written.

mod whole_topic;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rdkafka::Message;

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
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("a level"))).build();
    let open = |number: usize| {
        let file = File::create(Path::new(folder).join(format!("{number}.parquet"))).expect("a file");
        ArrowWriter::try_new(file, schema.clone(), Some(properties.clone())).expect("a writer")
    };
    let mut decoder =
        ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS).build_decoder().expect("a decoder");
    let mut writer = None;
    let (mut files, mut in_file, mut in_batch, mut total) = (0, 0, 0, 0);
    whole_topic::read(brokers, topic, |message, is_last| {
        let payload = message.payload().expect("a value");
        assert_eq!(decoder.decode(payload).expect("JSON of the contract"), payload.len());
        in_batch += 1;
        if in_batch == BATCH_ROWS || is_last {
            let rows = decoder.flush().expect("rows").expect("some");
            let open_file = writer.get_or_insert_with(|| open(files));
            open_file.write(&rows).expect("written");
            total += rows.num_rows();
            in_file += rows.num_rows();
            in_batch = 0;
            if in_file >= FILE_ROWS || is_last {
                writer.take().map(|done| done.close().expect("closed"));
                (files, in_file) = (files + 1, 0);
            }
        }
    });
    println!("{total} records, {files} files");
}
