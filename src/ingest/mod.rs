//! Kafka to Bronze, exactly once.
//!
//! For every (topic, partition, offset) there is one row in Bronze, ever: rows, rejected rows and the next offsets go
//! into the table in one Delta commit, and after any restart the table alone says where to go on. Kafka's own group
//! offsets are reported for tools that show lag and are never read.

mod buffer;
mod consumer;
mod exposition;
mod feed;
mod flush;
mod lag;
pub mod metrics;
mod parked;
mod port;
mod rebalance;
mod schemas;
mod session;
#[cfg(test)]
mod simulation;
mod source;
mod token;
mod topic_id;
mod topics;
mod trouble;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::feed::Partition;
pub use self::metrics::Metrics;
use self::schemas::Schemas;
pub use self::source::Broker;
pub use self::writer::{Flow, Flush, Settled, Work};
use crate::config::Config;
use crate::contracts::bronze::INGEST_DATE;
use crate::contracts::{Contract, Topics};
use crate::error::{Error, Kind, Result};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::evolve::{Declared, REQUIRED_PROPERTY};
use crate::lake::offsets::Marks;
use crate::lake::{Lake, Table, TableName};
use crate::maintenance::keeper::{Keeper, Tended};
use crate::maintenance::vacuum;
use crate::runtime;

/// Between a session that another daemon fenced off and the next.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// Waits between tries to read a table grow from one to the other.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these contracts, or these of their topics; empty for all.
    pub topics: Vec<String>,
    /// End when every partition is committed up to the end that it has at the start.
    pub until_caught_up: bool,
    /// Partitions (`topic:0`) or whole topics whose lost records are accepted.
    pub accept_gaps: Vec<String>,
}

/// Topics and the table that their records land in.
#[derive(Clone)]
pub struct Route {
    pub topics: Topics,
    pub contract: Contract,
    pub table: Table,
    /// A version at which the table has the contract's columns. Commits build on it: should they change after it, the
    /// log tells.
    pub version: u64,
    /// Where the writer tells of the versions that it committed.
    pub committed: watch::Sender<u64>,
}

/// Runs until `stop` turns true, or until it has caught up.
pub async fn run(
    lake: &Lake,
    config: &Config,
    contracts: Vec<Contract>,
    options: Options,
    stop: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) -> Result<()> {
    let broker = Broker::new(&config.kafka, config.ingest.memory)?;
    if config.care.enabled {
        vacuum::ensure_safe(config.care.vacuum_retention, config.ingest.commit_timeout, false)
            .map_err(|e| e.context("care.vacuum_retention"))?;
    }
    let mut routes: Vec<Route> = Vec::new();
    for (contract, topics) in topics::wanted(contracts, &options.topics)? {
        let table = lake.table(&TableName::new("bronze", contract.name.as_str()))?;
        routes.push(Route { topics, table, contract, version: 0, committed: watch::Sender::new(0) });
    }
    let schemas = Schemas::new(&config.registry, &routes)?;
    let existing = topics::existing(&broker, routes.iter().map(|r| &r.topics)).await?;
    let claimed = topics::claimed_by(&routes, &existing)?;
    for (index, route) in routes.iter().enumerate() {
        if !claimed.values().any(|taker| *taker == index) {
            tracing::warn!(table = %route.table.name, pattern = %route.topics, "no topic matches yet");
        }
    }
    let (asked, names) = (broker.clone(), claimed.keys().cloned().collect::<Vec<_>>());
    let partitions = blocking(move || asked.partitions(&names)).await?;
    let accepted_gaps = accepted(&options.accept_gaps, &partitions)?;
    let patience = config.ingest.commit_timeout;
    for route in &mut routes {
        route.version = ensure_table(route).await?;
    }
    // The end that "caught up" means is the end at the start: a daemon may never see a quiet moment.
    let ends = match options.until_caught_up {
        true => Some(
            blocking({
                let (broker, partitions) = (broker.clone(), partitions.clone());
                move || broker.ends(&partitions)
            })
            .await?,
        ),
        false => None,
    };
    schemas.prefetch(&routes, &claimed).await;
    // A run that ends by itself is watched by whoever started it.
    let _port = match (routes.first(), options.until_caught_up) {
        (Some(route), false) => {
            let port = port::Port::bind(&config.ingest.metrics_address).await?;
            let (table, memory) = (route.table.clone(), config.ingest.memory);
            let watched = port::Watched { metrics: metrics.clone(), broker: broker.clone(), table, memory };
            Some(Open(tokio::spawn(port.serve(watched))))
        }
        _ => None,
    };
    let keeper = config.care.enabled.then(|| {
        let tended = routes.iter().map(|r| Tended { table: r.table.clone(), committed: r.committed.clone() });
        let tended: Vec<_> = tended.collect();
        Keeper::start(lake, &tended, &config.care, stop.clone(), metrics.maintenance.clone())
    });
    let (seen, topics) = watch::channel(existing);
    let watched = routes.iter().any(|route| matches!(route.topics, Topics::Matching(_))) && !options.until_caught_up;
    let _watch = match broker.refresh() {
        Some(every) if watched => Some(Open(tokio::spawn(topics::look_out(broker.clone(), every, seen)))),
        _ => None,
    };
    let template = session::Session {
        kafka: broker,
        config: config.ingest.clone(),
        routes: Arc::default(),
        topics,
        schemas,
        ends,
        accepted_gaps,
        stop,
        metrics,
        trouble: Arc::default(),
    };
    let outcome = sessions(template, routes, patience).await;
    if let Some(keeper) = keeper {
        keeper.stop().await;
    }
    outcome
}

/// One session after another, until it is done.
async fn sessions(template: session::Session<Broker>, mut routes: Vec<Route>, patience: Duration) -> Result<()> {
    loop {
        let session = session::Session { routes: Arc::new(routes.clone()), ..template.clone() };
        // A thread of its own: librdkafka's calls block it.
        let handle = Handle::current();
        match blocking(move || handle.block_on(session.run())).await? {
            session::End::Done => return Ok(()),
            session::End::Restart(reason) => {
                tracing::warn!(reason, "starting over from what the tables say");
                template.metrics.restarts.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(RESTART_PAUSE).await;
                // Should a newer contract have given a table more columns, going on would put their values elsewhere.
                for route in &mut routes {
                    route.version = ensured(route, patience).await?;
                }
            }
        }
    }
}

/// What goes on beside the daemon and ends when it does.
struct Open(tokio::task::JoinHandle<()>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The partitions that `--accept-gap` means.
fn accepted(named: &[String], known: &[Partition]) -> Result<Vec<Partition>> {
    let mut accepted = BTreeSet::new();
    for name in named {
        let meant = |p: &&Partition| *name == p.topic || *name == format!("{}:{}", p.topic, p.partition);
        let before = accepted.len();
        accepted.extend(known.iter().filter(meant).cloned());
        if accepted.len() == before {
            return Err(Error::input(format!("--accept-gap: there is no partition `{name}`")).hint(
                "write it as topic:partition, such as call_events:3, or name a topic for all of its partitions",
            ));
        }
    }
    Ok(accepted.into_iter().collect())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug("a thread of ingest ended").because(e))?
}

async fn ensured(route: &Route, patience: Duration) -> Result<u64> {
    patiently(&route.table, patience, || ensure_table(route)).await
}

/// Makes the table, or makes the one that is there follow its contract. Tells a version at which it does.
async fn ensure_table(route: &Route) -> Result<u64> {
    let schema = route.contract.bronze_schema();
    let declared = Declared {
        schema: &schema,
        required: route.contract.required(),
        file: &route.contract.file,
        place: &|column| route.contract.place(column),
    };
    loop {
        if let Some(version) = route.table.follow(&declared).await? {
            return Ok(version);
        }
        route.table.ensure_free().await?;
        let id = Uuid::new_v4().to_string();
        let create = Commit::new("CREATE TABLE")
            .with_metadata(&id, &schema, &[INGEST_DATE], &[], route.contract.comment.as_deref())?
            .with_property(REQUIRED_PROPERTY, declared.required_property());
        match commit(&route.table, None, &create, Duration::from_secs(30)).await? {
            Outcome::Committed { version } => return Ok(version),
            // Another daemon made it at the same moment, perhaps from another contract.
            Outcome::Conflict { .. } | Outcome::Fenced { .. } => {}
        }
    }
}

/// The marks of a table, as its newest version has them. A store that is away is waited for so long.
async fn read_marks(table: &Table, patience: Duration) -> Result<(u64, HashMap<String, i64>)> {
    patiently(table, patience, || newest_marks(table)).await
}

async fn newest_marks(table: &Table) -> Result<(u64, HashMap<String, i64>)> {
    let version = table.latest_version().await?.ok_or_else(|| {
        Error::outside(format!("table {} went away", table.name)).hint("who deletes it while ingest runs?").lasting()
    })?;
    Ok((version, table.transactions(version).await?))
}

/// Tries again while a store is away, for so long.
async fn patiently<T, F: Future<Output = Result<T>>>(
    table: &Table,
    patience: Duration,
    mut work: impl FnMut() -> F,
) -> Result<T> {
    let began = runtime::now();
    let mut wait = FIRST_WAIT;
    loop {
        match work().await {
            Err(e)
                if e.kind() == Kind::Outside && !e.is_lasting() && runtime::now().duration_since(began) < patience =>
            {
                tracing::warn!(table = %table.name, error = %e, "the table cannot be read now; trying again");
                runtime::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            outcome => return outcome,
        }
    }
}

/// How many records each topic's table is behind the broker.
pub async fn lag(config: &Config, tables: Vec<(Contract, Table)>) -> Result<Vec<(String, u64)>> {
    let broker = Broker::new(&config.kafka, config.ingest.memory)?;
    let contracts: Vec<&Contract> = tables.iter().map(|(contract, _)| contract).collect();
    let claimed = topics::of_contracts(&broker, &contracts).await?;
    let names: Vec<String> = claimed.keys().cloned().collect();
    let ends = blocking(move || broker.ends(&broker.partitions(&names)?)).await?;
    let mut logs = Vec::with_capacity(tables.len());
    for (_, table) in &tables {
        logs.push(read_marks(table, Duration::ZERO).await?.1);
    }
    let mut lags = Vec::new();
    for (topic, index) in claimed {
        let Some(log) = logs.get(index) else { continue };
        let behind = ends.iter().filter(|(p, _)| p.topic == topic).map(|(p, range)| {
            let next = Marks::from_log(log, &p.topic, p.partition).next.unwrap_or(range.low);
            u64::try_from(range.high - next).unwrap_or(0)
        });
        let behind = behind.sum();
        lags.push((topic, behind));
    }
    Ok(lags)
}

/// Whether the broker answers and has the topics that these contracts name.
pub async fn check(config: &Config, contracts: &[Contract]) -> Result<String> {
    let broker = Broker::new(&config.kafka, config.ingest.memory)?;
    let contracts: Vec<&Contract> = contracts.iter().filter(|contract| contract.topics().is_some()).collect();
    let names: Vec<String> = topics::of_contracts(&broker, &contracts).await?.into_keys().collect();
    let partitions = blocking(move || broker.partitions(&names)).await?;
    Ok(format!("{} answers, with {} partitions to read", config.kafka.brokers, partitions.len()))
}
