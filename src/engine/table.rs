//! A table as a list of files: plain Parquet scans with partition values, statistics and a version that cannot move.
//!
//! One provider serves queries at any version, tests of a candidate that is not committed yet, and the reading of just
//! the files that changed. Files that the filters rule out by statistics are not opened.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;

use super::statistics::{FileStatistics, ManyFiles};
use crate::error::{Error, Result};
use crate::lake::{DataFile, Lake, Table};

/// The extra column that names the file a row comes from, where a caller asks for it.
pub const FILE_COLUMN: &str = "_medallion_file";

#[derive(Debug)]
pub struct FilesTable {
    store: ObjectStoreUrl,
    /// File columns first, then the partition columns.
    columns: TableSchema,
    files: Vec<ScanFile>,
}

#[derive(Debug, Clone)]
struct ScanFile {
    file: PartitionedFile,
    bounds: FileStatistics,
}

impl FilesTable {
    /// A table of these files. With `name_files`, the column [`FILE_COLUMN`] tells each row's file.
    pub fn new(
        lake: &Lake,
        table: &Table,
        schema: &Schema,
        partition_columns: &[String],
        files: &[Arc<DataFile>],
        name_files: bool,
    ) -> Result<FilesTable> {
        let store = ObjectStoreUrl::parse(lake.store_url()).map_err(|e| Error::bug("the lake's address").because(e))?;
        let (mut in_files, mut in_log): (Vec<FieldRef>, Vec<FieldRef>) = (Vec::new(), Vec::new());
        for field in schema.fields() {
            let field = Arc::new(scanned_field(field));
            if partition_columns.contains(field.name()) { in_log.push(field) } else { in_files.push(field) }
        }
        let file_schema = Arc::new(Schema::new(in_files));
        let mut constants = in_log.clone();
        if name_files {
            constants.push(Arc::new(Field::new(FILE_COLUMN, DataType::Utf8, false)));
        }
        let mut scans = Vec::with_capacity(files.len());
        for file in files {
            let mut values = in_log.iter().map(|f| partition_value(file, f)).collect::<Result<Vec<_>>>()?;
            if name_files {
                values.push(ScalarValue::Utf8(Some(file.path.clone())));
            }
            let mut bounds = FileStatistics::of(file, &file_schema);
            let planner = Arc::new(bounds.to_datafusion(file.size));
            values.iter().for_each(|v| bounds.push_constant(v));
            let meta = ObjectMeta {
                location: table.path_of(&file.path),
                last_modified: DateTime::from_timestamp_millis(file.modified_ms).unwrap_or_default(),
                size: file.size,
                e_tag: None,
                version: None,
            };
            let file = PartitionedFile::new_from_meta(meta).with_partition_values(values).with_statistics(planner);
            scans.push(ScanFile { file, bounds });
        }
        Ok(FilesTable {
            store,
            columns: TableSchema::builder(file_schema).with_table_partition_cols(constants).build(),
            files: scans,
        })
    }

    /// The files that may hold rows which pass the filters.
    fn pruned(&self, state: &dyn Session, filters: &[Expr]) -> DfResult<Vec<&ScanFile>> {
        let all: Vec<&ScanFile> = self.files.iter().collect();
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(all) };
        let schema = self.schema();
        let physical = state.create_physical_expr(filter, &DFSchema::try_from(schema.clone())?)?;
        let predicate = PruningPredicateBuilder::new().with_file_schema(schema.clone()).try_build(physical);
        let Ok(predicate) = predicate else { return Ok(all) };
        let bounds = ManyFiles { schema: &schema, files: self.files.iter().map(|f| &f.bounds).collect() };
        let keep = predicate.prune(&bounds)?;
        Ok(all.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
    }
}

/// Strings and bytes are read as views, which filters and joins pass on without copying.
fn scanned_field(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other.clone(),
    };
    Field::new(field.name(), data_type, true).with_metadata(field.metadata().clone())
}

fn partition_value(file: &DataFile, field: &Field) -> Result<ScalarValue> {
    let text = file.partition_values.get(field.name()).cloned().flatten().filter(|v| !v.is_empty());
    let damaged =
        |e| Error::outside(format!("the log has a bad value for partition column {}", field.name())).because(e);
    match text {
        None => ScalarValue::try_from(field.data_type()).map_err(damaged),
        Some(text) => ScalarValue::try_from_string(text, field.data_type()).map_err(damaged),
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        self.columns.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        merged(&self.files.iter().collect::<Vec<_>>(), &self.schema())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let files = self.pruned(state, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?)));
        }
        let mut options = state.default_table_options().parquet;
        if files.iter().any(|f| f.bounds.may_have_nan(self.columns.file_schema())) {
            // The bounds inside the files pass NaN over as well.
            options.global.pruning = false;
            options.global.enable_page_index = false;
        }
        let statistics = merged(&files, &self.schema()).unwrap_or_else(|| Statistics::new_unknown(&self.schema()));
        let group = FileGroup::new(files.into_iter().map(|f| f.file.clone()).collect());
        let groups = group.split_files(state.config().target_partitions());
        let runtime = state.runtime_env();
        // Footers are read once a session, not once a query.
        let reader = CachedParquetFileReaderFactory::new(
            runtime.object_store(&self.store)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let source = ParquetSource::new(self.columns.clone())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(if filters.is_empty() { limit } else { None })
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn merged(files: &[&ScanFile], schema: &SchemaRef) -> Option<Statistics> {
    let each = files.iter().map(|f| f.file.statistics.as_deref()).collect::<Option<Vec<_>>>()?;
    Statistics::try_merge_iter(each, schema).ok()
}
