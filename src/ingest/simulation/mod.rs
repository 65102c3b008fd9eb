//! Whole histories of ingest, each decided by a seed: several daemons run the real sessions, buffers, writers and commits
//! against a simulated Kafka and a store that fails at every call. Daemons are killed, frozen past their session and
//! woken, and join and leave; records, tombstones, bad records and control gaps keep coming. In the end the store calms
//! down, one daemon catches up, and then the table has exactly one row for each record. In some histories each topic has
//! its table, in others one table has them all, by their names or by a pattern that a topic made later matches too.
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
use self::kafka::{Client, Cluster, Entry, SESSION_TIMEOUT, Shared};
use self::store::Faulty;
use super::feed::Partition;
use super::metrics::Metrics;
use super::schemas::Schemas;
use super::session::{End, Session};
use super::topics::Existing;
use super::trouble::Trouble;
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

/// What the contracts of a history say of its topics.
#[derive(Clone, Copy, PartialEq)]
enum Claims {
    /// Each has its table.
    Apart,
    /// Both land in one.
    Together,
    /// The same, by a pattern; the second one is made while daemons run.
    ByPattern,
}

impl Claims {
    fn by_chance() -> Claims {
        match below(4) {
            0 => Claims::Together,
            1 => Claims::ByPattern,
            _ => Claims::Apart,
        }
    }

    fn contracts(self) -> Vec<Contract> {
        let contract = |table: &str, topics: &str| {
            let text = format!("CREATE TABLE {table} (n BIGINT NOT NULL) WITH ({topics})");
            contracts::parse(&format!("{table}.sql"), &text).unwrap_or_else(|e| panic!("{e}"))
        };
        match self {
            Claims::Apart => TOPICS.iter().map(|topic| contract(topic, &format!("topic = '{topic}'"))).collect(),
            Claims::Together => vec![contract("a", "topics = 'a, b'")],
            Claims::ByPattern => vec![contract("a", "topic_pattern = '[ab]'")],
        }
    }
}

fn partitions(topic: &str) -> impl Iterator<Item = Partition> {
    (0..PARTITIONS).map(|partition| Partition { topic: topic.to_owned(), partition })
}

fn configured() -> IngestConfig {
    let mut config = Config::resolve(None, &BTreeMap::new(), std::path::Path::new("/nowhere")).unwrap().ingest;
    config.flush_rows = 1 + below(40);
    config.flush_interval = Duration::from_millis(50 + below(1500));
    config.commit_timeout = Duration::from_secs(1 + below(40));
    config
}

async fn routes(lake: &Lake, claims: Claims, create: bool) -> Vec<Route> {
    let mut routes = Vec::new();
    for contract in claims.contracts() {
        let table = lake.table(&TableName::new("bronze", contract.name.as_str())).unwrap();
        if create {
            let make = Commit::new("CREATE TABLE")
                .with_metadata(&new_id().to_string(), &contract.bronze_schema(), &[INGEST_DATE], &[], None)
                .unwrap();
            commit(&table, None, &make, Duration::from_secs(1)).await.unwrap();
        }
        let topics = contract.topics().unwrap().clone();
        routes.push(Route { topics, contract, table, version: 0, committed: watch::Sender::new(0) });
    }
    routes
}

/// What all daemons of a history live with.
#[derive(Clone)]
struct World {
    lake: Lake,
    cluster: Shared,
    claims: Claims,
    topics: watch::Receiver<Existing>,
}

/// A daemon's life: sessions one after another, and a new process after a failure, as its supervisor would have it.
async fn daemon(name: u32, world: World, until: Option<watch::Receiver<bool>>) {
    let World { lake, cluster, claims, topics } = world;
    let mut routes = routes(&lake, claims, false).await;
    let stop = until.clone().unwrap_or_else(|| watch::channel(false).1);
    let config = configured();
    let trouble = Arc::<Trouble>::default();
    loop {
        let ends = match until {
            Some(_) => None,
            None => {
                let all: Vec<Partition> = cluster.borrow().logs.keys().cloned().collect();
                Some(super::feed::Kafka::ranges(&Client(cluster.clone()), &all).await.unwrap())
            }
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
            topics: topics.clone(),
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
    let claims = Claims::by_chance();
    routes(&calm, claims, true).await;
    let [first, second] = TOPICS;
    let cluster = Cluster::new(partitions(first), happens(0.5));
    let mut second_at = match claims {
        Claims::ByPattern => Some(Duration::from_secs(1 + below(60))),
        Claims::Apart | Claims::Together => {
            cluster.borrow_mut().create(partitions(second));
            None
        }
    };
    let existing = || Existing::new(cluster.borrow().logs.keys().map(|p| p.topic.clone()).collect());
    let (seen, topics) = watch::channel(existing());
    let world = World { lake, cluster: cluster.clone(), claims, topics };
    let (stop, stopped) = watch::channel(false);
    let daemons = 1 + u32::try_from(below(4)).unwrap();
    // Some histories are about daemons that stop and go, most are about everything.
    let restless = happens(0.3);
    let start = |process: u32| {
        note(format!("daemon {process} starts"));
        simulated::start(process, daemon(process, world.clone(), Some(stopped.clone())));
    };
    (1..=daemons).for_each(start);

    let began = simulated::elapsed();
    while simulated::elapsed() - began < TROUBLE {
        if second_at.take_if(|at| simulated::elapsed() - began >= *at).is_some() {
            note("a topic is made");
            cluster.borrow_mut().create(partitions(second));
        }
        sleep(Duration::from_millis(100 + below(900))).await;
        if *seen.borrow() != existing() && happens(0.2) {
            note("it is seen that a topic was made");
            seen.send_replace(existing());
        }
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
    seen.send_replace(existing());
    store.calm_down();
    let _ = stop.send(true);
    sleep(Duration::from_secs(below(30))).await;
    (1..=daemons).for_each(simulated::kill);
    // The dead are noticed before the group becomes patient.
    sleep(SESSION_TIMEOUT + Duration::from_secs(1)).await;
    cluster.borrow_mut().look_after();
    cluster.borrow_mut().calm_down();
    let last = simulated::start(100, daemon(100, world.clone(), None));
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
    judge(&calm, &claims.contracts(), &truth).await
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
    Mistake::RowsOfOneTopic,
    Mistake::MarksOfOneTopic,
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
