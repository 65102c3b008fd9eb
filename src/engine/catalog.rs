//! Which version of which table a session reads.
//!
//! The catalogue decides it before a query begins: a table is pinned to a version, or replaced (by a candidate, by a
//! reduced input, by a view's text), or else read as of its newest version. `name@v12` asks for one version of a table,
//! which is how time travel is spelled inside; see [`super::sql`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::ViewTable;
use datafusion::execution::SessionStateDefaults;

use super::changes::{self, Difference, difference};
use super::external;
use super::table::FilesTable;
use crate::error::{Error, Result, nearest};
use crate::lake::{Lake, OWN_SCHEMA, Snapshot, TableName};

/// Between a table's name and the version asked for.
const AT: char = '@';
/// Asks for the changes between two versions.
const CHANGES: char = 'c';

type Snapshots = HashMap<(TableName, u64), Arc<Snapshot>>;

#[derive(Clone)]
pub struct Catalog {
    lake: Lake,
    tables: BTreeSet<TableName>,
    pins: HashMap<TableName, u64>,
    /// Ids of pinned tables, where they are known.
    identities: HashMap<TableName, String>,
    replaced: HashMap<TableName, Arc<dyn TableProvider>>,
    /// Snapshots already read. A version cannot change, so neither can these.
    snapshots: Arc<Mutex<Snapshots>>,
}

impl Catalog {
    /// A catalogue of the lake's tables, each at its newest version.
    pub async fn of(lake: &Lake) -> Result<Catalog> {
        Ok(Catalog::only(lake, lake.tables().await?))
    }

    /// A catalogue of just these tables, without asking the lake for others.
    pub fn only(lake: &Lake, tables: impl IntoIterator<Item = TableName>) -> Catalog {
        Catalog {
            lake: lake.clone(),
            tables: tables.into_iter().collect(),
            pins: HashMap::new(),
            identities: HashMap::new(),
            replaced: HashMap::new(),
            snapshots: Arc::default(),
        }
    }

    pub fn pin(&mut self, name: &TableName, version: u64) {
        self.tables.insert(name.clone());
        self.pins.insert(name.clone(), version);
    }

    /// A pinned table that has another id is not the one that was meant.
    pub fn expect(&mut self, name: &TableName, table_id: &str) {
        self.identities.insert(name.clone(), table_id.to_owned());
    }

    /// Shows `provider` under that name, whatever the lake holds.
    pub fn replace(&mut self, name: &TableName, provider: Arc<dyn TableProvider>) {
        self.tables.insert(name.clone());
        self.replaced.insert(name.clone(), provider);
    }

    /// Shows these tables alone.
    pub fn keep(&mut self, wanted: impl Fn(&TableName) -> bool) {
        self.tables.retain(wanted);
    }

    pub fn names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.iter()
    }

    /// The tables whose rows are settled: pinned to a version, or replaced.
    pub fn decided(&self) -> impl Iterator<Item = &TableName> {
        self.pins.keys().chain(self.replaced.keys())
    }

    pub fn pinned(&self, name: &TableName) -> Option<u64> {
        self.pins.get(name).copied()
    }

    /// The table as this catalogue shows it, if the lake has it.
    pub async fn snapshot(&self, name: &TableName) -> Result<Option<Arc<Snapshot>>> {
        let table = self.lake.table(name)?;
        match self.pins.get(name) {
            Some(version) => {
                let snapshot = self.at(name, *version).await?;
                if self.identities.get(name).is_some_and(|id| *id != snapshot.table_id) {
                    return Err(Error::failed(format!(
                        "{name} was dropped and made again: version {version} of what it was is gone"
                    ))
                    .hint("`medallion build` makes a release of what there is now"));
                }
                Ok(Some(snapshot))
            }
            None => Ok(table.latest().await?.map(|s| self.remember(s))),
        }
    }

    async fn at(&self, name: &TableName, version: u64) -> Result<Arc<Snapshot>> {
        let known =
            self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).get(&(name.clone(), version)).cloned();
        match known {
            Some(snapshot) => Ok(snapshot),
            None => Ok(self.remember(self.lake.table(name)?.at_version(version).await?)),
        }
    }

    fn remember(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        let key = (snapshot.name.clone(), snapshot.version);
        let mut known = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        // One version of a table is enough to keep: a session that lives long must not collect them all.
        known.retain(|(name, version), _| *name != key.0 || Some(version) == self.pins.get(name));
        known.insert(key, snapshot.clone());
        snapshot
    }

    /// The provider of a snapshot's rows.
    pub fn provider(&self, snapshot: &Snapshot, name_files: bool) -> Result<Arc<dyn TableProvider>> {
        let table = self.lake.table(&snapshot.name)?;
        let (schema, partitions) = (&snapshot.schema, &snapshot.partition_columns);
        Ok(Arc::new(FilesTable::new(&self.lake, &table, schema, partitions, &snapshot.files, name_files)?))
    }

    async fn resolve(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (plain, wanted) = match name.split_once(AT) {
            Some((plain, wanted)) => (plain, Some(wanted)),
            None => (name, None),
        };
        let table = TableName::new(schema, plain);
        if wanted.is_none()
            && let Some(provider) = self.replaced.get(&table)
        {
            return Ok(Some(provider.clone()));
        }
        if !self.tables.contains(&table) {
            return Ok(None);
        }
        if let Some(range) = wanted.and_then(|w| w.strip_prefix(CHANGES)) {
            return self.changes(&table, range).await.map(Some);
        }
        let snapshot = match wanted {
            None => self.snapshot(&table).await?,
            Some(wanted) => Some(self.at(&table, self.version_of(&table, wanted).await?).await?),
        };
        snapshot.map(|s| self.provider(&s, false)).transpose()
    }

    /// What changed between two versions, as a table.
    async fn changes(&self, table: &TableName, range: &str) -> Result<Arc<dyn TableProvider>> {
        let versions = range.split_once(':').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        let Some((from, to)) = versions else {
            return Err(Error::input(format!("`{range}` is no range of versions of {table}")));
        };
        // The first version has to be there as well, or what came before it would pass for unchanged.
        self.at(table, from).await?;
        let to = self.at(table, to).await?;
        let plan = match difference(&self.lake, from, &to).await? {
            Difference::Unknown(reason) => return Err(changes::unknown(reason)),
            Difference::Nothing => changes::changes(&self.lake, &to, &[], &[], &to.key)?,
            Difference::Files { added, removed } => changes::changes(&self.lake, &to, &added, &removed, &to.key)?,
        };
        Ok(Arc::new(ViewTable::new(plan, None)))
    }

    async fn version_of(&self, table: &TableName, wanted: &str) -> Result<u64> {
        if self.replaced.contains_key(table) {
            return Err(Error::input(format!("{table} has no versions to travel to"))
                .hint("time travel works on tables, not on views"));
        }
        let (kind, value) = wanted.split_at(wanted.len().min(1));
        match (kind, value.parse::<i64>()) {
            ("v", Ok(version)) if version >= 0 => Ok(version.unsigned_abs()),
            ("t", Ok(micros)) => match DateTime::from_timestamp_micros(micros) {
                Some(time) => self.lake.table(table)?.version_at(time).await,
                None => Err(Error::input(format!("{micros} is not a time"))),
            },
            _ => Err(Error::input(format!("`{wanted}` is not a version of {table}"))),
        }
    }

    /// What to tell somebody who asked for a table that is not there.
    pub fn not_found(&self, schema: &str, name: &str) -> Error {
        let error = Error::input(format!("there is no table {schema}.{name}"));
        let names: Vec<String> = self.tables.iter().map(TableName::to_string).collect();
        match nearest(&format!("{schema}.{name}"), names.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None if names.is_empty() => {
                error.hint("the lake is empty: run `medallion ingest` or `medallion demo` first")
            }
            None => error.hint("`\\dt` or `medallion status` lists the tables"),
        }
    }
}

/// How a table at one version is named inside the engine.
pub fn at_version(name: &str, version: u64) -> String {
    format!("{name}{AT}v{version}")
}

/// How the changes of a table between two versions are named inside the engine.
pub fn changes_between(name: &str, from: u64, to: u64) -> String {
    format!("{name}{AT}{CHANGES}{from}:{to}")
}

/// How a table as of a time (microseconds since 1970, UTC) is named inside the engine.
pub fn at_time(name: &str, micros: i64) -> String {
    format!("{name}{AT}t{micros}")
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("tables", &self.tables).field("pins", &self.pins).finish_non_exhaustive()
    }
}

/// A catalogue as DataFusion asks it.
#[derive(Debug)]
pub struct Shown(pub Arc<Catalog>);

impl CatalogProvider for Shown {
    fn schema_names(&self) -> Vec<String> {
        self.0.tables.iter().map(|t| t.schema.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        // Every schema answers, so that a missing table is told apart with the nearest name.
        Some(Arc::new(Schema { catalog: self.0.clone(), name: name.to_owned() }))
    }
}

#[derive(Debug)]
struct Schema {
    catalog: Arc<Catalog>,
    name: String,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        // information_schema asks for every table's columns; what the product keeps for itself stays out of the way.
        self.catalog
            .tables
            .iter()
            .filter(|t| t.schema == self.name && t.schema != OWN_SCHEMA)
            .map(|t| t.name.clone())
            .collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.catalog.resolve(&self.name, name).await {
            Ok(Some(provider)) => Ok(Some(provider)),
            // Functions such as generate_series(1, 9) are asked for as tables first.
            Ok(None) if is_table_function(name) => Ok(None),
            // `information_schema` is looked for elsewhere first; this is the last place to ask.
            Ok(None) => Err(external(self.catalog.not_found(&self.name, name))),
            Err(e) => Err(external(e)),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        let plain = name.split(AT).next().unwrap_or(name);
        self.catalog.tables.contains(&TableName::new(self.name.as_str(), plain))
    }
}

fn is_table_function(name: &str) -> bool {
    SessionStateDefaults::default_table_functions().iter().any(|f| f.name() == name)
}

/// Tables by schema, for listings and completion.
pub fn by_schema<'a>(names: impl Iterator<Item = &'a TableName>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut schemas: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        schemas.entry(&name.schema).or_default().push(&name.name);
    }
    schemas
}
