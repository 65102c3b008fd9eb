//! A table's own files read back batch by batch, in the table's own types.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::error::{Error, Result};
use crate::lake::{DataFile, Table};

/// Rows that are decoded at a time, and the bytes that they may take unless a single one is larger. The compressed bytes of
/// one row group are held besides.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: u64 = 32 << 20;
/// Most footers are smaller, and come with one request.
const FOOTER_GUESS: usize = 64 * 1024;

/// The rows of a data file, and how many its footer counts.
pub struct Rows {
    pub stream: ParquetRecordBatchStream<StoredFile>,
    pub count: u64,
}

/// Opens a file of the table, for all of its columns or for those of these names that it has.
pub async fn open(table: &Table, file: &DataFile, columns: Option<&[&str]>) -> Result<Rows> {
    let path = table.path_of(&file.path);
    let stored = StoredFile { store: table.store().clone(), path: path.clone(), size: file.size };
    let mut builder = ParquetRecordBatchStreamBuilder::new(stored).await.map_err(|e| failed(&path, e))?;
    let count = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let rows = rows_at_a_time(builder.metadata());
    let stream = builder.with_batch_size(rows).build().map_err(|e| failed(&path, e))?;
    Ok(Rows { stream, count })
}

/// How many rows take the bytes of a batch, by the mean of the row group whose rows are the largest.
fn rows_at_a_time(metadata: &ParquetMetaData) -> usize {
    let fitting = |group: &RowGroupMetaData| {
        // In the file a text that comes again is a number, in memory it is the text.
        let larger = |column: &ColumnChunkMetaData| {
            column.unencoded_byte_array_data_bytes().unwrap_or(0).max(column.uncompressed_size())
        };
        let bytes = group.columns().iter().map(larger).sum::<i64>();
        let (bytes, rows) = (u64::try_from(bytes).unwrap_or(0), u64::try_from(group.num_rows()).unwrap_or(0));
        BATCH_BYTES.saturating_mul(rows) / bytes.max(1)
    };
    let fewest = metadata.row_groups().iter().map(fitting).min().unwrap_or(u64::MAX);
    usize::try_from(fewest).unwrap_or(usize::MAX).clamp(1, BATCH_ROWS)
}

pub fn failed(path: &Path, error: ParquetError) -> Error {
    Error::outside(format!("cannot read {path}"))
        .because(error)
        .hint("`medallion verify` tells which files are damaged")
}

/// The batch with the table's columns: a file knows its types as Parquet has them, and may be older than a column, or than
/// a field of a nested one.
pub fn aligned(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => conformed(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

/// The values in another type. Fields of structs go by their names: a plain cast would take them by their places.
fn conformed(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    match wanted {
        same if array.data_type() == same => Ok(array.clone()),
        DataType::Struct(fields) if let Some(structs) = array.as_struct_opt() => {
            Ok(Arc::new(conformed_fields(structs, fields)?))
        }
        DataType::List(element) if let Some(list) = array.as_list_opt::<i32>() => {
            let values = conformed(list.values(), element.data_type())?;
            let list = ListArray::try_new(element.clone(), list.offsets().clone(), values, list.nulls().cloned());
            Ok(Arc::new(list?))
        }
        DataType::Map(entries, sorted) if let Some(map) = array.as_map_opt() => {
            let DataType::Struct(fields) = entries.data_type() else { return cast(array, wanted) };
            // Writers have several names for the two.
            let columns = [map.keys(), map.values()].into_iter().zip(fields);
            let columns = columns.map(|(column, field)| conformed(column, field.data_type()));
            let inner = StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, None)?;
            let map = MapArray::try_new(entries.clone(), map.offsets().clone(), inner, map.nulls().cloned(), *sorted);
            Ok(Arc::new(map?))
        }
        other => cast(array, other),
    }
}

fn conformed_fields(structs: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = fields.iter().map(|field| match structs.column_by_name(field.name()) {
        Some(column) => conformed(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), structs.len())),
    });
    StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, structs.nulls().cloned())
}

/// Parquet's view of an object.
pub struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.store.get_range(&self.path, range).map_err(ParquetError::from).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(ParquetError::from) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_GUESS));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
