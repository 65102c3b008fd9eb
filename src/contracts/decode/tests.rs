use std::sync::LazyLock;

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::contracts::parse;

const EVERY_TYPE: &str = "CREATE TABLE t (
    text STRING, flag BOOLEAN, small INT, large BIGINT, ratio DOUBLE, money DECIMAL(12, 2), moment TIMESTAMP, day DATE,
    \"camelCase\" STRING
) WITH (topic = 't')";

fn contract(ddl: &str) -> Contract {
    parse("t.sql", ddl).unwrap()
}

fn every_type() -> Decoder {
    Decoder::new(&contract(EVERY_TYPE))
}

fn one_column(data_type: &str) -> Decoder {
    Decoder::new(&contract(&format!("CREATE TABLE t (a {data_type}) WITH (topic = 't')")))
}

fn rejection(decoder: &mut Decoder, record: &str) -> String {
    match decoder.push_json(record.as_bytes()) {
        Ok(()) => panic!("{record} was accepted"),
        Err(rejection) => rejection.to_string(),
    }
}

fn class(decoder: &mut Decoder, record: &[u8]) -> Option<Class> {
    decoder.push_json(record).err().map(|rejection| rejection.class())
}

fn strings(column: &ArrayRef) -> Vec<Option<&str>> {
    column.as_string::<i32>().iter().collect()
}

/// The `_extra` of one record under a contract that knows `a` alone.
fn extra(record: &str) -> Option<String> {
    let mut decoder = one_column("STRING");
    decoder.push_json(record.as_bytes()).unwrap();
    strings(&decoder.finish()[1])[0].map(str::to_owned)
}

#[test]
fn a_record_becomes_a_row_of_the_contracts_types() {
    let mut decoder = every_type();
    decoder
        .push_json(
            br#"{"text":"x","flag":true,"small":-7,"large":9007199254740993,"ratio":0.1,"money":19.99,
                "moment":"2024-01-31T08:30:00.25Z","day":"2024-02-29","camelCase":"y"}"#,
        )
        .unwrap();
    decoder.push_json(b"{}").unwrap();
    let columns = decoder.finish();
    assert_eq!(columns[0].as_string(), &StringArray::from(vec![Some("x"), None]));
    assert_eq!(columns[1].as_boolean(), &BooleanArray::from(vec![Some(true), None]));
    assert_eq!(columns[2].as_primitive(), &Int32Array::from(vec![Some(-7), None]));
    assert_eq!(columns[3].as_primitive(), &Int64Array::from(vec![Some(9_007_199_254_740_993), None]));
    assert_eq!(columns[4].as_primitive(), &Float64Array::from(vec![Some(0.1), None]));
    let money = Decimal128Array::from(vec![Some(1999), None]).with_precision_and_scale(12, 2).unwrap();
    assert_eq!(columns[5].as_primitive(), &money);
    let moment = TimestampMicrosecondArray::from(vec![Some(1_706_689_800_250_000), None]).with_timezone("UTC");
    assert_eq!(columns[6].as_primitive(), &moment);
    assert_eq!(columns[7].as_primitive(), &Date32Array::from(vec![Some(19_782), None]));
    assert_eq!(columns[8].as_string(), &StringArray::from(vec![Some("y"), None]));
    assert_eq!(columns[9].as_string(), &StringArray::from(vec![None::<&str>, None]));
}

#[test]
fn the_columns_fit_the_contracts_schema() {
    let contract = contract(EVERY_TYPE);
    let mut decoder = Decoder::new(&contract);
    decoder.push_json(br#"{"money":1,"moment":"2024-01-31T08:30Z"}"#).unwrap();
    decoder.push_rejected();
    assert!(RecordBatch::try_new(contract.schema(), decoder.finish()).is_ok());
}

#[test]
fn fields_may_come_in_any_order_with_any_space_between() {
    let mut decoder = every_type();
    decoder.push_json(b"\n{ \"day\" :\t\"1970-01-02\" ,\r\n \"text\":\"x\", \"small\": 1 } \n").unwrap();
    decoder.push_json(br#"{"small":2,"text":"y"}"#).unwrap();
    let columns = decoder.finish();
    assert_eq!(strings(&columns[0]), [Some("x"), Some("y")]);
    assert_eq!(columns[2].as_primitive(), &Int32Array::from(vec![1, 2]));
    assert_eq!(columns[7].as_primitive(), &Date32Array::from(vec![Some(1), None]));
}

#[test]
fn a_key_is_compared_by_its_characters_and_its_case() {
    let mut decoder = every_type();
    decoder.push_json(br#"{"te\u0078t":"x","camelcase":"y"}"#).unwrap();
    let columns = decoder.finish();
    assert_eq!(strings(&columns[0]), [Some("x")]);
    assert_eq!(strings(&columns[8]), [None]);
    assert_eq!(strings(&columns[9]), [Some(r#"{"camelcase":"y"}"#)]);
}

#[test]
fn null_and_absent_are_null_and_an_empty_string_is_a_value() {
    let mut decoder = one_column("STRING");
    for record in [&br#"{"a":null}"#[..], b"{}", br#"{"a":""}"#] {
        decoder.push_json(record).unwrap();
    }
    assert_eq!(strings(&decoder.finish()[0]), [None, None, Some("")]);
}

#[test]
fn a_not_null_column_rejects_null_and_absence() {
    let mut decoder = one_column("INT NOT NULL");
    for record in [r#"{"a":null}"#, "{}", r#"{"b":1}"#, r#"{"a":1,"a":null}"#] {
        let message = "missing_value in a: null or absent, and the contract says NOT NULL";
        assert_eq!(rejection(&mut decoder, record), message);
    }
    assert_eq!(decoder.rows(), 0);
}

#[test]
fn of_a_key_that_comes_twice_the_last_value_counts() {
    let mut decoder = one_column("INT");
    decoder.push_json(br#"{"a":1,"a":2}"#).unwrap();
    decoder.push_json(br#"{"a":"wrong","a":3}"#).unwrap();
    decoder.push_json(br#"{"a":4,"a":null}"#).unwrap();
    assert_eq!(class(&mut decoder, br#"{"a":5,"a":"wrong"}"#), Some(Class::WrongType));
    assert_eq!(decoder.finish()[0].as_primitive(), &Int32Array::from(vec![Some(2), Some(3), None]));
    assert_eq!(extra(r#"{"b":1,"c":[2],"\u0062":3,"b":4}"#).as_deref(), Some(r#"{"c":[2],"b":4}"#));
}

#[test]
fn fields_without_a_column_are_kept_as_they_are() {
    assert_eq!(extra(r#"{"a":"x"}"#), None);
    assert_eq!(
        extra(r#" { "z" : 1e400, "a":"x", "":{"a": [null, "\u00e9\n"]},"n":null } "#).as_deref(),
        Some(r#"{"z":1e400,"":{"a": [null, "\u00e9\n"]},"n":null}"#)
    );
}

#[test]
fn a_value_of_another_type_is_never_converted() {
    let wrong = [
        ("STRING", vec!["1", "true", "[]", "{}", "1.5"]),
        ("BOOLEAN", vec!["0", "1", r#""true""#, "[]"]),
        ("INT", vec![r#""12""#, "12.5", "true", "[12]", r#""""#]),
        ("BIGINT", vec![r#""12""#, "0.1", "false"]),
        ("DOUBLE", vec![r#""1.5""#, "true", r#""NaN""#]),
        ("DECIMAL(12, 2)", vec![r#""19.99""#, "true"]),
        ("TIMESTAMP", vec!["1706689800", "true", "{}"]),
        ("DATE", vec!["19782", "[]"]),
    ];
    for (data_type, values) in wrong {
        for value in values {
            let record = format!("{{\"a\":{value}}}");
            assert_eq!(
                class(&mut one_column(data_type), record.as_bytes()),
                Some(Class::WrongType),
                "{data_type} {value}"
            );
        }
    }
}

#[test]
fn a_rejection_names_class_column_expectation_and_find() {
    let decoder = &mut every_type();
    let cases = [
        (r#"{"small":"abc"}"#, r#"wrong_type in small: expected int, found string "abc""#),
        (r#"{"small":12.5}"#, "wrong_type in small: expected int, found number 12.5"),
        (r#"{"small":2147483648}"#, "out_of_range in small: 2147483648 does not fit into int"),
        (r#"{"large":1e19}"#, "out_of_range in large: 1e19 does not fit into bigint"),
        (r#"{"ratio":1e999}"#, "out_of_range in ratio: 1e999 does not fit into double"),
        (r#"{"money":10000000000}"#, "out_of_range in money: 10000000000 does not fit into decimal(12,2)"),
        (r#"{"money":1.234}"#, "out_of_range in money: expected at most 2 fractional digits, found 1.234"),
        (r#"{"moment":"2023-02-29T00:00:00Z"}"#, r#"bad_timestamp in moment: "2023-02-29T00:00:00Z": no such day"#),
        (r#"{"moment":"soon"}"#, r#"bad_timestamp in moment: expected a time like 2024-01-31T08:30:00Z, found "soon""#),
        (r#"{"day":"31.01.2024"}"#, r#"bad_date in day: expected YYYY-MM-DD, found "31.01.2024""#),
        (r#"{"flag":1}"#, "wrong_type in flag: expected boolean, found number 1"),
        (r#"{"text":{"k":1}}"#, r#"wrong_type in text: expected string, found object {"k":1}"#),
        ("", "empty: the record has no bytes"),
        (" \n", "empty: nothing but white space, which ends at byte 3"),
        ("[1]", "not_object: expected an object at byte 1"),
        ("[1", "not_json: expected ',' or ']' at byte 3"),
        (r#"{"small":1} {"#, "more_than_one_value: expected the end of the record at byte 13"),
        (r#"{"small":1,}"#, "not_json: expected a key in double quotes at byte 12"),
        (r#"{"small";1}"#, "not_json: expected ':' at byte 9"),
        ("\u{feff}{}", "not_json: expected a value at byte 1"),
    ];
    for (record, expected) in cases {
        assert_eq!(rejection(decoder, record), expected);
    }
    let not_utf8 = decoder.push_json(b"{\"text\":\"\xff\"}").map_err(|rejection| rejection.to_string());
    assert_eq!(not_utf8, Err("not_utf8: not UTF-8 at byte 10".to_owned()));
}

#[test]
fn syntax_is_judged_before_types_and_the_first_bad_column_is_named() {
    let mut decoder = every_type();
    assert_eq!(class(&mut decoder, br#"{"small":"x","large":"#), Some(Class::NotJson));
    assert!(rejection(&mut decoder, r#"{"large":"x","small":"x"}"#).contains("in large"));
}

#[test]
fn a_message_quotes_no_more_than_the_start_of_a_long_value() {
    let message = rejection(&mut one_column("INT"), &format!("{{\"a\":\"{}\"}}", "ü".repeat(100_000)));
    assert!(message.chars().count() < 100, "{message}");
}

#[test]
fn a_rejected_record_leaves_nothing_behind() {
    let mut decoder = every_type();
    let neighbours = [&br#"{"text":"a","money":1}"#[..], br#"{"text":"b\n","new":1}"#];
    let bad = [
        &br#"{"text":"bad\n","camelCase":"bad","extra":1,"small":"x"}"#[..],
        br#"{"text":"bad","#,
        b"\xff",
        br#"{"text":"bad","day":"2024-02-30"}"#,
    ];
    for record in neighbours {
        for bad in bad {
            assert!(decoder.push_json(bad).is_err());
        }
        decoder.push_json(record).unwrap();
    }
    assert!(decoder.push_json(bad[0]).is_err());
    let mut alone = every_type();
    for record in neighbours {
        alone.push_json(record).unwrap();
    }
    assert_eq!(decoder.rows(), 2);
    assert_eq!(decoder.finish(), alone.finish());
}

#[test]
fn a_rejected_row_is_all_null() {
    let mut decoder = every_type();
    decoder.push_json(br#"{"text":"a","new":1}"#).unwrap();
    decoder.push_rejected();
    assert_eq!(decoder.rows(), 2);
    for column in decoder.finish() {
        assert_eq!((column.len(), column.is_null(1)), (2, true));
    }
}

#[test]
fn a_finished_decoder_is_empty_and_starts_again() {
    let mut decoder = every_type();
    let record = br#"{"text":"a","day":"1970-01-02"}"#;
    decoder.push_json(record).unwrap();
    let first = decoder.finish();
    assert_eq!(decoder.rows(), 0);
    assert!(decoder.finish().iter().all(|column| column.is_empty()));
    decoder.push_json(record).unwrap();
    assert_eq!(decoder.finish(), first);
}

#[test]
fn memory_is_what_the_rows_take() {
    let mut decoder = every_type();
    let empty = decoder.memory();
    let record = format!("{{\"text\":\"{}\",\"new\":\"{}\"}}", "x".repeat(1000), "y".repeat(1000));
    for _ in 0..1000 {
        decoder.push_json(record.as_bytes()).unwrap();
    }
    assert!((2_000_000..8_000_000).contains(&decoder.memory()), "{}", decoder.memory());
    decoder.finish();
    assert!(decoder.memory() <= empty + 4096, "{}", decoder.memory());
}

#[test]
fn a_large_record_does_not_make_later_batches_look_large() {
    let mut decoder = one_column("ARRAY<INT>");
    let empty = decoder.memory();
    decoder
        .push_json(format!("{{\"a\":[{}0],\"b\":\"\\n{}\"}}", "0,".repeat(1 << 20), "x".repeat(1 << 20)).as_bytes())
        .unwrap();
    assert!(decoder.memory() > 32 << 20, "{}", decoder.memory());
    assert_eq!(decoder.finish()[0].as_list::<i32>().value(0).len(), (1 << 20) + 1);
    assert!(decoder.memory() <= empty + 4096, "{}", decoder.memory());
}

#[test]
fn a_string_column_takes_no_more_bytes_than_its_limit() {
    let mut decoder = every_type();
    decoder.limit = 100;
    // 19 bytes, of which 5 are kept: twelve times over the limit by length, and far from it by what is kept.
    let record = br#"{ "text" : "abcde"}"#;
    for _ in 0..17 {
        decoder.push_json(record).unwrap();
    }
    assert_eq!(class(&mut decoder, record), Some(Class::TooLarge));
    assert_eq!(decoder.finish()[0].as_string::<i32>().value_data().len(), 85);
    assert_eq!(class(&mut decoder, record), None);
}

#[test]
fn a_key_counts_towards_the_limit() {
    struct Keyed(usize);
    impl Envelope for Keyed {
        fn key(&self) -> Option<&[u8]> {
            Some(&[b'k'; 100][..self.0])
        }

        fn header(&self, _: &str) -> Option<&[u8]> {
            None
        }
    }
    let mut decoder = one_column("STRING KEY");
    decoder.limit = 100;
    decoder.push(b"{}", &Keyed(60)).unwrap();
    assert_eq!(decoder.push(b"{}", &Keyed(41)).map_err(|rejection| rejection.class()), Err(Class::TooLarge));
    decoder.push(b"{}", &Keyed(40)).unwrap();
}

#[test]
fn the_escapes_of_a_csv_field_count_towards_the_limit() {
    let contract = contract("CREATE TABLE t (a STRING) WITH (source = 'files')");
    let header = CsvHeader::new(&contract, "t.csv", &csv::ByteRecord::from(vec!["a", "b"])).unwrap();
    let record = csv::ByteRecord::from(vec!["x", "\u{1}\u{1}\u{1}\u{1}"]);
    let mut decoder = Decoder::new(&contract);
    decoder.limit = 40;
    decoder.push_csv(&header, &record).unwrap();
    let rejection = decoder.push_csv(&header, &record).map_err(|rejection| rejection.class());
    assert_eq!(rejection, Err(Class::TooLarge));
}

#[test]
fn a_time_without_offset_is_local_to_the_contracts_zone() {
    let ddl = "CREATE TABLE t (a TIMESTAMP) WITH (topic = 't', timezone = 'Asia/Almaty')";
    let mut decoder = Decoder::new(&contract(ddl));
    decoder.push_json(br#"{"a":"2025-01-31 08:30:00"}"#).unwrap();
    decoder.push_json(br#"{"a":"2025-01-31T08:30:00\u002b05:00"}"#).unwrap();
    let columns = decoder.finish();
    let moments = columns[0].as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!((moments.value(0), moments.value(1)), (1_738_294_200_000_000, 1_738_294_200_000_000));
}

/// What serde_json makes of a record, save for the number that only its own double cannot hold.
fn as_serde_json_reads(record: &[u8]) -> Option<Result<Json, ()>> {
    match serde_json::from_slice(record) {
        Ok(value) => Some(Ok(value)),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(Err(())),
    }
}

fn is_syntax(class: Class) -> bool {
    matches!(class, Class::Empty | Class::NotUtf8 | Class::NotJson | Class::MoreThanOneValue | Class::TooDeep)
}

/// Holds the decoder to serde_json: the same records are JSON, and their values are the same.
fn agrees_with_serde_json(record: &[u8]) -> Result<(), TestCaseError> {
    let Some(expected) = as_serde_json_reads(record) else { return Ok(()) };
    let mut decoder = Decoder::new(&contract("CREATE TABLE t (a STRING, b BIGINT, c BOOLEAN) WITH (topic = 't')"));
    let decoded = decoder.push_json(record);
    let syntax_is_bad = matches!(&decoded, Err(rejection) if is_syntax(rejection.class()));
    prop_assert_eq!(syntax_is_bad, expected.is_err(), "{:?}: {:?}", String::from_utf8_lossy(record), decoded);
    let Ok(Json::Object(object)) = expected else {
        prop_assert!(decoded.is_err());
        return Ok(());
    };
    let null_or = |key: &str, is: fn(&Json) -> bool| object.get(key).is_none_or(|value| value.is_null() || is(value));
    let is_integral = |value: &Json| value.is_i64() || value.as_f64().is_some_and(|double| double.fract() == 0.0);
    if null_or("a", Json::is_string) && null_or("c", Json::is_boolean) && null_or("b", Json::is_i64) {
        prop_assert_eq!(decoded, Ok(()), "{:?}", String::from_utf8_lossy(record));
    } else if null_or("b", is_integral) && null_or("a", Json::is_string) && null_or("c", Json::is_boolean) {
        // An integer that is written as serde_json's double: number's own tests hold it.
        return Ok(());
    } else {
        prop_assert!(decoded.is_err(), "{:?}", String::from_utf8_lossy(record));
        return Ok(());
    }
    let columns = decoder.finish();
    prop_assert_eq!(strings(&columns[0])[0], object.get("a").and_then(Json::as_str));
    let b = columns[1].as_primitive::<arrow::datatypes::Int64Type>();
    prop_assert_eq!(b.iter().next().flatten(), object.get("b").and_then(Json::as_i64));
    prop_assert_eq!(columns[2].as_boolean().iter().next().flatten(), object.get("c").and_then(Json::as_bool));
    let unknown: serde_json::Map<_, _> =
        object.into_iter().filter(|(key, _)| !["a", "b", "c"].contains(&key.as_str())).collect();
    let extra = strings(&columns[3])[0].map(serde_json::from_str).transpose().unwrap();
    prop_assert_eq!(extra, (!unknown.is_empty()).then_some(Json::Object(unknown)));
    Ok(())
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((key(), inner), 0..5).prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]", 1 => "[a-d]{0,3}", 1 => ".{0,4}"]
}

/// The text of an object, with the keys of the contract more often than not, some of them twice, and any spacing.
fn any_object() -> impl Strategy<Value = String> {
    let space = prop_oneof![3 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")];
    prop::collection::vec((key(), any_json(), space), 0..7).prop_map(|fields| {
        let fields: Vec<String> = fields
            .iter()
            .map(|(key, value, space)| format!("{space}{}{space}:{space}{value}{space}", Json::from(key.as_str())))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// Contracts, flat and nested, each with two good records.
static ISOLATED: LazyLock<[(Contract, [&str; 2]); 2]> = LazyLock::new(|| {
    let nested = "CREATE TABLE t (
        a STRUCT<a: STRING, b: ARRAY<STRUCT<c: BIGINT, d: BINARY>>>, b MAP<STRING, ARRAY<DECIMAL(9, 2)>>,
        c TIMESTAMP FORMAT 'epoch_ms', d STRING PATH 'e.f[1]', g INT PATH 'e.g'
    ) WITH (topic = 't', coerce = 'lossless')";
    [
        (contract(EVERY_TYPE), [r#"{"text":"\u0061","small":1,"new":[1]}"#, r#"{"day":"2024-01-31","money":1.5}"#]),
        (
            contract(nested),
            [
                r#"{"a":{"a":"x","b":[{"c":1,"d":"AQI=","z":"\n"},null]},"b":{"k":[1,2.50]},"y":1}"#,
                r#"{"c":1706689800000,"e":{"f":[0,"two",3],"g":"7"},"b":{}}"#,
            ],
        ),
    ]
});

/// Bytes of any kind: noise, objects, good records that are damaged.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let good: Vec<&str> = ISOLATED.iter().flat_map(|(_, good)| *good).collect();
    let place = any::<prop::sample::Index>();
    let damage = prop::collection::vec((place, prop_oneof![any::<u8>(), Just(b'"'), Just(b'['), Just(b'}')]), 0..4);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        any_object().prop_map(String::into_bytes),
        (prop::sample::select(good), damage).prop_map(|(record, damage)| {
            let mut record = record.as_bytes().to_vec();
            damage.iter().for_each(|(place, byte)| *place.get_mut(&mut record) = *byte);
            record
        }),
    ]
}

/// Every character of the strings as `\uXXXX`, or as it is: the meaning stays.
fn escape_some(text: &str, choices: &[bool]) -> String {
    let mut escaped = String::from("\"");
    for (character, escape) in text.chars().zip(choices.iter().cycle()) {
        if *escape || matches!(character, '"' | '\\') || character.is_control() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped.push('"');
    escaped
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_json_if_serde_json_says_so(record in prop::collection::vec(any::<u8>(), 0..40)) {
        agrees_with_serde_json(&record)?;
    }

    #[test]
    fn any_text_of_jsons_own_characters_is_json_if_serde_json_says_so(
        record in r#"\{?(["\\{}\[\]:, abc01.eE+\-u/ntrl]|true|null|"a":|\\ud83d|\\ude00){0,14}\}?"#,
    ) {
        agrees_with_serde_json(record.as_bytes())?;
    }

    #[test]
    fn any_object_has_the_values_that_serde_json_reads(record in any_object()) {
        agrees_with_serde_json(record.as_bytes())?;
    }

    #[test]
    fn any_damaged_object_is_judged_as_serde_json_judges_it(
        record in any_object(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4),
    ) {
        let mut record = record.into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(record.len().max(1));
            match kind {
                0 if at < record.len() => record[at] = byte,
                1 if at < record.len() => drop(record.remove(at)),
                _ => record.insert(at, byte),
            }
        }
        agrees_with_serde_json(&record)?;
    }

    #[test]
    fn a_string_means_the_same_however_it_is_escaped(text in ".{0,40}", choices in prop::collection::vec(any::<bool>(), 1..9)) {
        let mut decoder = one_column("STRING");
        decoder.push_json(format!("{{\"a\":{}}}", escape_some(&text, &choices)).as_bytes()).unwrap();
        let columns = decoder.finish();
        prop_assert_eq!(strings(&columns[0]), [Some(text.as_str())]);
    }

    #[test]
    fn any_bytes_are_one_row_or_one_rejection_and_leave_their_neighbours_alone(record in any_bytes(), contract in 0..2_usize) {
        let (contract, good) = &ISOLATED[contract];
        let mut mixed = Decoder::new(contract);
        mixed.push_json(good[0].as_bytes()).unwrap();
        let decoded = mixed.push_json(&record).is_ok();
        prop_assert_eq!(mixed.rows(), 1 + usize::from(decoded));
        if !decoded {
            mixed.push_rejected();
        }
        mixed.push_json(good[1].as_bytes()).unwrap();
        prop_assert_eq!(mixed.rows(), 3);
        let mixed = RecordBatch::try_new(contract.schema(), mixed.finish()).unwrap();
        let mut alone = Decoder::new(contract);
        good.iter().for_each(|record| alone.push_json(record.as_bytes()).unwrap());
        let alone = RecordBatch::try_new(contract.schema(), alone.finish()).unwrap();
        prop_assert_eq!(mixed.slice(0, 1), alone.slice(0, 1));
        prop_assert_eq!(mixed.slice(2, 1), alone.slice(1, 1));
        if decoded {
            // Read alone, the record is the same row.
            let mut one = Decoder::new(contract);
            one.push_json(&record).unwrap();
            prop_assert_eq!(mixed.slice(1, 1), RecordBatch::try_new(contract.schema(), one.finish()).unwrap());
        } else {
            prop_assert!(mixed.columns().iter().all(|column| column.is_null(1)));
        }
    }

    #[test]
    fn good_rows_are_the_same_with_rejected_records_between(
        records in prop::collection::vec((any_object(), any::<bool>()), 0..12),
    ) {
        let ddl = "CREATE TABLE t (a STRING, b DOUBLE NOT NULL, c BOOLEAN) WITH (topic = 't')";
        let (mut mixed, mut alone) = (Decoder::new(&contract(ddl)), Decoder::new(&contract(ddl)));
        for (record, cut) in &records {
            let record = if *cut { &record[..record.len() - 1] } else { record.as_str() };
            if mixed.push_json(record.as_bytes()).is_ok() {
                alone.push_json(record.as_bytes()).unwrap();
            }
        }
        prop_assert_eq!(mixed.rows(), alone.rows());
        prop_assert_eq!(mixed.finish(), alone.finish());
    }
}
