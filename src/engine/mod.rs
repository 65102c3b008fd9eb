//! The engine: the only room that makes DataFusion sessions.
//!
//! A session sees a lake through a [`catalog::Catalog`], which decides the version of each table before the first row
//! is read. All sessions of one [`Engine`] share its memory budget; what does not fit spills to disk.
//!
//! Hash joins do not spill. A query that runs out of memory with them may be run once more by a session of
//! [`Need::Little`], whose joins sort, and which divides its share among fewer.

pub mod catalog;
pub mod changes;
mod diagnosis;
pub mod functions;
mod interrupt;
pub mod lineage;
pub mod release;
mod running;
mod spill;
pub mod sql;
pub mod stage;
pub mod statistics;
pub mod table;
pub mod types;
mod window;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::{Error, Result};
use crate::lake::Lake;
use catalog::{Catalog, Shown};
use functions::PiiKey;
use spill::SpillFolder;

/// The name of the one catalog, which users never need to write.
const CATALOG: &str = "lake";

pub struct Engine {
    pub lake: Lake,
    runtime: Arc<RuntimeEnv>,
    memory: usize,
    threads: usize,
    now: DateTime<Utc>,
    key: Option<PiiKey>,
    /// Outlives every query.
    spilled: Arc<SpillFolder>,
}

/// How a query uses memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Need {
    /// As it is fastest.
    #[default]
    Usual,
    /// As it takes least.
    Little,
}

impl Engine {
    /// `now` is what every clock function of SQL answers, so that a build's rows agree on when it ran.
    pub fn new(lake: &Lake, memory: u64, threads: usize, now: DateTime<Utc>, key: Option<PiiKey>) -> Result<Engine> {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let spilled = Arc::new(SpillFolder::below(&std::env::temp_dir())?);
        let runtime = runtime(lake, Arc::new(FairSpillPool::new(memory)), &spilled)?;
        Ok(Engine { lake: lake.clone(), runtime, memory, threads, now, key, spilled })
    }

    /// The same engine over another lake, within the same memory.
    pub fn over(&self, lake: &Lake) -> Result<Engine> {
        let runtime = runtime(lake, self.runtime.memory_pool.clone(), &self.spilled)?;
        let (lake, key, spilled) = (lake.clone(), self.key.clone(), self.spilled.clone());
        Ok(Engine { lake, runtime, memory: self.memory, threads: self.threads, now: self.now, key, spilled })
    }

    /// A session over `catalog`. Unqualified names mean Gold, which is what people ask for.
    pub fn session(&self, catalog: Arc<Catalog>) -> SessionContext {
        self.session_with(catalog, Need::Usual)
    }

    pub fn session_with(&self, catalog: Arc<Catalog>, need: Need) -> SessionContext {
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
        // What a sort keeps for itself to end with must leave it room to begin.
        let reserve = options.execution.sort_spill_reservation_bytes.min(self.memory / 32);
        options.execution.sort_spill_reservation_bytes = reserve;
        if need == Need::Little {
            // With one partition alone the planner knows nothing but hash joins.
            options.execution.target_partitions = 2;
            options.optimizer.prefer_hash_join = false;
        }
        if need == Need::Little {
            // A sort holds at least a batch of each of what it puts together.
            config = config.with_batch_size(1024);
        }
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime.clone())
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(running::RunningWindows))
            .with_physical_optimizer_rule(Arc::new(window::InPieces))
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

fn runtime(lake: &Lake, pool: Arc<dyn MemoryPool>, spilled: &SpillFolder) -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spilled.path().to_path_buf()]))
        .with_max_temp_directory_size(spill::MOST_BYTES);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|e| Error::outside("the query engine cannot start").because(e))?;
    runtime.register_object_store(&lake.store_url(), lake.store().clone());
    Ok(runtime)
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

/// Whether a query ran out of the memory that it may have.
pub fn is_out_of_memory(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        if let Some(e) = e.downcast_ref::<DataFusionError>() {
            return matches!(e.find_root(), DataFusionError::ResourcesExhausted(_));
        }
        cause = e.source();
    }
    false
}

/// Carries an error of ours through DataFusion, for [`error`] to take out again.
pub fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
