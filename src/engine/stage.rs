//! The rows of a query as data files that no version names yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema, SchemaRef};
use datafusion::physical_plan::{ExecutionPlanProperties, SendableRecordBatchStream, execute_stream_partitioned};
use datafusion::prelude::DataFrame;
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{JoinError, JoinSet};

use crate::error::{Error, Result};
use crate::lake::log::Add;
use crate::lake::schema::stored_schema;
use crate::lake::write::TableWriter;
use crate::lake::{DataFile, Table};

/// Batches that wait for a writer. While the first one keeps up, there is one file.
const QUEUED: usize = 4;

/// What a query wrote.
#[derive(Debug)]
pub struct Staged {
    pub schema: SchemaRef,
    pub files: Vec<Add>,
    pub rows: u64,
}

/// Runs the query and writes its rows beside the table. On failure nothing of it is left.
pub async fn stage(frame: DataFrame, table: &Table) -> Result<Staged> {
    let schema = stored_schema(frame.schema().as_arrow())?;
    let doing = format!("building {}", table.name);
    let context = frame.task_ctx();
    let plan = frame.create_physical_plan().await.map_err(|e| super::error(&doing, e))?;
    let streams = match plan.output_partitioning().partition_count() {
        0 => Vec::new(),
        _ => execute_stream_partitioned(plan, Arc::new(context)).map_err(|e| super::error(&doing, e))?,
    };
    let mut writers = JoinSet::new();
    let mut queues = Vec::with_capacity(streams.len());
    for _ in 0..streams.len() {
        let (queue, batches) = mpsc::channel(QUEUED);
        queues.push(queue);
        writers.spawn(write_batches(batches, TableWriter::new(table, schema.clone(), BTreeMap::new())?));
    }
    let mut readers = JoinSet::new();
    for stream in streams {
        readers.spawn(read_stream(stream, queues.clone(), schema.clone(), doing.clone()));
    }
    drop(queues);
    let mut failure = None;
    while let Some(done) = readers.join_next().await {
        failure = failure.or(flattened(done, &doing).err());
    }
    let mut staged = Staged { schema, files: Vec::new(), rows: 0 };
    while let Some(done) = writers.join_next().await {
        match flattened(done, &doing) {
            Ok((files, rows)) => {
                staged.files.extend(files);
                staged.rows += rows;
            }
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    match failure {
        None => Ok(staged),
        Some(e) => {
            table.delete_files(staged.files.iter().map(|f| f.path.clone()).collect()).await?;
            Err(e)
        }
    }
}

fn flattened<T>(done: std::result::Result<Result<T>, JoinError>, doing: &str) -> Result<T> {
    done.unwrap_or_else(|e| Err(Error::bug(format!("{doing}: a task ended")).because(e)))
}

/// Sends each batch to the first writer that has room: a small result is one file, a large one is written by all.
async fn read_stream(
    mut stream: SendableRecordBatchStream,
    queues: Vec<mpsc::Sender<RecordBatch>>,
    schema: SchemaRef,
    doing: String,
) -> Result<()> {
    while let Some(batch) = stream.try_next().await.map_err(|e| super::error(&doing, e))? {
        let mut waiting = Some(conform(&batch, &schema)?);
        for queue in &queues {
            let Some(batch) = waiting.take() else { break };
            // A closed queue is that of a writer that failed, which says so itself.
            if let Err(TrySendError::Full(back) | TrySendError::Closed(back)) = queue.try_send(batch) {
                waiting = Some(back);
            }
        }
        if let (Some(batch), Some(queue)) = (waiting, queues.first())
            && queue.send(batch).await.is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

async fn write_batches(mut batches: mpsc::Receiver<RecordBatch>, mut writer: TableWriter) -> Result<(Vec<Add>, u64)> {
    while let Some(batch) = batches.recv().await {
        if let Err(e) = writer.write(&batch).await {
            writer.abort().await?;
            return Err(e);
        }
    }
    let rows = writer.rows();
    Ok((writer.close().await?, rows))
}

/// The batch with the types under which it is stored. A value that does not fit is an error, never a NULL.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            let stored = cast_with_options(column, field.data_type(), &options).map_err(|e| {
                Error::input(format!("column `{}` cannot be stored as {}", field.name(), field.data_type())).because(e)
            })?;
            Ok(one_nan(stored))
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| Error::bug("a batch does not fit its schema").because(e))
}

/// The column with one NaN for all of them. They differ in sign and payload by how they came about, and comparisons tell
/// them apart; as a key, and as a value, they are one.
fn one_nan(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 if column.as_primitive::<Float32Type>().values().iter().any(|v| v.is_nan()) => {
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        DataType::Float64 if column.as_primitive::<Float64Type>().values().iter().any(|v| v.is_nan()) => {
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        _ => column,
    }
}

/// A staged file as a reader sees it.
pub fn as_data_file(add: &Add) -> Arc<DataFile> {
    Arc::new(DataFile {
        path: add.path.clone(),
        size: add.size.unsigned_abs(),
        modified_ms: add.modification_time,
        partition_values: add.partition_values.clone(),
        stats: add.stats.clone(),
    })
}

/// Whether rows of one schema can stand in a table of the other: the same columns, in the same order, of the same types.
pub fn same_columns(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields().iter().zip(b.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}
