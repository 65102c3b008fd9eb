//! What medallion writes is read by programs that know nothing of it: plain Delta tables, with a log that tells the truth.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::World;
use crate::world::real::{Record, unique, variable, wait_until};

/// A lake in a folder, as the demo leaves it.
fn demo() -> World {
    let world = World::new();
    let output = world.command(&["demo", "--dir", world.lake(), "--events", "1500"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world
}

/// A lake in a bucket, with records of a producer that is not ours.
fn bucket() -> World {
    let world = World::real("outside").with_carrier(1500);
    world.catches_up();
    world.ok(&["load", "crm_customers", "--from", "sources/customers-001.csv"]);
    world.ok(&["build"]);
    world
}

fn assert_all_count_the_same(world: &World) {
    let mut outside = BTreeMap::new();
    for line in world.python("lake.py", &["count", world.lake()], "").lines() {
        let [table, by_deltalake, by_duckdb] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        outside.insert(table.to_owned(), [by_deltalake.to_owned(), by_duckdb.to_owned()]);
    }
    let counts: Vec<String> =
        outside.keys().map(|t| format!("select '{t}' as name, count(*) as one, count(*) as other from {t}")).collect();
    let own = world.sql(&counts.join(" union all "));
    let counted: BTreeMap<_, _> = own.into_iter().map(|r| (r[0].clone(), [r[1].clone(), r[2].clone()])).collect();
    assert_eq!(outside, counted);
    // None is left out: what the lake says that it has, and what it keeps for itself.
    let listed = world.ok(&["status"]).out;
    let tables: Vec<&str> = listed.split_whitespace().filter(|w| w.contains('.') && counted.contains_key(*w)).collect();
    assert!(tables.len() >= 17, "{listed}");
    assert_eq!(tables.len() + 1, counted.len(), "{counted:?}");
    assert!(["_medallion.releases", "gold.fact_calls"].iter().all(|table| counted[*table][0] != "0"), "{counted:?}");
}

#[test]
fn deltalake_and_duckdb_count_the_rows_of_a_lake_in_a_folder_as_medallion_does() {
    assert_all_count_the_same(&demo());
}

#[test]
fn deltalake_and_duckdb_count_the_rows_of_a_lake_in_a_bucket_as_medallion_does() {
    assert_all_count_the_same(&bucket());
}

#[test]
fn files_have_plain_types_and_the_log_tells_the_truth_about_them() {
    let world = demo();
    for what in ["types", "statistics"] {
        let checked: usize = world.python("lake.py", &[what, world.lake()], "").trim().parse().unwrap();
        assert!(checked > 100, "{checked} columns of files checked for {what}");
    }
}

/// A daemon that commits every record of a topic of its own, into `bronze.readings` of a lake in a folder.
fn readings(name: &str) -> (World, String) {
    let world = World::new()
        .with_brokers(&variable("MEDALLION_TEST_KAFKA"))
        .with("MEDALLION_KAFKA__GROUP", &unique(name))
        .with("MEDALLION_INGEST__FLUSH_ROWS", "1");
    let topic = world.topic(name, 1);
    let contract =
        format!("CREATE TABLE readings (n BIGINT) WITH (topic = '{topic}', format = 'json', timezone = 'UTC');");
    (world.contract("readings", &contract), topic)
}

#[test]
fn deltalake_and_duckdb_read_a_table_that_was_compacted_and_whose_log_was_cut_while_ingest_ran() {
    let (world, topic) = readings("care");
    let world = world
        .with("MEDALLION_CARE__INTERVAL", "300ms")
        .with("MEDALLION_CARE__MIN_AGE", "1ms")
        .with("MEDALLION_CARE__LOG_RETENTION", "1s");
    let log = world.path("lake/bronze/readings/_delta_log");
    let daemon = world.daemon(&["ingest"]);
    let mut producer = world.producer(&topic);
    let mut sent = 0;
    let entry = |version: usize| log.join(format!("{version:020}.json"));
    wait_until("the log has lost its beginning", || {
        // Past its first checkpoint the daemon gets time for all else.
        if entry(110).exists() {
            std::thread::sleep(Duration::from_millis(500));
        }
        producer.send(&Record::new(format!("{{\"n\": {sent}}}")));
        sent += 1;
        entry(110).exists() && !entry(0).exists()
    });
    producer.finish();
    daemon.signal("-TERM");
    daemon.succeeds();
    world.catches_up();
    let table = format!("{}/bronze/readings", world.lake());
    let read = world.python("lake.py", &["table", &table, &format!("medallion:next:{topic}:0")], "");
    assert!(read.trim().ends_with(&format!(" {sent} {sent}")), "{read}");
    let counted = world.python("lake.py", &["count", world.lake()], "");
    assert!(counted.contains(&format!("bronze.readings {sent} {sent}")), "{counted}");
    // Of more than a hundred files a few are left.
    let status = world.ok(&["status"]).out;
    let line: Vec<&str> =
        status.lines().find(|l| l.starts_with("bronze.readings")).unwrap().split_whitespace().collect();
    let live: usize = line[3].parse().unwrap();
    assert!(live < 50, "{live} files: {status}");
    world.ok(&["verify"]);
}

#[test]
fn deltalake_reads_a_table_from_the_checkpoint_that_ingest_made() {
    let (world, topic) = readings("checkpoint");
    let log = world.path("lake/bronze/readings/_delta_log");
    let entry = |version: usize| log.join(format!("{version:020}.json"));

    let daemon = world.daemon(&["ingest"]);
    let mut producer = world.producer(&topic);
    let mut sent = 0;
    wait_until("there are more than a hundred commits", || {
        producer.send(&Record::new(format!("{{\"n\": {sent}}}")));
        sent += 1;
        entry(110).exists()
    });
    producer.finish();
    wait_until("there is a checkpoint", || log.join("_last_checkpoint").exists());
    daemon.signal("-TERM");
    daemon.succeeds();
    world.catches_up();

    // What the checkpoint replaces may be cleaned up; then it is all there is.
    (0..100).for_each(|version| std::fs::remove_file(entry(version)).unwrap());
    let newest = (110..).take_while(|version| entry(*version).exists()).last().unwrap();
    let table = format!("{}/bronze/readings", world.lake());
    let mark = format!("medallion:next:{topic}:0");
    let read = || world.python("lake.py", &["table", &table, &mark], "").trim().to_owned();
    assert_eq!(read(), format!("{newest} {sent} {sent}"));

    // And ingest itself goes on from it.
    world.produce(&topic, &[Record::new("{\"n\": -1}")]);
    world.catches_up();
    assert_eq!(read(), format!("{} {} {}", newest + 1, sent + 1, sent + 1));
    assert_eq!(world.count("select count(distinct n) from bronze.readings"), sent + 1);
    world.ok(&["verify"]);
}
