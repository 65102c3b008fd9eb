//! Replays beside each other, beside ingest and compaction, and on a store that fails: one row for each record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::{TimeDelta, Utc};
use futures::TryStreamExt;
use medallion::care::replay::{self, Options, Report, Target};
use medallion::care::verify;
use medallion::contracts::{self, Contract, Decoder};
use medallion::lake::commit::{Commit, Outcome, commit};
use medallion::lake::evolve::REQUIRED_PROPERTY;
use medallion::lake::offsets::Marks;
use medallion::lake::write::TableWriter;
use medallion::lake::{DataFile, Table, lease};
use medallion::maintenance::compact::Ended;
use medallion::maintenance::plan::{Sizes, bins};
use medallion::maintenance::{self, Counters, compact};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::watch;

use crate::world::faulty::{Fault, Faulty};
use crate::world::inside::{Inside, runtime};

const PATIENCE: Duration = Duration::from_secs(20);
const ROWS: &str = "SELECT _partition, _offset, n, _error, _raw, _topic, _key, _kafka_timestamp FROM bronze.t";
const SIZES: Sizes = Sizes { target: 64 << 20, min_age: Duration::ZERO };

fn contract(columns: &str, options: &str) -> Contract {
    contracts::parse("t.sql", &format!("CREATE TABLE t ({columns}) WITH (topic = 't'{options})")).unwrap()
}

/// The contract by which records came, and the one by which they are read again.
fn first() -> Contract {
    contract("n INT", "")
}

fn present() -> Contract {
    contract("n INT", ", coerce = 'lossless'")
}

/// A Bronze table of one topic, filled as ingest fills it. Of three records one is bad for good, and one until the
/// contract changes.
struct Bronze {
    inside: Inside,
    table: Table,
    contract: Contract,
    next: BTreeMap<i32, i64>,
}

impl Bronze {
    async fn on(store: Arc<dyn ObjectStore>) -> Bronze {
        let inside = Inside::on(store);
        let (table, contract) = (inside.table("bronze.t"), first());
        if !table.exists().await.unwrap() {
            let schema = contract.bronze_schema();
            let create = Commit::new("CREATE TABLE")
                .with_metadata("00000000-0000-4000-8000-000000000001", &schema, &["_ingest_date"], &[], None)
                .unwrap()
                .with_property(REQUIRED_PROPERTY, String::new());
            commit(&table, None, &create, PATIENCE).await.unwrap();
        }
        Bronze { inside, table, contract, next: BTreeMap::new() }
    }

    fn rows_of(&self, partition: i32, first: i64, count: i64) -> RecordBatch {
        let mut decoder = Decoder::new(&self.contract);
        let records: Vec<String> = (first..first + count)
            .map(|n| match n % 3 {
                0 => format!("{{\"n\":{n}}}"),
                1 => format!("{{\"n\":\"{n}\"}}"),
                _ => format!("no {n}"),
            })
            .collect();
        let errors: Vec<Option<String>> = records
            .iter()
            .map(|record| {
                let error = decoder.push(record.as_bytes(), &()).err()?;
                decoder.push_rejected();
                Some(error.to_string())
            })
            .collect();
        let raws = records.iter().zip(&errors).map(|(record, error)| error.as_ref().map(|_| record.as_bytes()));
        let size = records.len();
        let times =
            |micros| Arc::new(TimestampMicrosecondArray::from_value(micros, size).with_timezone("UTC")) as ArrayRef;
        let mut columns = decoder.finish();
        columns.extend([
            Arc::new(StringArray::from(vec!["t"; size])) as ArrayRef,
            Arc::new(Int32Array::from(vec![partition; size])),
            Arc::new(Int64Array::from_iter_values(first..first + count)),
            times(1_000_000),
            Arc::new(StringArray::from_iter(records.iter().map(|r| r.len().is_multiple_of(2).then_some("key")))),
            times(Utc::now().timestamp_micros()),
            Arc::new(StringArray::from_iter(&errors)),
            Arc::new(BinaryArray::from_iter(raws)),
        ]);
        RecordBatch::try_new(self.contract.file_schema(), columns).unwrap()
    }

    async fn append(&mut self, partition: i32, count: i64) {
        let read = self.table.latest_version().await.unwrap();
        let first = self.next.get(&partition).copied().unwrap_or(0);
        let day = BTreeMap::from([("_ingest_date".to_owned(), Some("2026-03-01".to_owned()))]);
        let mut writer = TableWriter::new(&self.table, self.contract.file_schema(), day).unwrap();
        writer.write(&self.rows_of(partition, first, count)).await.unwrap();
        let mut change = Commit::new("STREAMING UPDATE");
        change.adds = writer.close().await.unwrap();
        let marks = Marks { first: Some(0), next: Some(first + count), ..Marks::default() };
        change.marks.extend(marks.to_log("t", partition));
        let outcome = commit(&self.table, read, &change, PATIENCE).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        self.next.insert(partition, first + count);
    }

    async fn rows(&self) -> Vec<Vec<String>> {
        self.inside.rows(ROWS).await
    }

    /// Every record has one row, which is good if the record can be read now and `replayed` is true.
    async fn assert_right(&self, replayed: bool) {
        let report = verify::run(&self.inside.engine()).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        let records: i64 = self.next.values().sum();
        assert_eq!(report.partitions.iter().map(|p| p.rows + p.rejected).sum::<i64>(), records);
        if replayed {
            let of_class =
                |rest: i64| self.next.values().map(|next| (0..*next).filter(|n| n % 3 == rest).count()).sum::<usize>();
            let counted = self
                .inside
                .rows("SELECT count(*), count(n), sum(n - _offset) FROM bronze.t WHERE _error IS NULL")
                .await;
            let good = (of_class(0) + of_class(1)).to_string();
            assert_eq!(counted, [[good.clone(), good, "0".to_owned()]]);
            let raw = "arrow_cast(arrow_cast(_raw, 'Binary'), 'Utf8')";
            let kept = format!("SELECT count(*) FROM bronze.t WHERE _error IS NOT NULL AND {raw} = 'no ' || _offset");
            assert_eq!(self.inside.rows(&kept).await, [[of_class(2).to_string()]]);
        }
    }

    async fn replay(&self) -> medallion::error::Result<Report> {
        let contract = present();
        let target = Target { contract: &contract, table: self.table.clone(), topics: Vec::new() };
        replay::replay(&target, None, Options::default(), &going_on()).await
    }

    async fn leased_replay(&self) -> medallion::error::Result<Report> {
        let contract = present();
        let target = Target { contract: &contract, table: self.table.clone(), topics: Vec::new() };
        replay::run(&self.inside.lake, &target, None, Options::default(), &going_on()).await
    }

    /// Takes away the lease of one that died, which would run out by itself.
    async fn end_leases(&self) {
        let store = self.inside.lake.store();
        let leases = self.inside.lake.own_path(&["leases"]);
        let held: Vec<_> = store.list(Some(&leases)).try_collect().await.unwrap();
        for lease in held {
            store.delete(&lease.location).await.unwrap();
        }
    }
}

fn going_on() -> watch::Receiver<bool> {
    watch::channel(false).1
}

#[test]
fn a_replay_that_dies_at_any_call_leaves_one_row_for_each_record_and_can_be_done_again() {
    runtime().block_on(async {
        let store = Arc::new(InMemory::new());
        let mut bronze = Bronze::on(store.clone()).await;
        for partition in 0..2 {
            bronze.append(partition, 6).await;
        }
        let (before, next) = (bronze.rows().await, bronze.next.clone());
        let replayed = Bronze::on(Faulty::with_content_of(&store)).await;
        replayed.replay().await.unwrap();
        let after = replayed.rows().await;
        assert_ne!(before, after);
        let (mut died, mut seen) = (0, [false; 2]);
        for calls in 0.. {
            let faulty = Faulty::with_content_of(&store);
            let mut bronze = Bronze::on(faulty.clone()).await;
            bronze.next = next.clone();
            faulty.die_after(calls);
            let finished = tokio::select! {
                done = bronze.leased_replay() => { done.unwrap(); true }
                () = faulty.died() => false,
            };
            faulty.revive();
            let found = bronze.rows().await;
            assert!(found == before || found == after, "after {calls} calls: {found:?}");
            seen[usize::from(found == after)] = true;
            bronze.assert_right(false).await;
            bronze.end_leases().await;
            // Ingest goes on, and so does the replay.
            bronze.append(0, 3).await;
            bronze.leased_replay().await.unwrap();
            bronze.assert_right(true).await;
            let again = bronze.leased_replay().await.unwrap();
            assert_eq!((again.decoded, again.version), (0, None), "after {calls} calls");
            if finished {
                break;
            }
            died += 1;
        }
        assert!(died > 25 && seen == [true; 2], "{died} calls, {seen:?}");
    });
}

#[test]
fn replays_compactions_and_appends_at_the_same_time_leave_one_row_for_each_record() {
    // Without the lease, which would keep most of them apart.
    let faults = [
        Fault::LostAnswer,
        Fault::MetItself,
        Fault::Late(5),
        Fault::FalselyTaken,
        Fault::DoneThenAway(2),
        Fault::NotDone,
    ];
    let (mut moved, mut compacted) = (0, 0);
    for round in 0..18_usize {
        runtime().block_on(async {
            let faulty = Faulty::new(Vec::new());
            let mut bronze = Bronze::on(faulty.clone()).await;
            for n in 0..8 {
                bronze.append(n % 2, 6).await;
            }
            let mut script = vec![Fault::None; 10];
            script[round % 10] = faults[round % faults.len()];
            script[(round * 7 + 3) % 10] = faults[(round / 2) % faults.len()];
            faulty.script(script);
            let other = Bronze::on(faulty.clone()).await;
            let stop = going_on();
            let later = Utc::now() + TimeDelta::days(365);
            let counters = Counters::default();
            let compaction = async {
                tokio::time::sleep(Duration::from_millis(round as u64 * 12)).await;
                compact::run(&other.table, SIZES, later, &stop, &counters).await
            };
            let appends = async {
                for _ in 0..4 {
                    bronze.append(0, 6).await;
                }
            };
            // A store that is away is an error of whoever meets it, after which the rows are right all the same.
            let (one, two, compaction, ()) = tokio::join!(other.replay(), other.replay(), compaction, appends);
            faulty.settle().await;
            moved += [&one, &two].iter().filter(|r| r.as_ref().is_ok_and(|r| r.version.is_some())).count();
            compacted += compaction.unwrap_or_default().commits;
            bronze.assert_right(false).await;
            bronze.replay().await.unwrap();
            bronze.assert_right(true).await;
        });
    }
    assert!(moved >= 10 && compacted >= 10, "{moved} replays and {compacted} compactions were committed");
}

#[test]
fn of_files_that_are_read_in_many_batches_each_row_goes_where_it_belongs() {
    runtime().block_on(async {
        let mut bronze = Bronze::on(Arc::new(InMemory::new())).await;
        bronze.append(0, 20_000).await;
        bronze.append(1, 9_000).await;
        let report = bronze.replay().await.unwrap();
        assert_eq!((report.rejected, report.decoded), (13_333 + 6_000, 6_667 + 3_000));
        bronze.assert_right(true).await;
    });
}

#[test]
fn of_two_replays_one_moves_the_rows_and_the_others_files_are_deleted() {
    runtime().block_on(async {
        let mut bronze = Bronze::on(Faulty::new(Vec::new())).await;
        for _ in 0..4 {
            bronze.append(0, 6).await;
        }
        let data = async || {
            let objects: Vec<_> = bronze.table.store().list(Some(bronze.table.folder())).try_collect().await.unwrap();
            let paths = objects.into_iter().map(|object| object.location);
            paths.filter(|path| path.extension() == Some("parquet")).collect::<BTreeSet<_>>()
        };
        let before = data().await;
        let (one, other) = tokio::join!(bronze.replay(), bronze.replay());
        let mut moved = [one.unwrap(), other.unwrap()].map(|report| (report.decoded, report.version.is_some()));
        moved.sort();
        assert_eq!(moved, [(0, false), (8, true)]);
        let live = bronze.table.latest().await.unwrap().unwrap().files;
        let live = live.iter().map(|file| bronze.table.path_of(&file.path)).collect();
        assert_eq!(data().await, &before | &live);
        bronze.assert_right(true).await;
    });
}

#[test]
fn a_compaction_that_read_what_a_replay_has_rewritten_comes_too_late_and_one_that_follows_does_not() {
    runtime().block_on(async {
        let mut bronze = Bronze::on(Arc::new(InMemory::new())).await;
        for _ in 0..8 {
            bronze.append(0, 3).await;
        }
        let later = Utc::now() + TimeDelta::days(365);
        let snapshot = bronze.table.latest().await.unwrap().unwrap();
        let bin = bins(&snapshot, SIZES, later).pop().unwrap();
        bronze.replay().await.unwrap();
        let ended = compact::compact(&bronze.table, &snapshot, &bin, SIZES.target, &going_on()).await.unwrap();
        assert!(matches!(ended, Ended::Conflict(_)), "{ended:?}");
        let modified = |file: &Arc<DataFile>| file.modified_ms;
        let replayed = bronze.table.latest().await.unwrap().unwrap();
        assert_eq!(replayed.files.len(), 9);
        // What stays is as old as it was, so that it goes together with its neighbours.
        let old: BTreeSet<i64> = snapshot.files.iter().map(modified).collect();
        assert_eq!(replayed.files.iter().map(modified).filter(|at| old.contains(at)).count(), 8);
        let (stop, counters) = (going_on(), Counters::default());
        let done = compact::run(&bronze.table, SIZES, later, &stop, &counters).await.unwrap();
        assert_eq!((done.commits, done.files_before, done.conflicts), (1, 8, 0));
        bronze.assert_right(true).await;
        assert_eq!(bronze.replay().await.unwrap().decoded, 0);
    });
}

#[test]
fn a_commit_that_follows_from_what_it_removes_alone_goes_through_beside_appends_and_no_other_rewrite_does() {
    runtime().block_on(async {
        let mut bronze = Bronze::on(Arc::new(InMemory::new())).await;
        bronze.append(0, 3).await;
        bronze.append(0, 3).await;
        let read = bronze.table.latest().await.unwrap().unwrap();
        bronze.append(0, 3).await;
        let rewrite = |file: usize, alone: bool| {
            let mut change = Commit::new("REPLAY");
            change.removes = vec![read.files[file].removal(Utc::now(), true)];
            change.from_removed_alone = alone;
            change
        };
        let of = async |change: Commit| commit(&bronze.table, Some(read.version), &change, PATIENCE).await.unwrap();
        assert!(matches!(of(rewrite(0, false)).await, Outcome::Conflict { .. }));
        assert!(matches!(of(rewrite(0, true)).await, Outcome::Committed { .. }));
        assert!(matches!(of(rewrite(0, true)).await, Outcome::Conflict { why, .. } if why.contains("was rewritten")));
        assert!(matches!(of(rewrite(1, true)).await, Outcome::Committed { .. }));
    });
}

#[test]
fn a_replay_waits_for_the_tables_other_maintenance_and_a_dry_run_does_not() {
    runtime().block_on(async {
        let mut bronze = Bronze::on(Arc::new(InMemory::new())).await;
        bronze.append(0, 3).await;
        let held = maintenance::lease(&bronze.inside.lake, &bronze.table.name).await.unwrap().unwrap();
        let contract = present();
        let target = Target { contract: &contract, table: bronze.table.clone(), topics: Vec::new() };
        let dry = Options { dry_run: true, ..Options::default() };
        let told = replay::run(&bronze.inside.lake, &target, None, dry, &going_on()).await.unwrap();
        assert_eq!((told.decoded, told.version), (1, None));
        let waiting = tokio::time::timeout(Duration::from_secs(1), bronze.leased_replay()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        let (release, done) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                held.release().await
            },
            bronze.leased_replay()
        );
        release.unwrap();
        assert!(done.unwrap().version.is_some());
        bronze.assert_right(true).await;
        // It has given the lease back.
        lease::acquire(&bronze.inside.lake, "maintenance of bronze.t").await.unwrap();
    });
}

#[test]
fn a_replay_that_is_told_to_stop_moves_nothing_and_leaves_nothing() {
    runtime().block_on(async {
        let store = Arc::new(InMemory::new());
        let mut bronze = Bronze::on(store.clone()).await;
        bronze.append(0, 3).await;
        let objects = async || -> Vec<_> {
            let listed: Vec<_> = store.list(Some(bronze.table.folder())).try_collect().await.unwrap();
            listed.into_iter().map(|object| object.location).collect()
        };
        let before = objects().await;
        let (_keep, stop) = watch::channel(true);
        let contract = present();
        let target = Target { contract: &contract, table: bronze.table.clone(), topics: Vec::new() };
        for report in [
            replay::replay(&target, None, Options::default(), &stop).await.unwrap(),
            replay::run(&bronze.inside.lake, &target, None, Options::default(), &stop).await.unwrap(),
        ] {
            assert!(report.stopped && report.version.is_none(), "{report:?}");
        }
        assert_eq!(objects().await, before);
    });
}
