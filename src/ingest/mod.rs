//! Kafka to Bronze, exactly once.
//!
//! For every (topic, partition, offset) there is one row in Bronze, ever: rows, rejected rows and the next offsets go
//! into the table in one Delta commit, and after any restart the table alone says where to go on. Kafka's own group
//! offsets are reported for tools that show lag and are never read.

mod buffer;
mod consumer;
mod session;
mod source;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::source::Broker;
pub use self::writer::Counters;
use crate::config::Config;
use crate::contracts::bronze::INGEST_DATE;
use crate::contracts::{Contract, Origin};
use crate::error::{Error, Result, nearest};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::offsets::Marks;
use crate::lake::{Lake, Table, TableName};

/// Between a session that another daemon fenced off and the next.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

pub struct Options {
    /// Only these contracts; empty for all.
    pub topics: Vec<String>,
    /// End when every partition is committed up to the end that it has at the start.
    pub until_caught_up: bool,
}

/// A topic and the table that its records land in.
pub struct Route {
    pub topic: String,
    pub contract: Contract,
    pub table: Table,
}

/// Runs until `stop` turns true, or until it has caught up.
pub async fn run(
    lake: &Lake,
    config: &Config,
    contracts: Vec<Contract>,
    options: Options,
    stop: watch::Receiver<bool>,
    counters: Arc<Counters>,
) -> Result<()> {
    let broker = Broker::new(&config.kafka, config.ingest.memory)?;
    let mut routes = Vec::new();
    for contract in wanted(contracts, &options.topics)? {
        let Origin::Topic { topic } = &contract.origin else { continue };
        let table = lake.table(&TableName::new("bronze", contract.name.as_str()))?;
        routes.push(Route { topic: topic.clone(), table, contract });
    }
    let topics: Vec<String> = routes.iter().map(|r| r.topic.clone()).collect();
    let asked = broker.clone();
    let partitions = blocking(move || asked.partitions(&topics)).await?;
    for route in &routes {
        ensure_table(route).await?;
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
    let routes = Arc::new(routes);
    loop {
        let session = session::Session::new(
            broker.clone(),
            config.ingest.clone(),
            routes.clone(),
            ends.clone(),
            stop.clone(),
            counters.clone(),
            Handle::current(),
        );
        match blocking(move || session.run()).await? {
            session::End::Done => return Ok(()),
            session::End::Restart(reason) => {
                tracing::info!(reason, "starting over from what the tables say");
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug("a thread of ingest ended").because(e))?
}

/// The topic contracts that were asked for, by table or by topic.
fn wanted(contracts: Vec<Contract>, names: &[String]) -> Result<Vec<Contract>> {
    let topics: BTreeMap<String, Contract> = contracts
        .into_iter()
        .filter_map(|c| match &c.origin {
            Origin::Topic { topic } => Some((topic.clone(), c)),
            Origin::Files { .. } => None,
        })
        .collect();
    if names.is_empty() {
        return match topics.is_empty() {
            false => Ok(topics.into_values().collect()),
            true => Err(Error::input("no contract names a topic").hint("ingest.contracts is the folder of contracts")),
        };
    }
    names
        .iter()
        .map(|name| {
            let found = topics.get(name).or_else(|| topics.values().find(|c| c.name == *name));
            found.cloned().ok_or_else(|| {
                let known = topics.keys().map(String::as_str);
                let error = Error::input(format!("--topics: no contract has the topic `{name}`"));
                match nearest(name, known.clone()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("the contracts have: {}", known.collect::<Vec<_>>().join(", "))),
                }
            })
        })
        .collect()
}

/// Makes the table, or makes sure that the one that is there is the contract's.
async fn ensure_table(route: &Route) -> Result<()> {
    let schema = route.contract.bronze_schema();
    if let Some(existing) = route.table.head().await? {
        return existing.ensure_columns(&schema, &route.contract.file);
    }
    route.table.ensure_free().await?;
    let id = Uuid::new_v4().to_string();
    let create = Commit::new("CREATE TABLE").with_metadata(
        &id,
        &schema,
        &[INGEST_DATE],
        &[],
        route.contract.comment.as_deref(),
    )?;
    match commit(&route.table, None, &create, Duration::from_secs(30)).await? {
        // Another daemon made it at the same moment: the same contract makes the same table.
        Outcome::Committed { .. } | Outcome::Conflict { .. } | Outcome::Fenced { .. } => Ok(()),
    }
}

/// The marks of a table, as its newest version has them.
async fn read_marks(table: &Table) -> Result<(u64, HashMap<String, i64>)> {
    let version = table.latest_version().await?.ok_or_else(|| {
        Error::outside(format!("table {} went away", table.name)).hint("who deletes it while ingest runs?")
    })?;
    Ok((version, table.transactions(version).await?))
}

/// How many records each topic's table is behind the broker.
pub async fn lag(config: &Config, tables: Vec<(String, Table)>) -> Result<Vec<(String, u64)>> {
    let broker = Broker::new(&config.kafka, config.ingest.memory)?;
    let topics: Vec<String> = tables.iter().map(|(topic, _)| topic.clone()).collect();
    let ends = blocking(move || broker.ends(&broker.partitions(&topics)?)).await?;
    let mut lags = Vec::new();
    for (topic, table) in tables {
        let (_, log) = read_marks(&table).await?;
        let behind = ends.iter().filter(|(p, _)| p.topic == topic).map(|(p, range)| {
            let next = Marks::from_log(&log, &p.topic, p.partition).next.unwrap_or(range.low);
            u64::try_from(range.high - next).unwrap_or(0)
        });
        lags.push((topic.clone(), behind.sum()));
    }
    Ok(lags)
}

/// Whether the broker answers and has these topics.
pub async fn check(config: &Config, topics: Vec<String>) -> Result<String> {
    let broker = Broker::new(&config.kafka, config.ingest.memory)?;
    let partitions = blocking(move || broker.partitions(&topics)).await?;
    Ok(format!("{} answers, with {} partitions to read", config.kafka.brokers, partitions.len()))
}
