use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;
use crate::contracts::{Decoder, parse};
use crate::registry::Schema;

const AVRO: &str = r#"{"type": "record", "name": "Reading", "fields": [
    {"name": "n", "type": "long"},
    {"name": "text", "type": ["null", "string"]},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "more", "type": {"type": "map", "values": "int"}}]}"#;

fn schema(language: Option<Language>, text: &str) -> Schema {
    Schema { language, text: text.to_owned(), references: Vec::new() }
}

fn decoder(format: &str) -> Decoder {
    let ddl = format!("CREATE TABLE t (n BIGINT NOT NULL, text STRING, at TIMESTAMP) WITH (topic = 't', {format})");
    Decoder::new(&parse("t.sql", &ddl).unwrap())
}

fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

fn reading(n: u8) -> Vec<u8> {
    // n, then the text "abc", then one microsecond, then a map of one entry.
    vec![n * 2, 2, 6, b'a', b'b', b'c', 2, 2, 2, b'k', 14, 0]
}

fn numbers(column: &ArrayRef) -> Vec<Option<i64>> {
    column.as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn a_record_waits_for_its_schema_and_is_then_a_row_of_the_contract() {
    let mut decoder = decoder("format = 'avro'");
    let record = framed(42, &reading(7));
    assert_eq!(decoder.needs(&record), Some(SchemaId::Confluent(42)));
    decoder.learn(SchemaId::Confluent(42), Some(&schema(Some(Language::Avro), AVRO)));
    assert_eq!(decoder.needs(&record), None);
    decoder.push(&record, &()).unwrap();
    let columns = decoder.finish();
    assert_eq!(numbers(&columns[0]), [Some(7)]);
    assert_eq!(columns[1].as_string::<i32>().value(0), "abc");
    assert_eq!(columns[2].as_primitive::<TimestampMicrosecondType>().value(0), 1);
    assert_eq!(columns[3].as_string::<i32>().value(0), r#"{"more":{"k":7}}"#);
}

#[test]
fn an_id_that_the_registry_does_not_have_rejects_its_records_alone() {
    let mut decoder = decoder("format = 'avro'");
    decoder.learn(SchemaId::Confluent(1), Some(&schema(Some(Language::Avro), AVRO)));
    decoder.learn(SchemaId::Confluent(2), None);
    let unknown = framed(2, &reading(2));
    assert_eq!(decoder.needs(&unknown), None);
    decoder.push(&framed(1, &reading(1)), &()).unwrap();
    assert_eq!(
        decoder.push(&unknown, &()).unwrap_err().to_string(),
        "unknown_schema: the schema registry has no schema id 2"
    );
    decoder.push(&framed(1, &reading(3)), &()).unwrap();
    assert_eq!(numbers(&decoder.finish()[0]), [Some(1), Some(3)]);
}

#[test]
fn an_id_that_was_not_there_is_asked_for_again_after_a_while() {
    let mut datums = Datums::new(Encoding::Avro, Source::Registry(Framing::Confluent));
    let (id, record) = (SchemaId::Confluent(1), framed(1, &[2]));
    datums.learn(id, None);
    assert_eq!(datums.needs(&record), None);
    datums.schemas.insert(id, Known::Unknown(Instant::now().checked_sub(UNKNOWN_FOR * 2).unwrap()));
    assert_eq!(datums.needs(&record), Some(id));
    datums.learn(id, Some(&schema(None, "\"int\"")));
    assert_eq!((datums.needs(&record), datums.order.len()), (None, 1));
}

#[test]
fn a_schema_of_another_language_or_that_cannot_be_read_rejects_with_the_reason() {
    let mut decoder = decoder("format = 'avro'");
    decoder.learn(SchemaId::Confluent(1), Some(&schema(Some(Language::Protobuf), "syntax = 'proto3';")));
    decoder.learn(SchemaId::Confluent(2), Some(&schema(Some(Language::Avro), "{}")));
    let mut said = |id| decoder.push(&framed(id, &reading(1)), &()).unwrap_err().to_string();
    assert_eq!(
        said(1),
        "bad_schema: schema id 1: the schema is in Protobuf, and the contract says that records are in Avro"
    );
    assert_eq!(said(2), "bad_schema: schema id 2: a type without `type`");
}

#[test]
fn what_a_registry_says_is_kept_up_to_a_bound() {
    let mut datums = Datums::new(Encoding::Avro, Source::Registry(Framing::Confluent));
    for id in 0..=u32::try_from(MOST).unwrap() {
        datums.learn(SchemaId::Confluent(id), Some(&schema(None, "\"int\"")));
    }
    assert_eq!((datums.schemas.len(), datums.order.len()), (MOST, MOST));
    assert_eq!(datums.needs(&framed(0, &[2])), Some(SchemaId::Confluent(0)));
    assert_eq!(datums.needs(&framed(1, &[2])), None);
    // Ids of rubbish push out each other, and no schema.
    for id in 1_000..2_000 {
        datums.learn(SchemaId::Confluent(id), None);
    }
    assert_eq!(datums.needs(&framed(2, &[2])), None);
    assert_eq!((datums.schemas.len(), datums.order.len()), (MOST, MOST));
}

#[test]
fn a_record_without_its_frame_needs_no_schema_and_is_rejected_as_what_it_is() {
    let mut decoder = decoder("format = 'protobuf'");
    for (record, class) in
        [(&b"{\"n\": 1}"[..], Class::BadFraming), (b"", Class::Empty), (&[0, 0, 0], Class::BadFraming)]
    {
        assert_eq!(decoder.needs(record), None);
        assert_eq!(decoder.push(record, &()).unwrap_err().class(), class);
    }
}

#[test]
fn framed_json_is_read_by_the_contract_without_its_schema() {
    let mut decoder = decoder("format = 'json_schema'");
    let record = framed(9, br#"{"n": 1, "other": [true]}"#);
    assert_eq!(decoder.needs(&record), None);
    decoder.push(&record, &()).unwrap();
    assert_eq!(decoder.push(&framed(9, b"{\"n\": 1"), &()).unwrap_err().class(), Class::NotJson);
    assert_eq!(decoder.push(&framed(9, &[0xff]), &()).unwrap_err().class(), Class::NotUtf8);
    assert_eq!(decoder.push(br#"{"n": 1}"#, &()).unwrap_err().class(), Class::BadFraming);
    let columns = decoder.finish();
    assert_eq!(numbers(&columns[0]), [Some(1)]);
    assert_eq!(columns[3].as_string::<i32>().value(0), r#"{"other":[true]}"#);
}

#[test]
fn a_raw_record_is_the_one_column_of_its_row_whatever_is_in_it() {
    let ddl = "CREATE TABLE t (line STRING) WITH (topic = 't', format = 'raw')";
    let mut decoder = Decoder::new(&parse("t.sql", ddl).unwrap());
    let records = ["{\"a\": 1}", "", " \u{0}\"\\\u{1f600} "];
    for record in records {
        assert_eq!(decoder.needs(record.as_bytes()), None);
        decoder.push(record.as_bytes(), &()).unwrap();
    }
    assert_eq!(decoder.push(&[b'a', 0xff], &()).unwrap_err().to_string(), "not_utf8: not UTF-8 at byte 2");
    let columns = decoder.finish();
    assert_eq!(columns[0].as_string::<i32>().iter().flatten().collect::<Vec<_>>(), records);
    assert_eq!(columns[1].null_count(), records.len());
}

/// Contracts in a folder with schemas beside them.
fn beside(files: &[(&str, &str)], ddl: &str) -> crate::error::Result<Decoder> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path: PathBuf = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let file = dir.path().join("t.sql");
    parse(&file.display().to_string(), ddl).map(|contract| Decoder::new(&contract))
}

#[test]
fn a_schema_in_a_file_reads_records_without_a_frame() {
    let ddl = "CREATE TABLE t (n BIGINT) WITH (topic = 't', format = 'avro', schema_file = 'schemas/reading.avsc')";
    let mut decoder = beside(&[("schemas/reading.avsc", AVRO)], ddl).unwrap();
    assert_eq!(decoder.needs(&reading(5)), None);
    decoder.push(&reading(5), &()).unwrap();
    assert_eq!(numbers(&decoder.finish()[0]), [Some(5)]);

    let files = [
        (
            "protos/a.proto",
            "syntax = 'proto3'; import 'b/b.proto'; import 'google/protobuf/timestamp.proto'; message A { int64 n = 1; b.B b = 2; }  message C {}",
        ),
        ("protos/b/b.proto", "syntax = 'proto3'; package b; message B { string text = 1; }"),
    ];
    let ddl = "CREATE TABLE t (n BIGINT) WITH (topic = 't', format = 'protobuf', schema_file = 'protos/a.proto', message = 'A')";
    let mut decoder = beside(&files, ddl).unwrap();
    decoder.push(&[8, 5, 0x12, 3, 0x0a, 1, b'x'], &()).unwrap();
    let columns = decoder.finish();
    assert_eq!(numbers(&columns[0]), [Some(5)]);
    assert_eq!(columns[1].as_string::<i32>().value(0), r#"{"b":{"text":"x"}}"#);
}

#[test]
fn options_of_schemas_that_make_no_sense_are_refused_at_their_place() {
    let refused = |options: &str, column: usize, words: &str| {
        let ddl = format!("CREATE TABLE t (n BIGINT)\nWITH (topic = 't', {options})");
        let error = beside(&[("a.proto", "syntax = 'proto3'; message A {} message B {}")], &ddl).err().unwrap();
        let place = error.place().unwrap();
        assert!(error.to_string().contains(words), "{options}: {error}");
        assert_eq!((place.line, place.column), (2, column), "{options}: {error}");
    };
    refused("format = 'avro', framing = 'glue'", 47, "expected 'confluent' or 'apicurio' or 'apicurio_content'");
    refused("framing = 'confluent'", 20, "no meaning for records without a schema");
    refused("format = 'protobuf', framing = 'apicurio'", 51, "not understood for Protobuf");
    refused("format = 'protobuf', message = 'A'", 41, "each record names its message");
    refused("format = 'avro', framing = 'confluent', schema_file = 'a.avsc'", 37, "do not go together");
    refused("format = 'avro', schema_file = 'a.avsc'", 51, "cannot read");
    refused("format = 'protobuf', schema_file = 'a.proto'", 55, "more than one message: A, B");
    refused("format = 'protobuf', schema_file = 'a.proto', message = 'C'", 55, "no message `C`");
    refused("format = 'json_schema', schema_file = 'a.proto'", 58, "JSON needs no schema");
    refused("format = 'raw'", 29, "needs one column, STRING or BINARY");
    let files = "CREATE TABLE t (n STRING)\nWITH (source = 'files', format = 'raw')";
    assert!(parse("t.sql", files).unwrap_err().to_string().contains("files have no such records"));
}

proptest! {
    #[test]
    fn any_bytes_leave_their_neighbours_as_they_are(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        frame in any::<bool>(),
        format in prop::sample::select(vec!["avro", "protobuf", "json_schema"]),
    ) {
        let mut decoder = decoder(&format!("format = '{format}'"));
        let (text, good) = match format {
            "avro" => (AVRO, reading(1)),
            "protobuf" => ("syntax = 'proto3'; message R { int64 n = 1; string text = 2; }", vec![0, 8, 1]),
            _ => ("", b"{\"n\": 1}".to_vec()),
        };
        let good = framed(1, &good);
        decoder.learn(SchemaId::Confluent(1), Some(&schema(None, text)));
        let record = if frame { framed(1, &bytes) } else { bytes };
        decoder.push(&good, &()).unwrap();
        let between = decoder.push(&record, &()).is_ok();
        decoder.push(&good, &()).unwrap();
        prop_assert_eq!(decoder.rows(), 2 + usize::from(between));
        let numbers = numbers(&decoder.finish()[0]);
        prop_assert_eq!((numbers[0], numbers[numbers.len() - 1]), (Some(1), Some(1)));
    }
}
