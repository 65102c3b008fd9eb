//! One file after another is read for its rejected rows; a file that holds one which can be read now is written again
//! without it.
//!
//! A file is read twice only if something in it moves. Memory holds a batch of rows, the encoders' row groups, and a bit
//! for each row of the file in hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, BooleanBufferBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use tokio::sync::watch;

use super::{Options, Report, Target};
use crate::contracts::bronze::INGEST_DATE;
use crate::contracts::{Class, Contract, Decoder, Envelope, Locator, Written};
use crate::error::{Error, Result};
use crate::lake::log::{Add, Remove};
use crate::lake::write::TableWriter;
use crate::lake::{DataFile, Snapshot, Table};
use crate::maintenance::reader;
use crate::registry::Client;

const ERROR: &str = "_error";
const RAW: &str = "_raw";
const INGESTED_AT: &str = "_ingested_at";
/// Of rows that came from files, the file.
const FILE: &str = "_file";

/// Of rows that came from a topic, which one it was.
const TOPIC: &str = "_topic";
/// Of rows that came from a topic, the key of the record.
const KEY: &str = "_key";

/// What a rejected row has of all that came with its record.
struct Kept<'a> {
    key: Option<&'a str>,
}

impl Kept<'_> {
    /// Whether what stands there is known to be as it was. A key that is not UTF-8 is kept with escapes, which a key that
    /// is may have too.
    fn has(&self, locator: &Locator) -> bool {
        match locator {
            Locator::Path(_) => true,
            Locator::Key => self.key.is_none_or(|key| !key.contains('\\')),
            Locator::Header(_) => false,
        }
    }
}

impl Envelope for Kept<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.key.map(str::as_bytes)
    }

    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

pub struct Rewrite<'a> {
    table: &'a Table,
    contract: &'a Contract,
    registry: Option<&'a Client>,
    /// Only records of these topics, if any are named.
    topics: &'a [String],
    options: Options,
    stop: &'a watch::Receiver<bool>,
    now: DateTime<Utc>,
    decoder: Decoder,
    /// The columns of the table's files.
    stored: SchemaRef,
    /// Those of them that say what was rejected and where it came from.
    origin: SchemaRef,
    /// The rows that move, on their way into files of their own.
    moving: TableWriter,
    /// Files with the rows that stay, in the place of `removes`.
    kept: Vec<Add>,
    removes: Vec<Remove>,
    pub report: Report,
}

/// What a commit is to name.
pub struct Rewritten {
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
    pub report: Report,
}

impl<'a> Rewrite<'a> {
    pub fn new(
        target: &'a Target<'a>,
        snapshot: &Snapshot,
        registry: Option<&'a Client>,
        options: Options,
        stop: &'a watch::Receiver<bool>,
        now: DateTime<Utc>,
    ) -> Result<Rewrite<'a>> {
        let Target { contract, table, topics } = target;
        let (stored, moved) = (snapshot.file_schema(), contract.file_schema());
        let decoded = contract.schema().fields().len();
        let of_origin = moved.fields().iter().skip(decoded).filter(|f| f.name() != INGESTED_AT);
        let origin = Arc::new(Schema::new(of_origin.cloned().collect::<Vec<_>>()));
        let today = BTreeMap::from([(INGEST_DATE.to_owned(), Some(now.date_naive().to_string()))]);
        Ok(Rewrite {
            table,
            contract,
            registry,
            topics,
            options,
            stop,
            now,
            decoder: Decoder::new(contract),
            stored,
            origin,
            moving: TableWriter::new(table, moved, today)?,
            kept: Vec::new(),
            removes: Vec::new(),
            report: Report::default(),
        })
    }

    /// Moves what can be read now out of a file. Should it be told to stop, nothing of what it did is of use.
    pub async fn file(&mut self, file: &DataFile) -> Result<()> {
        let Some(moved) = self.decode(file).await? else { return Ok(()) };
        if self.options.dry_run || moved.count_set_bits() == 0 {
            return Ok(());
        }
        let path = self.table.path_of(&file.path);
        let mut writer =
            TableWriter::new(self.table, self.stored.clone(), file.partition_values.clone())?.into_one_file();
        match self.keep_rest(file, &moved, &mut writer).await {
            Ok(()) if !self.report.stopped => {}
            not_done => {
                abort(writer).await;
                return not_done;
            }
        }
        let rows = writer.rows() + moved.count_set_bits() as u64;
        if rows != moved.len() as u64 {
            return Err(Error::bug(format!("of {} rows of {path} a replay would leave {rows}", moved.len())));
        }
        // A file is as old as its newest rows, and those that stay have not become newer.
        let kept = writer.close().await?.into_iter().map(|add| Add { modification_time: file.modified_ms, ..add });
        self.kept.extend(kept);
        self.removes.push(file.removal(self.now, true));
        Ok(())
    }

    /// Decodes the rejected rows of a file, and tells which of its rows move. None if it was told to stop.
    async fn decode(&mut self, file: &DataFile) -> Result<Option<BooleanBuffer>> {
        let path = self.table.path_of(&file.path);
        let origin = self.origin.clone();
        let names: Vec<&str> = origin.fields().iter().map(|field| field.name().as_str()).collect();
        let mut rows = reader::open(self.table, file, Some(&names)).await?;
        let mut moved = BooleanBufferBuilder::new(usize::try_from(rows.count).unwrap_or(0));
        while let Some(batch) = rows.stream.try_next().await.map_err(|e| reader::failed(&path, e))? {
            if *self.stop.borrow() {
                self.report.stopped = true;
                return Ok(None);
            }
            let batch = reader::aligned(&batch, &origin).map_err(|e| self.misfit(file, e))?;
            moved.append_buffer(&self.batch(&batch).await?);
        }
        Ok(Some(moved.finish()))
    }

    /// Decodes the rejected rows of a batch and passes on those that can be read, which it tells.
    async fn batch(&mut self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let (errors, raws): (&StringArray, &BinaryArray) =
            match (batch.column_by_name(ERROR), batch.column_by_name(RAW)) {
                (Some(errors), Some(raws)) => (errors.as_string(), raws.as_binary()),
                _ => return Err(Error::bug("a Bronze table without _error and _raw")),
            };
        let files: Option<&StringArray> = batch.column_by_name(FILE).map(|column| column.as_string());
        let topics: Option<&StringArray> = batch.column_by_name(TOPIC).map(|column| column.as_string());
        let keys: Option<&StringArray> = batch.column_by_name(KEY).map(|column| column.as_string());
        let mut moved = BooleanBufferBuilder::new(batch.num_rows());
        for row in 0..batch.num_rows() {
            let is_of_topic = |topics: &StringArray| self.topics.iter().any(|topic| topic == topics.value(row));
            let is_meant = errors.is_valid(row)
                && (self.topics.is_empty() || topics.is_some_and(is_of_topic))
                && self.options.class.is_none_or(|class| Class::in_text(errors.value(row)) == class.name());
            if !is_meant {
                moved.append(false);
                continue;
            }
            self.report.rejected += 1;
            let file = files.filter(|files| files.is_valid(row)).map(|files| files.value(row));
            let is_csv = file.is_some_and(|file| self.contract.written(Path::new(file)) == Written::Csv);
            if is_csv || raws.is_null(row) {
                self.report.headless += 1;
                moved.append(false);
                continue;
            }
            let kept = Kept { key: keys.filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row)) };
            if !self.contract.columns.iter().all(|column| kept.has(&column.locator)) {
                self.report.alone += 1;
                moved.append(false);
                continue;
            }
            moved.append(self.record(raws.value(row), &kept).await?);
        }
        let moved = moved.finish();
        let decoded = self.decoder.finish();
        if !self.options.dry_run && moved.count_set_bits() > 0 {
            let rows = self.rows(batch, decoded, &moved).map_err(|e| Error::bug("replayed rows").because(e))?;
            self.moving.write(&rows).await?;
        }
        Ok(moved)
    }

    /// Decodes a record. True if it can be read.
    async fn record(&mut self, raw: &[u8], kept: &Kept<'_>) -> Result<bool> {
        if let (Some(id), Some(registry)) = (self.decoder.needs(raw), self.registry) {
            let schema = registry.schema(id).await?;
            self.decoder.learn(id, schema.as_deref());
        }
        match self.decoder.push(raw, kept) {
            Ok(()) => self.report.decoded += 1,
            Err(rejection) => {
                *self.report.still.entry(rejection.class()).or_default() += 1;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows that move: what was decoded, and where it came from.
    fn rows(
        &self,
        batch: &RecordBatch,
        decoded: Vec<ArrayRef>,
        moved: &BooleanBuffer,
    ) -> Result<RecordBatch, ArrowError> {
        let schema = self.contract.file_schema();
        let (count, moved) = (moved.count_set_bits(), BooleanArray::new(moved.clone(), None));
        let mut columns = decoded;
        for field in schema.fields().iter().skip(columns.len()) {
            columns.push(match (field.name().as_str(), batch.column_by_name(field.name())) {
                (INGESTED_AT, _) => {
                    let now = TimestampMicrosecondArray::from_value(self.now.timestamp_micros(), count);
                    Arc::new(now.with_timezone("UTC"))
                }
                (ERROR | RAW, _) | (_, None) => new_null_array(field.data_type(), count),
                (_, Some(origin)) => filter(origin, &moved)?,
            });
        }
        RecordBatch::try_new(schema, columns)
    }

    /// Writes the rows that stay, in their order.
    async fn keep_rest(&mut self, file: &DataFile, moved: &BooleanBuffer, writer: &mut TableWriter) -> Result<()> {
        let path = self.table.path_of(&file.path);
        let mut rows = reader::open(self.table, file, None).await?;
        let mut seen = 0;
        while let Some(batch) = rows.stream.try_next().await.map_err(|e| reader::failed(&path, e))? {
            if *self.stop.borrow() {
                self.report.stopped = true;
                return Ok(());
            }
            let stays = BooleanArray::new(!&moved.slice(seen, batch.num_rows()), None);
            seen += batch.num_rows();
            let batch = reader::aligned(&batch, &self.stored).and_then(|batch| filter_record_batch(&batch, &stays));
            writer.write(&batch.map_err(|e| self.misfit(file, e))?).await?;
        }
        Ok(())
    }

    fn misfit(&self, file: &DataFile, error: ArrowError) -> Error {
        let path = self.table.path_of(&file.path);
        Error::outside(format!("{path} does not have the columns of {}", self.table.name)).because(error)
    }

    /// Ends the files.
    pub async fn finish(self) -> Result<Rewritten> {
        let (table, kept) = (self.table, self.kept);
        let adds = match self.moving.close().await {
            Ok(moved) => kept.into_iter().chain(moved).collect(),
            Err(error) => {
                discard(table, kept.into_iter().map(|add| add.path).collect()).await;
                return Err(error);
            }
        };
        Ok(Rewritten { adds, removes: self.removes, report: self.report })
    }

    /// Takes back what was written, and tells what was found.
    pub async fn abandon(self) -> Report {
        abort(self.moving).await;
        discard(self.table, self.kept.into_iter().map(|add| add.path).collect()).await;
        self.report
    }
}

async fn abort(writer: TableWriter) {
    if let Err(error) = writer.abort().await {
        tracing::debug!(%error, "files of a replay that did not happen stay behind");
    }
}

/// Deletes files that nothing names. Whoever may not delete leaves them to vacuum.
pub async fn discard(table: &Table, files: Vec<String>) {
    if let Err(error) = table.delete_files(files).await {
        tracing::debug!(%error, "files of a replay that did not happen stay behind");
    }
}
