use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;
use crate::contracts::{Decoder, parse};

/// What becomes of one JSON value: how the cell reads, or the class of its rejection.
fn become_of(column: &str, value: &str, coerce: &str) -> Result<String, Class> {
    let ddl = format!("CREATE TABLE t (a {column}) WITH (topic = 't', coerce = '{coerce}')");
    let mut decoder = Decoder::new(&parse("t.sql", &ddl).unwrap_or_else(|error| panic!("{error}")));
    decoder.push_json(format!("{{\"a\":{value}}}").as_bytes()).map_err(|rejection| rejection.class())?;
    let columns = decoder.finish();
    let options = FormatOptions::new().with_null("null");
    Ok(ArrayFormatter::try_new(&columns[0], &options).unwrap().value(0).to_string())
}

/// A column, a JSON value, and what becomes of it with `coerce = 'none'` and with `coerce = 'lossless'`.
type Case<'a> = (&'a str, &'a str, Result<&'a str, Class>, Result<&'a str, Class>);

fn hold(cases: &[Case<'_>]) {
    for (column, value, none, lossless) in cases {
        assert_eq!(become_of(column, value, "none"), none.map(str::to_owned), "{column} of {value}, none");
        assert_eq!(become_of(column, value, "lossless"), lossless.map(str::to_owned), "{column} of {value}, lossless");
    }
}

#[test]
fn a_value_is_converted_as_the_contract_says_and_never_at_a_loss() {
    use Class::{BadBase64, BadDate, BadTimestamp, OutOfRange, WrongType};
    hold(&[
        // Null is null for every type.
        ("INT", "null", Ok("null"), Ok("null")),
        ("STRING", "null", Ok("null"), Ok("null")),
        ("STRUCT<b: INT>", "null", Ok("null"), Ok("null")),
        // The value of a number counts, not how it is written.
        ("INT", "12", Ok("12"), Ok("12")),
        ("INT", "12.0", Ok("12"), Ok("12")),
        ("INT", "1.2e1", Ok("12"), Ok("12")),
        ("INT", "12.5", Err(WrongType), Err(WrongType)),
        ("INT", "1e-1", Err(WrongType), Err(WrongType)),
        ("INT", "2147483648", Err(OutOfRange), Err(OutOfRange)),
        ("BIGINT", "9223372036854775807", Ok("9223372036854775807"), Ok("9223372036854775807")),
        ("BIGINT", "9223372036854775808", Err(OutOfRange), Err(OutOfRange)),
        // Texts of numbers.
        ("INT", r#""12""#, Err(WrongType), Ok("12")),
        ("INT", r#""12.0""#, Err(WrongType), Ok("12")),
        ("INT", r#""12.5""#, Err(WrongType), Err(WrongType)),
        ("INT", r#""012""#, Err(WrongType), Err(WrongType)),
        ("INT", r#"" 12""#, Err(WrongType), Err(WrongType)),
        ("INT", r#""+12""#, Err(WrongType), Err(WrongType)),
        ("INT", r#""12a""#, Err(WrongType), Err(WrongType)),
        ("INT", r#""""#, Err(WrongType), Err(WrongType)),
        ("INT", r#""3000000000""#, Err(WrongType), Err(OutOfRange)),
        ("INT", r#""\u0031""#, Err(WrongType), Ok("1")),
        ("BIGINT", r#""9007199254740993""#, Err(WrongType), Ok("9007199254740993")),
        ("DOUBLE", r#""1.5""#, Err(WrongType), Ok("1.5")),
        ("DOUBLE", r#""NaN""#, Err(WrongType), Err(WrongType)),
        ("DOUBLE", r#""1e999""#, Err(WrongType), Err(OutOfRange)),
        ("DECIMAL(12, 2)", r#""19.90""#, Err(WrongType), Ok("19.90")),
        ("DECIMAL(12, 2)", r#""19.995""#, Err(WrongType), Err(OutOfRange)),
        // Decimals are their digits: a float would make 0.30000000000000004 or 1e23 of some of these.
        (
            "DECIMAL(38, 0)",
            "99999999999999999999999999999999999999",
            Ok("99999999999999999999999999999999999999"),
            Ok("99999999999999999999999999999999999999"),
        ),
        ("DECIMAL(20, 17)", "0.30000000000000004", Ok("0.30000000000000004"), Ok("0.30000000000000004")),
        ("DECIMAL(24, 0)", "1e23", Ok("100000000000000000000000"), Ok("100000000000000000000000")),
        ("DECIMAL(4, 2)", "-0.050", Ok("-0.05"), Ok("-0.05")),
        ("DECIMAL(4, 2)", "100", Err(OutOfRange), Err(OutOfRange)),
        ("DECIMAL(4, 2)", "1.005", Err(OutOfRange), Err(OutOfRange)),
        // Booleans.
        ("BOOLEAN", "true", Ok("true"), Ok("true")),
        ("BOOLEAN", "1", Err(WrongType), Ok("true")),
        ("BOOLEAN", "0", Err(WrongType), Ok("false")),
        ("BOOLEAN", "2", Err(WrongType), Err(WrongType)),
        ("BOOLEAN", r#""true""#, Err(WrongType), Ok("true")),
        ("BOOLEAN", r#""False""#, Err(WrongType), Ok("false")),
        ("BOOLEAN", r#""1""#, Err(WrongType), Err(WrongType)),
        ("BOOLEAN", r#""yes""#, Err(WrongType), Err(WrongType)),
        ("INT", "true", Err(WrongType), Err(WrongType)),
        // A text column keeps the very characters of the record.
        ("STRING", r#""12""#, Ok("12"), Ok("12")),
        ("STRING", "12.50", Err(WrongType), Ok("12.50")),
        ("STRING", "1E+02", Err(WrongType), Ok("1E+02")),
        ("STRING", "12345678901234567890.10", Err(WrongType), Ok("12345678901234567890.10")),
        ("STRING", "false", Err(WrongType), Ok("false")),
        ("STRING", r#"[1, {"b":"\u0041"}]"#, Err(WrongType), Ok(r#"[1, {"b":"\u0041"}]"#)),
        // Times.
        ("TIMESTAMP", r#""2024-01-31T08:30:00Z""#, Ok("2024-01-31T08:30:00Z"), Ok("2024-01-31T08:30:00Z")),
        ("TIMESTAMP", "1706689800", Err(WrongType), Err(WrongType)),
        ("TIMESTAMP", r#""1706689800""#, Err(BadTimestamp), Err(BadTimestamp)),
        ("TIMESTAMP FORMAT 'epoch_s'", "1706689800", Ok("2024-01-31T08:30:00Z"), Ok("2024-01-31T08:30:00Z")),
        (
            "TIMESTAMP FORMAT 'epoch_ms'",
            "1706689800250",
            Ok("2024-01-31T08:30:00.250Z"),
            Ok("2024-01-31T08:30:00.250Z"),
        ),
        (
            "TIMESTAMP FORMAT 'epoch_us'",
            "1706689800000001",
            Ok("2024-01-31T08:30:00.000001Z"),
            Ok("2024-01-31T08:30:00.000001Z"),
        ),
        (
            "TIMESTAMP FORMAT 'epoch_ns'",
            "1706689800000001999",
            Ok("2024-01-31T08:30:00.000001Z"),
            Ok("2024-01-31T08:30:00.000001Z"),
        ),
        ("TIMESTAMP FORMAT 'epoch_s'", "1706689800000", Err(OutOfRange), Err(OutOfRange)),
        ("TIMESTAMP FORMAT 'epoch_s'", r#""1706689800""#, Err(BadTimestamp), Ok("2024-01-31T08:30:00Z")),
        ("TIMESTAMP FORMAT 'epoch_s'", r#""2024-01-31T08:30:00Z""#, Err(BadTimestamp), Err(BadTimestamp)),
        ("TIMESTAMP FORMAT 'epoch_s'", "true", Err(WrongType), Err(WrongType)),
        ("DATE", r#""2024-02-29""#, Ok("2024-02-29"), Ok("2024-02-29")),
        ("DATE", r#""2023-02-29""#, Err(BadDate), Err(BadDate)),
        ("DATE", "19782", Err(WrongType), Err(WrongType)),
        // Bytes.
        ("BINARY", r#""AQL/""#, Ok("0102ff"), Ok("0102ff")),
        ("BINARY", r#""""#, Ok(""), Ok("")),
        ("BINARY", r#""AQL_""#, Err(BadBase64), Err(BadBase64)),
        ("BINARY", r#""AQI""#, Err(BadBase64), Err(BadBase64)),
        ("BINARY", "12", Err(WrongType), Err(WrongType)),
        // Within nested types the same holds.
        ("ARRAY<INT>", r#"[1,"2",3.0]"#, Err(WrongType), Ok("[1, 2, 3]")),
        ("ARRAY<INT>", "[1.5]", Err(WrongType), Err(WrongType)),
        ("ARRAY<INT>", "1", Err(WrongType), Err(WrongType)),
        ("MAP<STRING, STRING>", r#"{"k":1.0}"#, Err(WrongType), Ok("{k: 1.0}")),
        ("STRUCT<b: DECIMAL(3, 1)>", r#"{"b":"1.5"}"#, Err(WrongType), Ok("{b: 1.5}")),
        ("STRUCT<b: INT>", r#""{}""#, Err(WrongType), Err(WrongType)),
    ]);
}

#[test]
fn the_formats_of_a_column_are_tried_in_their_order() {
    let both = "TIMESTAMP FORMAT 'dd/MM/yyyy', 'MM/dd/yyyy', 'iso8601', 'epoch_ms'";
    for (value, time) in [
        (r#""02/01/2024""#, "2024-01-02T00:00:00Z"),
        (r#""01/31/2024""#, "2024-01-31T00:00:00Z"),
        (r#""2024-01-31 08:30""#, "2024-01-31T08:30:00Z"),
        ("1706689800000", "2024-01-31T08:30:00Z"),
    ] {
        assert_eq!(become_of(both, value, "none").as_deref(), Ok(time), "{value}");
    }
    assert_eq!(become_of("DATE FORMAT 'd.M.yyyy', 'iso8601'", r#""1.2.2024""#, "none").as_deref(), Ok("2024-02-01"));
    assert_eq!(become_of("DATE FORMAT 'd.M.yyyy', 'iso8601'", r#""2024-02-01""#, "none").as_deref(), Ok("2024-02-01"));
    assert_eq!(become_of("DATE FORMAT 'd.M.yyyy'", r#""2024-02-01""#, "none"), Err(Class::BadDate));
    assert_eq!(
        become_of("ARRAY<TIMESTAMP> FORMAT 'epoch_s'", "[0, 1.5]", "none").as_deref(),
        Ok("[1970-01-01T00:00:00Z, 1970-01-01T00:00:01.500Z]")
    );
}

#[test]
fn a_time_in_none_of_the_formats_is_told_which_there_are() {
    let ddl = "CREATE TABLE t (a TIMESTAMP FORMAT 'dd/MM/yyyy', 'epoch_s') WITH (topic = 't', timezone = 'UTC')";
    let mut decoder = Decoder::new(&parse("t.sql", ddl).unwrap());
    let mut rejection = |value: &str| {
        let rejected = decoder.push_json(format!("{{\"a\":{value}}}").as_bytes());
        rejected.map_err(|rejection| rejection.to_string()).unwrap_err()
    };
    assert_eq!(
        rejection(r#""2024-01-31""#),
        r#"bad_timestamp in a: expected timestamp as 'dd/MM/yyyy' or 'epoch_s', found "2024-01-31""#
    );
    assert_eq!(rejection(r#""31/02/2024""#), r#"bad_timestamp in a: "31/02/2024": no such day"#);
    assert_eq!(rejection("1e15"), "out_of_range in a: 1e15 as epoch_s is not in the years 0 to 9999");
}
