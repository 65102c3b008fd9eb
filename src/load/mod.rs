//! Batch sources to Bronze: every row of every file, each file's content once.
//!
//! All files of a load land in one commit, with their fingerprints, the number of the load and the watermark in it. A
//! load that is killed has done nothing; the same load again lands what is missing; a file that comes again under
//! another name, with the same content, lands nothing.

mod files;
mod rows;
mod vanished;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::contracts::bronze::INGEST_DATE;
use crate::contracts::{Contract, Origin};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::lake::commit::{Commit, Outcome, commit};
use crate::lake::evolve::{Declared, REQUIRED_PROPERTY};
use crate::lake::log::Txn;
use crate::lake::write::TableWriter;
use crate::lake::{Table, TableName};

const PATIENCE: Duration = Duration::from_secs(60);
const LOAD: &str = "medallion:load";
const WATERMARK: &str = "medallion:watermark";
/// The fingerprint of the last full extract, and the number of its load.
const EXTRACT: &str = "medallion:extract";
const EXTRACT_LOAD: &str = "medallion:extract-load";

pub struct Options {
    /// A file or folder, in place of the contract's location.
    pub from: Option<PathBuf>,
    /// The extract is complete: what is absent has gone.
    pub full: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub files: usize,
    /// Files whose content has landed before.
    pub known: usize,
    pub rows: u64,
    pub rejected: u64,
    /// Keys that a full extract no longer has.
    pub vanished: u64,
    /// The newest time of the watermark column.
    pub watermark: Option<DateTime<Utc>>,
}

pub async fn run(engine: &Engine, contract: &Contract, options: &Options, now: DateTime<Utc>) -> Result<Report> {
    let Origin::Files { location, full_extract, key, watermark } = &contract.origin else {
        return Err(Error::input(format!("{} comes from a Kafka topic", contract.name))
            .hint(format!("run `medallion ingest --topics {}`", contract.name)));
    };
    let place = match (&options.from, location) {
        (Some(from), _) => from.clone(),
        (None, Some(location)) => PathBuf::from(location),
        (None, None) => {
            return Err(Error::input(format!("{} has no location", contract.name))
                .hint("say where the files are with --from, or with the option `location` of the contract"));
        }
    };
    let full = options.full || *full_extract;
    if full && (key.is_none() || watermark.is_none()) {
        return Err(Error::input(format!("--full: the contract {} does not say what tells rows apart", contract.file))
            .hint("add the options key = '…' and watermark = '…'"));
    }
    let found = files::list(&place)?;
    let table = engine.lake.table(&TableName::new("bronze", contract.name.as_str()))?;
    let schema = contract.bronze_schema();
    let declared = Declared {
        schema: &schema,
        required: contract.required(),
        file: &contract.file,
        place: &|column| contract.place(column),
    };
    let (version, log) = match table.follow(&declared).await? {
        Some(version) => (Some(version), table.transactions(version).await?),
        None => {
            table.ensure_free().await?;
            (None, HashMap::new())
        }
    };
    let extract = if full { Some(files::fingerprint_of_all(&found)?) } else { None };
    // A full extract says what there is now. It is known only if nothing has landed since the same one did: an older one
    // that returns brings back what had gone.
    let last = |id: &str| log.get(id).copied();
    if extract.is_some() && last(EXTRACT) == extract && last(EXTRACT_LOAD) == last(LOAD) {
        return Ok(Report { known: found.len(), ..Report::default() });
    }
    let mut landing = Landing::new(contract, &table, &log, watermark.as_deref(), now)?;
    landing.extract = extract;
    let landed = async {
        for path in &found {
            landing.file(path).await?;
        }
        if full && landing.report.files > 0 {
            let key = key.as_deref().unwrap_or_default();
            let gone = vanished::keys(engine, &table.name, version, key, landing.keys()).await?;
            landing.report.vanished = gone.len() as u64;
            landing.vanished(key, &gone).await?;
        }
        Ok(())
    }
    .await;
    if let Err(e) = landed {
        // Why it failed matters more than files that nothing names, and that this user may not be allowed to delete.
        if let Err(left) = landing.writer.abort().await {
            tracing::debug!(error = %left, "files of a load that failed stay behind");
        }
        return Err(e);
    }
    landing.finish(version).await
}

/// Rows on their way into one commit.
struct Landing<'a> {
    contract: &'a Contract,
    table: &'a Table,
    log: &'a HashMap<String, i64>,
    watermark_column: Option<usize>,
    key_column: Option<usize>,
    keys: std::collections::HashSet<String>,
    now: DateTime<Utc>,
    number: i64,
    /// The fingerprint of a full extract, all of whose files are to be read: what none of them has is gone.
    extract: Option<i64>,
    writer: TableWriter,
    marks: Vec<Txn>,
    report: Report,
}

impl<'a> Landing<'a> {
    fn new(
        contract: &'a Contract,
        table: &'a Table,
        log: &'a HashMap<String, i64>,
        watermark: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Landing<'a>> {
        let number = log.get(LOAD).copied().unwrap_or(0) + 1;
        let day = [(INGEST_DATE.to_owned(), Some(now.date_naive().to_string()))];
        let position = |name: Option<&str>| name.and_then(|n| contract.columns.iter().position(|c| c.name == n));
        let key = match &contract.origin {
            Origin::Files { key, .. } => key.as_deref(),
            Origin::Topics(_) => None,
        };
        Ok(Landing {
            contract,
            table,
            log,
            watermark_column: position(watermark),
            key_column: position(key),
            keys: Default::default(),
            now,
            number,
            extract: None,
            writer: TableWriter::new(table, contract.file_schema(), BTreeMap::from(day))?,
            marks: Vec::new(),
            report: Report::default(),
        })
    }

    async fn file(&mut self, path: &Path) -> Result<()> {
        let fingerprint = files::fingerprint(path)?;
        let id = format!("medallion:file:{fingerprint}");
        let landed_before = self.extract.is_none() && self.log.contains_key(&id);
        if landed_before || self.marks.iter().any(|m| m.app_id == id) {
            self.report.known += 1;
            return Ok(());
        }
        let mut rows = rows::Rows::open(self.contract, path, self.number, self.now)?;
        while let Some(chunk) = rows.next_chunk()? {
            self.report.rejected += chunk.rejected;
            self.report.rows += chunk.batch.num_rows() as u64 - chunk.rejected;
            self.see(&chunk.batch);
            self.writer.write(&chunk.batch).await?;
        }
        self.report.files += 1;
        self.marks.push(Txn { app_id: id, version: self.number, last_updated: Some(self.now.timestamp_millis()) });
        Ok(())
    }

    /// Notes the newest watermark, and the keys that are there.
    fn see(&mut self, batch: &RecordBatch) {
        if let Some(times) =
            self.watermark_column.and_then(|i| batch.column(i).as_primitive_opt::<TimestampMicrosecondType>())
            && let Some(newest) = arrow::compute::max(times).and_then(DateTime::from_timestamp_micros)
        {
            self.report.watermark = self.report.watermark.max(Some(newest));
        }
        if let Some(keys) = self.key_column.and_then(|i| batch.column(i).as_string_opt::<i32>()) {
            self.keys.extend(keys.iter().flatten().map(str::to_owned));
        }
    }

    fn keys(&self) -> &std::collections::HashSet<String> {
        &self.keys
    }

    async fn vanished(&mut self, key: &str, gone: &[String]) -> Result<()> {
        let columns = (key, self.watermark_column);
        if let Some(batch) = rows::deleted(self.contract, columns, gone, self.number, self.now)? {
            self.writer.write(&batch).await?;
        }
        Ok(())
    }

    async fn finish(self, version: Option<u64>) -> Result<Report> {
        if self.marks.is_empty() {
            self.writer.abort().await?;
            return Ok(self.report);
        }
        let schema = self.contract.bronze_schema();
        let mut change = Commit::new("WRITE")
            .parameter("mode", "Append")
            .parameter("source", self.contract.name.as_str())
            .parameter("files", self.report.files)
            .parameter("rows", self.report.rows)
            .parameter("rejected", self.report.rejected);
        if version.is_none() {
            let id = Uuid::new_v4().to_string();
            change = change
                .with_metadata(&id, &schema, &[INGEST_DATE], &[], self.contract.comment.as_deref())?
                .with_property(REQUIRED_PROPERTY, self.contract.required().join(","));
        }
        let mark = |id: &str, version| Txn { app_id: id.to_owned(), version, last_updated: None };
        change.marks = self.marks;
        change.marks.push(mark(LOAD, self.number));
        if let Some(extract) = self.extract {
            change.marks.extend([mark(EXTRACT, extract), mark(EXTRACT_LOAD, self.number)]);
        }
        let before = self.log.get(WATERMARK).copied();
        let newest = self.report.watermark.map(|w| w.timestamp_micros());
        if let Some(watermark) = newest.max(before) {
            change.marks.push(mark(WATERMARK, watermark));
        }
        change.adds = self.writer.close().await?;
        match commit(self.table, version, &change, PATIENCE).await? {
            Outcome::Committed { .. } => Ok(self.report),
            Outcome::Fenced { .. } | Outcome::Conflict { .. } => {
                self.table.delete_files(change.adds.iter().map(|a| a.path.clone()).collect()).await?;
                Err(Error::outside(format!("another load of {} ran at the same time", self.contract.name))
                    .hint("nothing of this one has landed; run it again"))
            }
        }
    }
}
