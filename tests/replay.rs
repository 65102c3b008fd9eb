//! Rejected rows that can be read now become rows, once each, whatever happens meanwhile; in `races`, other writers and
//! faults; in `equality`, what an ingest would have made of the same records.

mod equality;
mod races;

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;
use crate::world::broker::Broker;
use crate::world::real::{Record, readings, wait_until};
use crate::world::registry::{Mood, Registry};

const EVENTS: &str = "bronze.events";
const FIRST: &str = "id STRING, n INT";
const LOSSLESS: &str = "coerce = 'lossless'";

/// A world whose one topic is `events`, and a broker that has it.
fn events(columns: &str, options: &str) -> (World, Broker) {
    let broker = Broker::with_topics(&["events"]);
    let world = World::new().with_brokers(&broker.address());
    declare(&world, columns, options);
    (world, broker)
}

fn declare(world: &World, columns: &str, options: &str) {
    let options = if options.is_empty() { String::new() } else { format!(", {options}") };
    let text = format!("CREATE TABLE events ({columns}) WITH (topic = 'events'{options});\n");
    world.write("sql/bronze/events.sql", &text);
}

fn ingest(world: &World) {
    world.ok(&["ingest", "--until-caught-up"]);
}

fn replay(world: &World, arguments: &[&str]) -> String {
    world.ok(&[&["replay"], arguments].concat()).out
}

fn version(world: &World, table: &str) -> String {
    let status = world.ok(&["status"]).out;
    let line = status.lines().find(|line| line.starts_with(table)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn assert_verified(world: &World) {
    let said = world.ok(&["verify"]).out;
    assert!(said.contains("nothing is missing, nothing is double"), "{said}");
}

#[test]
fn rows_that_can_be_read_now_move_in_one_commit_and_the_others_stay_as_they_are() {
    let (world, broker) = events(FIRST, "");
    let records = [r#"{"id":"a","n":1}"#, r#"{"id":"b","n":"2"}"#, "nonsense", r#"{"id":"c","n":"many"}"#, ""];
    broker.send("events", &records);
    ingest(&world);
    // A file that holds nothing but one rejected row, and one without any.
    broker.send("events", &[r#"{"id":"d","n":"4"}"#]);
    ingest(&world);
    broker.send("events", &[r#"{"id":"e","n":5}"#]);
    ingest(&world);
    let of_origin = "select _topic, _partition, _offset, _kafka_timestamp, _key from bronze.events order by _offset";
    let origins = world.sql(of_origin);
    let untouched = "select * from bronze.events where _offset not in (1, 5) order by _offset";
    let (before, staying) = (version(&world, EVENTS), world.sql(untouched));
    let nothing =
        "bronze.events: none of 5 rejected rows can be read now; still wrong: 1 empty, 1 not_json, 3 wrong_type\n";
    assert_eq!(replay(&world, &[]), nothing);

    declare(&world, FIRST, LOSSLESS);
    let rest = "still wrong: 1 empty, 1 not_json, 1 wrong_type\n";
    let dry = replay(&world, &["--dry-run"]);
    assert_eq!(dry, format!("bronze.events: 2 of 5 rejected rows would become rows; {rest}"));
    assert_eq!(
        replay(&world, &["--class", "not_json"]),
        "bronze.events: none of 1 rejected rows (not_json) can be read now; still wrong: 1 not_json\n"
    );
    assert_eq!(replay(&world, &["events", "--class", "bad_date"]), "bronze.events: no rejected rows (bad_date)\n");
    assert_eq!(version(&world, EVENTS), before, "nothing was to be written");
    let started = world.sql("select cast(now() as varchar)")[0][0].clone();
    let done = replay(&world, &["bronze.events", "--class", "wrong_type"]);
    assert_eq!(done, "bronze.events: 2 of 3 rejected rows (wrong_type) became rows; still wrong: 1 wrong_type\n");
    assert_eq!(version(&world, EVENTS), (before.parse::<u64>().unwrap() + 1).to_string());

    assert_eq!(world.sql(of_origin), origins);
    assert_eq!(world.sql(untouched), staying);
    let rows = world.sql("select id, n, _error is null, _raw is null from bronze.events order by _offset");
    let expected = [
        ["a", "1", "true", "true"],
        ["b", "2", "true", "true"],
        ["", "", "false", "false"],
        ["", "", "false", "false"],
        ["", "", "false", "false"],
        ["d", "4", "true", "true"],
        ["e", "5", "true", "true"],
    ];
    assert_eq!(rows, expected);
    let taken = "select count(*) from bronze.events where _ingest_date = cast(_ingested_at as date) and _ingested_at";
    assert_eq!(world.count(&format!("{taken} >= timestamp '{started}'")), 2);
    assert_eq!(world.count(&format!("{taken} < timestamp '{started}'")), 5);
    assert_verified(&world);
    // Once more, there is nothing to do.
    let again = replay(&world, &["events"]);
    assert_eq!(
        again,
        "bronze.events: none of 3 rejected rows can be read now; still wrong: 1 empty, 1 not_json, 1 wrong_type\n"
    );
    assert_eq!(version(&world, EVENTS), (before.parse::<u64>().unwrap() + 1).to_string());
    // Ingest goes on from where it was.
    broker.send("events", &[r#"{"id":"f","n":"6"}"#]);
    ingest(&world);
    assert_eq!(world.count("select sum(n) from bronze.events"), 18);
    assert_verified(&world);
}

#[test]
fn class_and_column_of_a_rejection_are_there_for_plain_sql() {
    let (world, broker) = events("id STRING, \"a:b\" INT, s STRUCT<x: ARRAY<INT>>", "");
    broker.send(
        "events",
        &[r#"{"a:b":"in x: y"}"#, r#"{"s":{"x":[1,"in z: 2"]}}"#, "in x: y", r#"{"id":1}"#, r#"{"id":"a"}"#],
    );
    ingest(&world);
    let query = "select split_part(split_part(_error, ':', 1), ' ', 1), split_part(split_part(_error, ': ', 1), ' in ', 2) \
                 from bronze.events where _error is not null order by _offset";
    let found = world.sql(query);
    assert_eq!(found, [["wrong_type", "a:b"], ["wrong_type", "s"], ["not_json", ""], ["wrong_type", "id"]]);
}

#[test]
fn a_contract_with_more_columns_and_nested_fields_takes_its_table_along() {
    let (world, broker) =
        events("id STRING, s STRUCT<x: INT>, l ARRAY<STRUCT<x: INT>>, m MAP<STRING, STRUCT<x: INT>>", "");
    let good = r#"{"id":"a","s":{"x":1,"y":"2"},"l":[{"x":3},null],"m":{"k":{"x":4}}}"#;
    broker.send(
        "events",
        &[good, r#"{"id":"b","s":{"x":5,"y":"6"},"l":[{"y":7,"x":8}],"m":{"k":{"y":"9"}},"x":10}"#, "{"],
    );
    broker.send("events", &[r#"{"id":"c","s":{"x":"11","y":"12"}}"#, r#"{"id":13,"x":14}"#]);
    ingest(&world);
    let before = world.count("select count(*) from bronze.events where _error is null");
    // Fields come before the ones that are there.
    declare(
        &world,
        "id STRING, s STRUCT<y: INT, x: INT>, l ARRAY<STRUCT<y: INT, x: INT>>, m MAP<STRING, STRUCT<x: INT>>, x INT",
        LOSSLESS,
    );
    let dry = replay(&world, &["--dry-run"]);
    assert!(dry.contains("2 of 3 rejected rows would become rows"), "{dry}");
    assert_eq!(
        world
            .count("select count(*) from information_schema.columns where table_name = 'events' and column_name = 'x'"),
        0
    );
    replay(&world, &[]);
    let query = "select id, s['y'], s['x'], l[1]['x'], m['k']['x'], x, _extra from bronze.events where _error is null order by _offset";
    let rows = world.sql(query);
    assert_eq!(rows.len() as i64, before + 2);
    assert_eq!(rows[0], ["a", "", "1", "3", "4", "", r#"{"s":{"y":"2"}}"#]);
    assert_eq!(rows[2..], [["c", "12", "11", "", "", "", ""], ["13", "", "", "", "", "14", ""]]);
    assert_verified(&world);
    // What the contract refuses changes nothing, and a dry run says so too.
    let at = version(&world, EVENTS);
    declare(&world, "id STRING", LOSSLESS);
    for arguments in [&["replay"][..], &["replay", "--dry-run"]] {
        world.fails(arguments, 2, &["a column `s` besides", "events.sql:1:14"]);
    }
    assert_eq!(version(&world, EVENTS), at);
}

#[test]
fn silver_takes_a_replayed_row_like_one_that_has_just_come() {
    let broker = Broker::with_topics(&["call_events"]);
    let world = World::new().with_brokers(&broker.address());
    let contract = include_str!("../sql/bronze/call_events.sql");
    world.write("sql/bronze/call_events.sql", contract);
    // The project's sources are all declared.
    world.write("sql/bronze/crm_customers.sql", include_str!("../sql/bronze/crm_customers.sql"));
    world.write("sql/bronze/network_probe_events.sql", include_str!("../sql/bronze/network_probe_events.sql"));
    world.write("sql/bronze/data_session_events.sql", include_str!("../sql/bronze/data_session_events.sql"));
    world.write("sql/bronze/sms_events.sql", include_str!("../sql/bronze/sms_events.sql"));
    let call = |id: &str, minute: u8, seconds: Value, plan: &str| {
        json!({
            "event_id": id, "event_type": "CALL", "caller_msisdn": "+12065550100", "tower_id": "SEA-001",
            "call_start_timestamp": format!("2025-03-05T10:{minute:02}:00Z"), "duration_seconds": seconds,
            "call_result_code": "0", "plan_type": plan, "roaming": false, "revenue_usd": 1.2,
        })
        .to_string()
    };
    // An event whose only arrival was rejected, and one whose later arrival was.
    broker.send(
        "call_events",
        &[
            call("once", 0, json!("60"), "Basic"),
            call("twice", 1, json!(60), "Basic"),
            call("good", 2, json!(60), "Basic"),
            "nonsense".to_owned(),
        ],
    );
    broker.send("call_events", &[call("twice", 1, json!("90"), "Premium")]);
    world.ok(&["ingest", "--until-caught-up", "--topics", "call_events"]);
    let build = ["build", "--select", "silver_calls", "silver_calls__rejected"];
    world.ok(&build);
    let calls =
        "select call_id, call_duration_seconds, plan_type, _partition, _offset from silver.silver_calls order by 1";
    assert_eq!(world.sql(calls), [["good", "60", "Basic", "0", "2"], ["twice", "60", "Basic", "0", "1"]]);

    world.write(
        "sql/bronze/call_events.sql",
        &contract.replace("format = 'json'", "format = 'json', coerce = 'lossless'"),
    );
    let done = replay(&world, &["call_events"]);
    assert!(done.contains("2 of 3 rejected rows became rows; still wrong: 1 not_json"), "{done}");
    let built = world.ok(&build);
    assert!(!built.out.contains("full"), "{}", built.out);
    let expected =
        [["good", "60", "Basic", "0", "2"], ["once", "60", "Basic", "0", "0"], ["twice", "90", "Premium", "0", "4"]];
    assert_eq!(world.sql(calls), expected);
    let to: u64 = version(&world, "bronze.call_events").parse().unwrap();
    let changed =
        format!("select event_id, _offset, _change_type from changes('bronze.call_events', {}, {to})", to - 1);
    let mut changed = world.sql(&changed);
    changed.sort();
    let expected_changes =
        [["", "0", "delete"], ["", "4", "delete"], ["once", "0", "insert"], ["twice", "4", "insert"]];
    assert_eq!(changed, expected_changes);
    world.ok(&[&build[..], &["--full-refresh"]].concat());
    assert_eq!(world.sql(calls), expected);
    assert_verified(&world);
}

#[test]
fn a_record_whose_schema_was_not_known_is_read_when_the_registry_has_it_and_waits_while_it_is_away() {
    const SCHEMA: &str = r#"{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}"#;
    let registry = Registry::start();
    let (world, broker) = events("n BIGINT", "format = 'avro'");
    let world = world.with("MEDALLION_REGISTRY__URL", registry.address());
    registry.register(1, "events", "AVRO", SCHEMA, &[]);
    let record = |id: u8, datum: &[u8]| [&[0, 0, 0, 0, id], datum].concat();
    broker.send("events", &[record(1, &[2]), record(2, &[4]), record(2, &[]), record(3, &[6]), b"{}".to_vec()]);
    ingest(&world);
    assert_eq!(world.count("select count(*) from bronze.events where _error like 'unknown_schema%'"), 3);
    let at = version(&world, EVENTS);
    registry.register(2, "events-2", "AVRO", SCHEMA, &[]);
    registry.mood(Mood::Away);
    world.fails(&["replay"], 3, &["bronze.events: nothing was moved", "the schema registry"]);
    assert_eq!(version(&world, EVENTS), at);
    registry.mood(Mood::Answers);
    let done = replay(&world, &[]);
    assert_eq!(
        done,
        "bronze.events: 1 of 4 rejected rows became rows; still wrong: 1 bad_framing, 1 unknown_schema, 1 bad_avro\n"
    );
    assert_eq!(
        world.sql("select n, _offset from bronze.events where _error is null order by 2"),
        [["1", "0"], ["2", "1"]]
    );
    assert_verified(&world);
    let world = world.without("MEDALLION_REGISTRY__URL");
    world.fails(&["replay"], 2, &["events.sql needs a schema registry", "set registry.url"]);
}

#[test]
fn lines_of_json_are_read_again_and_lines_of_csv_say_that_they_cannot_be() {
    let world = World::new();
    let people = |options: &str| {
        let options = format!("source = 'files', format = 'json', key = 'id', watermark = 'at'{options}");
        world.write(
            "sql/bronze/people.sql",
            &format!("CREATE TABLE people (id STRING, age INT, at TIMESTAMP) WITH ({options});\n"),
        );
    };
    people("");
    world.write(
        "one/a.jsonl",
        "{\"id\":\"a\",\"age\":1}\n{\"id\":\"b\",\"age\":\"2\",\"at\":\"2025-03-01T00:00:00Z\"}\n[]\n",
    );
    world.write("one/b.csv", "age,id\n3,c\n4.5,d\n");
    world.ok(&["load", "people", "--from", "one"]);
    people(", coerce = 'lossless'");
    let done = replay(&world, &["people"]);
    assert_eq!(
        done,
        "bronze.people: 1 of 3 rejected rows became rows; still wrong: 1 not_object; 1 are lines of CSV without their \
         header: load the mended file instead\n"
    );
    let rows = world.sql("select id, age, cast(at as varchar), _file, _row, _load, _deleted, _error is null from bronze.people order by _file, _row");
    assert_eq!(
        rows,
        [
            ["a", "1", "", "a.jsonl", "1", "1", "false", "true"],
            ["b", "2", "2025-03-01T00:00:00Z", "a.jsonl", "2", "1", "false", "true"],
            ["", "", "", "a.jsonl", "3", "1", "false", "false"],
            ["c", "3", "", "b.csv", "1", "1", "false", "true"],
            ["", "", "", "b.csv", "2", "1", "false", "false"],
        ]
    );
    // The file is still known.
    assert!(world.ok(&["load", "people", "--from", "one"]).out.contains("2 files had landed before"));
    assert_verified(&world);
}

#[test]
fn what_cannot_be_replayed_is_named() {
    let (world, broker) = events(FIRST, "");
    world.fails(&["replay"], 2, &["holds no table of a contract", "--lake"]);
    world.fails(&["replay", "events"], 2, &["there is no table bronze.events yet"]);
    world.fails(&["replay", "event"], 2, &["no contract has the table or topic `event`", "did you mean `events`?"]);
    world.fails(&["replay", "--class", "wrong_typ"], 2, &["no class `wrong_typ`", "did you mean `wrong_type`?"]);
    broker.send("events", &[r#"{"id":"a"}"#]);
    ingest(&world);
    assert_eq!(replay(&world, &[]), "bronze.events: no rejected rows\n");
}

#[test]
fn keys_and_partitions_of_a_real_broker_stay_with_their_records_on_a_real_store() {
    let (world, topic) = readings(World::real("replay"), 2);
    let record = |n: i32| Record {
        headers: Vec::new(),
        key: (n % 5 > 0).then(|| format!("key {n}")),
        value: Some(if n % 2 == 0 { format!("{{\"n\": {n}}}") } else { format!("{{\"n\": \"{n}\"}}") }.into_bytes()),
        partition: Some(n % 3 % 2),
    };
    for run in 0..2 {
        world.produce(&topic, &(run * 50..run * 50 + 50).map(record).collect::<Vec<_>>());
        world.catches_up();
    }
    let origins = "select _topic, _partition, _offset, _kafka_timestamp, _key from bronze.readings order by 2, 3";
    let before = world.sql(origins);
    let text = format!("CREATE TABLE readings (n BIGINT) WITH (topic = '{topic}', coerce = 'lossless')");
    let world = world.contract("readings", &text);
    assert_eq!(replay(&world, &[&topic]), "bronze.readings: 50 of 50 rejected rows became rows\n");
    assert_eq!(world.sql(origins), before);
    let right = "coalesce(_key, '') = case when n % 5 > 0 then 'key ' || n else '' end and _partition = n % 3 % 2";
    let counts = format!("select count(*), count(distinct n), count(_error) from bronze.readings where {right}");
    assert_eq!(world.sql(&counts), [["100", "100", "0"]]);
    assert_verified(&world);
}

#[test]
fn beside_a_daemon_that_goes_on_each_record_has_one_row() {
    let (world, broker) = events(FIRST, "");
    let world = world
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "20ms")
        .with("MEDALLION_CARE__INTERVAL", "50ms")
        .with("MEDALLION_CARE__MIN_AGE", "1ms");
    let send = |from: usize, to: usize| {
        let record =
            |n: usize| if n.is_multiple_of(3) { format!("{{\"n\":\"{n}\"}}") } else { format!("{{\"n\":{n}}}") };
        broker.send("events", &(from..to).map(record).collect::<Vec<_>>());
    };
    send(0, 300);
    let mut daemon = world.start(&["ingest"]);
    let landed = |rows: i64| {
        wait_until("the records land", || {
            let ended = world.run(&["sql", "-q", "--format", "csv", "-c", "select count(*) from bronze.events"]);
            ended.out.lines().last().is_some_and(|n| n.parse() == Ok(rows))
        });
    };
    landed(300);
    // A copy of the contract for the replays; the daemon has read its own.
    declare(&world, FIRST, LOSSLESS);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..4).for_each(|_| drop(replay(&world, &[]))));
        }
        for n in 3..30 {
            send(n * 100, (n + 1) * 100);
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    landed(3000);
    let stopped = std::process::Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status();
    assert!(stopped.unwrap().success() && daemon.wait().unwrap().success());
    replay(&world, &[]);
    let numbers =
        "select count(*), count(distinct _offset), count(distinct n), sum(n), count(_error) from bronze.events";
    assert_eq!(world.sql(numbers), [["3000", "3000", "3000", "4498500", "0"]]);
    assert_verified(&world);
}
