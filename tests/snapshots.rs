//! Snapshots: what they keep of rows that change, each build with another seed for its input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use medallion::lake::log::Add;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::world::inside::{self, Inside, NULL, cases, change, removal, runtime, write};
use crate::world::{World, project};

/// A snapshot `history` of the seed `orders`, with this configuration.
fn snapshot(config: &str) -> World {
    let text = format!(
        "{{% snapshot history %}}\n{{{{ config({config}) }}}}\nselect * from {{{{ ref('orders') }}}}\n{{% endsnapshot %}}\n"
    );
    project(&[("snapshots/orders.sql", &text)])
}

/// Builds with this seed, and gives what the history holds in these columns, in their order.
fn build(world: &World, seed: &str, columns: &str) -> Vec<String> {
    world.write("project/seeds/orders.csv", seed);
    world.ok(&["build", "-q"]);
    rows(world, columns)
}

fn rows(world: &World, columns: &str) -> Vec<String> {
    let query = format!("select {columns} from gold.history order by id nulls last, dbt_valid_from, dbt_valid_to");
    world.sql(&query).iter().map(|row| row.join(",")).collect()
}

/// The version of the table.
fn version(world: &World) -> usize {
    let log = std::fs::read_dir(world.path("lake/gold/history/_delta_log")).unwrap();
    log.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
}

const INTERVAL: &str = "id, n, cast(dbt_valid_from as date) as since, cast(dbt_valid_to as date) as until";
const BY_TIME: &str = "strategy='timestamp', unique_key='id', updated_at='at'";
const BY_VALUE: &str = "strategy='check', unique_key='id', check_cols=['n']";

#[test]
fn a_newer_row_ends_the_version_before_it_and_a_build_without_change_commits_nothing() {
    let world = snapshot(BY_TIME);
    let first = "id,n,at\na,1,2024-01-01\nb,1,2024-01-01\n,1,2024-01-01\n";
    assert_eq!(build(&world, first, INTERVAL), ["a,1,2024-01-01,", "b,1,2024-01-01,", ",1,2024-01-01,"]);
    let before = version(&world);
    world.ok(&["build", "-q"]);
    world.ok(&["snapshot", "-q"]);
    assert_eq!(version(&world), before);
    let second = "id,n,at\na,2,2024-02-01\nb,1,2024-01-01\n,2,2024-03-01\n";
    let kept = [
        "a,1,2024-01-01,2024-02-01",
        "a,2,2024-02-01,",
        "b,1,2024-01-01,",
        ",1,2024-01-01,2024-03-01",
        ",2,2024-03-01,",
    ];
    assert_eq!(build(&world, second, INTERVAL), kept);
    assert_eq!(world.count("select count(distinct dbt_scd_id) from gold.history"), 5);
    world.ok(&["build", "-q", "--full-refresh"]);
    assert_eq!(rows(&world, INTERVAL), kept, "no flag takes history away");
    let compiled = world.ok(&["ls", "--resource-type", "snapshot"]).out;
    assert_eq!(compiled.trim(), "tiny.orders.history");
}

#[test]
fn several_versions_in_one_run_are_all_kept_and_a_late_one_finds_its_place() {
    let world = snapshot(BY_TIME);
    let several = "id,n,at\na,1,2024-01-01\na,3,2024-03-01\na,2,2024-02-01\n";
    let kept = ["a,1,2024-01-01,2024-02-01", "a,2,2024-02-01,2024-03-01", "a,3,2024-03-01,"];
    assert_eq!(build(&world, several, INTERVAL), kept);
    let late = "id,n,at\na,9,2024-02-10\na,0,2023-12-01\n";
    let kept = [
        "a,0,2023-12-01,2024-01-01",
        "a,1,2024-01-01,2024-02-01",
        "a,2,2024-02-01,2024-02-10",
        "a,9,2024-02-10,2024-03-01",
        "a,3,2024-03-01,",
    ];
    assert_eq!(build(&world, late, INTERVAL), kept);
}

#[test]
fn rows_that_would_be_one_version_are_refused_with_their_key() {
    let world = snapshot(BY_TIME);
    world.write("project/seeds/orders.csv", "id,n,at\na,1,2024-01-01\nb,1,2024-01-01\nb,2,2024-01-01\n");
    world.fails(&["build"], 1, &["snapshots/orders.sql", "the same time in `at`", "| b  | 2024-01-01 | 2    |"]);
    world.write("project/seeds/orders.csv", "id,n,at\na,1,2024-01-01\nb,1,\n");
    world.fails(&["build"], 1, &["or none", "| b  |    | 1    |"]);
    let world = snapshot(BY_VALUE);
    world.write("project/seeds/orders.csv", "id,n\na,1\nb,1\nb,2\n");
    world.fails(&["build"], 1, &["the same `unique_key`", "| b  | 2    |"]);
}

#[test]
fn with_check_a_row_is_new_when_one_of_the_columns_has_another_value() {
    let world = snapshot(BY_VALUE);
    let told = "id, n, note, dbt_valid_to is null";
    build(&world, "id,n,note\na,1,x\nb,,x\nc,1,x\n", told);
    let second = "id,n,note\na,2,x\nb,1,x\nc,1,y\n";
    assert_eq!(build(&world, second, told), ["a,1,x,false", "a,2,x,true", "b,,x,false", "b,1,x,true", "c,1,x,true"]);
    assert_eq!(build(&world, "id,n,note\na,1,x\nb,1,x\nc,1,y\n", told).len(), 6, "what came back is a version too");
    let gaps = "select count(*) from (select dbt_valid_to, lead(dbt_valid_from) over (partition by id order by \
                dbt_valid_from) as next from gold.history) where dbt_valid_to is distinct from next";
    assert_eq!(world.count(gaps), 0);

    let world = snapshot("strategy='check', unique_key=['id'], check_cols='all', updated_at='at'");
    build(&world, "id,n,at\na,1,2024-01-01\n", INTERVAL);
    let kept = ["a,1,2024-01-01,2024-05-01", "a,2,2024-05-01,"];
    assert_eq!(build(&world, "id,n,at\na,2,2024-05-01\n", INTERVAL), kept);
}

#[test]
fn columns_that_come_are_added_and_those_that_go_are_kept() {
    let world = snapshot("strategy='check', unique_key='id', check_cols='all'");
    build(&world, "id,n\na,1\nb,1\n", "id");
    let both = "id, n, more";
    assert_eq!(build(&world, "id,n,more\na,1,\nb,1,x\n", both), ["a,1,", "b,1,", "b,1,x"]);
    assert_eq!(build(&world, "id,more\na,\nb,x\n", both).len(), 3, "a column that went is not compared");
    assert_eq!(build(&world, "id,more\na,y\nb,x\n", both), ["a,1,", "a,,y", "b,1,", "b,1,x"]);
    world.write("project/seeds/orders.csv", "id,more\na,1\nb,2\n");
    world.fails(&["build"], 2, &["snapshots/orders.sql", "`more` is Int64 in the query and Utf8 in the table"]);
}

#[test]
fn a_row_that_is_gone_is_ignored_ended_or_told_as_asked() {
    let (all, without) = ("id,n,at\na,1,2024-01-01\nb,1,2024-01-01\n", "id,n,at\na,1,2024-01-01\n");
    let back = "id,n,at\na,1,2024-01-01\nb,1,2024-01-01\n";
    let told = "id, dbt_valid_to is null";
    let world = snapshot(BY_TIME);
    build(&world, all, told);
    assert_eq!(build(&world, without, told), ["a,true", "b,true"]);
    for ends in ["hard_deletes='invalidate'", "invalidate_hard_deletes=true"] {
        for strategy in [BY_TIME, BY_VALUE] {
            let world = snapshot(&format!("{strategy}, {ends}"));
            // No row tells no types.
            let types = "seeds: [{name: orders, config: {column_types: {id: text, n: int, at: date}}}]";
            world.write("project/seeds/orders.yml", types);
            build(&world, all, told);
            assert_eq!(build(&world, without, told), ["a,true", "b,false"]);
            assert_eq!(build(&world, back, told), ["a,true", "b,false", "b,true"]);
            assert_eq!(build(&world, "id,n,at\n", told), ["a,false", "b,false", "b,false"]);
        }
    }
    let told = "id, n, dbt_valid_to is null, dbt_is_deleted";
    let world = snapshot(&format!("{BY_TIME}, hard_deletes='new_record'"));
    build(&world, all, told);
    assert_eq!(build(&world, without, told), ["a,1,true,False", "b,1,false,False", "b,1,true,True"]);
    let kept = ["a,1,true,False", "b,1,false,False", "b,1,false,True", "b,1,true,False"];
    assert_eq!(build(&world, back, told), kept);
    assert_eq!(world.count("select count(distinct dbt_scd_id) from gold.history"), 4);
}

#[test]
fn a_snapshot_in_yaml_names_what_it_is_of_and_how_its_columns_are_called() {
    let yaml = "snapshots:\n  - name: history\n    relation: ref('orders')\n    config:\n      strategy: timestamp\n      \
                unique_key: [id, n]\n      updated_at: at\n      target_schema: kept\n      dbt_valid_to_current: \
                \"date '9999-12-31'\"\n      snapshot_meta_column_names: {dbt_valid_from: since, dbt_valid_to: until}\n    \
                columns: [{name: dbt_scd_id, data_tests: [unique, not_null]}]\n";
    let reader = "select count(*) as n from {{ ref('history') }} where until > now()";
    let world = project(&[
        ("snapshots/orders.yml", yaml),
        ("models/current.sql", reader),
        ("seeds/orders.csv", "id,n,at\na,1,2024-01-01\n"),
    ]);
    world.ok(&["build", "-q"]);
    world.write("project/seeds/orders.csv", "id,n,at\na,1,2024-02-01\nb,1,2024-02-01\n");
    assert!(world.ok(&["build"]).out.contains("2 tests"));
    let rows = world.sql("select id, cast(since as date), cast(until as date) from kept.history order by 1, 2");
    let rows: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
    assert_eq!(rows, ["a,2024-01-01,2024-02-01", "a,2024-02-01,9999-12-31", "b,2024-02-01,9999-12-31"]);
    assert_eq!(world.count("select n from gold.current"), 2);
    world.write("project/snapshots/orders.yml", &yaml.replace("ref('orders')", "ref('ordres')"));
    world.fails(&["build"], 2, &["snapshots/orders.yml:2", "ordres", "did you mean `orders`?"]);
}

#[test]
fn a_failed_test_leaves_the_history_as_it_was() {
    let world = snapshot(BY_TIME);
    let tests = "snapshots: [{name: history, columns: [{name: n, data_tests: [{accepted_values: {values: [1, 2]}}]}]}]";
    world.write("project/snapshots/orders.yml", tests);
    build(&world, "id,n,at\na,1,2024-01-01\n", INTERVAL);
    let before = version(&world);
    world.write("project/seeds/orders.csv", "id,n,at\na,7,2024-02-01\n");
    world.fails(&["build"], 1, &["accepted_values_history_n"]);
    assert_eq!((rows(&world, INTERVAL), version(&world)), (vec!["a,1,2024-01-01,".to_owned()], before));
    assert_eq!(build(&world, "id,n,at\na,2,2024-02-01\n", INTERVAL).len(), 2);
}

#[test]
fn a_configuration_that_makes_no_history_is_refused_at_its_place() {
    for (config, words) in [
        ("strategy='timestamp', updated_at='at'", ["snapshots/orders.sql:2", "needs `unique_key`"]),
        ("strategy='timestamp', unique_key='id'", ["snapshots/orders.sql:2", "needs `updated_at`"]),
        ("strategy='check', unique_key='id'", ["snapshots/orders.sql:2", "needs `check_cols`"]),
        ("unique_key='id'", ["snapshots/orders.sql:2", "needs `strategy`"]),
        ("strategy='timestap', unique_key='id'", ["snapshots/orders.sql:2", "did you mean `timestamp`?"]),
        ("strategy='check', unique_key='id', check_cols=['m']", ["`check_cols` names `m`", "did you mean `n`?"]),
        ("strategy='timestamp', unique_key='id', updated_at='n'", ["`n` is Int64, which is no time", "cast it"]),
        (
            "strategy='check', unique_key='id', check_cols='all', hard_delets='ignore'",
            ["hard_delets", "`hard_deletes`"],
        ),
    ] {
        let world = snapshot(config);
        world.write("project/seeds/orders.csv", "id,n,at\na,1,2024-01-01\n");
        world.fails(&["build"], 2, &words);
    }
    let world = project(&[("snapshots/orders.sql", "select 1")]);
    world.fails(&["build"], 2, &["snapshots/orders.sql:1", "holds no snapshot", "{% snapshot NAME %}"]);
    let world = project(&[("models/history.sql", "select 1 as id"), ("seeds/orders.csv", "id,n\na,1\n")]);
    world.ok(&["build", "-q"]);
    std::fs::remove_file(world.path("project/models/history.sql")).unwrap();
    let text = format!(
        "{{% snapshot history %}}{{{{ config({BY_VALUE}) }}}} select * from {{{{ ref('orders') }}}}{{% endsnapshot %}}"
    );
    world.write("project/snapshots/orders.sql", &text);
    world.fails(&["build"], 2, &["gold.history is there", "so it is no snapshot"]);
}

/// What a run is given: by key, the times (odd hours around that of the runs) with their values.
type Given = BTreeMap<Option<i64>, BTreeMap<i64, i64>>;

#[derive(Debug, Clone)]
struct Version {
    from: DateTime<Utc>,
    to: Option<DateTime<Utc>>,
    time: DateTime<Utc>,
    deleted: bool,
    value: i64,
}

/// A key's versions in the order of time, as one would keep them by hand.
#[derive(Debug, Default)]
struct Line(Vec<Version>);

impl Line {
    fn insert(&mut self, from: DateTime<Utc>, time: DateTime<Utc>, deleted: bool, value: i64) {
        let place = self.0.partition_point(|v| v.from < from);
        let mut to = self.0.get(place).map(|next| next.from);
        if let Some(before) = place.checked_sub(1).map(|i| &mut self.0[i])
            && before.to.is_none_or(|end| end > from)
        {
            to = before.to.replace(from);
        }
        self.0.insert(place, Version { from, to, time, deleted, value });
    }

    fn run(&mut self, given: &BTreeMap<i64, i64>, now: DateTime<Utc>, deletions: &str) {
        let at = |hours: &i64| now + TimeDelta::hours(*hours);
        let is_open = self.0.last().is_some_and(|v| v.to.is_none() && !v.deleted);
        let end = self.0.last().map(|v| v.to.unwrap_or(v.from));
        let moment = end.map_or(now, |end| now.max(end + TimeDelta::microseconds(1)));
        match given.last_key_value() {
            None if is_open && deletions != "ignore" => {
                let last = self.0.last_mut().unwrap();
                last.to = Some(moment);
                let value = last.value;
                if deletions == "new_record" {
                    self.insert(moment, moment, true, value);
                }
            }
            None => {}
            Some((last, value)) => {
                for (hours, value) in given {
                    if !self.0.iter().any(|v| v.time == at(hours) && !v.deleted) {
                        self.insert(at(hours), at(hours), false, *value);
                    }
                }
                if !is_open && end.is_some_and(|end| end >= at(last)) {
                    self.insert(moment, at(last), false, *value);
                }
            }
        }
    }
}

fn raw_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", time, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Builds the snapshot after each run's rows, and compares it with the lines kept by hand.
async fn matches(runs: &[Given], deletions: &str) -> Result<(), TestCaseError> {
    let config = format!("strategy='timestamp', unique_key='id', updated_at='at', hard_deletes='{deletions}'");
    let sql = format!(
        "{{% snapshot history %}}{{{{ config({config}) }}}} select * from {{{{ source('raw', 'rows') }}}}{{% endsnapshot %}}"
    );
    let world = project(&[
        ("snapshots/history.sql", &sql),
        ("models/sources.yml", "sources: [{name: raw, tables: [{name: rows}]}]"),
    ]);
    let loaded = inside::project(&world.path("project"));
    let inside = Inside::new();
    let now = inside::start();
    let (mut lines, mut files): (BTreeMap<Option<i64>, Line>, Vec<Add>) = (BTreeMap::new(), Vec::new());
    for given in runs {
        let rows: Vec<_> = given
            .iter()
            .flat_map(|(id, versions)| {
                versions
                    .iter()
                    .map(move |(hours, n)| json!({"id": id, "at": text(now + TimeDelta::hours(*hours)), "n": n}))
            })
            .collect();
        let table = inside.table("raw.rows");
        let adds = write(&table, &raw_schema(), BTreeMap::new(), &rows).await;
        let removes = files.iter().map(|file| removal(file, true)).collect();
        change(&table, (&raw_schema(), &[]), &[], adds.clone(), removes).await;
        files = adds;
        inside.build(&loaded, "history", false).await;

        let keys: Vec<Option<i64>> = lines.keys().chain(given.keys()).copied().collect();
        for key in keys.into_iter().collect::<std::collections::BTreeSet<_>>() {
            lines.entry(key).or_default().run(given.get(&key).unwrap_or(&BTreeMap::new()), now, deletions);
        }
        let micros = |time: Option<DateTime<Utc>>| time.map_or(NULL.to_owned(), |t| t.timestamp_micros().to_string());
        let mut expected: Vec<Vec<String>> = lines
            .iter()
            .flat_map(|(key, line)| line.0.iter().map(move |v| (key, v)))
            .map(|(key, v)| {
                let key = key.map_or(NULL.to_owned(), |k| k.to_string());
                let flag = if v.deleted { "True" } else { "False" };
                vec![
                    key,
                    v.value.to_string(),
                    micros(Some(v.from)),
                    micros(v.to),
                    micros(Some(v.time)),
                    flag.to_owned(),
                ]
            })
            .collect();
        expected.sort();
        let flag = if deletions == "new_record" { "dbt_is_deleted" } else { "'False'" };
        let number = |c: &str| format!("arrow_cast({c}, 'Int64')");
        let columns = ["dbt_valid_from", "dbt_valid_to", "dbt_updated_at"].map(number).join(", ");
        let found = inside.rows(&format!("select id, n, {columns}, {flag} from gold.history")).await;
        prop_assert_eq!(found, expected, "{} after {:?}", deletions, given);
    }
    Ok(())
}

#[test]
fn any_history_comes_out_as_if_kept_by_hand_one_row_at_a_time() {
    // Odd hours, so that no version begins in the very moment of a run.
    let versions = prop::collection::btree_map((-6i64..6).prop_map(|h| 2 * h + 1), 0i64..4, 1..4);
    let given = prop::collection::btree_map(prop::option::weighted(0.9, 0i64..12), versions, 0..12);
    let runs = prop::collection::vec(given, 1..7);
    let mut runner = TestRunner::new(cases(6));
    runner
        .run(&(runs, prop::sample::select(vec!["ignore", "invalidate", "new_record"])), |(runs, deletions)| {
            runtime().block_on(matches(&runs, deletions))
        })
        .unwrap();
}
