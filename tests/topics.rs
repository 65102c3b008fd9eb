//! What a contract says of topics, keys and headers, with a real broker.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::World;
use crate::world::broker::Broker;
use crate::world::real::{Acknowledged, Record, unique, wait_until};

fn assert_verified(world: &World) -> String {
    let said = world.ok(&["verify"]).out;
    assert!(said.contains("nothing is missing, nothing is double"), "{said}");
    said
}

#[test]
fn keys_and_headers_of_real_records_land_in_their_columns() {
    let world = World::real("headers");
    let topic = world.topic("payments", 1);
    let contract = format!(
        "CREATE TABLE payments (
            customer STRING NOT NULL KEY, amount DECIMAL(9, 2), trace STRING HEADER 'trace-id', stamp BINARY HEADER 'stamp',
            sent TIMESTAMP HEADER 'sent-at' FORMAT 'epoch_ms'
        ) WITH (topic = '{topic}')"
    );
    let world = world.contract("payments", &contract);
    let record = |key: &str| Record::new(r#"{"amount": 1.5, "customer": "field"}"#).with_key(key);
    world.produce(
        &topic,
        &[
            record("Zoë")
                .header("trace-id", Some(b"first"))
                .header("sent-at", Some(b"1706689800250"))
                .header("stamp", Some(&[0, 255]))
                .header("trace-id", Some(b"last")),
            record("a").header("trace-id", Some(b"")).header("stamp", None).header("Trace-Id", Some(b"other")),
            record("b").header("sent-at", Some(b"yesterday")),
            Record::new("{}").header("trace-id", Some(b"x")),
            record("c").header("trace-id", Some(&[0xff])),
            record("d"),
        ],
    );
    world.catches_up();
    let rows = world.sql(
        "select customer, cast(amount as varchar), trace is null, trace, encode(stamp, 'hex'), cast(sent as varchar),
         _extra, split_part(_error, ':', 1), _key from bronze.payments order by _offset",
    );
    let extra = r#"{"customer":"field"}"#;
    assert_eq!(rows[0], ["Zoë", "1.50", "false", "last", "00ff", "2024-01-31T08:30:00.250Z", extra, "", "Zoë"]);
    assert_eq!(rows[1], ["a", "1.50", "false", "", "", "", extra, "", "a"]);
    assert_eq!(rows[2], ["", "", "true", "", "", "", "", "bad_timestamp in sent", "b"]);
    assert_eq!(rows[3], ["", "", "true", "", "", "", "", "missing_value in customer", ""]);
    assert_eq!(rows[4], ["", "", "true", "", "", "", "", "not_utf8 in trace", "c"]);
    assert_eq!(rows[5], ["d", "1.50", "true", "", "", "", extra, "", "d"]);
    assert_verified(&world);
}

#[test]
fn a_replay_reads_the_key_that_the_table_kept_and_leaves_what_it_did_not_keep() {
    let world = World::real("replayed");
    let topic = world.topic("orders", 1);
    let contract = |columns: &str, coerce: &str| {
        format!("CREATE TABLE orders ({columns}) WITH (topic = '{topic}', coerce = '{coerce}')")
    };
    let world = world.contract("orders", &contract("n BIGINT, customer STRING KEY", "none"));
    let rejected = || Record::new(r#"{"n": "5"}"#);
    world.produce(&topic, &[rejected().with_key("a"), rejected().with_key("b\\xff"), rejected()]);
    world.catches_up();
    let rows = || world.sql("select n, customer, split_part(_error, ':', 1), _key from bronze.orders order by _offset");
    assert!(rows().iter().all(|row| row[2] == "wrong_type in n"), "{:?}", rows());

    // Headers are not kept, so nothing that reads one can be replayed.
    let reads_header = contract("n BIGINT, customer STRING KEY, trace STRING HEADER 'trace'", "lossless");
    world.write("contracts/orders.sql", &reads_header);
    let told = world.ok(&["replay"]).out;
    assert!(told.contains("none of 3 rejected rows can be read now") && told.contains("3 need headers"), "{told}");
    world.write("contracts/orders.sql", &contract("n BIGINT, customer STRING KEY, trace STRING", "lossless"));
    let told = world.ok(&["replay"]).out;
    assert!(told.contains("2 of 3 rejected rows became rows") && told.contains("1 need headers"), "{told}");
    let row = |values: [&str; 4]| values.map(str::to_owned).to_vec();
    let expected = [row(["5", "a", "", "a"]), row(["", "", "wrong_type in n", "b\\xff"]), row(["5", "", "", ""])];
    assert_eq!(rows(), expected);
    assert_verified(&world);
}

/// A contract for a table of numbers.
fn numbers(world: World, table: &str, origin: &str) -> World {
    world.contract(table, &format!("CREATE TABLE {table} (n BIGINT) WITH ({origin})"))
}

fn records(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| Record::new(format!("{{\"n\": {n}}}"))).collect()
}

/// The number of each row by topic, partition and offset, which fails where two rows have one place.
fn landed(world: &World, table: &str) -> BTreeMap<(String, i32, i64), usize> {
    let mut rows = BTreeMap::new();
    for row in world.sql(&format!("select _topic, _partition, _offset, n from bronze.{table}")) {
        let place = (row[0].clone(), row[1].parse().unwrap(), row[2].parse().unwrap());
        assert!(rows.insert(place.clone(), row[3].parse().unwrap()).is_none(), "{place:?} is there twice");
    }
    rows
}

fn places(topic: &str, acknowledged: Acknowledged) -> impl Iterator<Item = ((String, i32, i64), usize)> {
    acknowledged.into_iter().map(move |((partition, offset), n)| ((topic.to_owned(), partition, offset), n))
}

/// The rows that there are so far, of a table that may not be there yet.
fn count_if_any(world: &World, query: &str) -> usize {
    match world.run(&["sql", "-q", "--format", "csv", "-c", query]) {
        ended if ended.code == 0 => ended.out.lines().last().unwrap().parse().unwrap(),
        _ => 0,
    }
}

#[test]
fn topics_of_one_table_share_its_commits_and_each_can_be_asked_for_alone() {
    let world = World::real("shared").with("MEDALLION_INGEST__FLUSH_INTERVAL", "3s");
    let (calls, older) = (world.topic("calls", 2), world.topic("older", 1));
    let world = numbers(world, "calls", &format!("topics = '{calls}, {older}'"));
    let mut expected: BTreeMap<_, _> = places(&older, world.produce(&older, &records(0..20))).collect();
    expected.extend(places(&calls, world.produce(&calls, &records(0..30))));

    world.ok(&["ingest", "--until-caught-up", "--topics", &older]);
    assert_eq!(landed(&world, "calls").len(), 20);
    let status = world.ok(&["status"]).out;
    let lag = |status: &str, topic: &str| {
        let line = status.lines().find(|line| line.starts_with(topic)).unwrap_or_else(|| panic!("{status}"));
        line[topic.len()..].trim().to_owned()
    };
    assert_eq!(lag(&status, &older), "0 records behind Kafka");
    assert_eq!(lag(&status, &calls), "30 records behind Kafka");
    let validated = world.run(&["validate"]).out;
    assert!(validated.contains("with 3 partitions to read"), "{validated}");

    world.produce(&older, &[Record::default(), Record::new("{}")]);
    world.ok(&["ingest", "--until-caught-up", "--topics", "calls"]);
    let said = assert_verified(&world);
    assert!(said.contains(&format!("{older} 0: offsets 0 to 22: 21 rows, 0 rejected, 1 tombstones, 0 gaps")), "{said}");
    let of_calls = said.lines().filter(|line| line.contains(&calls)).count();
    assert_eq!(of_calls, 2, "{said}");
    assert_eq!(world.count("select count(*) from bronze.calls where n is null"), 1);
    // One commit has the marks of both.
    let log = format!("{}/bronze/calls/_delta_log", world.lake().replacen("s3://", "lake/", 1));
    let entries = world.mc(&["find", &log, "--name", "*.json"]);
    let of_both = |entry: &&str| {
        let text = world.mc(&["cat", entry]);
        [&calls, &older].iter().all(|topic| text.contains(&format!("medallion:next:{topic}:0")))
    };
    assert_eq!(entries.lines().filter(of_both).count(), 1, "{entries}");
    let rows = landed_numbers(&world);
    assert_eq!(rows, expected);

    // Records that Kafka deleted of one of the topics stop ingest until they are accepted.
    world.produce(&older, &records(0..5));
    world.kafka(&["delete-records", &older, "0", "25"]);
    let gap = format!("{older}:0");
    world.fails(&["ingest", "--until-caught-up"], 3, &["3 records were deleted", &format!("--accept-gap {gap}")]);
    world.ok(&["ingest", "--until-caught-up", "--accept-gap", &gap]);
    let said = assert_verified(&world);
    assert!(
        said.contains(&format!("{older} 0: offsets 0 to 27: 23 rows, 0 rejected, 1 tombstones, 0 gaps, 3 lost")),
        "{said}"
    );
}

/// Rows with a number.
fn landed_numbers(world: &World) -> BTreeMap<(String, i32, i64), usize> {
    let rows = world.sql("select _topic, _partition, _offset, n from bronze.calls where n is not null");
    rows.iter()
        .map(|row| ((row[0].clone(), row[1].parse().unwrap(), row[2].parse().unwrap()), row[3].parse().unwrap()))
        .collect()
}

#[test]
fn records_of_two_topics_are_one_row_each_in_their_table_though_daemons_come_go_and_are_killed() {
    const RECORDS: usize = 4000;
    let world = World::real("two-topics")
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "50ms")
        .with("MEDALLION_KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", "6000");
    let topics = [world.topic("calls", 3), world.topic("older", 2)];
    let world = numbers(world, "calls", &format!("topics = '{}, {}'", topics[0], topics[1]));
    let all = records(0..RECORDS);
    let expected: BTreeMap<_, _> = std::thread::scope(|scope| {
        let feeds = topics.each_ref().map(|topic| {
            let (world, all) = (&world, &all);
            scope.spawn(move || {
                let mut producer = world.producer(topic);
                for chunk in all.chunks(RECORDS / 40) {
                    chunk.iter().for_each(|record| producer.send(record));
                    std::thread::sleep(Duration::from_millis(250));
                }
                places(topic, producer.finish()).collect::<Vec<_>>()
            })
        });
        let query = "select count(*) from bronze.calls";
        let first = world.daemon(&["ingest"]);
        wait_until("the first daemon commits", || count_if_any(&world, query) > 0);
        let second = world.daemon(&["ingest"]);
        std::thread::sleep(Duration::from_secs(2));
        first.kill();
        let third = world.daemon(&["ingest"]);
        std::thread::sleep(Duration::from_secs(2));
        second.signal("-TERM");
        second.succeeds();
        third.kill();
        feeds.into_iter().flat_map(|feed| feed.join().unwrap()).collect()
    });
    world.catches_up();
    assert_eq!(expected.len(), 2 * RECORDS);
    assert!(landed(&world, "calls") == expected, "rows and records differ");
    assert_verified(&world);
}

#[test]
fn a_pattern_takes_up_topics_that_are_made_while_the_daemon_runs_until_one_belongs_to_two_tables() {
    let world = World::real("pattern")
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "100ms")
        .with("MEDALLION_KAFKA__PROPERTIES__TOPIC_METADATA_REFRESH_INTERVAL_MS", "500");
    let prefix = unique("calls");
    let topic = |name: &str| format!("{prefix}.{name}");
    let make = |world: &World, name: &str, partitions: &str| world.kafka(&["create", name, partitions]);
    let pattern = |tail: &str| format!("topic_pattern = '{prefix}\\.{tail}'");
    let world = numbers(world, "calls", &pattern("[a-z]+"));
    let world = numbers(world, "failed", &pattern("[a-z]*_failed"));

    // There is nothing yet that would match.
    let daemon = world.daemon(&["ingest"]);
    wait_until("the daemon says that nothing matches", || daemon.said().matches("no topic matches yet").count() == 2);
    let mut expected = BTreeMap::new();
    let count = |table: &str| count_if_any(&world, &format!("select count(*) from bronze.{table}"));
    for (name, partitions) in [("east", "1"), ("west", "2")] {
        make(&world, &topic(name), partitions);
        expected.extend(places(&topic(name), world.produce(&topic(name), &records(0..50))));
        wait_until("the records of the new topic land", || count("calls") == expected.len());
    }
    // Neither of these names matches as a whole.
    for name in [format!("x{prefix}.east"), topic("East")] {
        make(&world, &name, "1");
        world.produce(&name, &records(0..5));
    }
    make(&world, &topic("in_failed"), "1");
    world.produce(&topic("in_failed"), &records(0..7));
    wait_until("the other table has its topic", || count("failed") == 7);
    assert_eq!(daemon.said().matches("ERROR").count(), 0, "{}", daemon.said());

    // A topic that goes leaves the others as they are.
    world.kafka(&["delete", &topic("in_failed")]);
    expected.extend(places(&topic("west"), world.produce(&topic("west"), &records(0..10))));
    wait_until("the other topics go on", || count("calls") == expected.len());
    daemon.signal("-TERM");
    daemon.succeeds();
    let status = world.ok(&["status"]).out;
    for name in ["east", "west"] {
        let line = status.lines().find(|line| line.starts_with(&topic(name)));
        assert!(line.is_some_and(|line| line.ends_with(" 0 records behind Kafka")), "{status}");
    }

    // A second run finds all of them at once, and a topic of its own choice.
    expected.extend(places(&topic("east"), world.produce(&topic("east"), &records(0..5))));
    world.produce(&topic("west"), &records(60..61));
    world.ok(&["ingest", "--until-caught-up", "--topics", &topic("east")]);
    assert_eq!(landed(&world, "calls"), expected);
    world.catches_up();
    assert_eq!(count("calls"), expected.len() + 1);
    assert_verified(&world);

    let world = numbers(world, "other", &pattern("[e-z]+"));
    let daemon_fails = world.fails(&["ingest"], 2, &["claimed by two contracts", "calls.sql", "other.sql"]);
    assert!(daemon_fails.err.contains(&topic("west")), "{}", daemon_fails.err);
    let world = numbers(world, "other", &pattern("[a-z]*_or_[a-z]*"));
    let world = numbers(world, "failed", &pattern("[a-z_]*_failed"));
    let mut daemon = world.daemon(&["ingest"]);
    wait_until("the daemon reads", || daemon.said().contains("reading"));
    make(&world, &topic("sent_or_failed"), "1");
    let ended = daemon.ended();
    assert_eq!(ended.code, 2, "{}", ended.err);
    for words in ["sent_or_failed", "claimed by two contracts", "failed.sql", "other.sql"] {
        assert!(ended.err.contains(words), "{words} is not in:\n{}", ended.err);
    }
}

#[test]
fn the_error_rate_is_that_of_the_table_whatever_its_topics() {
    let broker = Broker::with_topics(&["good", "bad"]);
    let world = numbers(World::new().with_brokers(&broker.address()), "numbers", "topics = 'good, bad'")
        .with("MEDALLION_INGEST__FLUSH_INTERVAL", "3s");
    broker.send("good", &vec!["{\"n\": 1}"; 600]);
    broker.send("bad", &vec!["{\"n\": \"x\"}"; 600]);
    let world = world.with("MEDALLION_INGEST__ERROR_RATE_LIMIT", "0.4");
    world.fails(&["ingest", "--until-caught-up"], 1, &["bronze.numbers: 600 of the last 1200 records were rejected"]);
    let world = world.with("MEDALLION_INGEST__ERROR_RATE_LIMIT", "0.6");
    world.ok(&["ingest", "--until-caught-up"]);
    assert_eq!(world.count("select count(*) from bronze.numbers"), 1200);
    assert_verified(&world);
}
