//! Whole histories of ingest, each decided by a seed: several daemons run the real sessions, buffers, writers and commits
//! against a simulated Kafka and a store that fails at every call. Daemons are killed, frozen past their session and
//! woken, and join and leave; records, tombstones, bad records and control gaps keep coming. In the end the store calms
//! down, one daemon catches up, and then the table has exactly one row for each record.
//!
//! A seed that fails prints the history that led there. `cargo test simulation` runs 1,000 seeds;
//! `MEDALLION_SIMULATION_SEEDS=10000` runs more, and `MEDALLION_SIMULATION_FROM=17` begins elsewhere.

mod judge;
mod kafka;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

use self::judge::judge;
use self::kafka::{Client, Cluster, Entry, Shared};
use self::store::Faulty;
use super::feed::Partition;
use super::metrics::Metrics;
use super::schemas::Schemas;
use super::session::{End, Session, Trouble};
use super::{RESTART_PAUSE, Route, patiently};
use crate::config::{Config, IngestConfig};
use crate::contracts::bronze::INGEST_DATE;
use crate::contracts::{self, Contract};
use crate::lake::commit::{Commit, commit};
use crate::lake::{Lake, TableName};
use crate::runtime::simulated::{self, below, happens, note, sleep};
use crate::runtime::{Mistake, new_id, within};

const TOPICS: [&str; 2] = ["a", "b"];
const PARTITIONS: i32 = 2;
/// How long trouble lasts, and how long one calm daemon may then take.
const TROUBLE: Duration = Duration::from_secs(90);
const CATCHING_UP: Duration = Duration::from_secs(600);
/// A planted mistake has to show within so many seeds.
const SEEDS_TO_CATCH: u64 = 1000;

fn contract(topic: &str) -> Contract {
    let text = format!(
        "CREATE TABLE {topic} (n BIGINT NOT NULL) WITH (topic = '{topic}', format = 'json', timezone = 'UTC');"
    );
    contracts::parse(&format!("{topic}.sql"), &text).unwrap_or_else(|e| panic!("{e}"))
}

fn partitions() -> impl Iterator<Item = Partition> {
    TOPICS.iter().flat_map(|t| (0..PARTITIONS).map(|partition| Partition { topic: (*t).to_owned(), partition }))
}

fn configured() -> IngestConfig {
    let mut config = Config::resolve(None, &BTreeMap::new(), std::path::Path::new("/nowhere")).unwrap().ingest;
    config.flush_rows = 1 + below(40);
    config.flush_interval = Duration::from_millis(50 + below(1500));
    config.commit_timeout = Duration::from_secs(1 + below(40));
    config
}

async fn routes(lake: &Lake, create: bool) -> Vec<Route> {
    let mut routes = Vec::new();
    for topic in TOPICS {
        let contract = contract(topic);
        let table = lake.table(&TableName::new("bronze", topic)).unwrap();
        if create {
            let make = Commit::new("CREATE TABLE")
                .with_metadata(&new_id().to_string(), &contract.bronze_schema(), &[INGEST_DATE], &[], None)
                .unwrap();
            commit(&table, None, &make, Duration::from_secs(1)).await.unwrap();
        }
        routes.push(Route { topic: topic.to_owned(), contract, table, version: 0, committed: watch::Sender::new(0) });
    }
    routes
}

/// A daemon's life: sessions one after another, and a new process after a failure, as its supervisor would have it.
async fn daemon(name: u32, lake: Lake, cluster: Shared, until: Option<watch::Receiver<bool>>) {
    let mut routes = routes(&lake, false).await;
    let stop = until.clone().unwrap_or_else(|| watch::channel(false).1);
    let config = configured();
    let trouble = Arc::<Trouble>::default();
    loop {
        let ends = match until {
            Some(_) => None,
            None => Some(
                super::feed::Kafka::ranges(&Client(cluster.clone()), &partitions().collect::<Vec<_>>()).await.unwrap(),
            ),
        };
        for route in &mut routes {
            match patiently(&route.table, config.commit_timeout, || route.table.latest_version()).await {
                Ok(version) => route.version = version.unwrap_or(0),
                Err(e) => note(format!("daemon {name}: {e}")),
            }
        }
        let session = Session {
            kafka: Client(cluster.clone()),
            config: config.clone(),
            routes: Arc::new(routes.clone()),
            schemas: Schemas::none(),
            ends,
            accepted_gaps: Vec::new(),
            stop: stop.clone(),
            metrics: Arc::new(Metrics::default()),
            trouble: trouble.clone(),
        };
        match session.run().await {
            Ok(End::Done) => return note(format!("daemon {name}: done")),
            Ok(End::Restart(reason)) => {
                note(format!("daemon {name}: {reason}"));
                sleep(RESTART_PAUSE).await;
            }
            Err(e) => {
                note(format!("daemon {name}: {e}"));
                sleep(Duration::from_millis(below(3000))).await;
            }
        }
    }
}

fn produce(cluster: &Shared) {
    let mut cluster = cluster.borrow_mut();
    let most = if happens(0.05) { 60 } else { 6 };
    for (partition, log) in &mut cluster.logs {
        if happens(0.4) {
            continue;
        }
        for _ in 0..below(most) {
            let n = log.len();
            log.push(match below(20) {
                0 => Entry::Tombstone,
                1 | 2 => Entry::Hidden,
                3 => Entry::Record(format!("{{\"n\": \"not {} {n}\"}}", partition.partition).into_bytes()),
                _ => Entry::Record(format!("{{\"n\": {n}}}").into_bytes()),
            });
        }
    }
}

/// One history. What is wrong at its end, if anything.
async fn history() -> Result<(), String> {
    let store = Faulty::new();
    let lake = Lake::with_store(Url::parse("s3://simulated/lake").unwrap(), store.clone()).unwrap();
    let calm = Lake::with_store(Url::parse("s3://simulated/lake").unwrap(), store.truth()).unwrap();
    routes(&calm, true).await;
    let cluster = Cluster::new(partitions(), happens(0.5));
    let (stop, stopped) = watch::channel(false);
    let daemons = 1 + u32::try_from(below(4)).unwrap();
    // Some histories are about daemons that stop and go, most are about everything.
    let restless = happens(0.3);
    let start = |process: u32| {
        note(format!("daemon {process} starts"));
        simulated::start(process, daemon(process, lake.clone(), cluster.clone(), Some(stopped.clone())));
    };
    (1..=daemons).for_each(start);

    let began = simulated::elapsed();
    while simulated::elapsed() - began < TROUBLE {
        sleep(Duration::from_millis(100 + below(900))).await;
        produce(&cluster);
        cluster.borrow_mut().look_after();
        let process = 1 + u32::try_from(below(u64::from(daemons))).unwrap();
        match below(60) {
            0 | 1 => {
                note(format!("daemon {process} is killed"));
                simulated::kill(process);
                start(process);
            }
            2.. if restless && happens(0.15) => {
                let frozen = simulated::is_frozen(process);
                note(format!("daemon {process} {}", if frozen { "wakes up" } else { "is frozen" }));
                simulated::freeze(process, !frozen);
            }
            2 | 3 if !simulated::is_frozen(process) => {
                note(format!("daemon {process} is frozen"));
                simulated::freeze(process, true);
            }
            4..=9 if simulated::is_frozen(process) => {
                note(format!("daemon {process} wakes up"));
                simulated::freeze(process, false);
            }
            _ => {}
        }
    }

    // Those who are left end in order or by force; then one daemon is to bring everything home.
    note("the trouble ends");
    store.calm_down();
    let _ = stop.send(true);
    sleep(Duration::from_secs(below(30))).await;
    (1..=daemons).for_each(simulated::kill);
    let last = simulated::start(100, daemon(100, lake.clone(), cluster.clone(), None));
    let looked_after = cluster.clone();
    simulated::start(0, async move {
        loop {
            sleep(Duration::from_secs(1)).await;
            looked_after.borrow_mut().look_after();
        }
    });
    if within(CATCHING_UP, last).await.is_none() {
        return Err("the last daemon does not catch up".to_owned());
    }
    // Whatever was still to land late has landed.
    sleep(Duration::from_secs(60)).await;
    let truth = cluster.borrow().logs.clone();
    judge(&calm, &truth).await
}

/// Runs one seed, and gives what went wrong with the history that led there.
fn run(seed: u64, mistake: Option<Mistake>) -> Result<(), (String, Vec<String>)> {
    match simulated::run(seed, mistake, history()) {
        (Ok(Ok(())), _) => Ok(()),
        (Ok(Err(wrong)) | Err(wrong), lines) => Err((wrong, lines)),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Calls `work` with each number, on as many threads as there are cores.
fn in_parallel(numbers: std::ops::Range<u64>, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(numbers.start);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

#[test]
fn every_record_lands_once_in_any_history() {
    let from = setting("MEDALLION_SIMULATION_FROM", 0);
    let seeds = setting("MEDALLION_SIMULATION_SEEDS", 1000);
    in_parallel(from..from + seeds, |seed| {
        if let Err((wrong, lines)) = run(seed, None) {
            panic!("seed {seed}: {wrong}; its history:\n{}", lines.join("\n"));
        }
    });
    println!("{seeds} histories, each record in each of them landed once");
}

#[test]
fn a_history_repeats_by_its_seed() {
    for seed in 0..3 {
        let [first, second] = [(); 2].map(|()| simulated::run(seed, None, history()).1);
        assert!(first.len() > 10, "nothing happened: {first:?}");
        assert_eq!(first, second);
    }
}

/// Every mistake that can be made in the protocol, and the proof that the histories above would show it.
const MISTAKES: &[Mistake] = &[
    Mistake::RetryWithoutReading,
    Mistake::TakenMeansAnother,
    Mistake::AnyEntryIsOurs,
    Mistake::OverwriteEntry,
    Mistake::NoFence,
    Mistake::OneFence,
    Mistake::UncheckedEntry,
    Mistake::FenceOneTooLate,
    Mistake::PassedForgotten,
    Mistake::ReadAtIsForever,
    Mistake::LastInsteadOfNext,
    Mistake::TakeAgain,
    Mistake::GapsNotCounted,
    Mistake::TombstonesNotCounted,
    Mistake::FirstForgotten,
    Mistake::RejectedDropped,
    Mistake::MarksBeforeRows,
    Mistake::GiveUpUnflushed,
    Mistake::StartFromMemory,
    Mistake::StartAtEnd,
    Mistake::EndIgnored,
    Mistake::BacklogDropped,
    Mistake::FencedTakenForDone,
    Mistake::GoOnAfterFailure,
    Mistake::LostFileIgnored,
    Mistake::OpenFileCarriedOver,
    Mistake::DeleteAfterUnknown,
];

#[test]
fn each_planted_mistake_is_caught() {
    let missed = std::sync::Mutex::new(Vec::new());
    in_parallel(0..MISTAKES.len() as u64, |n| {
        let mistake = MISTAKES[usize::try_from(n).unwrap()];
        match (0..SEEDS_TO_CATCH).find_map(|seed| run(seed, Some(mistake)).err().map(|(wrong, _)| (seed, wrong))) {
            Some((seed, wrong)) => println!("{mistake:?}: seed {seed}: {wrong}"),
            None => missed.lock().unwrap().push(mistake),
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
