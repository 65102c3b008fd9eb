//! `medallion load`: every row of every file, each content once, whatever happens on the way.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::world::World;

const PEOPLE: &str = "CREATE TABLE people (
    id STRING, name STRING, age INT, fee DECIMAL(12, 2), changed_at TIMESTAMP
) WITH (source = 'files', format = 'csv', timezone = 'UTC', key = 'id', watermark = 'changed_at');\n";

/// A world whose one contract is that of people from a CRM.
fn people() -> World {
    let world = World::new();
    world.write("sql/bronze/people.sql", PEOPLE);
    world
}

fn load(world: &World, from: &str) -> String {
    world.ok(&["load", "people", "--from", from]).out
}

/// The number of the newest version, and what it set as marks.
fn newest(world: &World) -> (usize, Vec<Value>) {
    let log = Path::new(world.lake()).join("bronze/people/_delta_log");
    let mut entries: Vec<_> = std::fs::read_dir(log).unwrap().map(|e| e.unwrap().path()).collect();
    entries.retain(|e| e.extension().is_some_and(|x| x == "json"));
    entries.sort();
    let text = std::fs::read_to_string(entries.last().unwrap()).unwrap();
    let actions = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    (entries.len() - 1, actions.filter_map(|a| a.get("txn").cloned()).collect())
}

fn watermark(world: &World) -> i64 {
    let (_, marks) = newest(world);
    let mark = marks.iter().find(|m| m["appId"] == "medallion:watermark");
    mark.unwrap_or_else(|| panic!("no watermark in {marks:?}"))["version"].as_i64().unwrap()
}

#[test]
fn a_file_and_a_folder_of_csv_and_json_lines_land_row_by_row() {
    let world = people();
    world.write("one.csv", "name,id,age,fee,changed_at\n\"A, the first\",a,1,1.50,2025-03-01T00:00:00Z\n");
    world.write("all/two.csv", "id,age\nb,2\nc,\n");
    world.write("all/deep/three.ndjson", "{\"id\":\"d\",\"age\":4,\"fee\":2}\n\n{\"id\":\"e\"}\n");
    world.write("all/deep/README.md", "id\nnot a row\n");
    assert_eq!(
        load(&world, "one.csv"),
        "bronze.people: 1 rows, 0 rejected, from 1 files; newest 2025-03-01 00:00:00 UTC\n"
    );
    assert_eq!(load(&world, "all"), "bronze.people: 4 rows, 0 rejected, from 2 files\n");
    let rows = world.sql("select id, name, age, fee, _file, _row, _load, _deleted from bronze.people order by id");
    assert_eq!(
        rows,
        [
            ["a", "A, the first", "1", "1.50", "one.csv", "1", "1", "false"],
            ["b", "", "2", "", "two.csv", "1", "2", "false"],
            ["c", "", "", "", "two.csv", "2", "2", "false"],
            ["d", "", "4", "2.00", "three.ndjson", "1", "2", "false"],
            ["e", "", "", "", "three.ndjson", "2", "2", "false"],
        ]
    );
    assert_eq!(newest(&world).0, 1, "a load is one commit");
}

#[test]
fn the_same_content_lands_once_under_any_name() {
    let world = people();
    world.write("one.csv", "id,age\na,1\nb,2\n");
    load(&world, "one.csv");
    let (version, _) = newest(&world);
    assert!(load(&world, "one.csv").contains("0 rows, 0 rejected, from 0 files; 1 files had landed before"));
    world.write("copies/again.csv", "id,age\na,1\nb,2\n");
    world.write("copies/twice.csv", "id,age\na,1\nb,2\n");
    load(&world, "copies");
    assert_eq!(newest(&world).0, version, "a load of nothing new makes no version");
    // A file of a folder may be new where its neighbours are not, and may be there twice.
    world.write("copies/new.csv", "id,age\na,1\nb,2\nc,3\n");
    world.write("copies/new-too.csv", "id,age\na,1\nb,2\nc,3\n");
    assert!(load(&world, "copies").contains("3 rows, 0 rejected, from 1 files; 3 files had landed before"));
    assert_eq!(world.count("select count(*) from bronze.people"), 5);
}

#[test]
fn a_bad_row_lands_as_rejected_with_its_reason_and_its_text() {
    let world = people();
    world.write("p.csv", "id,age,changed_at\na,1,2025-03-01T00:00:00Z\nb,many,2025-03-01T00:00:00Z\nc,3\nd,99999999999,2025-03-01T00:00:00Z\ne,5,soon\n\"f,x\",6,2025-03-01T00:00:00Z\n");
    world.write(
        "p.jsonl",
        "{\"id\":\"g\",\"age\":7}\n{\"id\":\"h\",\"age\":\n[1]\n{\"id\":\"i\",\"age\":true}\n{\"id\":\"j\"} x\n",
    );
    assert!(load(&world, "p.csv").contains("2 rows, 4 rejected"));
    assert!(load(&world, "p.jsonl").contains("1 rows, 4 rejected"));
    let rejected = world.sql(
        "select _file, _row, split_part(_error, ':', 1), cast(_raw as varchar) from bronze.people \
         where _error is not null order by _file, _row",
    );
    assert_eq!(
        rejected,
        [
            ["p.csv", "2", "wrong_type in age", "b,many,2025-03-01T00:00:00Z"],
            ["p.csv", "3", "wrong_field_count", "c,3"],
            ["p.csv", "4", "out_of_range in age", "d,99999999999,2025-03-01T00:00:00Z"],
            ["p.csv", "5", "bad_timestamp in changed_at", "e,5,soon"],
            ["p.jsonl", "2", "not_json", "{\"id\":\"h\",\"age\":"],
            ["p.jsonl", "3", "not_object", "[1]"],
            ["p.jsonl", "4", "wrong_type in age", "{\"id\":\"i\",\"age\":true}"],
            ["p.jsonl", "5", "more_than_one_value", "{\"id\":\"j\"} x"],
        ]
    );
    let good = world.sql("select id, age from bronze.people where _error is null order by id");
    assert_eq!(good, [["a", "1"], ["f,x", "6"], ["g", "7"]]);
    // A rejected row has nothing in the contract's columns, a good one nothing in _raw.
    let mixed = "select count(*) from bronze.people where (_error is null) = (id is null) or (_error is null) = (_raw is not null)";
    assert_eq!(world.count(mixed), 0);
}

#[test]
fn fields_that_the_contract_does_not_name_are_kept_as_extra() {
    let world = people();
    world.write("p.csv", "id,shoe size,age\na,42,1\nb,,2\n");
    world.write("p.ndjson", "{\"id\":\"c\",\"pets\":[\"cat\",{\"n\":1.50}],\"age\":3}\n{\"id\":\"d\"}\n");
    load(&world, "p.csv");
    load(&world, "p.ndjson");
    let extra = world.sql("select id, coalesce(_extra, '(null)') from bronze.people order by id");
    let json = |row: &[String]| serde_json::from_str::<Value>(&row[1]).unwrap();
    assert_eq!(json(&extra[0])["shoe size"], "42");
    assert_eq!(json(&extra[2]), serde_json::json!({"pets": ["cat", {"n": 1.50}]}));
    assert_eq!(extra[3][1], "(null)");
}

#[test]
fn the_watermark_is_in_the_commit_of_the_rows_and_never_goes_back() {
    let world = people();
    let micros = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
    world.write("1.csv", "id,changed_at\na,2025-03-02T10:00:00Z\nb,2025-03-01T00:00:00Z\nc,\n");
    load(&world, "1.csv");
    assert_eq!(watermark(&world), micros("2025-03-02T10:00:00Z"));
    // A rejected row says nothing of how far the source has been read.
    world.write("2.csv", "id,age,changed_at\nd,1,2025-02-01T00:00:00Z\ne,many,2025-06-01T00:00:00Z\n");
    load(&world, "2.csv");
    assert_eq!(watermark(&world), micros("2025-03-02T10:00:00Z"));
    world.write("3.csv", "id,changed_at\nf,2025-03-02 12:00:00.000001\n");
    load(&world, "3.csv");
    assert_eq!(watermark(&world), micros("2025-03-02T12:00:00.000001Z"));
}

/// Whose last row does not say that they have gone.
fn who_is_there(world: &World) -> Vec<Vec<String>> {
    world.sql(
        "select id from (select id, _deleted from bronze.people where _error is null \
         qualify row_number() over (partition by id order by _load desc, _row desc) = 1) as last \
         where not _deleted order by id",
    )
}

#[test]
fn a_full_extract_marks_what_has_gone_and_what_has_gone_may_come_back() {
    let world = people();
    let full = |name: &str, text: &str| {
        let file = world.write(name, text).display().to_string();
        world.ok(&["load", "people", "--full", "--from", &file]).out
    };
    let state = || who_is_there(&world);
    full("1.csv", "id,age,changed_at\na,1,2025-03-01T00:00:00Z\nb,2,2025-03-01T00:00:00Z\nc,3,2025-03-01T00:00:00Z\n");
    assert!(full("2.csv", "id,age,changed_at\na,1,2025-03-02T00:00:00Z\n").contains("2 keys have gone"));
    let marker = "select id, age, changed_at is not null, _file, _load from bronze.people where _deleted order by id";
    assert_eq!(
        world.sql(marker),
        [
            ["b", "", "true", "absent from the full extract", "2"],
            ["c", "", "true", "absent from the full extract", "2"]
        ]
    );
    assert_eq!(state(), [["a"]]);
    // What has gone already does not go again.
    assert!(!full("3.csv", "id,age,changed_at\na,2,2025-03-03T00:00:00Z\n").contains("gone"));
    assert!(!full("4.csv", "id,age,changed_at\na,2,2025-03-04T00:00:00Z\nb,4,2025-03-04T00:00:00Z\n").contains("gone"));
    assert_eq!(state(), [["a"], ["b"]]);
    assert!(full("5.csv", "id,age,changed_at\na,2,2025-03-05T00:00:00Z\n").contains("1 keys have gone"));
    assert_eq!(state(), [["a"]]);
    // A part of the rows is not a full extract.
    world.write("6.csv", "id,age,changed_at\nd,1,2025-03-06T00:00:00Z\n");
    load(&world, "6.csv");
    assert_eq!(state(), [["a"], ["d"]]);
}

#[test]
fn a_full_extract_that_returns_brings_back_what_had_gone_and_reads_files_that_did_not_change() {
    let world = people();
    let full = |name: &str| {
        let folder = world.path(name).display().to_string();
        world.ok(&["load", "people", "--full", "--from", &folder]).out
    };
    let state = || who_is_there(&world);
    world.write("first/a.csv", "id,age,changed_at\na,1,2025-03-01T00:00:00Z\n");
    world.write("first/b.csv", "id,age,changed_at\nb,2,2025-03-01T00:00:00Z\n");
    // The file of a is the same: what it has is there, and only b has gone.
    world.write("second/a.csv", "id,age,changed_at\na,1,2025-03-01T00:00:00Z\n");
    world.write("second/c.csv", "id,age,changed_at\nc,3,2025-03-02T00:00:00Z\n");
    full("first");
    assert!(full("second").contains("1 keys have gone"));
    assert_eq!(state(), [["a"], ["c"]]);
    assert!(full("first").contains("1 keys have gone"), "the first extract says again that there is no c");
    assert_eq!(state(), [["a"], ["b"]]);
    let rows = world.count("select count(*) from bronze.people");
    assert!(full("first").contains("had landed before"));
    assert_eq!(world.count("select count(*) from bronze.people"), rows);
}

#[test]
fn a_load_that_is_killed_lands_nothing_and_the_next_one_lands_every_row_once() {
    let world = people();
    let rows = 40_000;
    for file in 0..2 {
        let mut text = "id,name,age,changed_at\n".to_owned();
        (0..rows).for_each(|i| {
            text += &format!("{file}-{i},a name that takes some room {i},{},2025-03-01T00:00:00Z\n", i % 90)
        });
        world.write(&format!("big/{file}.csv"), &text);
    }
    let table = Path::new(world.lake()).join("bronze/people");
    let mut killed = 0;
    for wait in [0, 40, 160, 320, 640] {
        let mut child = world.start(&["load", "people", "--from", "big"]);
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let landed = match table.join("_delta_log").exists() {
            true => world.count("select count(*) from bronze.people"),
            false => 0,
        };
        assert!(landed == 0 || landed == 2 * rows, "{landed} rows of a killed load have landed");
    }
    assert!(killed > 0, "every load ended before it was killed");
    load(&world, "big");
    assert_eq!(world.count("select count(*) from bronze.people"), 2 * rows);
    assert_eq!(world.count("select count(distinct id) from bronze.people"), 2 * rows);
    world.ok(&["verify"]);
}

#[test]
fn of_two_loads_at_once_each_lands_whole_or_says_that_it_did_not() {
    let world = people();
    world.write("0.csv", "id\nseed\n");
    load(&world, "0.csv");
    let rows = 20_000;
    for name in ["left", "right"] {
        let mut text = "id\n".to_owned();
        (0..rows).for_each(|i| text += &format!("{name}-{i}\n"));
        world.write(&format!("{name}.csv"), &text);
    }
    let start = |name: &str| {
        let file = format!("{name}.csv");
        let mut command = world.command(&["load", "people", "--from", &file]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Two of them bring the same.
    let children = [("left", start("left")), ("right", start("right")), ("left", start("left"))];
    let mut done = 0;
    for (name, child) in children {
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        match ended.status.code() {
            Some(0) => {
                done += 1;
                assert_eq!(world.count(&format!("select count(*) from bronze.people where id like '{name}-%'")), rows);
            }
            Some(3) => assert!(said.contains("another load of people ran at the same time"), "{said}"),
            other => panic!("{name} ended with {other:?}: {said}"),
        }
    }
    assert!(done > 0, "none has landed");
    ["left", "right"].iter().for_each(|name| drop(load(&world, &format!("{name}.csv"))));
    assert_eq!(world.count("select count(*) from bronze.people"), 2 * rows + 1);
    assert_eq!(world.count("select count(distinct id) from bronze.people"), 2 * rows + 1);
}

#[test]
fn what_cannot_be_loaded_is_told_by_name_and_lands_nothing() {
    let world = people();
    world.write("sql/bronze/calls.sql", "CREATE TABLE calls (id STRING) WITH (topic = 'calls', format = 'json');\n");
    world
        .write("sql/bronze/keyless.sql", "CREATE TABLE keyless (id STRING) WITH (source = 'files', format = 'csv');\n");
    world.write("empty/README.md", "nothing");
    world.write("other.csv", "color,size\nred,1\n");
    world.write("twice.csv", "id,age,id\na,1,b\n");
    world.write("p.csv", "id\na\n");
    let fails = |arguments: &[&str], words: &[&str]| world.fails(arguments, 2, words);
    fails(&["load", "peopel", "--from", "p.csv"], &["no contract `peopel`", "did you mean `people`?"]);
    fails(&["load", "calls", "--from", "p.csv"], &["comes from a Kafka topic", "medallion ingest --topics calls"]);
    fails(&["load", "people"], &["has no location", "--from"]);
    fails(&["load", "people", "--from", "nowhere.csv"], &["no file or folder nowhere.csv"]);
    fails(&["load", "people", "--from", "empty"], &["has no CSV or JSON-lines file", ".ndjson"]);
    fails(&["load", "people", "--from", "other.csv"], &["names no column of the contract", "--> other.csv:1:1"]);
    fails(&["load", "people", "--from", "twice.csv"], &["names the column `id` twice"]);
    fails(&["load", "keyless", "--full", "--from", "p.csv"], &["what tells rows apart", "key ="]);
    // One bad file among good ones: nothing of the load lands, and the good ones can still be loaded.
    world.write("mixed/a.csv", "id\na\n");
    world.write("mixed/b.csv", "color\nred\n");
    fails(&["load", "people", "--from", "mixed"], &["mixed/b.csv:1:1"]);
    world.write("mixed/b.csv", "id\nb\n");
    assert!(load(&world, "mixed").contains("2 rows, 0 rejected, from 2 files"));
    assert_eq!(world.count("select count(*) from bronze.people"), 2);
}
