//! Tables that look after themselves: compaction, log clean-up and vacuum change no row, whoever writes meanwhile and
//! wherever they die.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use medallion::care::verify;
use medallion::engine::changes::{Difference, difference};
use medallion::lake::commit::{Commit, Outcome, commit};
use medallion::lake::log::Add;
use medallion::lake::offsets::Marks;
use medallion::lake::{Snapshot, Table};
use medallion::maintenance::cleanup::{self, Cleaned};
use medallion::maintenance::compact::{self, Compacted, Ended};
use medallion::maintenance::plan::{Bin, Sizes, bins};
use medallion::maintenance::vacuum::{self, Vacuumed};
use medallion::maintenance::{self, Counters};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::World;
use crate::world::faulty::Faulty;
use crate::world::inside::{Inside, batch, cases, change, project, removal, runtime};

const TOPIC: &str = "t";
const PATIENCE: Duration = Duration::from_secs(20);
const SIZES: Sizes = Sizes { target: 64 << 20, min_age: Duration::ZERO };

/// A Bronze table of one topic, filled as ingest fills it.
struct Bronze {
    inside: Inside,
    table: Table,
    next: BTreeMap<i32, i64>,
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("_topic", DataType::Utf8, true),
        Field::new("_partition", DataType::Int32, true),
        Field::new("_offset", DataType::Int64, true),
        Field::new("_error", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("_ingest_date", DataType::Date32, true),
    ]))
}

fn file_columns() -> SchemaRef {
    Arc::new(columns().project(&[0, 1, 2, 3, 4]).unwrap())
}

impl Bronze {
    async fn on(store: Arc<dyn ObjectStore>) -> Bronze {
        let inside = Inside::on(store);
        let table = inside.table("bronze.t");
        if table.latest_version().await.unwrap().is_none() {
            change(&table, (&columns(), &["_ingest_date"]), &[], Vec::new(), Vec::new()).await;
        }
        Bronze { inside, table, next: BTreeMap::new() }
    }

    async fn new() -> Bronze {
        Bronze::on(Arc::new(InMemory::new())).await
    }

    /// A file with the next so many records of a partition, and their marks, not committed yet.
    async fn prepared(&mut self, partition: i32, records: i64) -> Commit {
        let first = self.next.get(&partition).copied().unwrap_or(0);
        let rows: Vec<Value> = (first..first + records)
            .map(|o| json!({ "_topic": TOPIC, "_partition": partition, "_offset": o, "price": format!("{o}.05") }))
            .collect();
        self.next.insert(partition, first + records);
        let values = BTreeMap::from([("_ingest_date".to_owned(), Some("2026-03-01".to_owned()))]);
        let mut change = Commit::new("STREAMING UPDATE");
        change.adds = write(&self.table, &values, &rows).await;
        let marks = Marks { first: Some(0), next: Some(first + records), ..Marks::default() };
        change.marks.extend(marks.to_log(TOPIC, partition));
        change
    }

    async fn append(&mut self, partition: i32, records: i64) -> u64 {
        let read = self.table.latest_version().await.unwrap();
        let change = self.prepared(partition, records).await;
        committed(commit(&self.table, read, &change, PATIENCE).await.unwrap())
    }

    async fn snapshot(&self) -> Snapshot {
        self.table.latest().await.unwrap().unwrap()
    }

    async fn compact(&self) -> Compacted {
        compact::run(&self.table, SIZES, Utc::now(), &going_on(), &Counters::default()).await.unwrap()
    }

    /// The one bin that there is, as of now.
    async fn bin(&self) -> (Snapshot, Bin) {
        let snapshot = self.snapshot().await;
        let bin = bins(&snapshot, SIZES, Utc::now()).pop().unwrap();
        (snapshot, bin)
    }

    async fn rows(&self) -> Vec<Vec<String>> {
        self.inside.rows("SELECT * FROM bronze.t").await
    }

    /// Every offset is there once, as the marks say, and every file that the log names.
    async fn assert_right(&self) {
        let report = verify::run(&self.inside.engine()).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        let owed: i64 = self.next.values().sum();
        let rows: i64 = report.partitions.iter().map(|p| p.rows).sum();
        assert!(owed == 0 || rows == owed, "{rows} rows of {owed}");
    }

    async fn objects(&self) -> BTreeSet<String> {
        let table = self.table.folder();
        let listed: Vec<_> = self.table.store().list(Some(table)).try_collect().await.unwrap();
        let inside = |path: &Path| path.prefix_match(table).unwrap().map(|p| p.as_ref().to_owned()).collect::<Vec<_>>();
        listed.iter().map(|o| inside(&o.location).join("/")).collect()
    }

    /// Objects in the folder that are not of the log.
    async fn data(&self) -> BTreeSet<String> {
        self.objects().await.into_iter().filter(|path| !path.starts_with("_delta_log/")).collect()
    }
}

async fn write(table: &Table, values: &BTreeMap<String, Option<String>>, rows: &[Value]) -> Vec<Add> {
    let mut writer = medallion::lake::write::TableWriter::new(table, file_columns(), values.clone()).unwrap();
    writer.write(&batch(&file_columns(), rows)).await.unwrap();
    writer.close().await.unwrap()
}

fn committed(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Committed { version } => version,
        other => panic!("{other:?}"),
    }
}

fn going_on() -> watch::Receiver<bool> {
    watch::channel(false).1
}

/// A time by which everything that was ever written is old.
fn later() -> DateTime<Utc> {
    Utc::now() + TimeDelta::days(365)
}

fn live(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.files.iter().map(|f| f.path.clone()).collect()
}

#[test]
fn compaction_leaves_one_file_with_the_same_rows_in_their_order_and_exact_statistics() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for round in 0..10 {
            bronze.append(round % 3, 5).await;
        }
        let (before, rows) = (bronze.snapshot().await, bronze.rows().await);
        let done = bronze.compact().await;
        let after = bronze.snapshot().await;
        assert_eq!((done.commits, done.files_before, done.files_after, done.conflicts), (1, 10, 1, 0));
        assert_eq!(after.version, before.version + 1);
        assert_eq!((after.files.len(), after.rows()), (1, Some(50)));
        let stats: Value = serde_json::from_str(after.files[0].stats.as_deref().unwrap()).unwrap();
        assert_eq!((&stats["minValues"]["_offset"], &stats["maxValues"]["_offset"]), (&json!(0), &json!(19)));
        assert_eq!(after.files[0].stats.as_deref().unwrap().matches("19.05").count(), 1, "{stats}");
        assert_eq!(after.files[0].modified_ms, before.files.iter().map(|f| f.modified_ms).max().unwrap());
        assert_eq!(bronze.rows().await, rows);
        bronze.assert_right().await;
        // Rows lie as they came: of each partition by offset.
        let lying = bronze.inside.engine();
        let catalog = Arc::new(medallion::engine::catalog::Catalog::of(&bronze.inside.lake).await.unwrap());
        let frame = lying.session(catalog).sql("SELECT _partition, _offset FROM bronze.t").await.unwrap();
        let lying = crate::world::inside::texts(&frame.collect().await.unwrap());
        for partition in ["0", "1", "2"] {
            let of: Vec<i64> = lying.iter().filter(|r| r[0] == partition).map(|r| r[1].parse().unwrap()).collect();
            assert!(of.is_sorted(), "{of:?}");
        }
        assert_eq!(bronze.compact().await, Compacted::default(), "there is nothing more to do");
    });
}

#[test]
fn compaction_comes_to_an_end_where_the_encoder_holds_far_more_than_it_writes() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..4 {
            bronze.append(0, 3000).await;
        }
        // Together the files are just larger than the target, and their rows in memory many times that.
        let files = bronze.snapshot().await.bytes();
        let sizes = Sizes { target: files - 1, ..SIZES };
        let (counters, stop) = (Counters::default(), going_on());
        let run = compact::run(&bronze.table, sizes, Utc::now(), &stop, &counters);
        let done = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
        assert_eq!((done.commits, bronze.snapshot().await.files.len()), (1, 1));
        bronze.assert_right().await;
    });
}

#[test]
fn of_two_compactions_of_the_same_files_one_is_committed_and_the_others_files_are_deleted() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        let originals = bronze.data().await;
        let (snapshot, bin) = bronze.bin().await;
        let stop = going_on();
        // Both have read the same version, and both write before either commits.
        let compaction = || compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &stop);
        let (one, other) = tokio::join!(compaction(), compaction());
        let mut ended = [one.unwrap(), other.unwrap()];
        ended.sort_by_key(|e| matches!(e, Ended::Conflict(_)));
        assert!(matches!(ended[0], Ended::Committed { files: 1, .. }), "{ended:?}");
        assert!(matches!(&ended[1], Ended::Conflict(why) if why.contains("was rewritten")), "{ended:?}");
        let after = bronze.snapshot().await;
        assert_eq!(after.version, snapshot.version + 1);
        assert_eq!(bronze.data().await, &originals | &live(&after), "the loser's file is still there");
        bronze.assert_right().await;
    });
}

#[test]
fn appends_and_a_compaction_at_the_same_time_all_succeed() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        // An append comes between the reading of a compaction and its commit, and the other way round.
        let (snapshot, bin) = bronze.bin().await;
        bronze.append(1, 3).await;
        let late = bronze.prepared(2, 4).await;
        let ended = compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &going_on()).await.unwrap();
        assert!(matches!(ended, Ended::Committed { files: 1, .. }), "{ended:?}");
        let outcome = commit(&bronze.table, Some(snapshot.version), &late, PATIENCE).await.unwrap();
        assert_eq!(committed(outcome), snapshot.version + 3);
        assert_eq!(bronze.snapshot().await.files.len(), 3);
        bronze.assert_right().await;
    });
}

#[test]
fn a_compaction_gives_way_to_whoever_rewrites_one_of_its_files_and_to_nobody_else() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..9 {
            bronze.append(0, 5).await;
        }
        let (snapshot, mut bin) = bronze.bin().await;
        let outside = bin.pop().unwrap();
        let rewrite = |file: &medallion::lake::DataFile| {
            let add = Add {
                path: file.path.clone(),
                partition_values: file.partition_values.clone(),
                size: file.size as i64,
                modification_time: 0,
                data_change: true,
                stats: None,
            };
            let mut change = Commit::new("DELETE");
            change.removes = vec![removal(&add, true)];
            change
        };
        let mut version = snapshot.version;
        for file in [&outside, &bin[3]] {
            version = committed(commit(&bronze.table, Some(version), &rewrite(file), PATIENCE).await.unwrap());
        }
        let before = bronze.data().await;
        let ended = compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &going_on()).await.unwrap();
        assert!(matches!(ended, Ended::Conflict(_)), "{ended:?}");
        assert_eq!(bronze.data().await, before);
        bin.remove(3);
        let ended = compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &going_on()).await.unwrap();
        assert!(matches!(ended, Ended::Committed { .. }), "{ended:?}");
        assert_eq!(bronze.rows().await.len(), 7 * 5);
    });
}

#[test]
fn a_file_that_is_older_than_a_column_is_compacted_with_nulls_in_it() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..8 {
            bronze.append(0, 2).await;
        }
        let mut fields: Vec<Field> = columns().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.insert(5, Field::new("added", DataType::Utf8, true));
        let before = bronze.snapshot().await;
        let wider = Commit::new("ADD COLUMNS")
            .with_metadata(&before.table_id, &Schema::new(fields), &["_ingest_date"], &[], None)
            .unwrap();
        committed(commit(&bronze.table, Some(before.version), &wider, PATIENCE).await.unwrap());
        assert_eq!(bronze.compact().await.commits, 1);
        let rows = bronze.inside.rows("SELECT count(*), count(added), sum(price) FROM bronze.t").await;
        assert_eq!(rows, [["16", "0", "120.80"]]);
        bronze.assert_right().await;
    });
}

#[test]
fn a_file_that_is_older_than_a_nested_field_is_compacted_by_names_and_not_by_places() {
    let structs =
        |names: &[&str]| DataType::Struct(names.iter().map(|name| Field::new(*name, DataType::Int32, true)).collect());
    // The new field comes before the old one, and in the table's metadata alone.
    let columns = |names: &[&str]| {
        let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", structs(names), true)];
        let entries = Field::new("key_value", DataType::Struct(entries.into()), false);
        Schema::new(vec![
            Field::new("s", structs(names), true),
            Field::new("l", DataType::List(Arc::new(Field::new("element", structs(names), true))), true),
            Field::new("m", DataType::Map(Arc::new(entries), false), true),
        ])
    };
    runtime().block_on(async {
        let inside = Inside::new();
        let table = inside.table("bronze.n");
        let old = Arc::new(columns(&["a"]));
        for n in 0..8 {
            let row = json!({ "s": { "a": n }, "l": [{ "a": n }, null], "m": { "k": { "a": n } } });
            let rows = [row, json!({}), json!({ "s": { "a": null }, "l": [], "m": {} })];
            let files = crate::world::inside::write(&table, &old, BTreeMap::new(), &rows).await;
            change(&table, (&old, &[]), &[], files, Vec::new()).await;
        }
        let query = "SELECT s IS NULL, s['a'], l[1]['a'], array_length(l), m['k']['a'], map_keys(m) FROM bronze.n";
        let rows = inside.rows(query).await;
        let before = table.latest().await.unwrap().unwrap();
        let wider =
            Commit::new("ADD COLUMNS").with_metadata(&before.table_id, &columns(&["b", "a"]), &[], &[], None).unwrap();
        committed(commit(&table, Some(before.version), &wider, PATIENCE).await.unwrap());
        let done = compact::run(&table, SIZES, later(), &going_on(), &Counters::default()).await.unwrap();
        assert_eq!((done.commits, table.latest().await.unwrap().unwrap().files.len()), (1, 1));
        assert_eq!(inside.rows(query).await, rows);
        let new = "SELECT count(*), count(s['b']), count(l[1]['b']), count(m['k']['b']) FROM bronze.n";
        assert_eq!(inside.rows(new).await, [["24", "0", "0", "0"]]);
    });
}

#[test]
fn rows_are_read_back_in_batches_that_are_bounded_by_bytes_too() {
    runtime().block_on(async {
        let inside = Inside::new();
        let table = inside.table("bronze.w");
        let schema =
            Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)]));
        for (text, smaller) in [("x".repeat(1 << 20), true), ("x".to_owned(), false)] {
            // In the file the text stands once.
            let rows: Vec<Value> = (0..100).map(|n| json!({ "n": n, "t": text })).collect();
            let files = crate::world::inside::write(&table, &schema, BTreeMap::new(), &rows).await;
            assert!(files[0].size < 1 << 20);
            change(&table, (&schema, &[]), &[], files.clone(), Vec::new()).await;
            let snapshot = table.latest().await.unwrap().unwrap();
            let file = snapshot.files.iter().find(|f| f.path == files[0].path).unwrap();
            let mut rows = maintenance::reader::open(&table, file, None).await.unwrap();
            let mut sizes = Vec::new();
            while let Some(batch) = rows.stream.try_next().await.unwrap() {
                sizes.push(batch.num_rows());
            }
            assert_eq!((sizes.iter().sum::<usize>(), sizes.len() > 2), (100, smaller), "{sizes:?}");
            assert!(sizes.iter().all(|rows| !smaller || *rows <= 32), "{sizes:?}");
        }
    });
}

#[test]
fn a_stopped_compaction_leaves_nothing_behind() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        let before = bronze.objects().await;
        let (snapshot, bin) = bronze.bin().await;
        let (_keep, stop) = watch::channel(true);
        let ended = compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &stop).await.unwrap();
        assert_eq!(ended, Ended::Stopped);
        let done = compact::run(&bronze.table, SIZES, Utc::now(), &stop, &Counters::default()).await.unwrap();
        assert_eq!(done, Compacted::default());
        assert_eq!(bronze.objects().await, before);
    });
}

const PROJECT: &[(&str, &str)] = &[
    (
        "dbt_project.yml",
        "name: tiny\nversion: '1.0'\nconfig-version: 2\nprofile: tiny\nmodels:\n  tiny:\n    +schema: silver\n    \
         +materialized: incremental\n    +incremental_strategy: changes\n",
    ),
    (
        "macros/schema.sql",
        "{%- macro generate_schema_name(custom_schema_name, node) -%}{{ custom_schema_name }}{%- endmacro -%}",
    ),
    (
        "models/sources.yml",
        "version: 2\nsources:\n  - name: bronze\n    schema: bronze\n    tables:\n      - name: t\n",
    ),
    (
        "models/latest.sql",
        "{{ config(unique_key='id', recompute_by='id', inputs={'bronze.t': {'id': '_offset'}}) }}
         select _offset as id, count(*) as n from {{ source('bronze', 't') }} group by _offset",
    ),
];

#[test]
fn a_build_sees_nothing_of_a_compaction_and_goes_on_from_changes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in PROJECT {
        std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let project = project(dir.path());
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        let build = async |bronze: &Bronze| {
            let summary = bronze.inside.build(&project, "latest", false).await;
            let result = summary.results.into_iter().find(|r| r.name == "latest").unwrap();
            (result.how, result.message)
        };
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        assert_eq!(build(&bronze).await.0, "full");
        // Compaction alone: no row changed, and no reason to build in full.
        let before = bronze.snapshot().await.version;
        assert_eq!(bronze.compact().await.commits, 1);
        let changed = difference(&bronze.inside.lake, before, &bronze.snapshot().await).await.unwrap();
        assert!(matches!(changed, Difference::Nothing), "{changed:?}");
        assert_eq!(build(&bronze).await, ("no row changed", String::new()));
        let (version, old) = (bronze.snapshot().await.version, live(&bronze.snapshot().await));
        // Appends, and a compaction of nothing but them.
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        let (snapshot, mut bin) = bronze.bin().await;
        bin.retain(|file| !old.contains(&file.path));
        compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &going_on()).await.unwrap();
        let snapshot = bronze.snapshot().await;
        match difference(&bronze.inside.lake, version, &snapshot).await.unwrap() {
            Difference::Files { added, removed } => {
                assert_eq!((added.len(), removed.len()), (1, 0), "what was compacted is read from where it is now");
                assert_eq!(added[0].rows(), Some(40));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(build(&bronze).await, ("increment", String::new()));
        assert_eq!(bronze.inside.rows("SELECT count(*), sum(n) FROM silver.latest").await, [["80", "80"]]);
        // A compaction of old and new rows together, whose files are vacuumed before the next build.
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        let done = bronze.compact().await;
        assert_eq!((done.files_before, bronze.snapshot().await.files.len()), (10, 1));
        vacuum::run(&bronze.table, Duration::ZERO, later(), false, &Counters::default()).await.unwrap();
        let (how, why) = build(&bronze).await;
        assert_eq!(how, "full");
        assert!(why.contains("was vacuumed since version"), "{why}");
        assert_eq!(bronze.inside.rows("SELECT count(*), sum(n) FROM silver.latest").await, [["120", "120"]]);
        // A log that was cut: the same, and it says so.
        bronze.append(0, 5).await;
        bronze.append(0, 5).await;
        let newest = bronze.snapshot().await.version;
        bronze.table.checkpoint(newest).await.unwrap();
        let cleaned = cleanup::run(&bronze.table, Duration::ZERO, later(), &Counters::default()).await.unwrap();
        assert!(matches!(cleaned, Cleaned::Deleted(n) if n > 20), "{cleaned:?}");
        let (how, why) = build(&bronze).await;
        assert_eq!(how, "full");
        assert!(why.contains("no longer tells of version"), "{why}");
        assert_eq!(bronze.inside.rows("SELECT count(*), sum(n) FROM silver.latest").await, [["130", "130"]]);
    });
}

/// A log in which some versions have checkpoints, and when it is to be cut: after which entry.
fn history() -> impl Strategy<Value = (Vec<bool>, prop::sample::Index, bool)> {
    (prop::collection::vec(prop::bool::weighted(0.25), 2..24), any::<prop::sample::Index>(), any::<bool>())
}

#[test]
fn after_clean_up_every_version_from_the_oldest_kept_on_can_be_read() {
    let runtime = runtime();
    let outcome = TestRunner::new(cases(24)).run(&history(), |(checkpoints, cut, stale_hint)| {
        runtime.block_on(async {
            let mut bronze = Bronze::new().await;
            let mut versions = Vec::new();
            let mut hints = Vec::new();
            for (i, checkpoint) in checkpoints.iter().enumerate() {
                let version = bronze.append(i as i32 % 2, 1).await;
                if *checkpoint {
                    bronze.table.checkpoint(version).await.unwrap();
                    let hint = bronze.table.path_of("_delta_log/_last_checkpoint");
                    hints.push((version, bronze.table.store().get(&hint).await.unwrap().bytes().await.unwrap()));
                }
                let marks = bronze.table.transactions(version).await.unwrap();
                versions.push((version, live(&bronze.snapshot().await), marks));
                // Entries of the same microsecond would be cut together.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // A checkpoint whose writer died before it noted it.
            if stale_hint && hints.len() > 1 {
                let path = bronze.table.path_of("_delta_log/_last_checkpoint");
                let (_, older) = hints.remove(hints.len() - 2);
                hints.pop();
                bronze.table.store().put(&path, older.into()).await.unwrap();
            }
            let before = bronze.objects().await;
            let log = bronze.table.log_files().await.unwrap();
            let entry = cut.get(&log.entries().cloned().collect::<Vec<_>>()).clone();
            let now = entry.meta.last_modified;
            let cleaned = cleanup::run(&bronze.table, Duration::ZERO, now, &Counters::default()).await.unwrap();
            let after = bronze.objects().await;
            prop_assert_eq!(cleaned, Cleaned::Deleted(before.len() - after.len()));

            let log = bronze.table.log_files().await.unwrap();
            let oldest = log.files()[0].version;
            prop_assert!(oldest <= entry.version, "what was current at the cut is gone");
            if let Some(newest) = bronze.table.checkpointed().await.unwrap() {
                prop_assert!(oldest <= newest.version, "cut beyond the checkpoint that readers look for");
            }
            let at_or_before = |version: u64| checkpoints[..version as usize].iter().rposition(|c| *c);
            let noted = bronze.table.checkpointed().await.unwrap().map_or(0, |last| last.version);
            match at_or_before(entry.version.min(noted)) {
                Some(i) => prop_assert_eq!(oldest, i as u64 + 1, "the log could be shorter"),
                None => prop_assert_eq!(&before, &after),
            }
            for (version, files, marks) in versions.iter().filter(|(version, ..)| *version >= oldest) {
                prop_assert_eq!(&live(&bronze.table.at_version(*version).await.unwrap()), files);
                prop_assert_eq!(&bronze.table.transactions(*version).await.unwrap(), marks);
            }
            prop_assert_eq!(bronze.table.latest_version().await.unwrap(), versions.last().map(|(v, ..)| *v));
            bronze.assert_right().await;
            bronze.append(0, 1).await;
            bronze.assert_right().await;
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn vacuum_deletes_our_old_files_that_no_version_of_the_retention_needs_and_nothing_else() {
    runtime().block_on(async {
        let store = Arc::new(InMemory::new());
        let mut bronze = Bronze::on(store.clone()).await;
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        let originals = live(&bronze.snapshot().await);
        bronze.compact().await;
        let compacted = live(&bronze.snapshot().await);
        let orphan = "_ingest_date=2026-03-01/part-11111111-1111-4111-8111-111111111111.parquet";
        let foreign = "_ingest_date=2026-03-01/part-00000-11111111.snappy.parquet";
        let top = "part-22222222-2222-4222-8222-222222222222.parquet";
        let in_log = "_delta_log/part-33333333-3333-4333-8333-333333333333.parquet";
        for file in [orphan, foreign, top, in_log] {
            store.put(&bronze.table.path_of(file), "x".into()).await.unwrap();
        }
        // Tables beside it, one of them with a name that begins the same.
        for beside in ["bronze/t2", "bronze/other", "silver/t"] {
            let path = Path::from(format!("{beside}/part-44444444-4444-4444-8444-444444444444.parquet"));
            store.put(&path, "x".into()).await.unwrap();
        }
        let all = async || -> BTreeSet<Path> {
            store.list(None).map_ok(|o| o.location).try_collect::<Vec<_>>().await.unwrap().into_iter().collect()
        };
        let before = all().await;
        let run = async |retention: Duration, now: DateTime<Utc>, dry_run: bool| {
            vacuum::run(&bronze.table, retention, now, dry_run, &Counters::default()).await.unwrap()
        };
        // All of it is young: a commit may be about to name the orphans.
        assert_eq!(run(Duration::from_secs(3600), Utc::now(), false).await, Vacuumed::default());
        // Only what was there before the time of the cut, which is that of the newest original, is old.
        let dry = run(Duration::ZERO, later(), true).await;
        assert_eq!((dry.files, dry.deleted, dry.foreign), (10, 0, 1));
        assert_eq!(all().await, before, "a dry run deletes nothing");
        // They left the table within the retention, however old they are: readers of older versions need them.
        let removed = bronze.table.removed_since(bronze.snapshot().await.version, 0).await.unwrap();
        assert_eq!(removed.into_iter().collect::<BTreeSet<_>>(), originals);

        let done = run(Duration::ZERO, later(), false).await;
        assert_eq!((done.files, done.deleted, done.foreign, done.refused), (10, 10, 1, false));
        let gone: BTreeSet<Path> =
            originals.iter().map(String::as_str).chain([orphan, top]).map(|f| bronze.table.path_of(f)).collect();
        assert_eq!(all().await, &before - &gone);
        assert_eq!(live(&bronze.snapshot().await), compacted);
        bronze.assert_right().await;
        assert_eq!(run(Duration::ZERO, later(), false).await, Vacuumed { foreign: 1, ..Vacuumed::default() });
    });
}

#[test]
fn files_stay_for_the_retention_after_they_left_the_table_however_old_they_are() {
    runtime().block_on(async {
        let mut bronze = Bronze::new().await;
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        let version = bronze.snapshot().await.version;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let before_removal = Utc::now();
        bronze.compact().await;
        // With a checkpoint, which is where most removals are remembered.
        let newest = bronze.snapshot().await.version;
        for checkpointed in [false, true] {
            if checkpointed {
                bronze.table.checkpoint(newest).await.unwrap();
            }
            // The cut lies after the files were written and before they left.
            let now = before_removal + TimeDelta::days(1);
            let day = Duration::from_secs(24 * 3600);
            let done = vacuum::run(&bronze.table, day, now, false, &Counters::default()).await.unwrap();
            assert_eq!(done, Vacuumed::default(), "checkpointed: {checkpointed}");
            assert_eq!(bronze.table.at_version(version).await.unwrap().files.len(), 8);
        }
        let now = Utc::now() + TimeDelta::days(1);
        let done =
            vacuum::run(&bronze.table, Duration::from_secs(24 * 3600), now, false, &Counters::default()).await.unwrap();
        assert_eq!(done.deleted, 8);
        bronze.assert_right().await;
    });
}

#[test]
fn a_retention_that_could_hurt_somebody_is_refused() {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let timeout = Duration::from_secs(300);
    let refused = |retention, timeout, force| vacuum::ensure_safe(retention, timeout, force).unwrap_err().to_string();
    assert!(refused(hours(23), timeout, false).contains("--force"));
    assert!(refused(hours(1) / 2, timeout, true).contains("under way"));
    assert!(refused(hours(3), hours(2), true).contains("4 h is the least"));
    vacuum::ensure_safe(hours(24), timeout, false).unwrap();
    vacuum::ensure_safe(hours(1), timeout, true).unwrap();
    runtime().block_on(async {
        let bronze = Bronze::new().await;
        let long = hours(24 * 30);
        let error = vacuum::run(&bronze.table, long, later(), true, &Counters::default()).await.unwrap_err();
        assert!(error.to_string().contains("deletedFileRetentionDuration"), "{error}");
    });
}

/// All that maintenance does, as of a time by which everything is old.
async fn maintain(bronze: &Bronze) -> medallion::error::Result<()> {
    let counters = Counters::default();
    let lease = maintenance::lease(&bronze.inside.lake, &bronze.table.name).await??;
    compact::run(&bronze.table, SIZES, later(), &going_on(), &counters).await?;
    let newest = bronze.table.latest_version().await?.unwrap();
    bronze.table.checkpoint(newest).await?;
    cleanup::run(&bronze.table, Duration::ZERO, later(), &counters).await?;
    vacuum::run(&bronze.table, Duration::ZERO, later(), false, &counters).await?;
    lease.release().await
}

#[test]
fn maintenance_that_dies_at_any_call_leaves_the_rows_as_they_are_and_can_be_done_again() {
    runtime().block_on(async {
        let store = Arc::new(InMemory::new());
        let mut bronze = Bronze::on(store.clone()).await;
        for round in 0..9 {
            bronze.append(round % 2, 3).await;
            if round == 4 {
                bronze.table.checkpoint(5).await.unwrap();
            }
        }
        bronze.prepared(9, 1).await;
        bronze.next.remove(&9);
        let (rows, next) = (bronze.rows().await, bronze.next.clone());
        let mut died = 0;
        for calls in 0.. {
            let faulty = Faulty::with_content_of(&store);
            let mut bronze = Bronze::on(faulty.clone()).await;
            bronze.next = next.clone();
            faulty.die_after(calls);
            let finished = tokio::select! {
                done = maintain(&bronze) => { done.unwrap(); true }
                () = faulty.died() => false,
            };
            faulty.revive();
            assert_eq!(bronze.rows().await, rows, "after {calls} calls");
            // The lease of the dead runs out by itself; here it is taken away.
            let leases = bronze.inside.lake.own_path(&["leases"]);
            let held: Vec<_> = faulty.list(Some(&leases)).try_collect().await.unwrap();
            for lease in held {
                faulty.delete(&lease.location).await.unwrap();
            }
            // Ingest goes on, and so does maintenance.
            bronze.append(0, 1).await;
            maintain(&bronze).await.unwrap();
            let after = bronze.snapshot().await;
            assert_eq!((after.files.len(), bronze.data().await), (1, live(&after)), "after {calls} calls");
            let log = bronze.table.log_files().await.unwrap();
            assert_eq!(log.entries().count(), 1, "after {calls} calls");
            bronze.assert_right().await;
            if finished {
                break;
            }
            died += 1;
        }
        assert!(died > 40, "only {died} calls");
    });
}

#[test]
fn whoever_may_not_delete_compacts_all_the_same_and_is_told_what_stays() {
    runtime().block_on(async {
        let faulty = Faulty::with_content_of(&InMemory::new());
        let mut bronze = Bronze::on(faulty.clone()).await;
        for _ in 0..8 {
            bronze.append(0, 5).await;
        }
        faulty.refuse_deletions();
        let counters = Counters::default();
        // Twice: the states of the first lease stay too.
        for _ in 0..2 {
            let lease = maintenance::lease(&bronze.inside.lake, &bronze.table.name).await.unwrap().unwrap();
            lease.release().await.unwrap();
        }
        assert_eq!(bronze.compact().await.commits, 1);
        bronze.table.checkpoint(bronze.snapshot().await.version).await.unwrap();
        let before = bronze.objects().await;
        let cleaned = cleanup::run(&bronze.table, Duration::ZERO, later(), &counters).await.unwrap();
        assert_eq!(cleaned, Cleaned::Refused);
        let vacuumed = vacuum::run(&bronze.table, Duration::ZERO, later(), false, &counters).await.unwrap();
        assert_eq!((vacuumed.files, vacuumed.deleted, vacuumed.refused), (8, 0, true));
        assert_eq!(counters.refused.load(std::sync::atomic::Ordering::Relaxed), 2);
        assert_eq!(bronze.objects().await, before);
        bronze.assert_right().await;
    });
}

#[test]
fn compact_and_vacuum_by_hand_say_what_they_do() {
    let world = World::new().with("MEDALLION_CARE__MIN_AGE", "1ms");
    for n in 0..9 {
        world.write("extract.csv", &format!("customer_id,updated_at\nCUST-{n:08},2025-03-20T00:00:0{n}Z\n"));
        world.ok(&["load", "crm_customers", "--from", "extract.csv"]);
    }
    let files = |world: &World| -> Vec<String> {
        let status = world.ok(&["status"]).out;
        let line = status.lines().find(|l| l.starts_with("bronze.crm_customers")).unwrap().to_owned();
        line.split_whitespace().skip(1).take(4).map(str::to_owned).collect()
    };
    assert_eq!(files(&world), ["8", "9", "9", "9"], "version, rows, files, small files");
    let told = world.ok(&["compact", "crm_customers"]).out;
    assert!(told.starts_with("bronze.crm_customers: 9 files (") && told.contains(" became 1 ("), "{told}");
    assert_eq!(files(&world), ["9", "9", "1", "1"]);
    assert_eq!(world.count("select count(distinct customer_id) from bronze.crm_customers"), 9);
    assert_eq!(world.ok(&["compact"]).out, "bronze.crm_customers: nothing to compact\n");
    // All of it is too young to go.
    for arguments in [&["vacuum"][..], &["vacuum", "--dry-run", "--retention", "2h", "--force", "bronze.crm_customers"]]
    {
        assert_eq!(world.ok(arguments).out, "bronze.crm_customers: nothing to delete\n");
    }
    world.fails(&["vacuum", "--retention", "2h"], 2, &["--force"]);
    world.fails(&["vacuum", "--retention", "1m", "--force"], 2, &["a commit under way"]);
    world.fails(&["vacuum", "--retention", "soon"], 2, &["--retention", "is not a duration"]);
    world.fails(&["compact", "crm_customer"], 2, &["no Bronze table crm_customer", "did you mean crm_customers?"]);
    world.ok(&["build", "--select", "silver_customer_history"]);
    world.fails(&["compact", "silver.silver_customer_history"], 2, &["is not a Bronze table", "releases"]);
    world.ok(&["verify"]);
}
