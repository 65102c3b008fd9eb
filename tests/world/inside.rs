//! A lake inside the test: written and read through the library, in memory, for tests that try many lakes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, TimeDelta, Utc};
use medallion::build::{self, NodeResult, Summary};
use medallion::contracts::{self, Contract};
use medallion::engine::Engine;
use medallion::engine::catalog::Catalog;
use medallion::engine::functions::PiiKey;
use medallion::error::Result;
use medallion::lake::commit::{Commit, Outcome, commit};
use medallion::lake::log::{Add, Remove};
use medallion::lake::write::TableWriter;
use medallion::lake::{Lake, Table, TableName};
use medallion::models::{self, Project};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::test_runner::Config;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
/// How a NULL is told from any text.
pub const NULL: &str = "<null>";

pub struct Inside {
    pub lake: Lake,
    contracts: Vec<Contract>,
    memory: u64,
    /// Builds so far: each has a clock time of its own, an hour after the one before.
    builds: AtomicI64,
}

impl Inside {
    pub fn new() -> Inside {
        Inside::on(Arc::new(InMemory::new()))
    }

    pub fn on(store: Arc<dyn ObjectStore>) -> Inside {
        let lake = Lake::with_store("memory:///".parse().unwrap(), store).unwrap();
        Inside { lake, contracts: contracts::defaults().unwrap(), memory: 256 << 20, builds: AtomicI64::new(0) }
    }

    pub fn with_memory(self, memory: u64) -> Inside {
        Inside { memory, ..self }
    }

    pub fn table(&self, name: &str) -> Table {
        let (schema, name) = name.split_once('.').unwrap();
        self.lake.table(&TableName::new(schema, name)).unwrap()
    }

    pub fn engine(&self) -> Engine {
        let now = start() + TimeDelta::hours(self.builds.load(Ordering::SeqCst));
        Engine::new(&self.lake, self.memory, 2, now, Some(PiiKey::new(super::KEY.as_bytes()).unwrap())).unwrap()
    }

    /// Appends rows, given as JSON, to the Bronze table of a contract.
    pub async fn land(&self, contract: &str, rows: &[Value]) {
        let contract = self.contracts.iter().find(|c| c.name == contract).unwrap();
        let table = self.table(&format!("bronze.{}", contract.name));
        let values = BTreeMap::from([("_ingest_date".to_owned(), Some("2026-03-01".to_owned()))]);
        let files = write(&table, &contract.file_schema(), values, rows).await;
        change(&table, (&contract.bronze_schema(), &["_ingest_date"]), &[], files, Vec::new()).await;
    }

    /// Builds what is selected, without the project's tests. Everything selected has to succeed.
    pub async fn build(&self, project: &Arc<Project>, select: &str, full_refresh: bool) -> Summary {
        let options = build::Options {
            select: vec![select.to_owned()],
            exclude: vec!["resource_type:test".to_owned()],
            full_refresh,
            threads: 2,
            ..build::Options::default()
        };
        let summary = self.build_with(project, options, &mut |_| {}).await.unwrap();
        let failed: Vec<_> = summary.results.iter().filter(|r| r.status.is_failure()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        summary
    }

    /// Builds, and calls `done` for each result as its node ends.
    pub async fn build_with(
        &self,
        project: &Arc<Project>,
        options: build::Options,
        done: &mut dyn FnMut(&NodeResult),
    ) -> Result<Summary> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        let (engine, stop) = (Arc::new(self.engine()), watch::channel(false).1);
        build::run(&engine, project, &self.contracts, options, start(), stop, done).await
    }

    /// The rows of a query as text, ordered.
    pub async fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let engine = self.engine();
        let context = engine.session(Arc::new(Catalog::of(&self.lake).await.unwrap()));
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let mut rows = texts(&batches);
        rows.sort();
        rows
    }
}

/// Writes a file of these rows, given as JSON, beside a table.
pub async fn write(
    table: &Table,
    schema: &SchemaRef,
    partition: BTreeMap<String, Option<String>>,
    rows: &[Value],
) -> Vec<Add> {
    let mut writer = TableWriter::new(table, schema.clone(), partition).unwrap();
    writer.write(&batch(schema, rows)).await.unwrap();
    writer.close().await.unwrap()
}

/// Commits files that come and go, and makes the table if there is none yet. Tells the version.
pub async fn change(
    table: &Table,
    (schema, partition_columns): (&Schema, &[&str]),
    key: &[String],
    adds: Vec<Add>,
    removes: Vec<Remove>,
) -> u64 {
    let version = table.latest_version().await.unwrap();
    let mut change = Commit::new("WRITE");
    (change.adds, change.removes) = (adds, removes);
    if version.is_none() {
        let id = Uuid::new_v4().to_string();
        change = change.with_metadata(&id, schema, partition_columns, key, None).unwrap();
    }
    match commit(table, version, &change, PATIENCE).await.unwrap() {
        Outcome::Committed { version } => version,
        other => panic!("{other:?}"),
    }
}

/// The removal of a file that was added.
pub fn removal(file: &Add, data_change: bool) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: 0,
        extended_file_metadata: true,
        partition_values: file.partition_values.clone(),
        size: file.size,
    }
}

pub fn start() -> DateTime<Utc> {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

/// A project of these files, whose models are tables of Gold.
pub fn written(files: &[(&str, &str)]) -> (TempDir, Arc<Project>) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "dbt_project.yml",
        "name: tiny\nversion: '1.0'\nprofile: tiny\nmodels: {tiny: {+schema: gold, +materialized: table}}\n",
    );
    write("macros/names.sql", "{% macro generate_schema_name(custom, node) %}{{ custom or 'gold' }}{% endmacro %}");
    files.iter().for_each(|(name, text)| write(name, text));
    let project = project(dir.path());
    (dir, project)
}

pub fn project(folder: &Path) -> Arc<Project> {
    let options = models::Options { run_started_at: start(), ..models::Options::default() };
    Arc::new(models::load(folder, &options).unwrap())
}

/// The project of this repository.
pub fn telecom() -> Arc<Project> {
    project(&Path::new(env!("CARGO_MANIFEST_DIR")).join("dbt_like_models"))
}

pub fn batch(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    if rows.is_empty() {
        return RecordBatch::new_empty(schema.clone());
    }
    let mut decoder =
        ReaderBuilder::new(Arc::new(Schema::clone(schema))).with_strict_mode(true).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    assert_eq!(batch.num_rows(), rows.len());
    RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap()
}

pub fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null(NULL);
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        rows.extend((0..batch.num_rows()).map(|r| columns.iter().map(|c| c.value(r).to_string()).collect()));
    }
    rows
}

/// So many cases; a failure is made smaller within bounded time.
pub fn cases(cases: u32) -> Config {
    let told = Config::default();
    Config { cases, max_shrink_iters: told.max_shrink_iters.min(24), failure_persistence: None, ..told }
}

/// A runtime of its own for each test.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
