//! Whatever is wrong outside is told clearly, with the exit code that says whose turn it is, and loses nothing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::broker::Broker;
use crate::world::{World, project};

/// Nothing listens there: the port is reserved and nobody's.
const NOWHERE: &str = "127.0.0.1:1";

/// A world whose one topic is `events`, and a broker that has it.
fn events() -> (World, Broker) {
    let broker = Broker::with_topics(&["events"]);
    let world = World::new().with_brokers(&broker.address());
    world.write(
        "sql/bronze/events.sql",
        "CREATE TABLE events (id STRING, n INT) WITH (topic = 'events', format = 'json');\n",
    );
    (world, broker)
}

/// Waits for something to be so, generously.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come about within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn broken_records_land_as_rejected_and_a_missing_key_is_for_silver_to_reject() {
    let broker = Broker::with_topics(&["call_events"]);
    let world = World::new().with_brokers(&broker.address());
    let good = json!({
        "event_id": "good", "event_type": "CALL", "caller_msisdn": "+12065550100", "tower_id": "SEA-001",
        "call_start_timestamp": "2025-03-05T10:00:00Z", "duration_seconds": 60, "call_result_code": "0",
        "plan_type": "Basic", "roaming": false, "revenue_usd": 1.2,
    });
    let with = |field: &str, value: Value| {
        let mut record = good.clone();
        record[field] = value;
        record.to_string().into_bytes()
    };
    let mut keyless = good.clone();
    keyless.as_object_mut().unwrap().remove("event_id");
    let records: Vec<(Vec<u8>, Option<&str>)> = vec![
        (good.to_string().into_bytes(), None),
        (b"{\"event_id\": \"x\", ".to_vec(), Some("not_json")),
        (with("duration_seconds", json!("a while")), Some("wrong_type in duration_seconds")),
        (with("call_start_timestamp", json!("yesterday")), Some("bad_timestamp in call_start_timestamp")),
        (with("duration_seconds", json!(3_000_000_000_u64)), Some("out_of_range in duration_seconds")),
        (b"[1, 2]".to_vec(), Some("not_object")),
        (b"\xff\xfe".to_vec(), Some("not_utf8")),
        (b"  ".to_vec(), Some("empty")),
        (keyless.to_string().into_bytes(), None),
    ];
    broker.send("call_events", &records.iter().map(|(bytes, _)| bytes).collect::<Vec<_>>());
    world.ok(&["ingest", "--until-caught-up", "--topics", "call_events"]);

    let rows = world.sql(
        "select _offset, coalesce(split_part(_error, ':', 1), ''), coalesce(encode(_raw, 'hex'), '') \
         from bronze.call_events order by _offset",
    );
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let expected: Vec<[String; 3]> = records
        .iter()
        .enumerate()
        .map(|(offset, (bytes, reason))| {
            let raw = reason.map_or_else(String::new, |_| hex(bytes));
            [offset.to_string(), reason.unwrap_or("").to_owned(), raw]
        })
        .collect();
    assert_eq!(rows, expected);

    world.ok(&["build", "--select", "silver_calls", "silver_calls__rejected"]);
    assert_eq!(world.sql("select call_id from silver.silver_calls"), [["good"]]);
    let rejected = world.sql("select _offset, rejection_reason from silver.silver_calls__rejected");
    assert_eq!(rejected, [["8", "missing_call_id"]]);
    world.ok(&["verify"]);
}

#[test]
fn a_topic_that_the_broker_does_not_have_is_named() {
    let (world, broker) = events();
    world.write("sql/bronze/gone.sql", "CREATE TABLE gone (id STRING) WITH (topic = 'gone', format = 'json');\n");
    broker.send("events", &["{\"id\": \"a\"}"]);
    world.fails(&["ingest", "--until-caught-up"], 3, &["has no topic gone", "--topics"]);
    world.fails(&["ingest", "--topics", "evnts"], 2, &["no contract has the topic `evnts`", "did you mean `events`?"]);
    // What is there can be had all the same.
    world.ok(&["ingest", "--until-caught-up", "--topics", "events"]);
    assert_eq!(world.count("select count(*) from bronze.events"), 1);
}

#[test]
fn a_broker_that_does_not_answer_is_told_soon() {
    let (world, _broker) = events();
    let world = world.with_brokers(NOWHERE);
    let began = Instant::now();
    world.fails(&["ingest"], 3, &["the Kafka broker 127.0.0.1:1 does not answer", "check kafka.brokers"]);
    assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
    let said = world.run(&["validate"]);
    assert_eq!(said.code, 3, "{}", said.out);
    assert!(said.out.contains("WRONG  broker") && said.out.contains("ok     contracts"), "{}", said.out);
}

#[test]
fn a_bucket_that_does_not_answer_is_told_by_every_command() {
    let (world, broker) = events();
    broker.send("events", &["{\"id\": \"a\"}"]);
    world.write("sql/bronze/people.sql", "CREATE TABLE people (id STRING) WITH (source = 'files', format = 'csv');\n");
    world.write("people.csv", "id\na\n");
    let world = (world.on("s3://bucket/lake").with("AWS_ACCESS_KEY_ID", "key").with("AWS_SECRET_ACCESS_KEY", "secret"))
        .with("MEDALLION_LAKE__ENDPOINT", "http://127.0.0.1:1")
        .with("MEDALLION_LAKE__ALLOW_HTTP", "true");
    let commands: [&[&str]; 5] = [
        &["sql", "-c", "select 1"],
        &["build"],
        &["load", "people", "--from", "people.csv"],
        &["ingest", "--until-caught-up", "--topics", "events"],
        &["status"],
    ];
    // Together, as each waits for the same store.
    std::thread::scope(|scope| {
        for arguments in commands {
            let world = &world;
            scope.spawn(move || {
                let began = Instant::now();
                world.fails(arguments, 3, &["the store does not answer", "lake.endpoint"]);
                assert!(began.elapsed() < Duration::from_secs(60), "{arguments:?} took {:?}", began.elapsed());
            });
        }
    });
    let plain = world.with("MEDALLION_LAKE__ALLOW_HTTP", "false");
    plain.fails(&["status"], 2, &["is not encrypted", "lake.allow_http = true"]);
}

/// What stands in the line that the error shows with a caret, from the caret on.
fn at_caret(err: &str) -> String {
    let lines: Vec<&str> = err.lines().collect();
    let caret = lines.iter().position(|l| l.trim_end().ends_with("| ^") || l.trim_end().ends_with(" ^"));
    let caret = caret.unwrap_or_else(|| panic!("no caret in:\n{err}"));
    let column = lines[caret].chars().position(|c| c == '^').unwrap();
    lines[caret - 1].chars().skip(column).collect()
}

#[test]
fn a_mistake_in_a_contract_is_shown_where_it_stands() {
    let cases = [
        (
            "CREATE TABLE events (\n  id STRING,\n  n INTT\n) WITH (topic = 'events', format = 'json');\n",
            ":3:5",
            "INTT",
            "INT",
        ),
        ("CREATE TABLE events (\n  id STRING\n) WITH (topc = 'events', format = 'json');\n", ":3:9", "topc", "topic"),
        ("CREATE TABLE events (\n  id STRING\n) WITH (topic = 'events', format = 'jsn');\n", ":3:36", "'jsn'", "json"),
        (
            "CREATE TABLE events (\n  id STRING,\n  id INT\n) WITH (topic = 'events', format = 'json');\n",
            ":3:3",
            "id",
            "id",
        ),
        ("CREATE TABEL events (id STRING);\n", ":1:8", "TABEL", "CREATE"),
        ("CREATE TABLE evnts (id STRING) WITH (topic = 'events', format = 'json');\n", ":1:14", "evnts", "events"),
        (
            "CREATE TABLE events (id STRING) WITH (topic = 'events', format = 'json', timezone = 'Europe/Berln');\n",
            ":1:85",
            "'Europe/Berln'",
            "Europe/Berlin",
        ),
    ];
    for (text, place, wrong, near) in cases {
        let (world, _broker) = events();
        world.write("sql/bronze/events.sql", text);
        let place = format!("sql/bronze/events.sql{place}");
        let ended = world.fails(&["ingest", "--until-caught-up"], 2, &[&format!("--> {place}"), near]);
        assert!(at_caret(&ended.err).starts_with(wrong), "the caret is not at {wrong}:\n{}", ended.err);
        let validated = world.run(&["validate"]);
        assert_eq!(validated.code, 2, "{}", validated.out);
        assert!(validated.out.contains(&place), "{}", validated.out);
        assert!(!Path::new(world.lake()).join("bronze").exists(), "something was made all the same");
    }
}

#[test]
fn a_mistake_in_a_model_is_shown_where_it_stands_and_the_others_are_built() {
    let world = project(&[
        ("models/good.sql", "select 1 as amount"),
        ("models/wrong.sql", "select\n  amuont as x\nfrom {{ ref('good') }}\n"),
        ("models/on_wrong.sql", "select * from {{ ref('wrong') }}"),
    ]);
    let ended = world.fails(&["build"], 2, &["--> models/wrong.sql:2:3", "amuont", "amount"]);
    assert!(ended.err.contains("skip  gold.on_wrong"), "{}", ended.err);
    assert_eq!(world.count("select amount from gold.good"), 1);
    world.write("project/models/wrong.sql", "select\n  amount as x\nfrom {{ ref('good') }}\n");
    world.ok(&["build"]);
    assert_eq!(world.count("select x from gold.on_wrong"), 1);
}

#[test]
fn a_mistake_in_a_project_is_told_before_anything_is_built() {
    let cases = [
        (
            "models/wrong.sql",
            "select *\nfrom {{ ref('godo') }}",
            "models/wrong.sql:2",
            &["godo", "did you mean `good`?"][..],
        ),
        ("models/wrong.sql", "select 1\n{% if %}x{% endif %}", "models/wrong.sql:2", &[]),
        ("models/wrong.sql", "select {{ vra('x') }}", "models/wrong.sql:1", &["vra", "`var`"]),
        (
            "models/wrong.sql",
            "{{ config(materialised='table') }}\nselect 1",
            "models/wrong.sql:1",
            &["materialised", "materialized"],
        ),
        ("models/wrong.sql", "{{ config(materialized='tabel') }}\nselect 1", "models/wrong.sql:1", &["tabel", "table"]),
        ("models/wrong.sql", "select * from {{ source('bronse', 'x') }}", "models/wrong.sql:1", &["bronse"]),
        ("models/wrong.sql", "select * from {{ ref('wrong') }}", "", &["wrong"]),
        (
            "models/m.yml",
            "models:\n  - name: good\n    columns:\n      - name: amount\n        data_tests: [not_nul]\n",
            "models/m.yml",
            &["not_nul", "not_null"],
        ),
        ("models/m.yml", "models:\n  - name: good\n   bad: indent\n", "models/m.yml:3", &[]),
        (
            "dbt_project.yml",
            "name: tiny\nprofile: tiny\nmodel-pahts: [models]\n",
            "dbt_project.yml:3",
            &["model-paths"],
        ),
    ];
    for (file, text, place, words) in cases {
        let world = project(&[("models/good.sql", "select 1 as amount")]);
        world.write(&format!("project/{file}"), text);
        let words: Vec<&str> = words.iter().copied().chain([place]).collect();
        world.fails(&["build"], 2, &words);
        assert!(!Path::new(world.lake()).exists(), "something was built with:\n{text}");
    }
}

/// The one file that says who builds.
fn lease(world: &World) -> Option<PathBuf> {
    let folder = Path::new(world.lake()).join("_medallion/leases/build");
    let files = std::fs::read_dir(folder).ok()?.map(|f| f.unwrap().path());
    files.filter(|f| f.extension().is_some_and(|x| x == "json")).max()
}

#[test]
fn of_two_builds_at_once_the_second_says_who_builds_and_leaves() {
    let slow =
        "select count(*) as n from generate_series(1, 4000) a(x), generate_series(1, 4000) b(y) where (x * y) % 7 = 1";
    let world = project(&[("models/slow.sql", slow)]);
    let mut first = world.start(&["build"]);
    until("a build's lease", || lease(&world).is_some());
    let who = format!("another build is running on this lake: process {}", first.id());
    world.fails(&["build"], 3, &[&who, "wait for it to end"]);
    assert!(first.wait().unwrap().success());
    assert!(world.ok(&["build"]).out.starts_with("nothing changed"));
}

#[test]
fn a_build_that_was_killed_holds_its_lease_for_a_minute_and_no_longer() {
    let slow = "select count(*) as n from generate_series(1, 100000) a(x), generate_series(1, 10000) b(y)";
    let world = project(&[("models/slow.sql", slow), ("models/other.sql", "select 1 as n")]);
    let mut first = world.start(&["build", "--select", "slow"]);
    until("a build's lease", || lease(&world).is_some());
    first.kill().unwrap();
    first.wait().unwrap();
    world.fails(&["build", "--select", "other"], 3, &["another build", "If it is gone, its lease runs out at"]);

    let file = lease(&world).unwrap();
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let ends: chrono::DateTime<chrono::Utc> = state["until"].as_str().unwrap().parse().unwrap();
    assert!(ends <= chrono::Utc::now() + chrono::TimeDelta::seconds(60), "it ends at {ends}");
    // As it will be when that minute is over.
    state["until"] = json!(chrono::Utc::now() - chrono::TimeDelta::seconds(1));
    std::fs::write(&file, state.to_string()).unwrap();
    world.ok(&["build", "--select", "other"]);
    assert_eq!(world.count("select n from gold.other"), 1);
}

#[test]
fn what_something_else_wrote_is_left_alone() {
    let (world, broker) = events();
    broker.send("events", &["{\"id\": \"a\"}"]);
    let stray = Path::new(world.lake()).join("bronze/events/data.parquet");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(&stray, "not ours").unwrap();
    let words = ["the folder of bronze.events holds `data.parquet` but no Delta log", "another lake.url"];
    world.fails(&["ingest", "--until-caught-up"], 2, &words);
    assert_eq!(std::fs::read_to_string(&stray).unwrap(), "not ours");
    std::fs::remove_file(&stray).unwrap();
    world.ok(&["ingest", "--until-caught-up"]);

    // The same name, other columns.
    let log = Path::new(world.lake()).join("bronze/events/_delta_log");
    let before = std::fs::read_dir(&log).unwrap().count();
    world.write(
        "sql/bronze/events.sql",
        "CREATE TABLE events (id STRING, n BIGINT) WITH (topic = 'events', format = 'json');\n",
    );
    let words = ["bronze.events is not the one that", "`n` is Int32, not Int64", "another name"];
    world.fails(&["ingest", "--until-caught-up"], 2, &words);
    world.write(
        "sql/bronze/events.sql",
        "CREATE TABLE events (id STRING, m INT) WITH (topic = 'events', format = 'json');\n",
    );
    world.fails(&["ingest", "--until-caught-up"], 2, &["a column `n` besides", "another name"]);
    assert_eq!(std::fs::read_dir(&log).unwrap().count(), before);

    // A model's folder, too.
    let world = project(&[("models/good.sql", "select 1 as n")]);
    let stray = Path::new(world.lake()).join("gold/good/notes.txt");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(&stray, "not ours").unwrap();
    world.fails(&["build"], 2, &["the folder of gold.good holds `notes.txt` but no Delta log"]);
    assert_eq!(std::fs::read_to_string(&stray).unwrap(), "not ours");

    let file = world.write("a-file", "text").display().to_string();
    world.on(&file).fails(&["build"], 2, &["is a file, not a folder for a lake"]);
}

/// Runs a script in which `$lake` is a disk of its own, of 4 MB, and `$medallion` the binary.
fn on_a_small_disk(world: &World, script: &str) -> std::process::Output {
    let whole = format!("mount -t tmpfs -o size=4m none \"$lake\" && set +e\n{script}");
    std::fs::create_dir_all(world.lake()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "bash", "-euc", &whole]).current_dir(world.path("."));
    for (name, value) in world.command(&[]).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let medallion = format!("{} --lake {}", env!("CARGO_BIN_EXE_medallion"), world.lake());
    command.env("lake", world.lake()).env("medallion", medallion);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room() {
    let world =
        project(&[("models/n.sql", "select x, md5(cast(x as varchar)) as h from generate_series(1, 60000) t(x)")]);
    let broker = Broker::with_topics(&["call_events"]);
    let world = world.with_brokers(&broker.address()).with("MEDALLION_INGEST__COMMIT_TIMEOUT", "2s");
    let calls = "CREATE TABLE call_events (event_id STRING) WITH (topic = 'call_events', format = 'json');\n";
    world.write("sql/bronze/call_events.sql", calls);
    world.write("sql/bronze/people.sql", "CREATE TABLE people (id STRING) WITH (source = 'files', format = 'csv');\n");
    world.write("people.csv", "id\na\nb\n");
    let script = r#"
        count() { $medallion sql -q --format csv -c "select count(*) from $1" | tail -1; }
        generate() { $medallion generate -q --topic call_events --dirty 0 --duplicates 0 --events "$1" >&2; }
        ingest() { $medallion ingest --until-caught-up >&2; echo "ingest $?"; }
        generate 100; ingest
        dd if=/dev/zero of="$lake/filler" bs=1024 count=8192 2>/dev/null
        generate 400
        ingest 2>ingest.err
        $medallion load people --from people.csv 2>load.err; echo "load $?"
        $medallion build 2>build.err; echo "build $?"
        rm "$lake/filler"
        ingest
        $medallion load people --from people.csv >&2; echo "load $?"
        $medallion build >&2; echo "build $?"
        echo "people $(count bronze.people) n $(count gold.n) calls $(count bronze.call_events)"
        $medallion verify >&2; echo "verify $?"
    "#;
    let ended = on_a_small_disk(&world, script);
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let lines: Vec<&str> = out.lines().collect();
    let expected = [
        "ingest 0",
        "ingest 3",
        "load 3",
        "build 3",
        "ingest 0",
        "load 0",
        "build 0",
        "people 2 n 60000 calls 500",
        "verify 0",
    ];
    assert_eq!(lines, expected, "{err}");
    for file in ["load.err", "build.err", "ingest.err"] {
        let said = std::fs::read_to_string(world.path(file)).unwrap();
        assert!(said.contains("the disk is full; nothing was lost"), "{file}: {said}");
    }
}

#[test]
fn what_was_typed_wrong_is_named_with_what_was_meant() {
    let world = project(&[("models/good.sql", "select 1 as n")]);
    let fails = |arguments: &[&str], words: &[&str]| world.fails(arguments, 2, words);
    fails(&["biuld"], &["biuld", "build"]);
    fails(&["build", "--ful-refresh"], &["--ful-refresh", "--full-refresh"]);
    fails(&["build", "--layer", "glod"], &["`glod`", "did you mean `gold`?"]);
    fails(&["build", "--layer", "platinum"], &["`platinum`", "gold"]);
    fails(&["build", "--select", "godo"], &["godo", "good"]);
    fails(&["build", "--select", "tga:nightly"], &["tga", "tag"]);
    fails(&["build", "--vars", "{a: "], &["--vars: `{a: ` is not YAML"]);
    fails(&["build", "--project-dir", "nowhere"], &["nowhere"]);
    fails(&["sql", "--format", "jsno", "-c", "select 1"], &["`jsno` is no format", "did you mean `json`?"]);
    fails(&["generate", "--topic", "call_event", "--to", "x"], &["`call_event`", "did you mean `call_events`?"]);
    fails(&["generate", "--dirty", "2", "--to", "x"], &["`dirty` is 2", "between 0.0 and 1.0"]);
    fails(&["status", "--config", "nowhere.toml"], &["cannot read the configuration nowhere.toml"]);
    assert!(!Path::new(world.lake()).exists());

    world.write("medallion.toml", "[kafka]\nbrokers = \"x:1\"\n  gruop = \"a\"\n");
    let ended = fails(&["status"], &["unknown key `kafka.gruop`", "medallion.toml:3:3", "did you mean `kafka.group`?"]);
    assert!(at_caret(&ended.err).starts_with("gruop"), "{}", ended.err);
    world.write("medallion.toml", "[kafka\n");
    fails(&["status"], &["is not valid TOML", "medallion.toml:1:7"]);
    world.write("medallion.toml", "[ingest]\nflush_bytes = \"lots\"\n");
    fails(&["status"], &["`lots` is not a size"]);
    std::fs::remove_file(world.path("medallion.toml")).unwrap();
    let world = world.with("MEDALLION_KAFKA__BROKRES", "x:1");
    world.fails(&["status"], 2, &["MEDALLION_KAFKA__BROKRES", "did you mean `kafka.brokers`?"]);
    world.on("ftp://host/lake").without("MEDALLION_KAFKA__BROKRES").fails(&["status"], 2, &["unknown scheme", "s3://"]);
}

#[test]
fn without_a_privacy_key_a_model_that_needs_one_says_how_to_make_it() {
    let world = project(&[
        ("models/people.sql", "select hmac_sha256(phone) as phone_hash from (values ('+12065550100')) as p(phone)"),
        ("models/other.sql", "select 1 as n"),
    ]);
    let without = world.without("MEDALLION_PII_KEY");
    let words = ["MEDALLION_PII_KEY", "privacy.key_file", "openssl rand -hex 32"];
    without.fails(&["build"], 2, &words);
    assert_eq!(without.count("select n from gold.other"), 1);
    let short = without.with("MEDALLION_PII_KEY", "short");
    short.fails(&["build"], 2, &["fewer than 32 bytes", "openssl rand -hex 32"]);
    let mut key = std::fs::File::create(short.path("pii.key")).unwrap();
    writeln!(key, "{}", "k".repeat(32)).unwrap();
    let file = short.path("pii.key").display().to_string();
    let keyed = short.without("MEDALLION_PII_KEY").with("MEDALLION_PRIVACY__KEY_FILE", &file);
    keyed.ok(&["build"]);
    assert_eq!(keyed.count("select count(*) from gold.people where length(phone_hash) > 20"), 1);
}
