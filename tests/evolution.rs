//! A contract changes: its table follows, or the change is refused with a reason, and no row is lost either way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use medallion::error::{Kind, Place};
use medallion::lake::commit::{Commit, Outcome, commit};
use medallion::lake::evolve::Declared;
use serde_json::{Value, json};

use crate::world::World;
use crate::world::broker::Broker;
use crate::world::faulty::{Fault, Faulty};
use crate::world::inside::{Inside, change, runtime};
use crate::world::real::{variable, wait_until};

fn contract(columns: &str) -> String {
    format!("CREATE TABLE events (\n  {columns}\n) WITH (topic = 'events');\n")
}

/// A world with a contract of events, and a broker that has their topic.
fn events(columns: &str) -> (World, Broker) {
    let broker = Broker::with_topics(&["events"]);
    let world = World::new().with_brokers(&broker.address());
    world.write("sql/bronze/events.sql", &contract(columns));
    (world, broker)
}

fn declare(world: &World, columns: &str) {
    world.write("sql/bronze/events.sql", &contract(columns));
}

fn ingest(world: &World) {
    world.ok(&["ingest", "--until-caught-up"]);
}

/// The entries of the table's log.
fn log(world: &World) -> Vec<Vec<Value>> {
    let mut entries: Vec<_> = std::fs::read_dir(Path::new(world.lake()).join("bronze/events/_delta_log"))
        .map(|entries| {
            entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|x| x == "json")).collect()
        })
        .unwrap_or_default();
    entries.sort();
    let actions = |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    entries.iter().map(|path: &std::path::PathBuf| actions(std::fs::read_to_string(path).unwrap())).collect()
}

/// All that the log says of the table itself, in the order of its versions.
fn metadata(world: &World) -> Vec<Value> {
    log(world).iter().flatten().filter_map(|action| action.get("metaData").cloned()).collect()
}

#[test]
fn a_new_column_joins_the_table_and_rows_from_before_have_null_in_it() {
    let (world, broker) = events("id STRING, n INT");
    broker.send("events", &[r#"{"id":"a","n":1,"city":"Almaty"}"#]);
    ingest(&world);
    declare(&world, "id STRING, city STRING, n INT, at STRUCT<x: INT>, tags ARRAY<STRING>");
    broker.send("events", &[r#"{"id":"b","n":2,"city":"Astana","at":{"x":1},"tags":["t"]}"#]);
    ingest(&world);
    declare(&world, "id STRING, city STRING, n INT, at STRUCT<y: INT, x: INT>, tags ARRAY<STRING>");
    broker.send("events", &[r#"{"id":"c","at":{"x":2,"y":3}}"#, "nonsense"]);
    ingest(&world);

    let query =
        "select id, city, n, at['x'], at['y'], tags[1], _extra, _error is null from bronze.events order by _offset";
    assert_eq!(
        world.sql(query),
        [
            ["a", "", "1", "", "", "", r#"{"city":"Almaty"}"#, "true"],
            ["b", "Astana", "2", "1", "", "t", "", "true"],
            ["c", "", "", "2", "3", "", "", "true"],
            ["", "", "", "", "", "", "", "false"],
        ]
    );
    assert_eq!(world.count("select count(*) from bronze.events where city is not null"), 1);
    assert_eq!(world.count("select count(*) from bronze.events where at['y'] = 3"), 1);
    world.ok(&["verify"]);

    // The columns stand as the contract has them, and the table is the same table.
    let all = metadata(&world);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|m| m["id"] == all[0]["id"] && m["createdTime"] == all[0]["createdTime"]));
    let schema: Value = serde_json::from_str(all[1]["schemaString"].as_str().unwrap()).unwrap();
    let names: Vec<&str> = schema["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names[..6], ["id", "city", "n", "at", "tags", "_extra"]);
    // What is as declared is left as it is.
    let before = log(&world).len();
    ingest(&world);
    assert_eq!(log(&world).len(), before);
}

#[test]
fn a_change_that_would_falsify_rows_is_refused_at_its_place_and_changes_nothing() {
    let first = "id STRING, n INT, d DECIMAL(9, 2), s STRUCT<a: INT>, \"camelCase\" INT";
    let (world, broker) = events(first);
    broker.send("events", &[r#"{"id":"a","n":1}"#]);
    ingest(&world);
    let before = log(&world);
    for (columns, place, words) in [
        ("id STRING, d DECIMAL(9, 2), s STRUCT<a: INT>, \"camelCase\" INT", "events.sql:1:14", "a column `n` besides"),
        (&first.replace("n INT", "n BIGINT"), "events.sql:2:14", "`n` is Int32, not Int64"),
        (&first.replace("n INT", "n DOUBLE"), "events.sql:2:14", "typeWidening"),
        (&first.replace("n INT", "n STRING"), "events.sql:2:14", "give it back its type"),
        (&first.replace("(9, 2)", "(12, 2)"), "events.sql:2:21", "typeWidening"),
        (&first.replace("(9, 2)", "(8, 2)"), "events.sql:2:21", "give it back its type"),
        (&first.replace("<a: INT>", "<a: BIGINT>"), "events.sql:2:38", "typeWidening"),
        (&first.replace("<a: INT>", "<b: INT>"), "events.sql:2:38", "give it back its type"),
        (&first.replace("n INT", "n INT NOT NULL"), "events.sql:2:14", "rows may have NULL in `n`"),
        (&format!("{first}, e INT NOT NULL"), "events.sql:2:73", "no value for a NOT NULL one"),
        (&format!("{first}, camelcase INT"), "events.sql:2:73", "the column `camelcase` is there twice"),
        (&first.replace("\"camelCase\"", "camelcase"), "events.sql:1:14", "a column `camelCase` besides"),
    ] {
        declare(&world, columns);
        world.fails(&["ingest", "--until-caught-up"], 2, &[place, words]);
        assert_eq!(log(&world), before, "{columns}");
    }
    declare(&world, first);
    ingest(&world);
    assert_eq!(log(&world), before);
}

#[test]
fn not_null_may_be_taken_back_and_not_be_added() {
    let (world, broker) = events("id STRING NOT NULL, n INT NOT NULL");
    broker.send("events", &[r#"{"id":"a","n":1}"#, r#"{"id":"b"}"#]);
    ingest(&world);
    declare(&world, "id STRING NOT NULL, n INT");
    broker.send("events", &[r#"{"id":"c"}"#]);
    ingest(&world);
    assert_eq!(world.sql("select id from bronze.events where _error is null order by 1"), [["a"], ["c"]]);
    let property = |m: &Value| m["configuration"]["medallion.notNull"].as_str().unwrap().to_owned();
    assert_eq!(metadata(&world).iter().map(property).collect::<Vec<_>>(), ["id,n", "id"]);
    declare(&world, "id STRING NOT NULL, n INT NOT NULL");
    world.fails(&["ingest", "--until-caught-up"], 2, &["rows may have NULL in `n`", "events.sql:2:23"]);
}

#[test]
fn a_daemon_of_an_older_contract_stops_and_its_records_land_in_the_new_columns() {
    let (old, broker) = events("id STRING");
    let new = World::new().with_brokers(&broker.address()).on(old.lake());
    declare(&new, "id STRING, city STRING");
    broker.send("events", &[r#"{"id":"a","city":"Almaty"}"#]);
    let mut older = old.daemon(&["ingest"]);
    wait_until("the older daemon commits", || log(&old).len() > 1);

    let newer = new.daemon(&["ingest"]);
    wait_until("the table follows the newer contract", || metadata(&old).len() == 2);
    broker.send("events", &[r#"{"id":"b","city":"Astana"}"#, r#"{"id":"c","city":"Oral"}"#]);
    let ended = older.ended();
    assert_eq!(ended.code, 2, "{}", ended.err);
    for words in
        ["the table's schema was changed", "a column `city` besides", "another contract is newer", "events.sql:1:14"]
    {
        assert!(ended.err.contains(words), "`{words}` is not in: {}", ended.err);
    }
    wait_until("the newer daemon lands what the older one held", || {
        new.count("select count(*) from bronze.events") == 3
    });
    newer.signal("-TERM");
    newer.succeeds();
    let rows = new.sql("select id, city, _extra from bronze.events order by 1");
    assert_eq!(rows, [["a", "", r#"{"city":"Almaty"}"#], ["b", "Astana", ""], ["c", "Oral", ""]]);
    new.ok(&["verify"]);
    // It does not come back before it has the newer contract.
    old.fails(&["ingest", "--until-caught-up"], 2, &["a column `city` besides"]);
}

const PEOPLE: &str = "CREATE TABLE people (id STRING, age INT{}) WITH (source = 'files', key = 'id');\n";

#[test]
fn a_load_brings_new_columns_into_its_table_too() {
    let world = World::new();
    let declare = |more: &str| world.write("sql/bronze/people.sql", &PEOPLE.replace("{}", more));
    declare("");
    world.write("one.csv", "id,age,city\na,1,Almaty\n");
    world.ok(&["load", "people", "--from", "one.csv"]);
    declare(", city STRING, tags MAP<STRING, INT>");
    world.write("two.jsonl", "{\"id\":\"b\",\"city\":\"Oral\",\"tags\":{\"k\":1}}\n");
    world.ok(&["load", "people", "--from", "two.jsonl"]);
    let rows = world.sql("select id, age, city, map_extract(tags, 'k')[1], _extra from bronze.people order by 1");
    assert_eq!(rows, [["a", "1", "", "", r#"{"city":"Almaty"}"#], ["b", "", "Oral", "1", ""]]);
    declare(", tags MAP<STRING, INT>");
    world.write("three.csv", "id\nc\n");
    world.fails(&["load", "people", "--from", "three.csv"], 2, &["a column `city` besides", "people.sql:1:14"]);
    assert_eq!(world.count("select count(*) from bronze.people"), 2);
}

#[test]
fn deltalake_and_duckdb_read_a_table_that_got_columns() {
    variable("MEDALLION_TEST_PYTHON");
    let world = World::new();
    let declare = |more: &str| world.write("sql/bronze/people.sql", &PEOPLE.replace("{}", more));
    declare(", at STRUCT<x: INT>");
    world.write("one.jsonl", "{\"id\":\"a\",\"age\":1,\"at\":{\"x\":1}}\n{\"id\":\"b\"}\nnonsense\n");
    world.ok(&["load", "people", "--from", "one.jsonl"]);
    declare(
        ", at STRUCT<y: STRING, x: INT>, tags ARRAY<STRUCT<k: STRING, v: DECIMAL(9, 2)>>, m MAP<STRING, ARRAY<INT>>, \
         photo BINARY, seen TIMESTAMP FORMAT 'epoch_ms'",
    );
    world.write(
        "two.jsonl",
        "{\"id\":\"c\",\"at\":{\"x\":2,\"y\":\"z\"},\"tags\":[{\"k\":\"t\",\"v\":1.50},null],\"m\":{\"a\":[1,null]},\
         \"photo\":\"AQL/\",\"seen\":1706689800250}\n",
    );
    world.ok(&["load", "people", "--from", "two.jsonl"]);
    let table = format!("{}/bronze/people", world.lake());
    let columns = ["id", "age", "at", "tags", "m", "photo", "seen"];
    let expected = json!([
        {"id": "a", "age": 1, "at": {"x": 1, "y": null}, "tags": null, "m": null, "photo": null, "seen": null},
        {"id": "b", "age": null, "at": null, "tags": null, "m": null, "photo": null, "seen": null},
        {
            "id": "c", "age": null, "at": {"x": 2, "y": "z"}, "tags": [{"k": "t", "v": "1.50"}, null],
            "m": {"a": [1, null]}, "photo": "0102ff", "seen": "2024-01-31T08:30:00.250000+00:00",
        },
        {"id": null, "age": null, "at": null, "tags": null, "m": null, "photo": null, "seen": null},
    ]);
    for reader in ["deltalake", "duckdb"] {
        let read = world.python("lake.py", &[&["rows", &table, reader][..], &columns].concat(), "");
        assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), expected, "{reader}");
    }
}

fn columns(names: &[&str]) -> Schema {
    Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int32, true)).collect::<Vec<_>>())
}

fn declared(schema: &Schema) -> Declared<'_> {
    let place = &|_: Option<&str>| Place { file: "events.sql".to_owned(), line: 1, column: 1, text: None };
    Declared { schema, required: Vec::new(), file: "events.sql", place }
}

#[test]
fn a_table_follows_once_also_when_many_ask_at_once_and_the_store_fails() {
    let faults = [
        Fault::None,
        Fault::LostAnswer,
        Fault::NotDone,
        Fault::MetItself,
        Fault::FalselyTaken,
        Fault::Away(3),
        Fault::DoneThenAway(2),
    ];
    for fault in faults {
        runtime().block_on(async {
            let store = Faulty::new(Vec::new());
            let world = Arc::new(Inside::on(store.clone()));
            let table = world.table("bronze.events");
            change(&table, (&columns(&["a"]), &[]), &[], Vec::new(), Vec::new()).await;
            store.script(vec![fault, Fault::None, fault]);
            let asked = (0..3).map(|_| {
                let world = world.clone();
                tokio::spawn(async move { world.table("bronze.events").follow(&declared(&columns(&["a", "b"]))).await })
            });
            for answer in futures::future::join_all(asked).await {
                // What the store says while it is away is an error, and asking again is safe.
                assert!(
                    answer.unwrap().is_ok_and(|version| version.is_some())
                        || matches!(fault, Fault::Away(_) | Fault::DoneThenAway(_))
                );
            }
            store.settle().await;
            let version = table.follow(&declared(&columns(&["a", "b"]))).await.unwrap().unwrap();
            let head = table.head().await.unwrap().unwrap();
            assert_eq!((head.version, head.schema.fields().len()), (version, 2));
            assert_eq!(version, 1, "{fault:?}: the table changed once");
        });
    }
}

#[test]
fn a_commit_that_was_begun_before_the_columns_changed_does_not_happen() {
    runtime().block_on(async {
        let world = Inside::new();
        let table = world.table("bronze.events");
        let before = change(&table, (&columns(&["a"]), &[]), &[], Vec::new(), Vec::new()).await;
        let begun = Commit::new("WRITE");
        table.follow(&declared(&columns(&["a", "b"]))).await.unwrap();
        let outcome = commit(&table, Some(before), &begun, Duration::from_secs(5)).await.unwrap();
        assert!(matches!(outcome, Outcome::Conflict { version: 1, .. }), "{outcome:?}");
        // And who declares the older columns is told so.
        let error = table.follow(&declared(&columns(&["a"]))).await.unwrap_err();
        assert_eq!((error.kind(), error.place().is_some()), (Kind::Input, true), "{error}");
    });
}
