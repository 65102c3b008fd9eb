//! Records in Avro, Protobuf and raw bytes, from a real broker and with a registry's protocol, to rows in Bronze.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apache_avro::types::Value as Avro;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::world::World;
use crate::world::real::{Record, wait_until};
use crate::world::registry::{Mood, Registry};

const PAYMENT: &str = r#"{"type": "record", "name": "Payment", "namespace": "bank", "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OPEN", "SETTLED"]}},
    {"name": "booked", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "due", "type": ["null", {"type": "int", "logicalType": "date"}]},
    {"name": "payer", "type": "bank.Party"}]}"#;
const PARTY: &str = r#"{"type": "record", "name": "Party", "namespace": "bank",
    "fields": [{"name": "name", "type": "string"}, {"name": "tags", "type": {"type": "map", "values": "long"}}]}"#;
const PAYMENTS: &str = "id STRING NOT NULL, amount DECIMAL(20, 2), state STRING, booked TIMESTAMP, due DATE";
/// What is asked of the rows of payments, in the order in which they were sent.
const ROWS: &str = "select id, cast(amount as varchar), state, cast(booked as varchar), cast(due as varchar), _extra, \
                    _error from bronze.payments order by _offset";

/// The datum of a payment of so many cents.
fn payment(id: &str, cents: i64, due: Option<i32>) -> Vec<u8> {
    let (party, schema) = (PARTY, PAYMENT);
    let (schema, others) = apache_avro::Schema::parse_str_with_list(schema, [party]).unwrap();
    let due = due.map_or(Avro::Union(0, Box::new(Avro::Null)), |day| Avro::Union(1, Box::new(Avro::Date(day))));
    let tags = Avro::Map([("vip".to_owned(), Avro::Long(9_007_199_254_740_993))].into());
    let payer = Avro::Record(vec![("name".to_owned(), Avro::String("Å \"B\"".to_owned())), ("tags".to_owned(), tags)]);
    let value = Avro::Record(vec![
        ("id".to_owned(), Avro::Uuid(id.parse().unwrap())),
        ("amount".to_owned(), Avro::Decimal(cents.to_be_bytes().to_vec().into())),
        ("state".to_owned(), Avro::Enum(1, "SETTLED".to_owned())),
        ("booked".to_owned(), Avro::TimestampMillis(1_706_689_800_250)),
        ("due".to_owned(), due),
        ("payer".to_owned(), payer),
    ]);
    apache_avro::to_avro_datum_schemata(&schema, others.iter().collect(), value).unwrap()
}

fn framed(id: &[u8], datum: &[u8]) -> Vec<u8> {
    [&[0], id, datum].concat()
}

fn uuid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The row of a payment as SQL shows it.
fn row(number: u32, amount: &str, due: &str) -> Vec<String> {
    let extra = r#"{"payer":{"name":"Å \"B\"","tags":{"vip":9007199254740993}}}"#;
    let id = uuid(number);
    [id.as_str(), amount, "SETTLED", "2024-01-31T08:30:00.250Z", due, extra, ""].map(str::to_owned).into()
}

/// A registry with both schemas, one of which refers to the other.
fn registry() -> Registry {
    let registry = Registry::start();
    registry.register(41, "party", "AVRO", PARTY, &[]);
    registry.register(42, "payments", "AVRO", PAYMENT, &[("bank.Party", "party")]);
    registry
}

fn world(name: &str, registry: &Registry) -> World {
    World::real(name).with("MEDALLION_REGISTRY__URL", registry.address())
}

fn contract(world: World, table: &str, columns: &str, topic: &str, options: &str) -> World {
    let text = format!("CREATE TABLE {table} ({columns}) WITH (topic = '{topic}', {options})");
    world.contract(table, &text)
}

fn assert_verified(world: &World) {
    let said = world.ok(&["verify"]).out;
    assert!(said.contains("nothing is missing, nothing is double"), "{said}");
}

#[test]
fn avro_of_confluents_framing_lands_and_what_is_not_a_datum_is_rejected_with_its_bytes_between_good_rows() {
    let registry = registry();
    let world = world("avro-confluent", &registry);
    let topic = world.topic("payments", 1);
    let world = contract(world, "payments", PAYMENTS, &topic, "format = 'avro'");
    let known = 42_u32.to_be_bytes();
    let good = framed(&known, &payment(&uuid(1), -1999, None));
    let cut_off = &good[..good.len() - 3];
    world.produce(
        &topic,
        &[
            Record::new(good.clone()),
            Record::new(framed(&777_u32.to_be_bytes(), &payment(&uuid(2), 5, None))),
            Record::new(framed(&known, &payment(&uuid(3), i64::MAX, Some(19_782)))),
            Record::new(cut_off),
            Record::new(b"{\"id\": \"json\"}".to_vec()),
            Record::new(framed(&known, &payment(&uuid(4), 5, Some(0)))),
        ],
    );
    world.catches_up();
    let rows = world.sql(ROWS);
    assert_eq!(rows[0], row(1, "-19.99", ""));
    assert_eq!(rows[2], row(3, "92233720368547758.07", "2024-02-29"));
    assert_eq!(rows[5], row(4, "0.05", "1970-01-01"));
    assert_eq!(rows[1][6], "unknown_schema: the schema registry has no schema id 777");
    assert!(rows[3][6].starts_with("bad_avro: the datum is cut off at byte "), "{:?}", rows[3]);
    assert!(rows[4][6].starts_with("bad_framing: expected the magic byte 0"), "{:?}", rows[4]);
    let raw = world.sql("select encode(_raw, 'hex') from bronze.payments where _error is not null order by _offset");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(raw[1], [hex(cut_off)]);
    assert_eq!(raw[2], [hex(b"{\"id\": \"json\"}")]);
    assert_verified(&world);
}

#[test]
fn avro_of_both_of_apicurios_framings_lands_from_both_versions_of_its_interface() {
    let registry = registry();
    let (global, content) = (1042_u64.to_be_bytes(), 42_u32.to_be_bytes());
    for (framing, id, version) in [("apicurio", &global[..], "v2"), ("apicurio_content", &content[..], "v3")] {
        let url = format!("{}/apis/registry/{version}", registry.address());
        let world = World::real(framing).with("MEDALLION_REGISTRY__URL", &url);
        let topic = world.topic("payments", 1);
        let options = format!("format = 'avro', framing = '{framing}'");
        let world = contract(world, "payments", PAYMENTS, &topic, &options);
        let mut unknown = id.to_vec();
        unknown[1] = 1;
        world.produce(
            &topic,
            &[
                Record::new(framed(id, &payment(&uuid(1), 100, Some(19_782)))),
                Record::new(framed(&unknown, &payment(&uuid(2), 100, None))),
                Record::new(framed(id, &payment(&uuid(3), 0, None))),
            ],
        );
        world.catches_up();
        let rows = world.sql(ROWS);
        assert_eq!(rows[0], row(1, "1.00", "2024-02-29"), "{framing}");
        assert!(rows[1][6].starts_with("unknown_schema: the schema registry has no "), "{framing}: {:?}", rows[1]);
        assert_eq!(rows[2], row(3, "0.00", ""), "{framing}");
        assert_verified(&world);
        let said = world.run(&["validate"]).out;
        assert!(said.contains(&format!("ok     schema registry: {url} answers")), "{said}");
    }
}

const PLACES: &str = "syntax = 'proto3'; package geo; message Place { string city = 1; double lat = 2; }";
const TRIPS: &str = r#"
    syntax = "proto3";
    package trips;
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    import "geo/place.proto";
    message Ping { int32 n = 1; }
    message Envelope {
        map<string, string> labels = 1;
        message Trip {
            string rider = 1;
            int64 meters = 2;
            google.protobuf.Timestamp began = 3;
            google.protobuf.DoubleValue fare = 4;
            enum Kind { UNSPECIFIED = 0; SHARED = 1; }
            Kind kind = 5;
            geo.Place place = 6;
            repeated string stops = 7;
        }
    }
"#;

/// The messages of both files, compiled for the producer.
fn messages() -> DescriptorPool {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("geo")).unwrap();
    std::fs::write(dir.path().join("geo/place.proto"), PLACES).unwrap();
    std::fs::write(dir.path().join("trips.proto"), TRIPS).unwrap();
    DescriptorPool::from_file_descriptor_set(protox::compile(["trips.proto"], [dir.path()]).unwrap()).unwrap()
}

#[test]
fn protobuf_with_an_import_and_a_nested_message_lands_and_other_bytes_are_rejected() {
    let registry = Registry::start();
    registry.register(7, "places", "PROTOBUF", PLACES, &[]);
    let world = world("protobuf", &registry);
    let topic = world.topic("trips", 1);
    registry.register(8, &format!("{topic}-value"), "PROTOBUF", TRIPS, &[("geo/place.proto", "places")]);
    let columns = "rider STRING, meters BIGINT, began TIMESTAMP, fare DOUBLE, kind STRING";
    let world = contract(world, "trips", columns, &topic, "format = 'protobuf'");
    let messages = messages();
    // Behind the id: two indices, the second message of the file and the first one inside it. A map's entry is none.
    let record = |text: &str| {
        let trip = messages.get_message_by_name("trips.Envelope.Trip").unwrap();
        let datum = DynamicMessage::parse_text_format(trip, text).unwrap().encode_to_vec();
        Record::new(framed(&8_u32.to_be_bytes(), &[&[4, 2, 0], &datum[..]].concat()))
    };
    let full = "rider: 'Zoë' meters: -9007199254740993 began { seconds: 1706689800 nanos: 250000000 } \
                fare { value: 12.5 } kind: SHARED place { city: 'SEA' } stops: ['a', 'b']";
    let no_message = framed(&8_u32.to_be_bytes(), &[4, 2, 2, 1]);
    let no_datum = framed(&8_u32.to_be_bytes(), &[4, 2, 0, 0x0a, 9, b'x']);
    world.produce(&topic, &[record(full), Record::new(no_message), record(""), Record::new(no_datum), record(full)]);
    world.catches_up();
    assert_eq!(registry.asked()[0], format!("/subjects/{topic}-value/versions/latest"));
    let rows = world.sql(
        "select rider, meters, cast(began as varchar), fare, kind, _extra, _error from bronze.trips order by _offset",
    );
    let extra = r#"{"place":{"city":"SEA","lat":0.0},"stops":["a","b"]}"#;
    let full = ["Zoë", "-9007199254740993", "2024-01-31T08:30:00.250Z", "12.5", "SHARED", extra, ""];
    assert_eq!(rows[0], full);
    assert!(
        rows[1][6].starts_with("bad_protobuf: in the message indices: the schema has no message 1"),
        "{:?}",
        rows[1]
    );
    assert_eq!(rows[2], ["", "0", "", "", "UNSPECIFIED", r#"{"stops":[]}"#, ""]);
    assert!(rows[3][6].starts_with("bad_protobuf: Trip: "), "{:?}", rows[3]);
    assert_eq!(rows[4], full);
    assert_verified(&world);
}

#[test]
fn raw_records_land_whole_and_framed_json_lands_by_its_contract() {
    let world = World::real("raw");
    let (lines, framed_json) = (world.topic("lines", 1), world.topic("framed", 1));
    let world = contract(world, "lines", "line STRING", &lines, "format = 'raw'");
    let world = contract(world, "framed", "n BIGINT", &framed_json, "format = 'json_schema'");
    let texts = ["{\"not\": \"parsed\"", "", "tab\t and \"quotes\""];
    let mut records: Vec<Record> = texts.iter().map(|text| Record::new(*text)).collect();
    records.push(Record::new([b'a', 0xff]));
    world.produce(&lines, &records);
    world.produce(
        &framed_json,
        &[Record::new(framed(&[0, 0, 0, 1], b"{\"n\": 5, \"m\": 6}")), Record::new("{\"n\": 5}")],
    );
    world.catches_up();
    let rows = world.sql("select line is null, line, _error from bronze.lines order by _offset");
    for (row, text) in rows.iter().zip(texts) {
        assert_eq!(row, &["false", text, ""]);
    }
    assert_eq!(rows[3], ["true", "", "not_utf8: not UTF-8 at byte 2"]);
    let rows = world.sql("select n, _extra, _error from bronze.framed order by _offset");
    assert_eq!(rows[0], ["5", "{\"m\":6}", ""]);
    assert!(rows[1][2].starts_with("bad_framing: "), "{rows:?}");
    assert_verified(&world);
}

#[test]
fn while_the_registry_is_away_nothing_is_rejected_and_all_is_there_once_when_it_is_back() {
    const PARTITIONS: i32 = 4;
    let registry = registry();
    let world = world("away", &registry).with("MEDALLION_INGEST__FLUSH_INTERVAL", "100ms");
    let topic = world.topic("payments", PARTITIONS);
    let world = contract(world, "payments", PAYMENTS, &topic, "format = 'avro'");
    let beats = world.topic("beats", 1);
    let world = contract(world, "beats", "n BIGINT", &beats, "format = 'json'");
    let send = |id: u32, numbers: std::ops::Range<u32>| {
        let record = |n: u32| Record::new(framed(&id.to_be_bytes(), &payment(&uuid(n), n.into(), None)));
        let records: Vec<Record> = numbers.map(|n| record(n).to(n as i32 % PARTITIONS)).collect();
        world.produce(&topic, &records);
    };
    let rows_of = |table: &str| {
        let query = format!("select count(*) from bronze.{table}");
        match world.run(&["sql", "-q", "--format", "csv", "-c", &query]) {
            ended if ended.code == 0 => ended.out.lines().last().unwrap().parse().unwrap_or(0),
            _ => 0,
        }
    };
    let rows = || rows_of("payments");
    send(42, 0..20);
    let first = world.daemon(&["ingest"]);
    wait_until("the first rows are there", || rows() == 20);

    // The same schema under an id that is new, from a registry that is now away, or a proxy's page in its place.
    registry.mood(Mood::Away);
    registry.register(43, "payments-2", "AVRO", PAYMENT, &[("bank.Party", "party")]);
    send(42, 20..40);
    send(43, 40..60);
    wait_until("the daemon says that it waits", || first.said().contains("decoding waits for a schema"));
    wait_until("it has paused fetching", || first.said().contains("fetching is paused until the schema is there"));
    world.produce(&beats, &[Record::new("{\"n\": 1}"), Record::new("{\"n\": 2}")]);
    wait_until("a topic that needs no schema goes on", || rows_of("beats") == 2);
    registry.mood(Mood::Proxy(404));
    // Another daemon takes over a part of the partitions, and the first one ends while it still waits.
    let second = world.daemon(&["ingest"]);
    wait_until("the other daemon waits too", || second.said().contains("decoding waits for a schema"));
    send(42, 60..80);
    first.signal("-TERM");
    first.succeeds();
    registry.mood(Mood::Proxy(503));
    let validated = world.run(&["validate"]);
    assert_eq!(validated.code, 3, "{}", validated.out);
    assert!(validated.out.contains("WRONG  schema registry: the schema registry http://"), "{}", validated.out);
    std::thread::sleep(Duration::from_secs(2));
    assert!(rows() < 80, "a row came without its schema");

    registry.mood(Mood::Answers);
    wait_until("all rows are there", || rows() >= 80);
    second.signal("-TERM");
    second.succeeds();
    assert_eq!(world.count("select count(*) from bronze.payments where _error is not null"), 0);
    assert_eq!(world.count("select count(distinct id) from bronze.payments"), 80);
    assert_eq!(world.count("select count(*) from bronze.payments"), 80);
    assert_verified(&world);
}

#[test]
fn a_topic_that_waits_for_its_schema_holds_back_no_other_topic_of_its_table() {
    let registry = registry();
    let world = world("waits", &registry).with("MEDALLION_INGEST__FLUSH_INTERVAL", "100ms");
    let (payments, refunds) = (world.topic("payments", 1), world.topic("refunds", 1));
    let origin = format!("topics = '{payments}, {refunds}', format = 'avro'");
    let world = world.contract("payments", &format!("CREATE TABLE payments ({PAYMENTS}) WITH ({origin})"));
    let send = |topic: &str, id: u32, numbers: std::ops::Range<u32>| {
        let record = |n: u32| Record::new(framed(&id.to_be_bytes(), &payment(&uuid(n), n.into(), None)));
        world.produce(topic, &numbers.map(record).collect::<Vec<_>>());
    };
    let rows = || match world.run(&["sql", "-q", "--format", "csv", "-c", "select count(*) from bronze.payments"]) {
        ended if ended.code == 0 => ended.out.lines().last().unwrap().parse().unwrap_or(0),
        _ => 0,
    };
    send(&payments, 42, 0..5);
    let daemon = world.daemon(&["ingest"]);
    wait_until("the first rows are there", || rows() == 5);
    registry.mood(Mood::Away);
    registry.register(43, "refunds", "AVRO", PAYMENT, &[("bank.Party", "party")]);
    send(&refunds, 43, 5..10);
    wait_until("one topic waits", || daemon.said().contains("fetching is paused until the schema is there"));
    send(&payments, 42, 10..15);
    wait_until("the other one goes on", || rows() == 10);
    registry.mood(Mood::Answers);
    wait_until("all rows are there", || rows() == 15);
    daemon.signal("-TERM");
    daemon.succeeds();
    assert_eq!(world.count("select count(distinct id) from bronze.payments where _error is null"), 15);
    assert_verified(&world);
}

#[test]
fn records_of_many_schemas_are_one_row_each_in_their_place_while_the_registry_comes_and_goes() {
    const PARTITIONS: i32 = 3;
    const SCHEMAS: usize = 40;
    const RECORDS: usize = 1500;
    let registry = registry();
    for id in 0..SCHEMAS as u32 {
        registry.register(100 + id, &format!("payments-{id}"), "AVRO", PAYMENT, &[("bank.Party", "party")]);
    }
    let world = world("many", &registry).with("MEDALLION_INGEST__FLUSH_INTERVAL", "100ms");
    let topics = [world.topic("payments", PARTITIONS), world.topic("refunds", PARTITIONS)];
    let world = contract(world, "payments", PAYMENTS, &topics[0], "format = 'avro'");
    let world = contract(world, "refunds", PAYMENTS, &topics[1], "format = 'avro'");
    // New ids come up all the way through; every fiftieth record has one that is nowhere.
    let is_unknown = |n: usize| n % 50 == 49;
    let record = |n: usize| {
        let id = if is_unknown(n) { 9_000 + n % 100 } else { 100 + (n * n) % (1 + n * SCHEMAS / RECORDS) };
        let datum = payment(&uuid(n as u32), n as i64, None);
        Record::new(framed(&(id as u32).to_be_bytes(), &datum)).to(n as i32 % PARTITIONS)
    };
    let records: Vec<Record> = (0..RECORDS).map(record).collect();
    let places = topics.each_ref().map(|topic| world.produce(topic, &records));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for mood in [Mood::Answers, Mood::Away, Mood::Proxy(500), Mood::Answers, Mood::Proxy(404)].iter().cycle() {
                registry.mood(if done.load(Ordering::Relaxed) { return } else { *mood });
                std::thread::sleep(Duration::from_millis(70));
            }
        });
        let ended = world.catch_up();
        done.store(true, Ordering::Relaxed);
        assert_eq!(ended.code, 0, "{}", ended.err);
    });
    for (table, places) in ["payments", "refunds"].iter().zip(&places) {
        let rows =
            world.sql(&format!("select _partition, _offset, id, split_part(_error, ':', 1) from bronze.{table}"));
        assert_eq!(rows.len(), RECORDS);
        for row in rows {
            let n = places[&(row[0].parse().unwrap(), row[1].parse().unwrap())];
            let expected = if is_unknown(n) { ("".to_owned(), "unknown_schema") } else { (uuid(n as u32), "") };
            assert_eq!((row[2].clone(), row[3].as_str()), expected, "{table} {n}");
        }
    }
    assert_verified(&world);
}

#[test]
fn a_contract_that_needs_a_registry_says_so_when_there_is_none() {
    let world = contract(World::new(), "payments", PAYMENTS, "payments", "format = 'avro'");
    world.fails(&["ingest"], 2, &["payments.sql needs a schema registry", "set registry.url"]);
    let world = world.with("MEDALLION_REGISTRY__URL", "http://me:canary@127.0.0.1:1");
    let ended = world.fails(&["ingest"], 2, &["registry.url holds credentials"]);
    assert!(!ended.err.contains("canary"), "{}", ended.err);
}
