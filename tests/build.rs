//! `medallion build`: what changed is rebuilt and nothing else, what failed is published to nobody.

mod failures;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use serde_json::{Value, json};

use crate::world::World;
use crate::world::broker::Broker;
use crate::world::real::wait_until;

const TOPICS: &str = "call_events,network_probe_events";
const GOLD: [&str; 5] = ["dim_date", "dim_towers", "dim_customers", "fact_calls", "agg_tower_hourly_utilization"];
const SILVER: [&str; 8] = [
    "towers",
    "silver_calls",
    "silver_calls__rejected",
    "silver_network_probes",
    "silver_network_probes__rejected",
    "silver_customers",
    "silver_customer_history",
    "silver_customer_history__rejected",
];

/// A carrier's lake with its broker, built once.
struct Telecom {
    world: World,
    broker: Broker,
}

/// What every carrier's lake here begins as. Filling and building it takes longer than most tests that start from it.
struct Beginning {
    world: World,
    /// The records that the lake was filled from, by topic, in the order of their offsets.
    records: BTreeMap<&'static str, Vec<String>>,
}

impl Beginning {
    /// The one that a test is using now, or a new one.
    fn shared() -> Arc<Beginning> {
        static SHARED: Mutex<Weak<Beginning>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Beginning::new());
            *shared = Arc::downgrade(&new);
            new
        })
    }

    fn new() -> Beginning {
        let world = World::new();
        let stream = ["--days", "2", "--customers", "60", "--seed", "7"];
        let mut records = BTreeMap::new();
        for (topic, events) in [("call_events", "600"), ("network_probe_events", "300")] {
            world.ok(&[&["generate", "--to", "events", "--topic", topic, "--events", events][..], &stream].concat());
            let lines = std::fs::read_dir(world.path("events")).unwrap().map(|f| f.unwrap().path());
            let file = lines.filter(|f| f.file_stem().unwrap() == topic).map(std::fs::read_to_string).next();
            records.insert(topic, file.unwrap().unwrap().lines().map(str::to_owned).collect());
        }
        world.ok(&[&["generate", "--events", "0", "--to", "none", "--crm", "crm", "--crm-batches", "2"][..], &stream]
            .concat());
        let beginning = Beginning { world, records };
        let broker = beginning.broker();
        let world = &beginning.world;
        let mut ingest = world.command(&["ingest", "-q", "--until-caught-up", "--topics", TOPICS]);
        let ingested = ingest.env("MEDALLION_KAFKA__BROKERS", broker.address()).output().unwrap();
        assert!(ingested.status.success(), "{ingested:?}");
        world.ok(&["load", "crm_customers", "--from", "crm/customers-001.csv"]);
        world.ok(&["build", "-q"]);
        beginning
    }

    /// A broker that holds these records at the offsets that the lake knows them by.
    fn broker(&self) -> Broker {
        let broker = Broker::with_topics(&self.records.keys().copied().collect::<Vec<_>>());
        self.records.iter().for_each(|(topic, records)| broker.send(topic, records));
        broker
    }
}

impl Telecom {
    fn new() -> Telecom {
        let beginning = Beginning::shared();
        let broker = beginning.broker();
        let world = World::new().with_brokers(&broker.address());
        copy(Path::new(beginning.world.lake()), Path::new(world.lake()));
        copy(&beginning.world.path("crm"), &world.path("crm"));
        forget_topic_ids(&world);
        Telecom { world, broker }
    }

    /// Lets these calls arrive in Bronze.
    fn arrive(&self, calls: &[Value]) {
        self.broker.send("call_events", &calls.iter().map(Value::to_string).collect::<Vec<_>>());
        self.world.ok(&["ingest", "-q", "--until-caught-up", "--topics", TOPICS]);
    }

    /// A call of a customer that the lake knows, from this tower at this time.
    fn call(&self, id: &str, tower: &str, start: &str, revenue: f64) -> Value {
        let customer = &self.world.sql("select min(customer_id) from silver.silver_customers")[0][0];
        json!({
            "event_id": id, "event_type": "CALL", "caller_msisdn": "+12065550100", "called_msisdn": "+12065550101",
            "caller_customer_id": customer, "tower_id": tower, "tower_city": "Seattle", "tower_state": "WA",
            "tower_lat": 47.6, "tower_lon": -122.3, "call_start_timestamp": start, "call_end_timestamp": null,
            "duration_seconds": 60, "call_result_code": "0", "call_result_desc": "SUCCESS", "plan_type": "Basic",
            "roaming": false, "revenue_usd": revenue, "ingested_at": start,
        })
    }

    /// A tower and a past hour in which it had calls: the middle one of all.
    fn past_hour(&self) -> (String, String) {
        let hours = self.world.sql(
            "select tower_id, to_char(hour, '%Y-%m-%dT%H') from gold.agg_tower_hourly_utilization \
             where call_count > 0 order by hour, tower_id",
        );
        let middle = &hours[hours.len() / 2];
        (middle[0].clone(), middle[1].clone())
    }
}

/// Makes the lake one whose broker told no ids of its topics: it goes on with a broker that has other topics of these
/// names, with the same records at the same offsets.
fn forget_topic_ids(world: &World) {
    for topic in TOPICS.split(',') {
        for entry in std::fs::read_dir(world.path(&format!("lake/bronze/{topic}/_delta_log"))).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let kept: Vec<&str> = text.lines().filter(|line| !line.contains("medallion:topic_id:")).collect();
            std::fs::write(&path, kept.join("\n")).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// All files of the lake but for who holds a lease, which says nothing of any table.
fn files(lake: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![lake.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() != "leases" => folders.push(entry.path()),
                true => {}
                false => drop(found.insert(entry.path().display().to_string())),
            }
        }
    }
    found
}

/// The newest version of a table, as its log has it.
fn version(world: &World, table: &str) -> u64 {
    let log = Path::new(world.lake()).join(table.replace('.', "/")).join("_delta_log");
    let entries = std::fs::read_dir(log).unwrap().map(|e| e.unwrap().path());
    let numbers = entries.filter(|e| e.extension().is_some_and(|x| x == "json"));
    numbers.map(|e| e.file_stem().unwrap().to_str().unwrap().parse().unwrap()).max().unwrap()
}

fn versions(world: &World, schema: &str, tables: &[&str]) -> BTreeMap<String, u64> {
    tables.iter().map(|t| format!("{schema}.{t}")).map(|t| (t.clone(), version(world, &t))).collect()
}

type Row = BTreeMap<String, String>;

/// The rows of `table`, which may be followed by a clause, in an order of their own.
fn rows(world: &World, table: &str) -> Vec<Row> {
    let ended = world.ok(&["sql", "-q", "--format", "csv", "-c", &format!("select * from {table}")]);
    let mut reader = csv::Reader::from_reader(ended.out.as_bytes());
    let names = reader.headers().unwrap().clone();
    let row = |r: csv::StringRecord| names.iter().zip(r.iter()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut rows: Vec<Row> = reader.records().map(|r| row(r.unwrap())).collect();
    rows.sort();
    rows
}

/// The same rows without the columns that tell where a row came from and when.
fn content(rows: &[Row]) -> Vec<Row> {
    let mut plain: Vec<Row> = rows.to_vec();
    plain.iter_mut().for_each(|row| row.retain(|name, _| !name.starts_with('_')));
    plain.sort();
    plain
}

/// What is in one list and not in the other, as multisets of sorted rows.
fn difference(before: &[Row], after: &[Row]) -> (Vec<Row>, Vec<Row>) {
    let mut left = before.to_vec();
    let mut came = Vec::new();
    for row in after {
        match left.iter().position(|l| l == row) {
            Some(at) => drop(left.remove(at)),
            None => came.push(row.clone()),
        }
    }
    (left, came)
}

/// What became of each node, by its unique id.
fn results(project: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(project.join("target/run_results.json")).unwrap();
    let artifact: Value = serde_json::from_str(&text).unwrap();
    let results = artifact["results"].as_array().unwrap().clone();
    results.into_iter().map(|r| (r["unique_id"].as_str().unwrap().to_owned(), r)).collect()
}

/// The word at the head of the line that says what became of a table.
fn said(err: &str, table: &str) -> String {
    let line = err.lines().find(|l| l.split_whitespace().nth(1) == Some(table));
    line.unwrap_or_else(|| panic!("{table} is not in:\n{err}")).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_second_build_changes_nothing_and_says_so() {
    let Telecom { world, .. } = Telecom::new();
    let before = files(Path::new(world.lake()));
    let built = world.ok(&["build", "--layer", "gold"]);
    assert!(built.out.starts_with("nothing changed"), "{}", built.out);
    assert!(built.out.contains("release 1 stands"), "{}", built.out);
    assert_eq!(files(Path::new(world.lake())), before);
}

#[test]
fn late_calls_for_a_past_hour_rewrite_that_hours_rows_and_no_other() {
    let telecom = Telecom::new();
    let world = &telecom.world;
    let (tower, hour) = telecom.past_hour();
    let agg = "gold.agg_tower_hourly_utilization";
    let old = version(world, agg);
    let calls = ["late-1", "late-2"].map(|id| telecom.call(id, &tower, &format!("{hour}:12:34Z"), 1.5));
    telecom.arrive(&calls);
    world.ok(&["build", "--layer", "gold"]);

    assert_eq!(version(world, agg), old + 1);
    let before = rows(world, &format!("{agg} version as of {old}"));
    let after = rows(world, &format!("{agg} version as of {}", old + 1));
    // With the columns of lineage: a row that was only written again would show.
    let (left, came) = difference(&before, &after);
    let key = |rows: &[Row]| rows.iter().map(|r| (r["tower_id"].clone(), r["hour"].clone())).collect::<Vec<_>>();
    assert_eq!(key(&left), [(tower.clone(), format!("{hour}:00:00Z"))]);
    assert_eq!(key(&came), key(&left));
    let number = |row: &Row, name: &str| row[name].parse::<f64>().unwrap();
    assert_eq!(number(&came[0], "call_count"), number(&left[0], "call_count") + 2.0);
    assert_eq!(number(&came[0], "call_revenue_usd"), number(&left[0], "call_revenue_usd") + 3.0);

    let fact = "gold.fact_calls";
    let now = version(world, fact);
    let old_fact = rows(world, &format!("{fact} version as of {}", now - 1));
    let (left, came) = difference(&old_fact, &rows(world, fact));
    assert_eq!(left, Vec::<Row>::new());
    assert_eq!(came.iter().map(|r| r["call_id"].as_str()).collect::<Vec<_>>(), ["late-1", "late-2"]);
}

#[test]
fn a_lake_built_in_increments_equals_one_that_is_rebuilt_in_full() {
    let telecom = Telecom::new();
    let world = &telecom.world;
    let (tower, hour) = telecom.past_hour();
    let call = |id, tower, revenue| telecom.call(id, tower, &format!("{hour}:59:59Z"), revenue);
    // A new call, the same again, one put right, one that Silver rejects, one of a tower that nobody knows.
    let mut wrong = call("wrong", &tower, 1.0);
    wrong["duration_seconds"] = json!(-1);
    telecom.arrive(&[call("new", &tower, 1.0), call("new", &tower, 1.0), wrong]);
    world.ok(&["build", "-q"]);
    telecom.arrive(&[call("new", &tower, 9.0), call("far", "XXX-999", 1.0)]);
    world.ok(&["load", "crm_customers", "--from", "crm/customers-002.csv"]);
    world.ok(&["build", "-q"]);

    let tables: Vec<String> =
        (SILVER.iter().map(|t| format!("silver.{t}"))).chain(GOLD.iter().map(|t| format!("gold.{t}"))).collect();
    let increments: Vec<Vec<Row>> = tables.iter().map(|t| content(&rows(world, t))).collect();
    world.ok(&["build", "-q", "--full-refresh"]);
    for (table, increments) in tables.iter().zip(increments) {
        let full = content(&rows(world, table));
        let (left, came) = difference(&increments, &full);
        assert!(left.is_empty() && came.is_empty(), "{table}: only in increments {left:?}, only in full {came:?}");
    }
    assert_eq!(world.count("select count(*) from gold.fact_calls where call_id = 'new' and revenue_usd = 9"), 1);
    assert_eq!(world.count("select count(*) from silver.silver_calls__rejected where call_id = 'wrong'"), 1);
}

#[test]
fn a_failed_test_publishes_nothing_of_its_model_and_the_next_build_mends_it() {
    let telecom = Telecom::new();
    let world = &telecom.world;
    let (tower, hour) = telecom.past_hour();
    let start = format!("{hour}:30:00Z");
    let released = |table: &str| content(&rows(world, table));
    let seen: Vec<Vec<Row>> = GOLD.iter().map(|t| released(&format!("gold.{t}"))).collect();
    let customers = "silver.silver_customers";
    let seen_customers = released(customers);
    let (silver, gold) = (versions(world, "silver", &SILVER), versions(world, "gold", &GOLD));

    let candidates = Path::new(world.lake()).join("silver/silver_calls");
    let held = files(&candidates);

    // A call that cannot be, and new versions of customers that are good.
    telecom.arrive(&[telecom.call("planted", &tower, &start, -5.0)]);
    world.ok(&["load", "crm_customers", "--from", "crm/customers-002.csv"]);
    let failed = world.fails(&["build"], 1, &["failed: not_negative_silver_calls_revenue_usd", "-5.0000"]);

    // What failed and what depends on it stand as they were; nothing of the candidate is left behind.
    assert_eq!(said(&failed.err, "silver.silver_calls"), "FAIL");
    for skipped in ["gold.fact_calls", "gold.agg_tower_hourly_utilization"] {
        assert_eq!(said(&failed.err, skipped), "skip", "{skipped}");
        assert_eq!(version(world, skipped), gold[skipped], "{skipped}");
    }
    assert_eq!(version(world, "silver.silver_calls"), silver["silver.silver_calls"]);
    assert_eq!(files(&candidates), held, "a candidate is left behind");
    // The rest of the graph is built.
    assert_eq!(version(world, "silver.silver_customers"), silver["silver.silver_customers"] + 1);
    assert_eq!(said(&failed.err, "silver.silver_customers"), "ok");

    // Readers see what belongs together: the old facts and dimensions, and the customers that these were made from.
    assert!(failed.out.contains("held back for readers until mended: "), "{}", failed.out);
    assert!(released(customers) == seen_customers, "readers see other customers");
    let newest = format!("{customers} version as of {}", version(world, customers));
    assert!(released(&newest) != seen_customers, "the extract changes no customer");
    for (table, seen) in GOLD.iter().zip(&seen) {
        assert!(released(&format!("gold.{table}")) == *seen, "readers see another gold.{table}");
    }
    let pointing = "select count(*) from gold.fact_calls f left join gold.dim_customers c using (customer_key) \
                    where c.customer_key is null";
    assert_eq!(world.count(pointing), 0);

    // A second build fails in the same way.
    world.fails(&["build", "-q"], 1, &["silver_calls"]);

    telecom.arrive(&[telecom.call("planted", &tower, &start, 5.0)]);
    world.ok(&["build", "-q"]);
    assert_eq!(world.count("select count(*) from gold.fact_calls where call_id = 'planted' and revenue_usd = 5"), 1);
    assert!(version(world, "gold.dim_customers") > gold["gold.dim_customers"]);
    assert!(released(customers) != seen_customers, "the new customers are still held back");
    assert!(released("gold.dim_customers") != seen[2], "the new versions of customers are still held back");
    assert_eq!(world.count(pointing), 0);

    // The first release can still be read, as a whole.
    for (table, seen) in GOLD.iter().zip(&seen) {
        let query = format!("select count(*) from gold.{table}");
        let old = world.ok(&["sql", "-q", "--release", "1", "--format", "csv", "-c", &query]);
        assert_eq!(old.out.lines().nth(1), Some(seen.len().to_string().as_str()), "gold.{table}");
    }
    // What joined the lake later is not in it.
    world.write("later/dbt_project.yml", "name: later\nmodels: {later: {+schema: gold}}\n");
    world.write("later/macros/n.sql", "{% macro generate_schema_name(custom, node) %}gold{% endmacro %}");
    world.write("later/models/newer.sql", "{{ config(materialized='table') }} select 1 as n");
    world.ok(&["build", "--project-dir", "later"]);
    assert_eq!(world.count("select count(*) from gold.newer"), 1);
    world.fails(&["sql", "--release", "1", "-c", "select * from gold.newer"], 2, &["gold.newer"]);
    world.fails(&["sql", "--release", "99", "-c", "select 1"], 2, &["there is no release 99", "releases 1 to"]);
}

/// A world with a dbt project of its own and an empty lake.
fn project(files: &[(&str, &str)]) -> World {
    let world = World::new();
    let config = "name: tiny\nversion: '1.0'\nconfig-version: 2\nprofile: tiny\nvars: {limit: 10}\n\
                  models: {tiny: {+schema: gold, +materialized: table}}\nseeds: {tiny: {+schema: gold}}\n";
    let schema = "{% macro generate_schema_name(custom, node) %}{{ custom or 'gold' }}{% endmacro %}";
    world.write("project/dbt_project.yml", config);
    world.write("project/macros/generate_schema_name.sql", schema);
    for (name, text) in files {
        world.write(&format!("project/{name}"), text);
    }
    let folder = world.path("project").display().to_string();
    world.with("MEDALLION_BUILD__PROJECT", &folder)
}

#[test]
fn views_and_ephemeral_models_are_read_through() {
    let world = project(&[
        ("seeds/numbers.csv", "n\n1\n2\n3\n"),
        ("models/odd.sql", "{{ config(materialized='view') }}\nselect n from {{ ref('numbers') }} where n % 2 = 1"),
        ("models/doubled.sql", "{{ config(materialized='ephemeral') }}\nselect n * 2 as n from {{ ref('odd') }}"),
        ("models/total.sql", "select sum(n) as total from {{ ref('doubled') }}"),
        ("models/on_top.sql", "{{ config(materialized='view') }}\nselect max(n) as n from {{ ref('odd') }}"),
    ]);
    world.ok(&["build"]);
    assert_eq!(world.count("select total from gold.total"), 8);
    assert_eq!(world.count("select n from gold.on_top"), 3);
    assert!(!Path::new(world.lake()).join("gold/odd").exists(), "a view has a table");
    world.fails(&["sql", "-c", "select * from gold.doubled"], 2, &["there is no table gold.doubled"]);

    // What stands on a view is as fresh as the tables below it.
    assert!(world.ok(&["build"]).out.starts_with("nothing changed"));
    world.write("project/seeds/numbers.csv", "n\n1\n2\n3\n5\n");
    world.ok(&["build"]);
    assert_eq!(world.count("select total from gold.total"), 18);
    assert_eq!(world.count("select n from gold.on_top"), 5);
}

#[test]
fn a_seeds_columns_have_the_types_that_are_declared_or_else_inferred() {
    let world = project(&[
        (
            "seeds/things.csv",
            "zip,price,n,share,day,flag,word,at\n01234,1.50,7,0.5,2025-03-09,true,a,2025-03-09T01:02:03Z\n,,,,,,,\n",
        ),
        (
            "seeds/things.yml",
            "version: 2\nseeds:\n  - name: things\n    config:\n      column_types: {zip: varchar, price: 'decimal(12, 2)', at: timestamp}\n",
        ),
    ]);
    world.ok(&["build"]);
    let types = world.sql("select column_name, data_type from information_schema.columns where table_name = 'things'");
    let types: BTreeMap<&str, &str> = types.iter().map(|r| (r[0].as_str(), r[1].as_str())).collect();
    assert_eq!(types["price"], "Decimal128(12, 2)");
    assert_eq!((types["n"], types["share"], types["day"], types["flag"]), ("Int64", "Float64", "Date32", "Boolean"));
    assert!(types["at"].starts_with("Timestamp"), "{}", types["at"]);
    assert_eq!(world.sql("select zip, price, word from gold.things where n = 7")[0], ["01234", "1.50", "a"]);
    // An empty field is NULL in every type.
    assert_eq!(world.count("select count(*) from gold.things where coalesce(zip, word) is null and day is null"), 1);

    world.write(
        "project/seeds/things.yml",
        "version: 2\nseeds:\n  - name: things\n    config:\n      column_types: {n: money}\n",
    );
    world.fails(&["build"], 2, &["`money` is no type for `n`"]);
    assert_eq!(world.count("select count(*) from gold.things"), 2);
}

#[test]
fn a_warning_is_told_and_published_and_a_failure_is_not() {
    let world = project(&[
        ("models/good.sql", "select 1 as n"),
        ("models/doubtful.sql", "select -1 as n"),
        ("models/bad.sql", "select -2 as n"),
        ("models/on_bad.sql", "select * from {{ ref('bad') }}"),
        (
            "tests/generic/at_least.sql",
            "{% test at_least(model, column_name, least) %}select * from {{ model }} where {{ column_name }} < {{ least }}{% endtest %}",
        ),
        ("tests/good_is_one.sql", "select * from {{ ref('good') }} where n <> 1"),
        ("tests/bad_is_odd.sql", "select * from {{ ref('bad') }} where n % 2 = 0"),
        (
            "models/models.yml",
            "version: 2\nmodels:\n  - name: good\n    columns: [{name: n, data_tests: [unique, not_null]}]\n  \
             - name: doubtful\n    columns:\n      - name: n\n        data_tests:\n          - at_least: {arguments: {least: 0}, config: {severity: warn}}\n",
        ),
    ]);
    let failed = world.fails(&["build"], 1, &["failed:", "bad_is_odd"]);
    assert_eq!(said(&failed.err, "gold.good"), "ok");
    assert_eq!(said(&failed.err, "gold.doubtful"), "ok");
    assert_eq!(said(&failed.err, "gold.bad"), "FAIL");
    assert_eq!(said(&failed.err, "gold.on_bad"), "skip");
    assert!(failed.err.contains("warn  at_least_doubtful_n"), "{}", failed.err);
    assert!(failed.out.contains("2 built") && failed.out.contains("1 warnings"), "{}", failed.out);
    assert_eq!(world.count("select n from gold.doubtful"), -1);
    world.fails(&["sql", "-c", "select * from gold.bad"], 2, &["there is no table gold.bad"]);

    // --fail-fast leaves the rest alone; a selection leaves the bad model alone.
    world.ok(&["build", "--select", "good", "doubtful"]);
    world.write("project/models/bad.sql", "select -3 as n");
    world.ok(&["build"]);
    assert_eq!(world.count("select n from gold.on_bad"), -3);
}

#[test]
fn run_results_have_the_shape_that_tools_of_dbt_read() {
    let world = project(&[
        ("seeds/numbers.csv", "n\n1\n2\n"),
        ("models/good.sql", "select n from {{ ref('numbers') }}"),
        ("models/bad.sql", "select n from {{ ref('numbers') }}"),
        ("models/skipped.sql", "select n from {{ ref('bad') }}"),
        ("tests/bad_is_empty.sql", "select * from {{ ref('bad') }}"),
        ("tests/good_is_small.sql", "select * from {{ ref('good') }} where n > 2"),
    ]);
    world.fails(&["build"], 1, &[]);
    let text = std::fs::read_to_string(world.path("project/target/run_results.json")).unwrap();
    let artifact: Value = serde_json::from_str(&text).unwrap();
    let metadata = &artifact["metadata"];
    assert_eq!(metadata["dbt_schema_version"], "https://schemas.getdbt.com/dbt/run-results/v6.json");
    for key in ["dbt_version", "generated_at", "invocation_id"] {
        assert!(metadata[key].is_string(), "metadata.{key} in {metadata}");
    }
    assert!(metadata["env"].is_object() && artifact["elapsed_time"].is_number() && artifact["args"].is_object());
    let results = results(&world.path("project"));
    let required = [
        "status",
        "timing",
        "thread_id",
        "execution_time",
        "adapter_response",
        "message",
        "failures",
        "unique_id",
        "compiled",
        "compiled_code",
        "relation_name",
    ];
    for (id, result) in &results {
        let missing: Vec<_> = required.iter().filter(|k| result.get(**k).is_none()).collect();
        assert!(missing.is_empty(), "{id} lacks {missing:?}");
        let timing = result["timing"].as_array().unwrap();
        for step in timing {
            assert!(step["name"].is_string(), "{id}: {step}");
        }
    }
    let status = |id: &str| results[id]["status"].as_str().unwrap().to_owned();
    assert_eq!(status("seed.tiny.numbers"), "success");
    assert_eq!(status("model.tiny.good"), "success");
    assert_eq!(status("model.tiny.bad"), "error");
    assert_eq!(status("model.tiny.skipped"), "skipped");
    assert_eq!(status("test.tiny.good_is_small"), "pass");
    assert_eq!(status("test.tiny.bad_is_empty"), "fail");
    assert_eq!(results["test.tiny.bad_is_empty"]["failures"], 2);
    assert_eq!(results["model.tiny.good"]["adapter_response"]["rows_affected"], 2);
    assert!(results["model.tiny.good"]["compiled_code"].as_str().unwrap().contains("numbers"));
}

#[test]
fn a_changed_macro_or_variable_rebuilds_exactly_the_models_that_use_it() {
    let world = project(&[
        ("macros/one.sql", "{% macro one() %}1{% endmacro %}"),
        ("macros/two.sql", "{% macro two() %}{{ one() }} + 1{% endmacro %}"),
        ("models/with_one.sql", "select {{ one() }} as n"),
        ("models/with_two.sql", "select {{ two() }} as n"),
        ("models/with_limit.sql", "select {{ var('limit') }} as n"),
        ("models/plain.sql", "select 5 as n"),
    ]);
    let names = ["with_one", "with_two", "with_limit", "plain"];
    let moved = |before: &BTreeMap<String, u64>| -> Vec<String> {
        let now = versions(&world, "gold", &names);
        now.into_iter().filter(|(t, v)| before[t] != *v).map(|(t, _)| t).collect()
    };
    world.ok(&["build"]);
    let before = versions(&world, "gold", &names);
    world.ok(&["build", "--vars", "{limit: 20}"]);
    assert_eq!(moved(&before), ["gold.with_limit"]);
    assert_eq!(world.count("select n from gold.with_limit"), 20);

    let before = versions(&world, "gold", &names);
    world.write("project/macros/two.sql", "{% macro two() %}{{ one() }} + 2{% endmacro %}");
    world.ok(&["build", "--vars", "{limit: 20}"]);
    assert_eq!(moved(&before), ["gold.with_two"]);
    assert_eq!(world.count("select n from gold.with_two"), 3);

    let before = versions(&world, "gold", &names);
    world.write("project/macros/one.sql", "{% macro one() %}10{% endmacro %}");
    world.ok(&["build", "--vars", "{limit: 20}"]);
    assert_eq!(moved(&before), ["gold.with_one", "gold.with_two"]);
    assert_eq!(world.count("select n from gold.with_two"), 12);
}

#[test]
fn a_build_that_is_told_to_stop_publishes_what_it_had_ended_and_leaves_no_lease_behind() {
    let telecom = Telecom::new();
    let facts = || telecom.world.sql("select * from gold.fact_calls order by call_id");
    let before = facts();
    // Should the signal come after the last model, the next attempt has it earlier.
    for _ in 0..5 {
        let mut build = telecom.world.daemon(&["build", "--full-refresh"]);
        wait_until("a model is published", || build.said().contains("silver."));
        build.signal("-TERM");
        let ended = build.ended();
        assert_eq!(ended.code, 0, "{}", ended.err);
        if ended.err.contains("the build was told to stop") {
            assert_eq!(facts(), before);
            let next = telecom.world.ok(&["build"]);
            assert!(!next.err.contains("skip"), "{}", next.err);
            assert_eq!(facts(), before);
            return;
        }
    }
    panic!("no build was stopped half-way");
}
