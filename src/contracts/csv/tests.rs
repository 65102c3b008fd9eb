use arrow::array::{ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Int32Array};

use super::*;
use crate::contracts::{Class, Decoder, Rejection, parse};

const DDL: &str = "CREATE TABLE t (
    id STRING NOT NULL, name STRING, active BOOLEAN, lines INT, fee DECIMAL(12, 2), since DATE
) WITH (source = 'files')";

fn contract() -> Contract {
    parse("t.sql", DDL).unwrap()
}

fn record(fields: &[&[u8]]) -> csv::ByteRecord {
    csv::ByteRecord::from(fields.to_vec())
}

fn header(names: &[&str]) -> Result<CsvHeader> {
    CsvHeader::new(&contract(), "customers.csv", &csv::ByteRecord::from(names.to_vec()))
}

fn push(decoder: &mut Decoder, names: &[&str], fields: &[&str]) -> std::result::Result<(), Rejection> {
    decoder.push_csv(&header(names).unwrap(), &csv::ByteRecord::from(fields.to_vec()))
}

fn strings(column: &ArrayRef) -> Vec<Option<&str>> {
    column.as_string::<i32>().iter().collect()
}

#[test]
fn the_header_decides_which_field_is_which_column() {
    let mut decoder = Decoder::new(&contract());
    let names = ["since", "fee", "id", "active", "lines"];
    push(&mut decoder, &names, &["2024-02-29", "80.50", "0042", "True", "3"]).unwrap();
    push(&mut decoder, &names, &["", "", "0043", "FALSE", ""]).unwrap();
    let columns = decoder.finish();
    assert_eq!(strings(&columns[0]), [Some("0042"), Some("0043")]);
    assert_eq!(strings(&columns[1]), [None, None]);
    assert_eq!(columns[2].as_boolean(), &BooleanArray::from(vec![true, false]));
    assert_eq!(columns[3].as_primitive(), &Int32Array::from(vec![Some(3), None]));
    let fee = Decimal128Array::from(vec![Some(8050), None]).with_precision_and_scale(12, 2).unwrap();
    assert_eq!(columns[4].as_primitive(), &fee);
    assert_eq!(columns[5].as_primitive(), &Date32Array::from(vec![Some(19_782), None]));
    assert_eq!(strings(&columns[6]), [None, None]);
}

#[test]
fn fields_without_a_column_are_kept_as_strings() {
    let mut decoder = Decoder::new(&contract());
    let names = ["id", "nick \"name\"", "score"];
    push(&mut decoder, &names, &["1", "a \"b\"\n\\", "007"]).unwrap();
    push(&mut decoder, &names, &["2", "", "1"]).unwrap();
    push(&mut decoder, &names, &["3", "", ""]).unwrap();
    let columns = decoder.finish();
    assert_eq!(
        strings(&columns[6]),
        [Some(r#"{"nick \"name\"":"a \"b\"\n\\","score":"007"}"#), Some(r#"{"score":"1"}"#), None]
    );
}

#[test]
fn a_bad_field_rejects_its_record_and_no_other() {
    let mut decoder = Decoder::new(&contract());
    let names = ["id", "active", "lines", "fee", "since"];
    let cases = [
        (["", "", "", "", ""], "missing_value in id: null or absent, and the contract says NOT NULL"),
        (["1", "yes", "", "", ""], "wrong_type in active: expected boolean, found \"yes\""),
        (["1", "", " 3", "", ""], "wrong_type in lines: expected int, found \" 3\""),
        (["1", "", "3.5", "", ""], "wrong_type in lines: expected int, found number 3.5"),
        (["1", "", "", "80,50", ""], "wrong_type in fee: expected decimal(12,2), found \"80,50\""),
        (["1", "", "", "", "2024-02-30"], "bad_date in since: \"2024-02-30\": no such day"),
    ];
    for (fields, expected) in cases {
        push(&mut decoder, &names, &["good", "", "", "", ""]).unwrap();
        let rejection = push(&mut decoder, &names, &fields).map_err(|rejection| rejection.to_string());
        assert_eq!(rejection, Err(expected.to_owned()));
    }
    assert_eq!(strings(&decoder.finish()[0]), [Some("good"); 6]);
}

#[test]
fn a_record_has_as_many_fields_as_its_header() {
    let mut decoder = Decoder::new(&contract());
    for fields in [&["1"][..], &["1", "2", "3"]] {
        let rejection = push(&mut decoder, &["id", "name"], fields).map_err(|rejection| rejection.class());
        assert_eq!(rejection, Err(Class::WrongFieldCount));
    }
}

#[test]
fn a_field_has_to_be_utf8_by_itself() {
    let mut decoder = Decoder::new(&contract());
    let header = header(&["id", "name"]).unwrap();
    for fields in [[&b"\xff"[..], b"x"], [b"\xc3", b"\xa9"]] {
        let rejection = decoder.push_csv(&header, &record(&fields)).map_err(|rejection| rejection.class());
        assert_eq!(rejection, Err(Class::NotUtf8));
    }
    decoder.push_csv(&header, &record(&["é".as_bytes(), "ü".as_bytes()])).unwrap();
    assert_eq!(strings(&decoder.finish()[1]), [Some("ü")]);
}

#[test]
fn a_file_with_a_byte_order_mark_and_quoted_fields_is_read() {
    let file = "\u{feff}\"id\",name,lines\r\n1,\"Ann, \"\"A\"\"\nB\",\r\n2,Bob\r\n3,Cy,4\r\n";
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file.as_bytes());
    let header = CsvHeader::new(&contract(), "customers.csv", reader.byte_headers().unwrap()).unwrap();
    let mut decoder = Decoder::new(&contract());
    let rejected: Vec<bool> =
        reader.byte_records().map(|record| decoder.push_csv(&header, &record.unwrap()).is_err()).collect();
    assert_eq!(rejected, [false, true, false]);
    let columns = decoder.finish();
    assert_eq!(strings(&columns[0]), [Some("1"), Some("3")]);
    assert_eq!(strings(&columns[1]), [Some("Ann, \"A\"\nB"), Some("Cy")]);
}

fn refused(names: &[&str]) -> String {
    header(names).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_header_that_cannot_be_right_is_refused_with_its_line() {
    let twice = refused(&["id", "name", "name"]);
    assert!(twice.contains("the column `name` twice") && twice.contains("customers.csv:1:1"), "{twice}");
    let lacking = refused(&["idd", "name"]);
    assert!(lacking.contains("lacks `id`") && lacking.contains("is it the column `idd`?"), "{lacking}");
    let none = refused(&["CUST-1", "Ann"]);
    assert!(none.contains("names no column of the contract `t`") && none.contains("id,name,active"), "{none}");
}

#[test]
fn a_column_takes_the_field_that_its_path_names_and_nested_types_are_json_in_a_field() {
    let ddl = "CREATE TABLE t (
        id STRING PATH '\"Customer Id\"', tags ARRAY<STRING>, at STRUCT<x: INT, y: INT>, deep INT PATH 'a.b',
        seen TIMESTAMP FORMAT 'epoch_s', photo BINARY
    ) WITH (source = 'files')";
    let contract = parse("t.sql", ddl).unwrap();
    let names = ["Customer Id", "tags", "at", "seen", "photo", "id", "a.b"];
    let header = CsvHeader::new(&contract, "t.csv", &csv::ByteRecord::from(names.to_vec())).unwrap();
    let mut decoder = Decoder::new(&contract);
    let mut push = |fields: [&str; 7]| {
        decoder.push_csv(&header, &csv::ByteRecord::from(fields.to_vec())).map_err(|rejection| rejection.to_string())
    };
    push(["1", r#" ["a","\u00e9"] "#, r#"{"y":2,"z":[3],"x":1}"#, "1706689800", "AQI=", "own", "5"]).unwrap();
    push(["2", "", "", "", "", "", ""]).unwrap();
    assert_eq!(push(["3", "a,b", "", "", "", "", ""]), Err("wrong_type in tags: expected JSON, found a,b".to_owned()));
    assert_eq!(
        push(["4", "", r#"{"x":true}"#, "", "", "", ""]),
        Err("wrong_type in at: at at.x, expected int, found boolean true".to_owned())
    );
    assert_eq!(
        push(["5", "", "{} {}", "", "", "", ""]),
        Err("wrong_type in at: expected JSON, found {} {}".to_owned())
    );
    let columns = decoder.finish();
    assert_eq!(strings(&columns[0]), [Some("1"), Some("2")]);
    assert_eq!(strings(&columns[1].as_list::<i32>().value(0)), [Some("a"), Some("é")]);
    assert_eq!(columns[2].as_struct().column(1).as_primitive(), &Int32Array::from(vec![Some(2), None]));
    assert!(columns[3].is_null(0) && [1, 2, 4, 5].iter().all(|column| columns[*column].is_null(1)));
    assert_eq!(columns[5].as_binary::<i32>().value(0), [1, 2]);
    assert_eq!(strings(&columns[6]), [Some(r#"{"at":{"z":[3]},"id":"own","a.b":"5"}"#), None]);
}
