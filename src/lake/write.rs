//! Data files that nobody sees until a commit names them.
//!
//! A [`TableWriter`] streams batches into zstd Parquet files of a bounded size with full statistics. Memory holds at
//! most one open row group and the parts of an upload under way; dropping the work half-way leaves orphans, never
//! visible rows.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::log::Add;
use super::{Table, stats};
use crate::error::{Error, Result};
use crate::runtime;

/// Files roll over at this size: large enough to scan well, small enough to rewrite.
const TARGET_FILE_BYTES: usize = 128 << 20;
/// Rows of a row group: the unit of parallel reading and of skipping, and what the encoder holds in memory.
const ROW_GROUP_ROWS: usize = 512 * 1024;
/// Below this a file is one PUT, which is all or nothing; above it an upload in parts of this size.
const UPLOAD_PART_BYTES: usize = 16 << 20;

/// Our files' names, by which a folder's leftovers are told from somebody else's data.
pub fn is_own_file(name: &str) -> bool {
    name.strip_prefix("part-").and_then(|n| n.strip_suffix(".parquet")).is_some_and(|id| Uuid::parse_str(id).is_ok())
}

pub struct TableWriter {
    table: Table,
    /// The columns in the files: those of the table without its partition columns.
    schema: SchemaRef,
    partition_values: BTreeMap<String, Option<String>>,
    folder: String,
    properties: WriterProperties,
    target_bytes: usize,
    open: Option<OpenFile>,
    done: Vec<Add>,
    rows: u64,
}

struct OpenFile {
    path: String,
    /// Columns in which there is a NaN.
    with_nan: BTreeSet<String>,
    writer: AsyncArrowWriter<Upload>,
}

impl TableWriter {
    pub fn new(table: &Table, schema: SchemaRef, partition_values: BTreeMap<String, Option<String>>) -> Result<Self> {
        let level = ZstdLevel::try_new(1).map_err(|e| Error::bug("zstd level").because(e))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by(concat!("medallion ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        // A folder a partition is a courtesy to people who look; the log alone says where a file belongs. So a value
        // that would need escaping gets none.
        let plain = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let folder = partition_values
            .iter()
            .filter_map(|(k, v)| v.as_deref().filter(|v| plain(v)).map(|v| format!("{k}={v}/")))
            .collect();
        Ok(TableWriter {
            table: table.clone(),
            schema,
            partition_values,
            folder,
            properties,
            target_bytes: TARGET_FILE_BYTES,
            open: None,
            done: Vec::new(),
            rows: 0,
        })
    }

    /// All rows go into one file, however large: its size is the caller's concern.
    pub fn into_one_file(self) -> Self {
        TableWriter { target_bytes: usize::MAX, ..self }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the open file's row group that is being encoded.
    pub fn memory(&self) -> usize {
        self.open.as_ref().map_or(0, |f| f.writer.memory_size())
    }

    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(self.start_file()?);
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        stats::find_nans(batch, &mut file.with_nan);
        file.writer.write(batch).await.map_err(|e| failed(&self.table, &file.path, e))?;
        self.rows += batch.num_rows() as u64;
        if file.writer.bytes_written() + file.writer.in_progress_size() >= self.target_bytes {
            self.finish_file().await?;
        }
        Ok(())
    }

    fn start_file(&self) -> Result<OpenFile> {
        let path = format!("{}part-{}.parquet", self.folder, runtime::new_id());
        let upload = BufWriter::with_capacity(self.table.store().clone(), self.table.path_of(&path), UPLOAD_PART_BYTES);
        // Readers take the types from the Delta schema; Arrow's own copy of it would only bind them to ours.
        let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
            .with_properties(self.properties.clone())
            .with_skip_arrow_metadata(true);
        let writer = AsyncArrowWriter::try_new_with_options(Upload(upload), self.schema.clone(), options)
            .map_err(|e| Error::bug("the Parquet writer refuses the schema").because(e))?;
        Ok(OpenFile { path, with_nan: BTreeSet::new(), writer })
    }

    async fn finish_file(&mut self) -> Result<()> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        let metadata = file.writer.finish().await.map_err(|e| failed(&self.table, &file.path, e))?;
        self.done.push(Add {
            stats: Some(stats::of_file(&self.schema, &metadata, &file.with_nan)?),
            path: file.path,
            partition_values: self.partition_values.clone(),
            size: i64::try_from(file.writer.bytes_written()).unwrap_or(i64::MAX),
            modification_time: runtime::utc_now().timestamp_millis(),
            data_change: true,
        });
        Ok(())
    }

    /// Ends the open file and gives the files written, for a commit to name.
    pub async fn close(mut self) -> Result<Vec<Add>> {
        self.finish_file().await?;
        Ok(self.done)
    }

    /// Drops everything written so far.
    pub async fn abort(mut self) -> Result<()> {
        if let Some(file) = self.open.take() {
            // An upload in parts that is not ended stays in the store as invisible, billed bytes.
            if let Err(e) = file.writer.into_inner().0.abort().await {
                tracing::warn!(path = %file.path, error = %e, "an unfinished upload could not be taken back");
            }
        }
        self.table.delete_files(self.done.iter().map(|a| a.path.clone()).collect()).await
    }
}

fn failed(table: &Table, path: &str, error: ParquetError) -> Error {
    let path = table.path_of(path);
    match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(e) => super::store::error("write", &path, *e),
            Err(e) => Error::outside(format!("cannot write {path}")).because(e),
        },
        e => Error::outside(format!("cannot write {path}")).because(e),
    }
}

/// Sends Parquet's bytes to the store without another copy.
struct Upload(BufWriter);

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, parquet::errors::Result<()>> {
        Box::pin(async move { self.0.put(bytes).await.map_err(|e| ParquetError::External(Box::new(e))) })
    }

    fn complete(&mut self) -> BoxFuture<'_, parquet::errors::Result<()>> {
        Box::pin(async move {
            self.0.shutdown().await.map_err(|e| match e.downcast::<object_store::Error>() {
                Ok(e) => ParquetError::External(Box::new(e)),
                Err(e) => ParquetError::External(Box::new(e)),
            })
        })
    }
}
