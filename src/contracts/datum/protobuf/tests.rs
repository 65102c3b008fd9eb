use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::prost::Message;
use serde_json::Value as Json;

use super::*;
use crate::registry::{self, Reference};

const SHARED: &str = r#"
    syntax = "proto3";
    package shared;
    enum Status { UNKNOWN = 0; GOOD = 1; }
    message Money { string currency = 1; int64 units = 2; }
"#;

const EVENTS: &str = r#"
    syntax = "proto3";
    package app;
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/wrappers.proto";
    import "shared/types.proto";

    message Event {
        string text = 1;
        bool flag = 2;
        int32 small = 3;
        sint64 large = 4;
        uint64 unsigned = 5;
        fixed32 fixed = 6;
        float single = 7;
        double ratio = 8;
        bytes blob = 9;
        shared.Status status = 10;
        repeated int32 list = 11;
        map<int32, shared.Money> by_number = 12;
        optional int32 maybe = 13;
        oneof choice { string name = 14; int64 number = 15; }
        shared.Money money = 16;
        google.protobuf.Timestamp at = 17;
        google.protobuf.Duration span = 18;
        google.protobuf.Int64Value wrapped = 19;
        google.protobuf.StringValue note = 20;
        Event before = 21;
        string camelCase = 22;
    }
    message Other {
        map<string, string> entries = 1;
        message First { int32 a = 1; }
        message Second {
            int32 a = 1;
            message Deep { string b = 1; }
        }
    }
"#;

fn schema(text: &str, references: &[(&str, &str)]) -> Result<Schema, String> {
    let reference = |(name, text): &(&str, &str)| Reference { name: (*name).to_owned(), text: (*text).to_owned() };
    let references = references.iter().map(reference).collect();
    Schema::compile(&registry::Schema { language: None, text: text.to_owned(), references })
}

fn events() -> Schema {
    schema(EVENTS, &[("shared/types.proto", SHARED)]).unwrap()
}

fn event() -> MessageDescriptor {
    static EVENT: LazyLock<MessageDescriptor> = LazyLock::new(|| events().message(Some("app.Event")).unwrap());
    EVENT.clone()
}

fn json(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<String, Rejection> {
    let mut text = JsonText::default();
    write(descriptor, bytes, &mut text).map(|()| text.as_str().to_owned())
}

/// The bytes of a message in the text format of Protobuf.
fn encoded(descriptor: &MessageDescriptor, text: &str) -> Vec<u8> {
    DynamicMessage::parse_text_format(descriptor.clone(), text).unwrap().encode_to_vec()
}

const FULL: &str = r#"
    text: "a\"b" flag: true small: -7 large: -9223372036854775808 unsigned: 18446744073709551615 fixed: 4294967295
    single: 0.1 ratio: -2.5e-300 blob: "\000\377" status: GOOD list: [1, -1]
    by_number { key: 2 value { units: 2 } } by_number { key: -1 value { currency: "EUR" } }
    maybe: 0 number: 9007199254740993 money { currency: "USD" units: 5 }
    at { seconds: 1706689800 nanos: 250000000 } span { seconds: -1 nanos: -500000000 }
    wrapped { value: 12 } note { } before { } camelCase: "x"
"#;

/// A message in which nothing is set.
const EMPTY: &str = concat!(
    r#"{"text":"","flag":false,"small":0,"large":0,"unsigned":0,"fixed":0,"single":0.0,"ratio":0.0,"blob":"","#,
    r#""status":"UNKNOWN","list":[],"by_number":{},"camelCase":""}"#,
);

#[test]
fn a_message_of_every_type_is_the_json_that_says_the_same() {
    let start = concat!(
        r#"{"text":"a\"b","flag":true,"small":-7,"large":-9223372036854775808,"unsigned":18446744073709551615,"#,
        r#""fixed":4294967295,"single":0.1,"ratio":-2.5e-300,"blob":"AP8=","status":"GOOD","list":[1,-1],"#,
        r#""by_number":{"-1":{"currency":"EUR","units":0},"2":{"currency":"","units":2}},"#,
        r#""maybe":0,"number":9007199254740993,"money":{"currency":"USD","units":5},"#,
        r#""at":"2024-01-31T08:30:00.250Z","span":"-1.500000000s","wrapped":12,"note":"","before":"#,
    );
    let written = json(&event(), &encoded(&event(), FULL)).unwrap();
    assert_eq!(written, format!(r#"{start}{EMPTY},"camelCase":"x"}}"#));
}

#[test]
fn a_field_without_presence_has_its_default_and_one_with_presence_is_left_out() {
    assert_eq!(json(&event(), &[]).unwrap(), EMPTY);
}

#[test]
fn bytes_from_the_book_are_read_without_any_encoder() {
    let test = schema("syntax = 'proto2'; message Test { optional int32 a = 1; optional string b = 2; repeated int32 e = 5 [packed = true]; optional group Inner = 6 { required bool c = 1; } }", &[]).unwrap();
    let test = test.message(None).unwrap();
    assert_eq!(json(&test, &[0x08, 0x96, 0x01]).unwrap(), r#"{"a":150,"e":[]}"#);
    let bytes = [&[0x12, 7][..], b"testing", &[0x2a, 6, 3, 0x8e, 2, 0x9e, 0xa7, 5]].concat();
    assert_eq!(json(&test, &bytes).unwrap(), r#"{"b":"testing","e":[3,270,86942]}"#);
    // The last value of a field counts, and lists grow.
    assert_eq!(json(&test, &[8, 1, 0x28, 1, 8, 2, 0x28, 2]).unwrap(), r#"{"a":2,"e":[1,2]}"#);
    assert_eq!(json(&test, &[0x33, 8, 1, 0x34]).unwrap(), r#"{"e":[],"inner":{"c":true}}"#);
}

#[test]
fn the_entries_of_a_map_have_an_order_of_their_own() {
    let entries: String = [5, -3, 4, 1, -2, 0, 3].map(|key| format!("by_number {{ key: {key} value {{}} }}")).concat();
    let written = json(&event(), &encoded(&event(), &entries)).unwrap();
    let keys: Vec<i64> = written
        .split("\"by_number\":{\"")
        .nth(1)
        .unwrap()
        .split("},\"")
        .map_while(|entry| entry.split('"').next()?.parse().ok())
        .collect();
    assert_eq!(keys, [-3, -2, 0, 1, 3, 4, 5]);
}

#[test]
fn what_the_schema_does_not_know_is_kept_under_its_number() {
    let known = schema("syntax = 'proto3'; message A { int32 a = 1; }", &[]).unwrap().message(None).unwrap();
    let bytes = [0x08, 1, 0x10, 2, 0x1a, 1, b'x', 0x10, 3];
    assert_eq!(json(&known, &bytes).unwrap(), r#"{"a":1,"2":"EAIQAw==","3":"GgF4"}"#);
    let enumerated = json(&event(), &[0x50, 9]).unwrap();
    assert!(enumerated.contains(r#""status":9"#), "{enumerated}");
}

#[test]
fn a_struct_is_the_json_that_it_stands_for() {
    let text = "syntax = 'proto3'; import 'google/protobuf/struct.proto'; message A { google.protobuf.Struct a = 1; google.protobuf.Value b = 2; google.protobuf.ListValue c = 3; }";
    let message = schema(text, &[]).unwrap().message(None).unwrap();
    let bytes = encoded(
        &message,
        r#"a { fields { key: "y" value { number_value: 1.5 } } fields { key: "x" value { null_value: NULL_VALUE } } }
           b { list_value { values { string_value: "s" } values { bool_value: true } values { struct_value {} } } } c {}"#,
    );
    assert_eq!(json(&message, &bytes).unwrap(), r#"{"a":{"x":null,"y":1.5},"b":["s",true,{}],"c":[]}"#);
    assert_eq!(json(&message, &[]).unwrap(), "{}");
    assert_eq!(json(&message, &[0x12, 0]).unwrap(), r#"{"b":null}"#);
}

#[test]
fn an_extension_is_a_field_in_brackets() {
    let text =
        "syntax = 'proto2'; package p; message A { extensions 100 to 200; } extend A { optional int32 more = 100; }";
    let extended = schema(text, &[]).unwrap().message(None).unwrap();
    assert_eq!(json(&extended, &[0xa0, 6, 5]).unwrap(), r#"{"[p.more]":5}"#);
}

#[test]
fn what_no_calendar_has_or_is_not_finite_is_text() {
    let of = |text: &str| {
        let json: Json = serde_json::from_str(&json(&event(), &encoded(&event(), text)).unwrap()).unwrap();
        json
    };
    assert_eq!(of("at { seconds: 9223372036854775807 }")["at"], "9223372036854775807 s since 1970");
    assert_eq!(of("at { nanos: -1 }")["at"], "0 s and -1 ns since 1970");
    assert_eq!(of("ratio: nan single: -inf")["ratio"], "NaN");
    assert_eq!(of("ratio: nan single: -inf")["single"], "-Infinity");
    assert_eq!(of("span { seconds: 315576000000 }")["span"], "315576000000s");
}

#[test]
fn the_way_to_a_message_counts_the_messages_of_the_file_and_not_the_entries_of_maps() {
    let schema = events();
    let way =
        |indices: &[u8]| schema.indexed(indices).map(|(message, rest)| (message.full_name().to_owned(), rest.len()));
    assert_eq!(way(&[0, 7]).unwrap(), ("app.Event".to_owned(), 1));
    assert_eq!(way(&[2, 0]).unwrap(), ("app.Event".to_owned(), 0));
    assert_eq!(way(&[2, 2, 7, 7]).unwrap(), ("app.Other".to_owned(), 2));
    assert_eq!(way(&[4, 2, 0]).unwrap(), ("app.Other.First".to_owned(), 0));
    assert_eq!(way(&[6, 2, 2, 0]).unwrap(), ("app.Other.Second.Deep".to_owned(), 0));
    for (indices, why) in [
        (&[][..], "cut off"),
        (&[2], "cut off"),
        (&[0x80; 12], "cut off"),
        (&[1], "a count of -1"),
        (&[2, 1], "an index of -1"),
        (&[2, 4], "no message 2 there"),
        (&[4, 2, 4], "no message 2 there"),
        (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0], "no message 0 there"),
    ] {
        let rejection = way(indices).unwrap_err();
        assert_eq!(rejection.class(), Class::BadProtobuf);
        assert!(rejection.to_string().contains(why), "{indices:?}: {rejection}");
    }
}

#[test]
fn a_schema_that_does_not_compile_says_why() {
    for (text, why) in [
        ("message", "expected"),
        ("syntax = 'proto3'; message A { B b = 1; }", "'B' is not defined"),
        ("syntax = 'proto3'; import 'other.proto';", "other.proto"),
    ] {
        let problem = schema(text, &[]).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    }
    let deep = format!("syntax = 'proto3'; {} {}", "message A { ".repeat(100_000), "}".repeat(100_000));
    assert!(schema(&deep, &[]).unwrap_err().contains("more than 100 brackets within each other"));
    let none = schema("syntax = 'proto3';", &[]).unwrap();
    assert!(none.indexed(&[0]).is_err());
    assert!(none.message(None).unwrap_err().contains("no message"));
    assert!(events().message(None).unwrap_err().contains("more than one message: app.Event, app.Other"));
    assert!(events().message(Some("app.Nobody")).unwrap_err().contains("there are: app.Event, app.Other"));
}

#[test]
fn a_message_that_is_cut_off_or_too_deep_is_rejected() {
    let bytes = encoded(&event(), "text: \"abc\" before { text: \"def\" }");
    assert_eq!(json(&event(), &bytes[..bytes.len() - 1]).unwrap_err().class(), Class::BadProtobuf);
    assert_eq!(json(&event(), &[0x0a, 2, 0xff, 0xfe]).unwrap_err().class(), Class::BadProtobuf);
    let mut deep = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0xaa, 1];
        prost_reflect::prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.extend(&deep);
        deep = outer;
    }
    assert_eq!(json(&event(), &deep).unwrap_err().class(), Class::BadProtobuf);
}

#[test]
fn a_few_bytes_do_not_become_endless_text() {
    let fields: String = (1..=200).map(|n| format!("string a_rather_long_name_of_a_field_{n} = {n};\n")).collect();
    let text = format!("syntax = 'proto3'; message List {{ repeated Item items = 1; }} message Item {{ {fields} }}");
    let list = schema(&text, &[]).unwrap().message(Some("List")).unwrap();
    assert_eq!(json(&list, &[0x0a, 0].repeat(20_000)).unwrap_err().class(), Class::TooLarge);
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = json(&event(), &bytes) {
            prop_assert!(serde_json::from_str::<Json>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn a_good_message_with_bytes_changed_is_json_or_rejected(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(&event(), FULL);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(4));
        match json(&event(), &bytes) {
            Ok(text) => prop_assert!(serde_json::from_str::<Json>(&text).is_ok(), "{}", text),
            Err(rejection) => prop_assert_eq!(rejection.class(), Class::BadProtobuf),
        }
    }
}
