use apache_avro::types::Value as Avro;
use apache_avro::{Decimal, Duration, to_avro_datum};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::registry::{self, Reference};

/// Every type, logical or not.
const EVERYTHING: &str = r#"{
  "type": "record", "name": "Event", "namespace": "test", "fields": [
    {"name": "nothing", "type": "null"},
    {"name": "flag", "type": "boolean"},
    {"name": "small", "type": "int"},
    {"name": "large", "type": "long"},
    {"name": "single", "type": "float"},
    {"name": "ratio", "type": "double"},
    {"name": "blob", "type": "bytes"},
    {"name": "text", "type": "string"},
    {"name": "fixed", "type": {"type": "fixed", "name": "Two", "size": 2}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["ON", "OFF"]}},
    {"name": "list", "type": {"type": "array", "items": "int"}},
    {"name": "map", "type": {"type": "map", "values": "State"}},
    {"name": "choice", "type": ["null", "long", "string"]},
    {"name": "nested", "type": {"type": "record", "name": "Inner", "fields": [{"name": "next", "type": ["null", "Inner"]}]}},
    {"name": "money", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "fee", "type": {"type": "fixed", "name": "Fee", "size": 3, "logicalType": "decimal", "precision": 5, "scale": 1}},
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "time", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "exact_time", "type": {"type": "long", "logicalType": "time-micros"}},
    {"name": "millis", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "nanos", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
    {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
    {"name": "span", "type": {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}}
  ]}"#;

fn schema(text: &str) -> Schema {
    with_references(text, &[])
}

fn with_references(text: &str, references: &[&str]) -> Schema {
    let reference = |text: &&str| Reference { name: "reference".to_owned(), text: (*text).to_owned() };
    let references = references.iter().map(reference).collect();
    Schema::parse(&registry::Schema { language: None, text: text.to_owned(), references }).unwrap()
}

fn problem(text: &str) -> String {
    let schema = registry::Schema { language: None, text: text.to_owned(), references: Vec::new() };
    Schema::parse(&schema).unwrap_err()
}

fn json(schema: &Schema, datum: &[u8]) -> Result<String, Rejection> {
    let mut text = JsonText::default();
    write(schema, datum, &mut text).map(|()| text.as_str().to_owned())
}

fn decoded(schema_text: &str, datum: &[u8]) -> String {
    json(&schema(schema_text), datum).unwrap()
}

fn rejected(schema_text: &str, datum: &[u8]) -> String {
    json(&schema(schema_text), datum).unwrap_err().to_string()
}

/// A datum by the encoder of the Avro project.
fn encoded(schema: &str, value: Avro) -> Vec<u8> {
    to_avro_datum(&apache_avro::Schema::parse_str(schema).unwrap(), value).unwrap()
}

fn event() -> Vec<u8> {
    let inner = |next: Avro| Avro::Record(vec![("next".to_owned(), next)]);
    let none = || Avro::Union(0, Box::new(Avro::Null));
    let value = |name: &str, value: Avro| (name.to_owned(), value);
    encoded(
        EVERYTHING,
        Avro::Record(vec![
            value("nothing", Avro::Null),
            value("flag", Avro::Boolean(true)),
            value("small", Avro::Int(-7)),
            value("large", Avro::Long(i64::MIN)),
            value("single", Avro::Float(0.1)),
            value("ratio", Avro::Double(-2.5e-300)),
            value("blob", Avro::Bytes(vec![0, 255])),
            value("text", Avro::String("tab\there".to_owned())),
            value("fixed", Avro::Fixed(2, vec![1, 2])),
            value("state", Avro::Enum(1, "OFF".to_owned())),
            value("list", Avro::Array(vec![Avro::Int(1), Avro::Int(-1)])),
            value("map", Avro::Map([("a\"b".to_owned(), Avro::Enum(0, "ON".to_owned()))].into())),
            value("choice", Avro::Union(1, Box::new(Avro::Long(9_007_199_254_740_993)))),
            value("nested", inner(Avro::Union(1, Box::new(inner(none()))))),
            value("money", Avro::Decimal(Decimal::from(vec![0xfb]))),
            value("fee", Avro::Decimal(Decimal::from(vec![0x00, 0x01, 0x00]))),
            value("id", Avro::Uuid("4b5d3c9e-6ddc-4d87-a2a7-5f8d7a2f1d3e".parse().unwrap())),
            value("day", Avro::Date(19_782)),
            value("time", Avro::TimeMillis(30_600_250)),
            value("exact_time", Avro::TimeMicros(30_600_000_001)),
            value("millis", Avro::TimestampMillis(1_706_689_800_250)),
            value("micros", Avro::TimestampMicros(-1)),
            value("nanos", Avro::TimestampNanos(1_706_689_800_000_000_001)),
            value("local", Avro::LocalTimestampMillis(1_706_689_800_000)),
            value("span", Avro::Duration(Duration::from([1, 0, 0, 0, 2, 0, 0, 0, 0xdc, 5, 0, 0]))),
        ]),
    )
}

const EVENT: &str = concat!(
    r#"{"nothing":null,"flag":true,"small":-7,"large":-9223372036854775808,"single":0.1,"ratio":-2.5e-300,"#,
    r#""blob":"AP8=","text":"tab\there","fixed":"AQI=","state":"OFF","list":[1,-1],"map":{"a\"b":"ON"},"#,
    r#""choice":9007199254740993,"nested":{"next":{"next":null}},"money":-0.05,"fee":25.6,"#,
    r#""id":"4b5d3c9e-6ddc-4d87-a2a7-5f8d7a2f1d3e","day":"2024-02-29","time":"08:30:00.250","#,
    r#""exact_time":"08:30:00.000001","millis":"2024-01-31T08:30:00.250Z","micros":"1969-12-31T23:59:59.999999Z","#,
    r#""nanos":"2024-01-31T08:30:00.000000001Z","local":"2024-01-31T08:30:00","span":"P1M2DT1.500S"}"#,
);

#[test]
fn a_datum_of_every_type_is_the_json_that_says_the_same() {
    assert_eq!(decoded(EVERYTHING, &event()), EVENT);
}

#[test]
fn blocks_may_tell_their_size_and_come_one_after_the_other() {
    let array = r#"{"type": "array", "items": "int"}"#;
    assert_eq!(decoded(array, &[0]), "[]");
    assert_eq!(decoded(array, &[3, 4, 2, 4, 2, 6, 0]), "[1,2,3]");
    let map = r#"{"type": "map", "values": "null"}"#;
    assert_eq!(decoded(map, &[2, 2, b'a', 1, 4, 2, b'b', 0]), r#"{"a":null,"b":null}"#);
    assert!(rejected(array, &[1, 1, 2, 0]).contains("a block of a negative size"));
}

#[test]
fn a_uuid_of_sixteen_bytes_has_no_length_before_it() {
    let uuid = r#"{"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}"#;
    let bytes = [0x4b, 0x5d, 0x3c, 0x9e, 0x6d, 0xdc, 0x4d, 0x87, 0xa2, 0xa7, 0x5f, 0x8d, 0x7a, 0x2f, 0x1d, 0x3e];
    assert_eq!(decoded(uuid, &bytes), r#""4b5d3c9e-6ddc-4d87-a2a7-5f8d7a2f1d3e""#);
}

#[test]
fn what_is_not_finite_is_text_and_what_no_calendar_has_a_number_with_its_unit() {
    assert_eq!(decoded(r#""double""#, &f64::NAN.to_le_bytes()), r#""NaN""#);
    assert_eq!(decoded(r#""float""#, &f32::NEG_INFINITY.to_le_bytes()), r#""-Infinity""#);
    let millis = r#"{"type": "long", "logicalType": "timestamp-millis"}"#;
    let most = encoded(r#""long""#, Avro::Long(i64::MAX));
    assert_eq!(decoded(millis, &most), r#""9223372036854775 s since 1970""#);
}

#[test]
fn a_logical_type_that_does_not_fit_or_is_not_known_is_ignored() {
    for (schema, datum, json) in [
        (r#"{"type": "string", "logicalType": "date"}"#, &[2, b'x'][..], r#""x""#),
        (r#"{"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}"#, &[2, 1], r#""AQ==""#),
        (r#"{"type": "bytes", "logicalType": "decimal"}"#, &[2, 1], r#""AQ==""#),
        (r#"{"type": "int", "logicalType": "iban"}"#, &[2], "1"),
        (r#"{"type": "bytes", "logicalType": "decimal", "precision": 4}"#, &[2, 1], "1"),
    ] {
        assert_eq!(decoded(schema, datum), json, "{schema}");
    }
}

#[test]
fn names_are_found_in_their_namespace_and_in_the_schemas_referred_to() {
    let status = r#"{"type": "enum", "name": "Status", "namespace": "shared.types", "symbols": ["GOOD", "BAD"]}"#;
    let address =
        r#"{"type": "record", "name": "shared.types.Address", "fields": [{"name": "status", "type": "Status"}]}"#;
    let event = r#"{"type": "record", "name": "Event", "namespace": "app", "fields": [
        {"name": "own", "type": {"type": "fixed", "name": "Own", "size": 1}},
        {"name": "again", "type": "Own"},
        {"name": "in_full", "type": "app.Own"},
        {"name": "address", "type": {"type": "shared.types.Address"}},
        {"name": "before", "type": ["null", "Event"]}]}"#;
    let schema = with_references(event, &[status, address]);
    let expected = r#"{"own":"AQ==","again":"Ag==","in_full":"Aw==","address":{"status":"BAD"},"before":null}"#;
    assert_eq!(json(&schema, &[1, 2, 3, 2, 0]).unwrap(), expected);
}

#[test]
fn a_schema_that_cannot_be_read_says_why() {
    for (schema, why) in [
        ("{", "the schema is not JSON"),
        ("7", "a type cannot be `7`"),
        (r#""Unknown""#, "the type `Unknown` is not defined"),
        (r#"{"name": "A"}"#, "a type without `type`"),
        (r#"{"type": "record", "name": "A"}"#, "a record without `fields`"),
        (r#"{"type": "record", "fields": []}"#, "a named type without `name`"),
        (r#"{"type": "record", "name": "a-b", "fields": [{"type": "int"}]}"#, "a field without `name`"),
        (
            r#"{"type": "record", "name": "A", "fields": [{"name": "b", "type": "C"}]}"#,
            r#"the field "b": the type `C`"#,
        ),
        (r#"{"type": "enum", "name": "A", "symbols": [1]}"#, "an enum without `symbols`"),
        (r#"{"type": "fixed", "name": "A", "size": -1}"#, "a fixed without `size`"),
        (r#"["null", {"type": "fixed", "name": "A", "size": 1}, {"type": "fixed", "name": "A", "size": 2}]"#, "twice"),
    ] {
        assert!(problem(schema).contains(why), "{schema}: {}", problem(schema));
    }
}

#[test]
fn a_datum_that_is_cut_off_is_rejected_at_each_of_its_bytes_and_so_is_one_that_goes_on() {
    let (schema, event) = (schema(EVERYTHING), event());
    for end in 0..event.len() {
        let rejection = json(&schema, &event[..end]).unwrap_err();
        assert_eq!(rejection.class(), Class::BadAvro, "{end}");
    }
    let longer = [&event[..], &[0]].concat();
    assert!(json(&schema, &longer).unwrap_err().to_string().contains("the datum ends 1 bytes before the record does"));
}

#[test]
fn bytes_that_are_no_datum_are_rejected_with_what_is_wrong_and_where() {
    for (schema, datum, why) in [
        (r#""boolean""#, &[2][..], "neither true nor false"),
        (r#""int""#, &[0xff, 0xff, 0xff, 0xff, 0x7f], "is not an int"),
        (r#""long""#, &[0xff; 10], "a number of more than 64 bits"),
        (r#""long""#, &[0x80; 20], "a number of more than 64 bits"),
        (r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "a number of more than 64 bits"),
        (r#""string""#, &[4, 0xff, 0xfe], "a string that is not UTF-8"),
        (r#""string""#, &[1], "a length of -1"),
        (
            r#""bytes""#,
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            "expected 9223372036854775807 bytes",
        ),
        (r#"["null", "int"]"#, &[4], "no branch 2 in the union at byte 2 of the datum"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, &[1], "no symbol -1 in the enum"),
    ] {
        assert!(rejected(schema, datum).contains(why), "{schema}: {}", rejected(schema, datum));
    }
}

#[test]
fn a_few_bytes_do_not_become_endless_text_and_no_depth_ends_the_stack() {
    let nulls = schema(r#"{"type": "array", "items": "null"}"#);
    let count = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(json(&nulls, &count).unwrap_err().class(), Class::TooLarge);
    let list = r#"{"type": "record", "name": "List", "fields": [{"name": "next", "type": ["null", "List"]}]}"#;
    assert_eq!(json(&schema(list), &[2; 10_000]).unwrap_err().class(), Class::TooDeep);
    let endless = r#"{"type": "record", "name": "Endless", "fields": [{"name": "next", "type": "Endless"}]}"#;
    assert_eq!(json(&schema(endless), &[]).unwrap_err().class(), Class::TooDeep);
}

proptest! {
    #[test]
    fn any_bytes_are_a_datum_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(text) = json(&schema(EVERYTHING), &bytes) {
            prop_assert!(serde_json::from_str::<Json>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn a_good_datum_with_bytes_changed_is_json_or_rejected(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = event();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(4));
        match json(&schema(EVERYTHING), &bytes) {
            Ok(text) => prop_assert!(serde_json::from_str::<Json>(&text).is_ok(), "{}", text),
            Err(rejection) => prop_assert!(matches!(rejection.class(), Class::BadAvro | Class::TooDeep | Class::TooLarge)),
        }
    }

    #[test]
    fn what_another_encoder_wrote_is_read_as_it_was(
        number in any::<i64>(),
        ratio in any::<f64>().prop_filter("JSON has no others", |ratio| ratio.is_finite()),
        texts in proptest::collection::vec(".*", 0..5),
        unscaled in any::<i128>(),
        absent in any::<bool>(),
    ) {
        let schema_text = r#"{"type": "record", "name": "R", "fields": [
            {"name": "number", "type": "long"}, {"name": "ratio", "type": "double"},
            {"name": "texts", "type": {"type": "array", "items": "string"}},
            {"name": "money", "type": {"type": "bytes", "logicalType": "decimal", "precision": 39}},
            {"name": "maybe", "type": ["null", "long"]}]}"#;
        let maybe = if absent { Avro::Union(0, Box::new(Avro::Null)) } else { Avro::Union(1, Box::new(Avro::Long(number))) };
        let datum = encoded(schema_text, Avro::Record(vec![
            ("number".to_owned(), Avro::Long(number)),
            ("ratio".to_owned(), Avro::Double(ratio)),
            ("texts".to_owned(), Avro::Array(texts.iter().cloned().map(Avro::String).collect())),
            ("money".to_owned(), Avro::Decimal(Decimal::from(unscaled.to_be_bytes().to_vec()))),
            ("maybe".to_owned(), maybe),
        ]));
        let texts = serde_json::to_string(&texts).unwrap();
        let text = decoded(schema_text, &datum);
        let maybe = if absent { "null".to_owned() } else { number.to_string() };
        let (start, end) = (format!(r#"{{"number":{number},"ratio":"#), format!(r#","money":{unscaled},"maybe":{maybe}}}"#));
        prop_assert!(text.starts_with(&start) && text.ends_with(&end), "{}", text);
        let back: Json = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back["texts"].to_string(), texts);
        let written = text.strip_prefix(&start).unwrap().split(',').next().unwrap();
        prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), ratio.to_bits());
    }
}
