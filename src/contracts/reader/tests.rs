use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::contracts::{Contract, Decoder, parse};

fn contract(columns: &str) -> Contract {
    parse("t.sql", &format!("CREATE TABLE t ({columns}) WITH (topic = 't')")).unwrap()
}

/// One value of an array, as JSON would have it.
fn value(array: &dyn Array, row: usize) -> Json {
    if array.is_null(row) {
        return Json::Null;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).map(|element| value(&list, element)).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row))).collect()
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let key = |entry| entries.column(0).as_string::<i32>().value(entry).to_owned();
            (0..entries.len()).map(|entry| (key(entry), value(entries.column(1), entry))).collect()
        }
        other => panic!("{other}"),
    }
}

/// The columns of the only row of these batches, `_extra` last and as JSON.
fn row(columns: &[ArrayRef]) -> Vec<Json> {
    let (extra, own) = columns.split_last().unwrap();
    let extra =
        extra.as_string::<i32>().iter().next().flatten().map_or(Json::Null, |e| serde_json::from_str(e).unwrap());
    own.iter().map(|column| value(column, 0)).chain([extra]).collect()
}

fn read(columns: &str, record: &str) -> Result<Vec<Json>, String> {
    let contract = contract(columns);
    let mut decoder = Decoder::new(&contract);
    decoder.push_json(record.as_bytes()).map_err(|rejection| rejection.to_string())?;
    let columns = decoder.finish();
    RecordBatch::try_new(contract.schema(), columns.clone()).unwrap();
    Ok(row(&columns))
}

fn assert_read(columns: &str, record: &str, expected: Json) {
    assert_eq!(read(columns, record).map(Json::from), Ok(expected), "{columns} of {record}");
}

fn assert_rejected(columns: &str, record: &str, expected: &str) {
    assert_eq!(read(columns, record), Err(expected.to_owned()), "{columns} of {record}");
}

#[test]
fn a_struct_has_its_fields_in_the_contracts_order_and_null_for_what_is_absent() {
    let columns = "s STRUCT<a: INT, b: STRING, \"C d\": BOOLEAN>".replace("\"C d\"", "\"Cd\"");
    assert_read(&columns, r#"{"s":{"b":"x","Cd":true,"a":1}}"#, json!([{"a": 1, "b": "x", "Cd": true}, null]));
    assert_read(&columns, r#"{"s": { } }"#, json!([{"a": null, "b": null, "Cd": null}, null]));
    assert_read(&columns, r#"{"s":null}"#, json!([null, null]));
    assert_read(&columns, "{}", json!([null, null]));
}

#[test]
fn lists_and_maps_keep_their_elements_and_tell_empty_from_null() {
    let columns = "l ARRAY<INT>, m MAP<STRING, INT>";
    assert_read(
        columns,
        r#"{"l":[1, null ,3],"m":{"a":1,"ü\n":null}}"#,
        json!([[1, null, 3], {"a": 1, "ü\n": null}, null]),
    );
    assert_read(columns, r#"{"l":[ ],"m":{ }}"#, json!([[], {}, null]));
    assert_read(columns, r#"{"l":null,"m":null}"#, json!([null, null, null]));
}

#[test]
fn types_nest_to_any_depth() {
    let columns = "n ARRAY<MAP<STRING, STRUCT<a: ARRAY<ARRAY<STRUCT<b: MAP<STRING, ARRAY<INT>>>>>, c: INT>>>";
    let record = r#"{"n":[{"x":{"c":1,"a":[[{"b":{"y":[1,2]}},null],[],null]},"z":null},{},null]}"#;
    let expected = json!([[{"x": {"a": [[{"b": {"y": [1, 2]}}, null], [], null], "c": 1}, "z": null}, {}, null], null]);
    assert_read(columns, record, expected);
}

#[test]
fn rows_of_nested_columns_do_not_run_into_each_other() {
    let contract = contract("l ARRAY<STRUCT<a: STRING>>, m MAP<STRING, ARRAY<INT>>");
    let records = [
        r#"{"l":[{"a":"one"},{"a":"two"}],"m":{"k":[1,2]}}"#,
        r#"{"l":null}"#,
        r#"{"l":[],"m":{}}"#,
        r#"{"m":{"x":[],"y":[3]},"l":[null,{"a":null}]}"#,
    ];
    let mut together = Decoder::new(&contract);
    records.iter().for_each(|record| together.push_json(record.as_bytes()).unwrap());
    together.push_rejected();
    let columns = together.finish();
    for (index, record) in records.iter().enumerate() {
        let mut alone = Decoder::new(&contract);
        alone.push_json(record.as_bytes()).unwrap();
        let one: Vec<ArrayRef> = columns.iter().map(|column| column.slice(index, 1)).collect();
        assert_eq!(row(&one), row(&alone.finish()));
    }
    assert!(columns.iter().all(|column| column.len() == 5 && column.is_null(4)));
}

#[test]
fn a_finished_decoder_of_nested_columns_starts_again_and_holds_no_more_than_its_rows() {
    let contract = contract("l ARRAY<INT>, m MAP<STRING, INT>, s STRUCT<a: ARRAY<INT>>");
    let record = r#"{"l":[1,2,3],"m":{"a":1},"s":{"a":[4]}}"#;
    let mut decoder = Decoder::new(&contract);
    for _ in 0..10_000 {
        decoder.push_json(record.as_bytes()).unwrap();
    }
    assert!(decoder.memory() < 1 << 20, "{}", decoder.memory());
    decoder.finish();
    decoder.push_json(record.as_bytes()).unwrap();
    let expected: Json = serde_json::from_str(record).unwrap();
    assert_eq!(
        row(&decoder.finish()),
        [expected["l"].clone(), expected["m"].clone(), expected["s"].clone(), Json::Null]
    );
}

#[test]
fn a_name_that_json_has_to_escape_is_compared_by_its_characters() {
    let columns = r#"a INT PATH '"x\b"'"#;
    assert_read(columns, r#"{"x\\b":1}"#, json!([1, null]));
    assert_read(columns, r#"{"x\b":1}"#, json!([null, {"x\u{8}": 1}]));
}

#[test]
fn a_value_of_another_kind_rejects_the_record_and_says_where() {
    let columns = "s STRUCT<a: ARRAY<STRUCT<b: INT>>>, m MAP<STRING, INT>";
    for (record, error) in [
        (r#"{"s":[]}"#, "wrong_type in s: expected an object, found array []"),
        (r#"{"s":{"a":{}}}"#, "wrong_type in s: at s.a, expected an array, found object {}"),
        (r#"{"s":{"a":[null,1]}}"#, "wrong_type in s: at s.a[1], expected an object, found number 1"),
        (r#"{"s":{"a":[{},{"b":12.5}]}}"#, "wrong_type in s: at s.a[1].b, expected int, found number 12.5"),
        (r#"{"m":{"k":"x"}}"#, r#"wrong_type in m: at m.k, expected int, found string "x""#),
        (r#"{"m":true,"s":5}"#, "wrong_type in m: expected an object, found boolean true"),
        (r#"{"s":{"a":[1,}}"#, "not_json: expected a value at byte 14"),
        (r#"{"m":{"k":"x" "y":1}}"#, "not_json: expected ',' or '}' at byte 15"),
    ] {
        assert_rejected(columns, record, error);
    }
}

#[test]
fn a_path_leads_to_a_value_within_objects_and_arrays() {
    let columns = "id STRING, city STRING PATH 'address.city', \
                   sku STRING PATH 'items[0].sku', third INT PATH 'items[2].n', odd INT PATH '\"odd name\".\"a.b\"', \
                   renamed INT PATH 'old', whole ARRAY<INT> PATH 'x.y'";
    let record = r#"{"id":"1","address":{"city":"Almaty"},"items":[{"sku":"A"},{},{"n":3}],"odd name":{"a.b":4},
                     "old":5,"x":{"y":[6]}}"#;
    // Of the second element nothing is taken, and it is empty.
    assert_read(columns, record, json!(["1", "Almaty", "A", 3, 4, 5, [6], {"items": [null, {}]}]));
    let nulls = json!([null, null, null, null, null, null, null, null]);
    assert_read(columns, "{}", nulls.clone());
    assert_read(columns, r#"{"address":null,"items":null,"x":{"y":null},"old":null}"#, nulls.clone());
    assert_read(columns, r#"{"address":{},"items":[],"x":{}}"#, nulls);
}

#[test]
fn what_no_column_takes_keeps_its_place_in_extra() {
    let columns = "a STRUCT<b: INT, l: ARRAY<STRUCT<c: INT>>>, m MAP<STRING, STRUCT<d: INT>>, e INT PATH 'p.q[1].e'";
    for (record, extra) in [
        (r#"{"a":{"b":1,"x":"\u0041"},"y":[1]}"#, Some(r#"{"a":{"x":"\u0041"},"y":[1]}"#)),
        (r#"{"a":{"l":[{"c":1},{"c":2,"x":1},{"c":3}]}}"#, Some(r#"{"a":{"l":[null,{"x":1}]}}"#)),
        (r#"{"m":{"k":{"d":1},"l":{"x":{}}}}"#, Some(r#"{"m":{"l":{"x":{}}}}"#)),
        (r#"{"p":{"q":[0,{"e":1,"f":2},[]],"r":3}}"#, Some(r#"{"p":{"q":[0,{"f":2},[]],"r":3}}"#)),
        (r#"{"p":{"q":[0,{"e":1}]}}"#, Some(r#"{"p":{"q":[0]}}"#)),
        (r#"{"a":{"b":1,"l":[{"c":1}]},"m":{"k":{"d":1}},"p":{"q":[]}}"#, None),
    ] {
        let contract = contract(columns);
        let mut decoder = Decoder::new(&contract);
        decoder.push_json(record.as_bytes()).unwrap();
        let columns = decoder.finish();
        assert_eq!(columns[3].as_string::<i32>().iter().next().flatten(), extra, "{record}");
    }
}

#[test]
fn of_a_key_that_comes_twice_the_last_value_counts_at_every_depth() {
    let columns =
        "s STRUCT<a: INT, t: STRUCT<b: INT>>, m MAP<STRING, STRUCT<c: INT>>, p INT PATH 'x.y', q INT PATH 'x.z'";
    for (record, expected) in [
        (r#"{"s":{"a":1,"a":2}}"#, json!([{"a": 2, "t": null}, null, null, null, null])),
        (r#"{"s":{"a":"bad","\u0061":2}}"#, json!([{"a": 2, "t": null}, null, null, null, null])),
        (r#"{"s":5,"s":{"a":2}}"#, json!([{"a": 2, "t": null}, null, null, null, null])),
        (r#"{"s":{"t":{"b":1,"old":1},"t":{"b":2}}}"#, json!([{"a": null, "t": {"b": 2}}, null, null, null, null])),
        (r#"{"s":{"t":{"b":1,"old":1},"t":null}}"#, json!([{"a": null, "t": null}, null, null, null, null])),
        (
            r#"{"m":{"k":{"c":1,"old":1},"l":{"c":2},"\u006b":{"c":3,"new":1}}}"#,
            json!([null, {"l": {"c": 2}, "k": {"c": 3}}, null, null, {"m": {"k": {"new": 1}}}]),
        ),
        (r#"{"m":{"k":"bad","k":{"c":3}}}"#, json!([null, {"k": {"c": 3}}, null, null, null])),
        (r#"{"x":{"y":1,"z":2,"old":3},"x":{"z":4}}"#, json!([null, null, null, 4, null])),
        (r#"{"x":{"y":"bad"},"x":{"y":5}}"#, json!([null, null, 5, null, null])),
        (r#"{"x":"bad","x":null}"#, json!([null, null, null, null, null])),
    ] {
        assert_read(columns, record, expected);
    }
    // What was read of the bad one is not among the elements around it.
    let record = r#"{"l":[{"c":[1,"x"],"c":[2]},{"c":[3]}]}"#;
    assert_read("l ARRAY<STRUCT<c: ARRAY<INT>>>", record, json!([[{"c": [2]}, {"c": [3]}], null]));
    assert_rejected(columns, r#"{"s":{"a":1,"a":"x"}}"#, r#"wrong_type in s: at s.a, expected int, found string "x""#);
    let error = r#"wrong_type in p: expected an object, found string "bad", on the way to x.y"#;
    assert_rejected(columns, r#"{"x":{"y":1},"x":"bad"}"#, error);
    assert_rejected(columns, r#"{"m":{"k":{},"k":1}}"#, "wrong_type in m: at m.k, expected an object, found number 1");
}

#[test]
fn depth_counts_the_same_within_columns_and_outside_of_them() {
    let nested = |levels: usize| format!("{{\"s\":{{\"a\":{}1{}}}}}", "[".repeat(levels), "]".repeat(levels));
    let columns = "s STRUCT<a: ARRAY<ARRAY<ARRAY<INT>>>>";
    assert_rejected(columns, &nested(127), "too_deep: nested deeper than 128 levels at byte 137");
    let error = read(columns, &nested(126)).unwrap_err();
    assert!(error.starts_with("wrong_type in s: at s.a[0][0][0], expected int"), "{error}");
    assert!(Decoder::new(&contract("s STRUCT<b: INT>")).push_json(nested(126).as_bytes()).is_ok());
}

#[test]
fn levels_that_are_closed_count_no_longer() {
    let columns = "l ARRAY<ARRAY<INT>>, s ARRAY<STRUCT<a: INT>>, m ARRAY<MAP<STRING, INT>>, p INT PATH 'x[999].y'";
    let many = |value: &str| format!("[{}]", vec![value; 1000].join(","));
    for (list, object) in [("[]", "{}"), ("[1]", r#"{"a":1}"#)] {
        let (list, object) = (many(list), many(object));
        let record = format!(r#"{{"l":{list},"s":{object},"m":{object},"x":{object}}}"#);
        assert!(read(columns, &record).is_ok(), "{record}");
    }
}

/// What is wanted of a value, said once more for the oracle.
enum Want {
    Text,
    Whole,
    Flag,
    Struct(Vec<(&'static str, Want)>),
    List(Box<Want>),
    Map(Box<Want>),
    /// Paths go on from here, by name or by number.
    Names(Vec<(&'static str, Want)>),
    Numbers(Vec<(usize, Want)>),
}

/// Whether a value fits, by the rules as sql/README.md tells them.
fn fits(json: &Json, want: &Want) -> bool {
    let of = |fields: &[(&str, Want)]| fields.iter().all(|(name, want)| json.get(name).is_none_or(|v| fits(v, want)));
    json.is_null()
        || match want {
            Want::Text => json.is_string(),
            Want::Whole => json.is_i64(),
            Want::Flag => json.is_boolean(),
            Want::Struct(fields) | Want::Names(fields) => json.is_object() && of(fields),
            Want::List(element) => json.as_array().is_some_and(|list| list.iter().all(|v| fits(v, element))),
            Want::Map(value) => json.as_object().is_some_and(|map| map.values().all(|v| fits(v, value))),
            Want::Numbers(elements) => {
                json.is_array() && elements.iter().all(|(n, want)| json.get(n).is_none_or(|v| fits(v, want)))
            }
        }
}

/// The values of columns, in their order.
fn values(json: &Json, want: &Want, found: &mut Vec<Json>) {
    match want {
        Want::Names(fields) => {
            fields.iter().for_each(|(name, w)| values(json.get(name).unwrap_or(&Json::Null), w, found))
        }
        Want::Numbers(all) => all.iter().for_each(|(n, w)| values(json.get(n).unwrap_or(&Json::Null), w, found)),
        want => found.push(shaped(json, want)),
    }
}

fn shaped(json: &Json, want: &Want) -> Json {
    match (want, json) {
        (_, Json::Null) => Json::Null,
        (Want::Struct(fields), _) => {
            let field = |name: &str, want| shaped(json.get(name).unwrap_or(&Json::Null), want);
            fields.iter().map(|(name, want)| ((*name).to_owned(), field(name, want))).collect()
        }
        (Want::List(element), Json::Array(list)) => list.iter().map(|v| shaped(v, element)).collect(),
        (Want::Map(value), Json::Object(map)) => map.iter().map(|(k, v)| (k.clone(), shaped(v, value))).collect(),
        _ => json.clone(),
    }
}

fn rest(json: &Json, want: &Want) -> Option<Json> {
    let list = |rests: Vec<Option<Json>>| {
        let end = rests.iter().rposition(Option::is_some)? + 1;
        Some(rests.into_iter().take(end).map(|rest| rest.unwrap_or_default()).collect())
    };
    let object = |rest_of: &dyn Fn(&str, &Json) -> Option<Json>| {
        let rests = json.as_object()?.iter().filter_map(|(k, v)| Some((k.clone(), rest_of(k, v)?)));
        let rests: serde_json::Map<_, _> = rests.collect();
        (!rests.is_empty()).then_some(Json::Object(rests))
    };
    match (want, json) {
        (Want::Struct(fields) | Want::Names(fields), _) => object(&|key, v| {
            let known = fields.iter().find(|(name, _)| *name == key);
            known.map_or(Some(v.clone()), |(_, want)| rest(v, want))
        }),
        (Want::Map(value), _) => object(&|_, v| rest(v, value)),
        (Want::List(element), Json::Array(all)) => list(all.iter().map(|v| rest(v, element)).collect()),
        (Want::Numbers(elements), Json::Array(all)) => {
            let of = |(n, v): (usize, &Json)| {
                let known = elements.iter().find(|(number, _)| *number == n);
                known.map_or(Some(v.clone()), |(_, want)| rest(v, want))
            };
            list(all.iter().enumerate().map(of).collect())
        }
        _ => None,
    }
}

fn any_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        1 => Just(Json::Null),
        1 => any::<bool>().prop_map(Json::from),
        4 => any::<i64>().prop_map(Json::from),
        2 => "[a\"\\né]{0,3}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec(("[abcd]", inner), 0..5).prop_map(|fields| fields.into_iter().collect::<Json>()),
        ]
    })
}

/// Texts of records, more often with values that fit: each value is one that was generated for this place.
fn any_record() -> impl Strategy<Value = String> {
    let numbers = || prop::collection::vec(prop_oneof![4 => any::<i64>().prop_map(Json::from), 1 => any_value()], 0..4);
    let struct_a = (
        "[abcx]",
        prop_oneof![3 => any::<i64>().prop_map(Json::from), 2 => numbers().prop_map(Json::from), 2 => any_value()],
    );
    let object = prop::collection::vec(struct_a, 0..5).prop_map(|fields| fields.into_iter().collect::<Json>());
    let fit = prop_oneof![
        object.clone(),
        prop::collection::vec(object.clone(), 0..4).prop_map(Json::from),
        prop::collection::vec(("[abc]", object), 0..4).prop_map(|fields| fields.into_iter().collect::<Json>()),
        any_value(),
    ];
    prop::collection::vec(("[abcd]", fit, prop_oneof![Just(""), Just(" ")]), 0..6).prop_map(|fields| {
        let fields: Vec<String> =
            fields.iter().map(|(key, value, space)| format!("{space}\"{key}\"{space}:{space}{value}{space}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn agrees(columns: &str, want: &Want, record: &str) -> Result<bool, TestCaseError> {
    let json: Json = serde_json::from_str(record).unwrap();
    let found = read(columns, record);
    if !fits(&json, want) {
        prop_assert!(found.is_err(), "{} is {:?}", record, found);
        return Ok(false);
    }
    let mut expected = Vec::new();
    values(&json, want, &mut expected);
    expected.push(rest(&json, want).unwrap_or_default());
    prop_assert_eq!(found, Ok(expected), "{}", record);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nested_columns_and_what_is_left_of_them_are_what_the_rules_say(record in any_record()) {
        let fields = |names: [&'static str; 2]| Want::Struct(vec![
            (names[0], Want::Whole),
            (names[1], Want::List(Box::new(Want::Whole))),
        ]);
        let want = Want::Names(vec![
            ("a", fields(["a", "b"])),
            ("b", Want::List(Box::new(fields(["a", "c"])))),
            ("c", Want::Map(Box::new(Want::Struct(vec![("b", Want::Whole)])))),
        ]);
        let columns = "a STRUCT<a: BIGINT, b: ARRAY<BIGINT>>, b ARRAY<STRUCT<a: BIGINT, c: ARRAY<BIGINT>>>, \
                       c MAP<STRING, STRUCT<b: BIGINT>>";
        agrees(columns, &want, &record)?;
    }

    #[test]
    fn paths_and_what_is_left_beside_them_are_what_the_rules_say(record in any_record()) {
        let want = Want::Names(vec![
            ("a", Want::Names(vec![("a", Want::Whole), ("b", Want::Numbers(vec![(0, Want::Whole), (2, Want::Whole)]))])),
            ("b", Want::Numbers(vec![(1, Want::Names(vec![("a", Want::Whole)]))])),
            ("c", Want::Names(vec![("a", Want::Struct(vec![("a", Want::Whole), ("b", Want::Text)])), ("d", Want::Flag)])),
        ]);
        let columns = "a BIGINT PATH 'a.a', b0 BIGINT PATH 'a.b[0]', b2 BIGINT PATH 'a.b[2]', b BIGINT PATH 'b[1].a', \
                       c STRUCT<a: BIGINT, b: STRING> PATH 'c.a', d BOOLEAN PATH 'c.d'";
        agrees(columns, &want, &record)?;
    }
}
