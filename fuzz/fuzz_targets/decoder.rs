//! Any bytes as a record between two good ones, under contracts flat and nested: it is one row or one rejection, the
//! rows beside it are what they are without it, and the columns fit the schema.
#![no_main]

// The rooms are taken in whole, and the decoder needs only a part of each: hence what is allowed here.
#[allow(dead_code, unused_imports)]
#[path = "../../src/contracts/mod.rs"]
mod contracts;
#[allow(dead_code)]
#[path = "../../src/error.rs"]
mod error;
#[allow(dead_code)]
#[path = "../../src/registry/schema.rs"]
mod registry;

use std::sync::LazyLock;

use arrow::array::{Array, RecordBatch};
use contracts::{Contract, CsvHeader, Decoder, parse};
use libfuzzer_sys::fuzz_target;

struct Case {
    contract: Contract,
    good: [&'static [u8]; 2],
    /// The two good rows when nothing is between them.
    alone: RecordBatch,
}

const FLAT: &str = "CREATE TABLE t (
    text STRING, flag BOOLEAN, small INT, large BIGINT, ratio DOUBLE, money DECIMAL(12, 2), moment TIMESTAMP, day DATE
) WITH (topic = 't', timezone = 'America/Los_Angeles')";

const NESTED: &str = "CREATE TABLE t (
    s STRUCT<a: STRING, b: ARRAY<STRUCT<c: BIGINT, d: BINARY>>, m: MAP<STRING, MAP<STRING, DECIMAL(20, 3)>>>,
    l ARRAY<ARRAY<INT>>, m MAP<STRING, STRUCT<x: DOUBLE, t: TIMESTAMP>> FORMAT 'epoch_ms', 'dd/MM/yyyy HH:mm:ss.SSSXXX',
    d DATE FORMAT 'EEE, d MMM yyyy', 'iso8601', p STRING PATH 'p.q[1].r', q BOOLEAN PATH 'p.q[3]',
    r ARRAY<STRUCT<z: INT>> PATH 'p.s'
) WITH (topic = 't', coerce = 'lossless')";

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let case = |ddl: &str, good: [&'static [u8]; 2]| {
        let contract = parse("t.sql", ddl).expect("a contract");
        let mut decoder = Decoder::new(&contract);
        good.iter().for_each(|record| decoder.push_json(record).expect("a good record"));
        let alone = RecordBatch::try_new(contract.schema(), decoder.finish()).expect("rows of the schema");
        Case { contract, good, alone }
    };
    vec![
        case(FLAT, [br#"{"text":"\u0061","small":1,"new":[1]}"#, br#"{"day":"2024-01-31","money":1.5}"#]),
        case(
            NESTED,
            [
                br#"{"s":{"a":"x","b":[{"c":1,"d":"AQI=","z":"\n"},null]},"l":[[1],[],null],"y":1}"#,
                br#"{"m":{"k":{"t":1706689800000,"x":1}},"p":{"q":[0,{"r":"two"},3],"s":[{"z":"7","w":1}]}}"#,
            ],
        ),
    ]
});

fuzz_target!(|record: &[u8]| {
    for case in CASES.iter() {
        let mut decoder = Decoder::new(&case.contract);
        decoder.push_json(case.good[0]).expect("a good record");
        let decoded = decoder.push_json(record);
        assert_eq!(decoder.rows(), 1 + usize::from(decoded.is_ok()));
        if let Err(rejection) = &decoded {
            assert!(rejection.to_string().starts_with(rejection.class().name()));
            decoder.push_rejected();
        }
        decoder.push_json(case.good[1]).expect("a good record");
        let rows = RecordBatch::try_new(case.contract.schema(), decoder.finish()).expect("rows of the schema");
        assert_eq!(rows.slice(0, 1), case.alone.slice(0, 1));
        assert_eq!(rows.slice(2, 1), case.alone.slice(1, 1));
        if decoded.is_err() {
            assert!(rows.columns().iter().all(|column| column.is_null(1)));
        }
        csv(case, record);
    }
});

/// The same bytes as a CSV file with a header of all columns.
fn csv(case: &Case, file: &[u8]) {
    let names: Vec<&str> = case.contract.columns.iter().map(|column| column.name.as_str()).collect();
    let header = CsvHeader::new(&case.contract, "t.csv", &csv::ByteRecord::from(names)).expect("a header");
    let mut decoder = Decoder::new(&case.contract);
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(file);
    let mut count = 0;
    for record in reader.byte_records() {
        if decoder.push_csv(&header, &record.expect("bytes in memory")).is_err() {
            decoder.push_rejected();
        }
        count += 1;
    }
    let rows = RecordBatch::try_new(case.contract.schema(), decoder.finish()).expect("rows of the schema");
    assert_eq!(rows.num_rows(), count);
}
