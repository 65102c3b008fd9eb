//! A table's own files read back batch by batch, in the table's own types.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Result};
use crate::lake::{DataFile, Table};

/// Rows that are decoded at a time. The compressed bytes of one row group are held besides.
const BATCH_ROWS: usize = 8192;
/// Most footers are smaller, and come with one request.
const FOOTER_GUESS: usize = 64 * 1024;

/// The rows of a data file, and how many its footer counts.
pub struct Rows {
    pub stream: ParquetRecordBatchStream<StoredFile>,
    pub count: u64,
}

/// Opens a file of the table.
pub async fn open(table: &Table, file: &DataFile) -> Result<Rows> {
    let path = table.path_of(&file.path);
    let stored = StoredFile { store: table.store().clone(), path: path.clone(), size: file.size };
    let builder = ParquetRecordBatchStreamBuilder::new(stored).await.map_err(|e| failed(&path, e))?;
    let count = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let stream = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| failed(&path, e))?;
    Ok(Rows { stream, count })
}

pub fn failed(path: &Path, error: ParquetError) -> Error {
    Error::outside(format!("cannot read {path}"))
        .because(error)
        .hint("`medallion verify` tells which files are damaged")
}

/// The batch with the table's columns: a file knows its types as Parquet has them, and may be older than a column.
pub fn aligned(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
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
