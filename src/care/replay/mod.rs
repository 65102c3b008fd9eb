//! Rejected rows decoded again under the present contract: those that can be read now become rows, the others stay as
//! they are.
//!
//! All that moves in a table moves in one commit: the files that held it are replaced by files without it, and the rows
//! join in files of their own, with the origin that they had. So each record has one row at every version. The commit
//! follows from the files that it takes away alone: ingest goes on beside it, and should a compaction or another replay
//! rewrite one of them first, nothing happens and the work is done again on what is there then. The lease of maintenance
//! saves that work; it is not what keeps the rows right.
//!
//! A row that moves was taken in now (`_ingested_at`, `_ingest_date`): whoever reads what is new since some version, or
//! since some time, sees it.

mod rewrite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::watch;

use self::rewrite::Rewrite;
use crate::contracts::{Class, Contract};
use crate::error::{Error, Result, nearest};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::evolve::Declared;
use crate::lake::lease::Lease;
use crate::lake::{DataFile, Lake, Snapshot, Table, TableName};
use crate::maintenance;
use crate::registry::Client;

/// How long a store may be away before a replay gives up. Its files are then left to vacuum.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the table's other maintenance is waited for: longer than the lease of one that died.
const LEASE_PATIENCE: Duration = Duration::from_secs(90);
const LEASE_POLL: Duration = Duration::from_millis(300);
/// How often the work is done again because somebody rewrote the files first.
const ATTEMPTS: usize = 5;

#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only rows that were rejected for this.
    pub class: Option<Class>,
    /// Only tell what would move.
    pub dry_run: bool,
}

/// What became of a table's rejected rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rejected rows that were looked at.
    pub rejected: u64,
    /// Those that can be read now.
    pub decoded: u64,
    /// Those that stay, by what is wrong with them under the present contract.
    pub still: BTreeMap<Class, u64>,
    /// Those that stay because their bytes alone cannot be read: lines of CSV whose header is not kept.
    pub headless: u64,
    /// Those that stay because something is not kept that the contract reads beside the bytes: headers, and keys of which
    /// the table may have another writing.
    pub alone: u64,
    /// The version in which rows moved.
    pub version: Option<u64>,
    /// It was told to stop, and nothing moved.
    pub stopped: bool,
}

/// A contract and the table of its records.
#[derive(Debug)]
pub struct Target<'a> {
    pub contract: &'a Contract,
    pub table: Table,
    /// Only records of these topics, if any are named.
    pub topics: Vec<String>,
}

/// The tables of these names, of tables or of topics. Without names, those of all contracts that have one.
pub async fn chosen<'a>(lake: &Lake, contracts: &'a [Contract], names: &[String]) -> Result<Vec<Target<'a>>> {
    let mut targets = Vec::new();
    for contract in contracts {
        let table = lake.table(&TableName::new("bronze", contract.name.as_str()))?;
        targets.push(Target { contract, table, topics: Vec::new() });
    }
    if names.is_empty() {
        let mut there = Vec::new();
        for target in targets {
            if target.table.exists().await? {
                there.push(target);
            }
        }
        return Ok(there);
    }
    let is_table =
        |name: &str, target: &Target<'a>| target.contract.name == *name || target.table.name.to_string() == name;
    let is_meant = |name: &str, target: &Target<'a>| {
        is_table(name, target) || target.contract.topics().is_some_and(|topics| topics.contains(name))
    };
    if let Some(name) = names.iter().find(|name| !targets.iter().any(|target| is_meant(name, target))) {
        let error = Error::input(format!("no contract has the table or topic `{name}`"));
        return Err(match nearest(name, contracts.iter().map(|c| c.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("rows are decoded by a contract; ingest.contracts is the folder of contracts"),
        });
    }
    targets.retain(|target| names.iter().any(|name| is_meant(name, target)));
    for target in &mut targets {
        let mut meant = names.iter().filter(|name| is_meant(name, target));
        if meant.all(|name| !is_table(name, target)) {
            target.topics = names.iter().filter(|name| is_meant(name, target)).cloned().collect();
        }
    }
    Ok(targets)
}

/// Replays the rejected rows of a table, under its lease.
pub async fn run(
    lake: &Lake,
    target: &Target<'_>,
    registry: Option<&Client>,
    options: Options,
    stop: &watch::Receiver<bool>,
) -> Result<Report> {
    if options.dry_run {
        return replay(target, registry, options, stop).await;
    }
    let Some(lease) = lease(lake, &target.table.name, stop).await? else {
        return Ok(Report { stopped: true, ..Report::default() });
    };
    let done = replay(target, registry, options, stop).await;
    if let Err(error) = lease.release().await {
        tracing::warn!(table = %target.table.name, %error, "the lease of maintenance was not given back");
    }
    done
}

/// Waits for the lease. None if it was told to stop.
async fn lease(lake: &Lake, table: &TableName, stop: &watch::Receiver<bool>) -> Result<Option<Lease>> {
    let began = Instant::now();
    let mut said = false;
    while !*stop.borrow() {
        match maintenance::lease(lake, table).await? {
            Ok(lease) => return Ok(Some(lease)),
            Err(held) if began.elapsed() > LEASE_PATIENCE => return Err(held),
            Err(held) if !said => {
                said = true;
                tracing::info!(reason = held.what(), "waiting");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LEASE_POLL).await;
    }
    Ok(None)
}

/// Replays the rejected rows of a table. Whatever else writes to it meanwhile, each record has one row.
pub async fn replay(
    target: &Target<'_>,
    registry: Option<&Client>,
    options: Options,
    stop: &watch::Receiver<bool>,
) -> Result<Report> {
    let Target { contract, table, .. } = target;
    if contract.registry().is_some() && registry.is_none() {
        return Err(Error::input(format!("{} needs a schema registry, and none is configured", contract.file))
            .hint("set registry.url, or MEDALLION_REGISTRY__URL"));
    }
    for _ in 0..ATTEMPTS {
        let Some(snapshot) = followed(target, options).await? else {
            return Err(Error::input(format!("there is no table {} yet", table.name))
                .hint("ingest or load makes it with its first rows"));
        };
        let mut rewrite = Rewrite::new(target, &snapshot, registry, options, stop, Utc::now())?;
        for file in snapshot.files.iter().filter(|file| may_hold_rejected(file)).take_while(|_| !*stop.borrow()) {
            if let Err(error) = rewrite.file(file).await {
                rewrite.abandon().await;
                return Err(error.context(format!("{}: nothing was moved", table.name)));
            }
        }
        rewrite.report.stopped |= *stop.borrow();
        if options.dry_run || rewrite.report.stopped || rewrite.report.decoded == 0 {
            return Ok(rewrite.abandon().await);
        }
        match moved(table, &snapshot, rewrite).await? {
            Ok(report) => return Ok(report),
            Err(why) => tracing::debug!(table = %table.name, why, "a replay came too late and begins again"),
        }
    }
    Err(Error::outside(format!("{}: other writers rewrote the files {ATTEMPTS} times before", table.name))
        .hint("nothing was moved; run it again when they are done"))
}

/// The table as it is now, which has the contract's columns if anything is to be written. None if there is no table.
async fn followed(target: &Target<'_>, options: Options) -> Result<Option<Snapshot>> {
    let Target { contract, table, .. } = target;
    let schema = contract.bronze_schema();
    let declared = Declared {
        schema: &schema,
        required: contract.required(),
        file: &contract.file,
        place: &|column| contract.place(column),
    };
    let is_there = table.ensure_can_follow(&declared).await?;
    let Some(snapshot) = table.latest().await?.filter(|_| is_there) else { return Ok(None) };
    if options.dry_run || !snapshot.files.iter().any(may_hold_rejected) {
        return Ok(Some(snapshot));
    }
    table.follow(&declared).await?;
    table.latest().await
}

fn may_hold_rejected(file: &Arc<DataFile>) -> bool {
    file.rows().is_none() || file.rows() != file.nulls("_error")
}

/// Commits what a rewrite has written. The inner error is somebody else's change, that came before.
async fn moved(table: &Table, snapshot: &Snapshot, rewrite: Rewrite<'_>) -> Result<Result<Report, String>> {
    let written = rewrite.finish().await?;
    let mut report = written.report;
    let mut change = Commit::new("REPLAY").parameter("rows", report.decoded).parameter("files", written.removes.len());
    change.from_removed_alone = true;
    change.removes = written.removes;
    change.adds = written.adds;
    match commit(table, Some(snapshot.version), &change, PATIENCE).await? {
        Outcome::Committed { version } => {
            report.version = Some(version);
            Ok(Ok(report))
        }
        Outcome::Conflict { why, .. } | Outcome::Fenced { mark: why, .. } => {
            rewrite::discard(table, change.adds.iter().map(|add| add.path.clone()).collect()).await;
            Ok(Err(why))
        }
    }
}
