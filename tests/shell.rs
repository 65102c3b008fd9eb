//! `medallion sql`: answers that other programs can read, time travel that works or is refused, and a conversation.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rexpect::session::{Options, PtySession, spawn_with_options};
use serde_json::{Value, json};

use crate::world::World;

/// A world whose lake has `gold.numbers` in versions 0 (n = 1) and 1 (n = 1, 2), and a view; and a time between both.
fn numbers() -> (World, DateTime<Utc>) {
    let world = World::new();
    world.write(
        "project/dbt_project.yml",
        "name: tiny\nversion: '1.0'\nprofile: tiny\nvars: {last: 1}\nmodels: {tiny: {+schema: gold, +materialized: table}}\n",
    );
    let names = "{% macro generate_schema_name(custom, node) %}{{ custom or 'gold' }}{% endmacro %}";
    world.write("project/macros/names.sql", names);
    world.write(
        "project/models/numbers.sql",
        "select n, 'number ' || n as name from generate_series(1, {{ var('last') }}) as t(n)",
    );
    world.write("project/models/shown.sql", "{{ config(materialized='view') }} select n from {{ ref('numbers') }}");
    let folder = world.path("project").display().to_string();
    let world = world.with("MEDALLION_BUILD__PROJECT", &folder);
    world.ok(&["build", "-q"]);
    let between = Utc::now();
    world.ok(&["build", "-q", "--vars", "{last: 2}"]);
    (world, between)
}

const VALUES: &str = "select * from (values \
    (1, 'plain', cast(1.50 as decimal(12, 2)), true, timestamp '2025-03-01 12:00:00.5', date '2025-03-01'), \
    (2, 'a \"quoted\", one\nof two\tlines', cast(-0.01 as decimal(12, 2)), false, null, null), \
    (3, 'Алматы', null, null, null, null)) as t(n, text, money, flag, at, day) order by n";
const TEXTS: [&str; 3] = ["plain", "a \"quoted\", one\nof two\tlines", "Алматы"];

#[test]
fn csv_and_tsv_can_be_read_back() {
    let world = World::new();
    for (format, delimiter) in [("csv", b','), ("tsv", b'\t')] {
        let out = world.ok(&["sql", "--format", format, "-c", VALUES]).out;
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(out.as_bytes());
        let names: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(names, ["n", "text", "money", "flag", "at", "day"], "{format}");
        let rows: Vec<Vec<String>> = reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect();
        assert_eq!(rows.iter().map(|r| r[1].as_str()).collect::<Vec<_>>(), TEXTS, "{format}");
        assert_eq!((rows[0][2].as_str(), rows[0][3].as_str(), rows[0][5].as_str()), ("1.50", "true", "2025-03-01"));
        assert!(rows[0][4].starts_with("2025-03-01T12:00:00.5"), "{}", rows[0][4]);
        assert_eq!(rows[2][2..], ["", "", "", ""], "{format}");
    }
}

#[test]
fn json_and_ndjson_can_be_read_back() {
    let world = World::new();
    let array: Value = serde_json::from_str(&world.ok(&["sql", "--format", "json", "-c", VALUES]).out).unwrap();
    let lines = world.ok(&["sql", "--format", "ndjson", "-c", VALUES]).out;
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(array, Value::from(lines.clone()));
    assert_eq!(lines.iter().map(|r| r["text"].as_str().unwrap()).collect::<Vec<_>>(), TEXTS);
    assert_eq!((&lines[0]["n"], &lines[0]["flag"], &lines[2]["money"]), (&json!(1), &json!(true), &Value::Null));
    // No rows are an empty array, not nothing.
    let none = world.ok(&["sql", "--format", "json", "-c", "select 1 as n where false"]).out;
    assert_eq!(serde_json::from_str::<Value>(&none).unwrap(), json!([]));
}

#[test]
fn parquet_can_be_read_back_with_its_types() {
    let world = World::new();
    let output = world.command(&["sql", "--format", "parquet", "-c", VALUES]).output().unwrap();
    assert!(output.status.success());
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(output.stdout)).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    assert_eq!(batch.schema().field(2).data_type(), &arrow::datatypes::DataType::Decimal128(12, 2));
    assert_eq!(batch.column(3).as_boolean().null_count(), 1);
    let empty = world.command(&["sql", "--format", "parquet", "-c", "select 1 as n where false"]).output().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(empty.stdout)).unwrap();
    assert_eq!(reader.schema().field(0).name(), "n");
}

#[test]
fn statements_come_from_arguments_a_file_or_standard_input_in_their_order() {
    let world = World::new();
    let file = world.write("q.sql", "-- two of them\nselect 1 as a;\nselect 2 as b;\n").display().to_string();
    let out = |arguments: &[&str]| world.ok(&[&["sql", "-q", "--format", "csv"][..], arguments].concat()).out;
    assert_eq!(out(&["-f", &file]), "a\n1\nb\n2\n");
    assert_eq!(out(&["-c", "select 1 as a; select 2 as b", "-c", "select 3 as c"]), "a\n1\nb\n2\nc\n3\n");
    for arguments in [&["sql", "--format", "csv"][..], &["sql", "--format", "csv", "-f", "-"]] {
        let mut command = world.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"select 4 as d;\nselect 5 as e").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "d\n4\ne\n5\n");
    }
    world.fails(&["sql", "-f", "nowhere.sql"], 2, &["cannot read nowhere.sql"]);
    world.fails(&["sql", "-f", &file, "-c", "select 1"], 2, &["cannot be used with"]);
    world.fails(&["sql", "-c", "  -- nothing\n"], 2, &["there is no SQL in it"]);
    // What stands before a mistake has been answered; a mistake in the grammar is found before anything runs.
    let ended = world.fails(&["sql", "--format", "csv", "-c", "select 1 as a; select x"], 2, &["x"]);
    assert_eq!(ended.out, "a\n1\n");
    assert_eq!(world.fails(&["sql", "--format", "csv", "-c", "select 1 as a; selec x"], 2, &[]).out, "");
}

#[test]
fn an_error_points_at_the_text_and_knows_the_nearest_name() {
    let (world, _) = numbers();
    let file = world.write("q.sql", "select\n  name,\n  nmae\nfrom gold.numbers;\n").display().to_string();
    let fails = |arguments: &[&str], words: &[&str]| world.fails(&[&["sql"], arguments].concat(), 2, words);
    fails(&["-f", &file], &[&format!("--> {file}:3:3"), "3 |   nmae\n   |   ^", "name"]);
    fails(&["-c", "select * from gold.numbesr"], &["no table gold.numbesr", "did you mean gold.numbers?"]);
    fails(&["-c", "select * from numbesr"], &["did you mean gold.numbers?"]);
    fails(&["-c", "select 1 +\n  ) as x"], &["--> -c:2:3", "2 |   ) as x\n   |   ^"]);
    fails(&["-c", "select 1", "-c", "select 'open"], &["--> -c 2:1:8"]);
    fails(&["-c", "select cuont(*) from gold.numbers"], &["`cuont`", "--> -c:1:8", "did you mean `count`?"]);
    fails(&["-c", "select cast('x' as int)"], &["x"]);
    // An empty lake says what to do first.
    World::new().fails(&["sql", "-c", "select * from gold.numbers"], 2, &["the lake is empty", "medallion demo"]);
}

#[test]
fn time_travel_by_version_and_by_time_reads_what_was_there() {
    let (world, between) = numbers();
    let count = |from: &str| world.count(&format!("select count(*) from {from}"));
    assert_eq!(count("gold.numbers"), 2);
    for old in ["gold.numbers version as of 0", "gold.numbers for version as of 0", "numbers VERSION AS OF 0 as n"] {
        assert_eq!(count(old), 1, "{old}");
    }
    assert_eq!(count("gold.numbers version as of 1"), 2);
    let at = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    assert_eq!(count(&format!("gold.numbers timestamp as of '{}'", at(between))), 1);
    assert_eq!(count(&format!("gold.numbers for system_time as of '{}'", at(between))), 1);
    let local = between.with_timezone(&chrono::FixedOffset::east_opt(5 * 3600).unwrap());
    assert_eq!(count(&format!("gold.numbers timestamp as of '{}'", local.to_rfc3339())), 1);
    assert_eq!(count(&format!("gold.numbers for timestamp as of '{}'", at(Utc::now() + TimeDelta::days(1)))), 2);
    // Two versions in one query, as to see what came.
    let came = "select new.n from gold.numbers new left anti join gold.numbers version as of 0 old on new.n = old.n";
    assert_eq!(world.sql(came), [["2"]]);
    // A release is read as a whole, its views too; time travel goes beyond it.
    let release = |query: &str| world.ok(&["sql", "-q", "--release", "1", "--format", "csv", "-c", query]).out;
    assert_eq!(release("select count(*) as c from gold.shown"), "c\n1\n");
    assert_eq!(release("select count(*) as c from gold.numbers"), "c\n1\n");
    assert_eq!(release("select count(*) as c from gold.numbers version as of 1"), "c\n2\n");
}

#[test]
fn time_travel_that_cannot_work_is_refused_and_never_ignored() {
    let (world, between) = numbers();
    let refused = |from: &str, words: &[&str]| world.fails(&["sql", "-c", &format!("select * from {from}")], 2, words);
    refused("gold.numbers version as of 9", &["gold.numbers has no version 9"]);
    refused("gold.numbers version as of -1", &[]);
    refused("gold.numbers version as of 'one'", &["takes a whole number", "--> -c:1:28"]);
    refused("gold.numbers timestamp as of 'soon'", &["`soon` is not a time", "2026-01-31 12:00:00"]);
    let early = (between - TimeDelta::days(365)).format("%F %T").to_string();
    refused(&format!("gold.numbers timestamp as of '{early}'"), &["nothing as old as", "its oldest version is 0"]);
    refused("gold.shown version as of 0", &["no versions to travel to"]);
    refused("(select 1) version as of 0", &["must follow the name of a table"]);
    refused("gold.numbers for timestamp as of now()", &["takes a time in quotes"]);
    refused("gold.numbers tablesample (50 percent)", &["TABLESAMPLE is not supported"]);
    refused("nowhere version as of 0", &["there is no table gold.nowhere"]);
    // As other engines spell it.
    for other in ["gold.numbers before (timestamp => now())", "gold.numbers at (version => 0)"] {
        refused(other, &[]);
    }
}

/// All files below a folder, with their sizes.
fn files(folder: &Path) -> BTreeSet<(String, u64)> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    entries.map(|e| (e.path().display().to_string(), e.metadata().unwrap().len())).collect()
}

#[test]
fn whatever_would_write_is_refused() {
    let (world, _) = numbers();
    let before = files(&world.path("."));
    for statement in [
        "insert into gold.numbers values (3, 'three')",
        "update gold.numbers set n = 0",
        "delete from gold.numbers",
        "truncate table gold.numbers",
        "create table gold.more as select 1 as n",
        "create view gold.more as select 1 as n",
        "create external table more stored as csv location 'more.csv'",
        "create schema more",
        "drop table gold.numbers",
        "drop schema gold cascade",
        "copy gold.numbers to 'out.csv'",
        "copy (select 1) to 'out.parquet' stored as parquet",
        "explain analyze insert into gold.numbers values (3, 'three')",
        "explain analyze copy gold.numbers to 'out.csv'",
        "set datafusion.execution.batch_size = 1",
        "prepare p as select 1",
        "begin",
    ] {
        world.fails(&["sql", "-c", statement], 2, &["error: "]);
    }
    for statement in ["insert into gold.numbers values (3, 'three')", "create schema more", "set a.b = 1"] {
        world.fails(&["sql", "-c", statement], 2, &["this session only reads", "ask with SELECT"]);
    }
    assert_eq!(files(&world.path(".")), before);
    // What only asks is answered.
    for statement in ["explain select * from gold.numbers", "describe gold.numbers", "show tables"] {
        world.ok(&["sql", "-c", statement]);
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_query_quietly() {
    let world = World::new();
    let endless = "select n from generate_series(1, 1000000000000) as t(n)";
    let mut command = world.command(&["sql", "-q", "--format", "csv", "-c", endless]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "n");
    assert_eq!(lines.next().unwrap().unwrap(), "1");
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!said.contains("panicked") && ended.status.code() == Some(0), "{:?}: {said}", ended.status);
}

/// The shell on a terminal of its own.
fn converse(world: &World) -> PtySession {
    let mut command = world.command(&["sql"]);
    command.env("TERM", "xterm").env("XDG_STATE_HOME", world.path("state"));
    let options = Options { timeout_ms: Some(60_000), strip_ansi_escape_codes: true };
    let mut shell = spawn_with_options(command, options).unwrap();
    shell.exp_string("medallion> ").unwrap();
    shell
}

/// Sends keys without the one that ends a line.
fn press(shell: &mut PtySession, keys: &str) {
    shell.send(keys).unwrap();
    shell.flush().unwrap();
}

/// The processor time that the shell has used, in hundredths of a second.
fn worked(shell: &PtySession) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", shell.process.child_pid)).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Leaves, and waits for the end.
fn leave(mut shell: PtySession) {
    shell.send_line("\\q").unwrap();
    shell.exp_eof().unwrap();
    let status = shell.process.wait().unwrap();
    assert!(matches!(status, rexpect::process::wait::WaitStatus::Exited(_, 0)), "{status:?}");
}

#[test]
fn a_conversation_takes_queries_over_several_lines_and_backslash_commands() {
    let (world, _) = numbers();
    let mut shell = converse(&world);
    shell.send_line("select 40 +").unwrap();
    shell.send_line("  2 as answer").unwrap();
    shell.send_line(";").unwrap();
    shell.exp_string("| answer |").unwrap();
    shell.exp_string("| 42 ").unwrap();
    shell.exp_string("1 rows in ").unwrap();
    shell.exp_string("medallion> ").unwrap();

    shell.send_line("\\dt").unwrap();
    shell.exp_string("gold.numbers").unwrap();
    shell.exp_string("gold.shown").unwrap();
    shell.exp_string("medallion> ").unwrap();
    shell.send_line("\\d gold.numbers").unwrap();
    shell.exp_string("| n ").unwrap();
    shell.exp_string("Int64").unwrap();
    shell.exp_string("| name ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    shell.send_line("\\nonsense").unwrap();
    shell.exp_string("there is no command \\nonsense").unwrap();
    shell.exp_string("medallion> ").unwrap();
    // A mistake does not end the conversation.
    shell.send_line("select nmae from gold.numbers;").unwrap();
    shell.exp_string("error: ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    // What is built meanwhile is seen by the next statement.
    world.ok(&["build", "-q", "--vars", "{last: 77}"]);
    shell.send_line("select count(*) as c from gold.numbers;").unwrap();
    shell.exp_string("| 77 ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    leave(shell);
}

#[test]
fn the_tab_key_completes_the_name_of_a_table() {
    let (world, _) = numbers();
    let mut shell = converse(&world);
    press(&mut shell, "select max(n) + 100 as top from gold.numb\t");
    shell.exp_string("gold.numbers").unwrap();
    shell.send_line(";").unwrap();
    shell.exp_string("| 102 ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    leave(shell);
}

#[test]
fn history_is_kept_from_one_conversation_to_the_next() {
    let world = World::new();
    let mut shell = converse(&world);
    shell.send_line("select 6 * 7 as kept;").unwrap();
    shell.exp_string("| 42 ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    leave(shell);
    assert!(world.path("state/medallion/history").is_file());

    let mut shell = converse(&world);
    press(&mut shell, "\x1b[A");
    shell.exp_string("\\q").unwrap();
    press(&mut shell, "\x1b[A");
    shell.exp_string("select 6 * 7 as kept;").unwrap();
    shell.send_line("").unwrap();
    shell.exp_string("| 42 ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    leave(shell);
}

#[test]
fn control_c_gives_up_a_line_or_a_query_and_not_the_conversation() {
    let world = World::new();
    let mut shell = converse(&world);
    press(&mut shell, "select 1 as never_asked");
    shell.exp_string("never_asked").unwrap();
    shell.send_control('c').unwrap();
    shell.exp_string("medallion> ").unwrap();
    // The second one makes a trillion rows of two million: it would seldom look up from its work by itself.
    for from in
        ["generate_series(1, 100000000000)", "generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y)"]
    {
        shell.send_line(&format!("select count(*) from {from};")).unwrap();
        // Until the query is at work, the key would be read as one of the line.
        let (before, deadline) = (worked(&shell), Instant::now() + Duration::from_secs(60));
        while worked(&shell) < before + 50 {
            assert!(Instant::now() < deadline, "the query does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        shell.send_control('c').unwrap();
        shell.exp_string("cancelled").unwrap();
        shell.exp_string("medallion> ").unwrap();
    }
    shell.send_line("select 6 * 7 as still_here;").unwrap();
    shell.exp_string("| 42 ").unwrap();
    shell.exp_string("medallion> ").unwrap();
    leave(shell);
}
