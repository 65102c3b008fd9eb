//! What a contract says of topics, keys and headers, with a real broker.

use crate::world::World;
use crate::world::real::Record;

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
