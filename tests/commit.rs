//! The commit protocol and the lease on a store that fails on cue.
//!
//! Writers race for the same partitions as two ingest daemons would, and others rewrite files as compactions would. In the
//! end the log has every offset once, and what each writer was told is what the log says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use medallion::lake::commit::{Commit, Outcome, commit};
use medallion::lake::log::{Action, Add, Commit as Entry};
use medallion::lake::offsets::Marks;
use medallion::lake::{Lake, Table, lease};
use object_store::ObjectStore;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::world::faulty::{Fault, Faulty};
use crate::world::inside::{Inside, cases, change, removal, runtime};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 2;
/// Records that each partition has.
const RECORDS: i64 = 6;
/// By then a schedule has ended, or something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        2 => Just(Fault::LostAnswer),
        1 => Just(Fault::NotDone),
        2 => Just(Fault::MetItself),
        1 => Just(Fault::MetItselfAsPrecondition),
        1 => Just(Fault::FalselyTaken),
        3 => (1u8..12).prop_map(Fault::Late),
        1 => (1u8..6).prop_map(Fault::Away),
        2 => (1u8..6).prop_map(Fault::DoneThenAway),
    ]
}

#[derive(Debug, Clone)]
struct Schedule {
    faults: Vec<Fault>,
    writers: Vec<WriterPlan>,
    /// How many rewrite files meanwhile.
    rewriters: usize,
}

#[derive(Debug, Clone)]
struct WriterPlan {
    partitions: Vec<i32>,
    /// Records of a partition in one commit.
    takes: i64,
    /// How long it waits for the store before it gives up on an answer.
    patience_ms: u64,
    /// After an error: the same commit again, or the marks from the table and a new one.
    repeats: bool,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let partitions = prop_oneof![4 => Just(vec![0, 1]), 1 => Just(vec![0]), 1 => Just(vec![1])];
    let writer = (partitions, 1i64..4, prop_oneof![Just(0u64), Just(60)], any::<bool>())
        .prop_map(|(partitions, takes, patience_ms, repeats)| WriterPlan { partitions, takes, patience_ms, repeats });
    (prop::collection::vec(fault(), 0..16), prop::collection::vec(writer, 1..3), 0usize..4).prop_map(
        |(faults, mut writers, rewriters)| {
            // One writer at least sees to the end of all partitions.
            writers[0].partitions = (0..PARTITIONS).collect();
            Schedule { faults, writers, rewriters }
        },
    )
}

/// What a writer was told of one attempt.
#[derive(Debug, Clone)]
struct Told {
    attempt: String,
    read: u64,
    /// None: an error, which leaves it open.
    outcome: Option<Outcome>,
}

fn add(path: String) -> Add {
    Add {
        path,
        partition_values: BTreeMap::new(),
        size: 1,
        modification_time: 0,
        data_change: true,
        stats: Some(r#"{"numRecords":1}"#.to_owned()),
    }
}

fn columns() -> Schema {
    Schema::new(vec![Field::new("x", DataType::Int64, true)])
}

/// Takes records from where the table says until all of its partitions are at their end.
async fn ingest(table: Table, name: usize, plan: WriterPlan) -> Vec<Told> {
    let mut told = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    for round in 0.. {
        assert!(Instant::now() < deadline, "writer {name} does not come to an end: {told:#?}");
        let Ok(Some(version)) = table.latest_version().await else { continue };
        let Ok(log) = table.transactions(version).await else { continue };
        let attempt = format!("w{name}-{round}");
        let mut change = Commit::new("STREAMING UPDATE").parameter("attempt", attempt.as_str());
        for partition in &plan.partitions {
            let mut marks = Marks::from_log(&log, TOPIC, *partition);
            let first = marks.next.unwrap_or(0);
            let end = (first + plan.takes).min(RECORDS);
            if first < end {
                (first..end).for_each(|offset| assert!(marks.accept(offset)));
                change.adds.push(add(format!("{attempt}/{partition}/{first}/{end}")));
                change.marks.extend(marks.to_log(TOPIC, *partition));
            }
        }
        if change.is_empty() {
            return told;
        }
        let patience = Duration::from_millis(plan.patience_ms);
        let mut outcome = commit(&table, Some(version), &change, patience).await.ok();
        while outcome.is_none() && plan.repeats {
            assert!(Instant::now() < deadline, "writer {name} gets no answer");
            outcome = commit(&table, Some(version), &change, patience).await.ok();
        }
        told.push(Told { attempt, read: version, outcome });
    }
    told
}

async fn live_files(table: &Table, version: u64) -> medallion::error::Result<BTreeMap<String, Add>> {
    let mut live = BTreeMap::new();
    for version in 0..=version {
        for action in table.commit_entry(version).await?.unwrap().actions {
            match action {
                Action::Add(add) => drop(live.insert(add.path.clone(), add)),
                Action::Remove(remove) => drop(live.remove(&remove.path)),
                _ => {}
            }
        }
    }
    Ok(live)
}

/// Puts one file in the place of two, a few times: with the same rows, as a compaction does, or with others.
async fn rewrite(table: Table, name: usize, data_change: bool) -> Vec<Told> {
    let mut told = Vec::new();
    for round in 0..6 {
        let Ok(Some(version)) = table.latest_version().await else { continue };
        let Ok(live) = live_files(&table, version).await else { continue };
        let attempt = format!("{}{name}-{round}", if data_change { "rewrite" } else { "compact" });
        let mut change = Commit::new("OPTIMIZE").parameter("attempt", attempt.as_str());
        change.removes = live.values().take(2).map(|a| removal(a, data_change)).collect();
        if change.removes.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        change.adds = vec![Add { data_change: false, ..add(attempt.clone()) }];
        let outcome = commit(&table, Some(version), &change, Duration::from_millis(60)).await.ok();
        told.push(Told { attempt, read: version, outcome });
    }
    told
}

fn attempt_of(entry: &Entry) -> Option<&str> {
    entry.info()?.get("operationParameters")?.get("attempt")?.as_str()
}

async fn log_of(table: &Table) -> Vec<Entry> {
    let mut log = Vec::new();
    while let Some(entry) = table.commit_entry(log.len() as u64).await.unwrap() {
        log.push(entry);
    }
    log
}

/// Runs one schedule to its end and holds the log against what it has to be.
async fn run(schedule: Schedule) -> Result<(), TestCaseError> {
    let store = Faulty::new(Vec::new());
    let inside = Inside::on(store.clone());
    let table = inside.table("bronze.t");
    change(&table, (&columns(), &[]), &[], Vec::new(), Vec::new()).await;
    store.script(schedule.faults.clone());

    let mut tasks = tokio::task::JoinSet::new();
    for (name, plan) in schedule.writers.iter().cloned().enumerate() {
        tasks.spawn(ingest(table.clone(), name, plan));
    }
    for name in 0..schedule.rewriters {
        tasks.spawn(rewrite(table.clone(), name, name % 2 == 1));
    }
    let mut told = Vec::new();
    while let Some(done) = tasks.join_next().await {
        told.extend(done.map_err(|e| TestCaseError::fail(e.to_string()))?);
    }
    store.settle().await;
    let log = log_of(&table).await;
    prop_assert_eq!(table.latest_version().await.unwrap(), Some(log.len() as u64 - 1), "the log has a hole");

    // No commit is there twice.
    let ids: BTreeSet<&str> = log.iter().map(|e| e.id().unwrap()).collect();
    prop_assert_eq!(ids.len(), log.len(), "a commit is in the log twice");
    let attempts: Vec<&str> = log.iter().filter_map(attempt_of).collect();
    prop_assert_eq!(attempts.iter().collect::<BTreeSet<_>>().len(), attempts.len(), "an attempt is in the log twice");

    // Every offset lands once, in its order, and the marks say so.
    let mut next = vec![0i64; PARTITIONS as usize];
    let mut removed = BTreeSet::new();
    for entry in &log {
        let marks = entry.actions.iter().filter_map(|a| match a {
            Action::Txn(txn) => Some((txn.app_id.clone(), txn.version)),
            _ => None,
        });
        let marks = marks.collect();
        for action in &entry.actions {
            match action {
                Action::Add(add) if add.data_change => {
                    let numbers: Vec<i64> = add.path.split('/').skip(1).map(|n| n.parse().unwrap()).collect();
                    let [partition, first, end] = numbers[..] else { panic!("{}", add.path) };
                    let partition = partition as usize;
                    prop_assert_eq!(first, next[partition], "partition {} in version {}", partition, entry.version);
                    next[partition] = end;
                    let marks = Marks::from_log(&marks, TOPIC, partition as i32);
                    prop_assert_eq!(marks.next, Some(end), "the mark in version {}", entry.version);
                }
                Action::Remove(file) => {
                    prop_assert!(removed.insert(file.path.clone()), "{} was removed twice", file.path);
                }
                _ => {}
            }
        }
    }
    prop_assert_eq!(next, vec![RECORDS; PARTITIONS as usize]);

    // What the writers were told is what the log says.
    for Told { attempt, read, outcome } in told {
        let there = log.iter().find(|e| attempt_of(e) == Some(&attempt));
        match outcome {
            Some(Outcome::Committed { version }) => {
                prop_assert_eq!(there.map(|e| e.version), Some(version), "{} was told that it is committed", attempt);
                prop_assert!(version > read);
                let changed = |e: &Entry| e.actions.iter().any(|a| matches!(a, Action::Add(a) if a.data_change));
                let between = &log[read as usize + 1..version as usize];
                let rewrites = attempt.starts_with("rewrite");
                prop_assert!(!rewrites || !between.iter().any(changed), "{} did not see a change before it", attempt);
            }
            Some(Outcome::Fenced { version, mark }) => {
                prop_assert!(there.is_none(), "{} was told that it is fenced", attempt);
                let sets = |a: &Action| matches!(a, Action::Txn(txn) if txn.app_id == mark);
                prop_assert!(version > read && log[version as usize].actions.iter().any(sets), "{}", attempt);
            }
            Some(Outcome::Conflict { version, .. }) => {
                prop_assert!(there.is_none(), "{} was told of a conflict", attempt);
                prop_assert!(!attempt.starts_with('w'), "an append was told of a conflict");
                if attempt.starts_with("compact") {
                    let took = |a: &Action| matches!(a, Action::Remove(_));
                    prop_assert!(log[version as usize].actions.iter().any(took), "{} gave way to an append", attempt);
                }
                prop_assert!(version > read && version < log.len() as u64);
            }
            None => {}
        }
    }
    Ok(())
}

#[test]
fn every_offset_lands_once_and_writers_are_told_the_truth_whatever_the_store_does() {
    let runtime = runtime();
    // Most of a schedule is waiting, so that several run at the same time.
    let schedules = prop::collection::vec(schedule(), 1..6);
    let outcome = TestRunner::new(cases(64)).run(&schedules, |schedules| {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            schedules.into_iter().for_each(|schedule| drop(tasks.spawn(run(schedule))));
            while let Some(done) = tasks.join_next().await {
                done.map_err(|e| TestCaseError::fail(e.to_string()))??;
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn of_writers_that_make_the_same_table_one_does() {
    let runtime = runtime();
    let outcome = TestRunner::new(cases(32)).run(&prop::collection::vec(fault(), 0..6), |faults| {
        runtime.block_on(async {
            let store = Faulty::new(faults);
            let table = Inside::on(store.clone()).table("bronze.t");
            let mut tasks = tokio::task::JoinSet::new();
            for name in 0..3 {
                let table = table.clone();
                tasks.spawn(async move {
                    let change = Commit::new("CREATE").parameter("attempt", format!("w{name}"));
                    let change = change.with_metadata(&format!("id-{name}"), &columns(), &[], &[], None).unwrap();
                    (name, commit(&table, None, &change, DEADLINE).await.unwrap())
                });
            }
            let mut made = Vec::new();
            while let Some(done) = tasks.join_next().await {
                match done.unwrap() {
                    (name, Outcome::Committed { version: 0 }) => made.push(name),
                    (_, Outcome::Conflict { version: 0, .. }) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            store.settle().await;
            let log = log_of(&table).await;
            prop_assert_eq!(log.len(), 1);
            prop_assert_eq!(made.iter().map(|n| format!("w{n}")).collect::<Vec<_>>(), [attempt_of(&log[0]).unwrap()]);
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Objects that a lake's leases are made of.
async fn lease_objects(lake: &Lake) -> usize {
    let folder = lake.own_path(&["leases"]);
    let objects: Vec<_> = lake.store().list(Some(&folder)).try_collect().await.unwrap();
    objects.len()
}

#[test]
fn a_lease_never_has_two_holders_whatever_the_store_does() {
    let runtime = runtime();
    let outcome = TestRunner::new(cases(48)).run(&prop::collection::vec(fault(), 0..10), |faults| {
        runtime.block_on(async {
            let lake = Inside::on(Faulty::new(faults)).lake;
            let (holders, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..3 {
                let (lake, holders, held) = (lake.clone(), holders.clone(), held.clone());
                tasks.spawn(async move {
                    for _ in 0..6 {
                        let Ok(lease) = lease::acquire(&lake, "build").await else { continue };
                        let others = holders.fetch_add(1, Ordering::SeqCst);
                        held.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        holders.fetch_sub(1, Ordering::SeqCst);
                        // The store may not take it back; then it runs out by itself.
                        let _ = lease.release().await;
                        if others > 0 {
                            return false;
                        }
                    }
                    true
                });
            }
            while let Some(alone) = tasks.join_next().await {
                prop_assert!(alone.unwrap(), "two held the lease at once");
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn a_lease_that_is_given_back_can_be_taken_and_leaves_one_object_behind() {
    runtime().block_on(async {
        let lake = Inside::on(Faulty::new(vec![Fault::MetItself, Fault::MetItselfAsPrecondition])).lake;
        for _ in 0..10 {
            let lease = lease::acquire(&lake, "build").await.unwrap();
            let refused = lease::acquire(&lake, "build").await.err().map(|e| e.to_string());
            assert!(refused.is_some_and(|e| e.contains("another build is running")), "it was taken twice");
            lease.release().await.unwrap();
            assert_eq!(lease_objects(&lake).await, 1);
        }
        let other = lease::acquire(&lake, "vacuum").await.unwrap();
        let build = lease::acquire(&lake, "build").await.unwrap();
        other.release().await.unwrap();
        build.release().await.unwrap();
    });
}

#[test]
fn whoever_holds_a_lease_no_longer_is_told() {
    runtime().block_on(async {
        let lake = Inside::on(Faulty::new(Vec::new())).lake;
        let lease = lease::acquire(&lake, "build").await.unwrap();
        lease.ensure_held().await.unwrap();
        lease.release().await.unwrap();
        assert!(lease.ensure_held().await.unwrap_err().to_string().contains("the lease was lost"));
        let other = lease::acquire(&lake, "build").await.unwrap();
        assert!(lease.ensure_held().await.is_err());
        other.ensure_held().await.unwrap();
    });
}

#[test]
fn a_lease_whose_answers_are_lost_is_taken_and_given_back_all_the_same() {
    runtime().block_on(async {
        let store = Faulty::new(vec![Fault::LostAnswer, Fault::LostAnswer]);
        let lake = Inside::on(store.clone()).lake;
        let lease = lease::acquire(&lake, "build").await.unwrap();
        lease.release().await.unwrap();
        let lease = lease::acquire(&lake, "build").await.unwrap();
        lease.release().await.unwrap();
        // What was not done is an error, and leaves the lease free.
        store.script(vec![Fault::NotDone]);
        assert!(lease::acquire(&lake, "build").await.is_err());
        lease::acquire(&lake, "build").await.unwrap().release().await.unwrap();
    });
}
