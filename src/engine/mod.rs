//! The engine: the only room that makes DataFusion sessions.
//!
//! A session sees a lake through a [`catalog::Catalog`], which decides the version of each table before the first row
//! is read. All sessions of one [`Engine`] share its memory budget; what does not fit spills to disk.

pub mod catalog;
pub mod changes;
mod diagnosis;
pub mod functions;
mod interrupt;
pub mod lineage;
pub mod release;
mod running;
pub mod sql;
pub mod stage;
pub mod statistics;
pub mod table;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::{Error, Result};
use crate::lake::Lake;
use catalog::{Catalog, Shown};
use functions::PiiKey;

/// The name of the one catalog, which users never need to write.
const CATALOG: &str = "lake";

pub struct Engine {
    pub lake: Lake,
    runtime: Arc<RuntimeEnv>,
    threads: usize,
    now: DateTime<Utc>,
    key: Option<PiiKey>,
}

impl Engine {
    /// `now` is what every clock function of SQL answers, so that a build's rows agree on when it ran.
    pub fn new(lake: &Lake, memory: u64, threads: usize, now: DateTime<Utc>, key: Option<PiiKey>) -> Result<Engine> {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory))
            .build_arc()
            .map_err(|e| Error::outside("the query engine cannot start").because(e))?;
        runtime.register_object_store(&lake.store_url(), lake.store().clone());
        Ok(Engine { lake: lake.clone(), runtime, threads, now, key })
    }

    /// The same engine over another lake, within the same memory.
    pub fn over(&self, lake: &Lake) -> Result<Engine> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(self.runtime.memory_pool.clone())
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory))
            .build_arc()
            .map_err(|e| Error::outside("the query engine cannot start").because(e))?;
        runtime.register_object_store(&lake.store_url(), lake.store().clone());
        Ok(Engine { lake: lake.clone(), runtime, threads: self.threads, now: self.now, key: self.key.clone() })
    }

    /// A session over `catalog`. Unqualified names mean Gold, which is what people ask for.
    pub fn session(&self, catalog: Arc<Catalog>) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.threads)
            .with_information_schema(true)
            .with_default_catalog_and_schema(CATALOG, "gold")
            .with_create_default_catalog_and_schema(false);
        let options = config.options_mut();
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        options.sql_parser.collect_spans = true;
        options.execution.time_zone = Some("+00:00".into());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime.clone())
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(running::RunningWindows))
            .with_physical_optimizer_rule(Arc::new(interrupt::GiveWay))
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_catalog(CATALOG, Arc::new(Shown(catalog)));
        for function in functions::all(self.now, self.key.clone()) {
            context.register_udf(function);
        }
        context
    }
}

/// An error of the engine, sorted by who has to act.
pub fn error(doing: &str, error: DataFusionError) -> Error {
    if let Some((what, hint)) = diagnosis::of_value(&error) {
        return Error::input(format!("{doing}: {what}")).hint(hint);
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Error::outside(doing)
            .hint("the query needs more memory than it may have: raise build.memory, or make the query smaller")
            .because(error),
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Error::outside(doing).because(error),
        DataFusionError::ParquetError(_) => Error::outside(doing).hint("a data file is damaged or gone").because(error),
        DataFusionError::Internal(_) => Error::bug(doing).because(error),
        DataFusionError::External(_) => match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(own) => own.context(doing),
                Err(inner) => Error::outside(doing).because(inner),
            },
            error => Error::input(doing).because(error),
        },
        _ => Error::input(doing).because(error),
    }
}

/// Carries an error of ours through DataFusion, for [`error`] to take out again.
pub fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
