//! The lake: the only room that opens object stores and Delta logs.
//!
//! A lake is a folder or a bucket prefix; `<lake>/<schema>/<table>/` is one plain Delta table. Reading goes through
//! [`Snapshot`]s pinned to a version; writing goes through [`write::TableWriter`], which makes files nobody sees yet,
//! and [`commit::commit`], which makes them visible all at once or not at all.

pub mod commit;
pub mod evolve;
pub mod lease;
pub mod listing;
pub mod log;
pub mod offsets;
pub mod schema;
pub mod snapshot;
pub mod stats;
pub mod store;
pub mod write;

use std::fmt;
use std::sync::Arc;

use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::config::LakeConfig;
use crate::error::{Error, Result};

pub use snapshot::{DataFile, Snapshot};

/// What the product keeps for itself lies under this schema, as Delta tables too.
pub const OWN_SCHEMA: &str = "_medallion";

/// Folders that are asked at a time whether they are tables, so that a lake of many is not waited for one by one.
const ASKED_TOGETHER: usize = 32;

/// What stores delete with one request.
const DELETE_BATCH: usize = 1000;

/// The schemas of a lake that policies speak of.
const LAYERS: &[&str] = &["bronze", "silver", "gold", OWN_SCHEMA];

/// `schema.name`, as people write it and as the folders are laid out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// An opened lake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    url: Url,
    prefix: Path,
    store: Arc<dyn ObjectStore>,
}

impl Lake {
    /// Opens the lake that the configuration names. Nothing is read or written yet.
    pub fn open(config: &LakeConfig) -> Result<Lake> {
        let (url, store) = store::open(config)?;
        Lake::with_store(url, store)
    }

    /// A lake on a store that the caller made: `store` is the root of the bucket or file system that `url` lies in.
    pub fn with_store(url: Url, store: Arc<dyn ObjectStore>) -> Result<Lake> {
        let prefix = Path::from_url_path(url.path())
            .map_err(|e| Error::input(format!("`{url}` is not a place for a lake")).because(e))?;
        Ok(Lake { url, prefix, store })
    }

    /// A lake that is gone with whoever made it.
    pub fn in_memory() -> Result<Lake> {
        let url = format!("memory://{}/", uuid::Uuid::new_v4().simple());
        let url = Url::parse(&url).map_err(|e| Error::bug(format!("the address {url}")).because(e))?;
        Lake::with_store(url, Arc::new(InMemory::new()))
    }

    /// The address as a user would write it.
    pub fn address(&self) -> String {
        match self.url.to_file_path() {
            Ok(path) => path.display().to_string(),
            Err(()) => self.url.to_string(),
        }
    }

    /// The root of the store (`file:///`, `s3://bucket/`), under which [`Table::path_of`] resolves.
    pub fn store_url(&self) -> Url {
        let mut root = self.url.clone();
        root.set_path("/");
        root
    }

    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// A path under `_medallion`, for what is kept as a plain object.
    pub fn own_path(&self, parts: &[&str]) -> Path {
        parts.iter().fold(self.prefix.clone().join(OWN_SCHEMA), |path, part| path.join(*part))
    }

    pub fn table(&self, name: &TableName) -> Result<Table> {
        let dir = self.prefix.clone().join(name.schema.as_str()).join(name.name.as_str());
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Error::input(format!("`{}` is not a place for a lake", self.url)))?
            .pop_if_empty()
            .push(&name.schema)
            .push(&name.name);
        let prefixed: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(self.store.clone(), dir.clone()));
        let log = default_logstore(prefixed, self.store.clone(), &url, &StorageConfig::default());
        Ok(Table { name: name.clone(), dir, store: self.store.clone(), log })
    }

    /// All tables of the lake, by name.
    pub async fn tables(&self) -> Result<Vec<TableName>> {
        let mut folders = Vec::new();
        for schema in self.schemas().await? {
            let names = self.folders(&self.prefix.clone().join(schema.as_str())).await?;
            folders.extend(names.into_iter().map(|name| TableName::new(schema.clone(), name)));
        }
        let mut tables = Vec::with_capacity(folders.len());
        for asked in folders.chunks(ASKED_TOGETHER) {
            let are_tables = try_join_all(asked.iter().map(|name| self.has(name))).await?;
            tables.extend(asked.iter().zip(are_tables).filter(|(_, is_table)| *is_table).map(|(name, _)| name.clone()));
        }
        tables.sort();
        Ok(tables)
    }

    async fn has(&self, name: &TableName) -> Result<bool> {
        self.table(name)?.exists().await
    }

    async fn schemas(&self) -> Result<Vec<String>> {
        let denied = match self.folders(&self.prefix).await {
            Ok(schemas) => return Ok(schemas),
            Err(denied) => denied,
        };
        // A role that may read some layers only is not let list the lake itself.
        let mut readable = Vec::new();
        for schema in LAYERS {
            if self.folders(&self.prefix.clone().join(*schema)).await.is_ok() {
                readable.push(schema.to_string());
            }
        }
        if readable.is_empty() { Err(denied) } else { Ok(readable) }
    }

    async fn folders(&self, under: &Path) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(Some(under)).await.map_err(|e| store::error("list", under, e))?;
        Ok(listed.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect())
    }

    /// Fails with the reason when the store does not answer or refuses.
    pub async fn ensure_reachable(&self) -> Result<()> {
        self.schemas().await.map(|_| ()).map_err(|e| e.context(format!("the lake {}", self.address())))
    }
}

/// A handle on one table, which may not exist yet.
#[derive(Clone)]
pub struct Table {
    pub name: TableName,
    dir: Path,
    store: Arc<dyn ObjectStore>,
    log: LogStoreRef,
}

impl Table {
    /// Where a file of the table lies, from the root of the store.
    pub fn path_of(&self, file: &str) -> Path {
        file.split('/').fold(self.dir.clone(), |path, part| path.join(part))
    }

    /// The table's folder, from the root of the store.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub async fn exists(&self) -> Result<bool> {
        let log = self.path_of("_delta_log");
        let first = self.store.list(Some(&log)).next().await.transpose();
        Ok(first.map_err(|e| store::error("list", &log, e))?.is_some())
    }

    /// The files in the table's folder, when there is no log to say what they are, other than our own leftovers.
    pub async fn ensure_free(&self) -> Result<()> {
        let mut files = self.store.list(Some(&self.dir));
        while let Some(file) = files.try_next().await.map_err(|e| store::error("list", &self.dir, e))? {
            let name = file.location.filename().unwrap_or_default();
            if !write::is_own_file(name) {
                return Err(Error::input(format!("the folder of {} holds `{name}` but no Delta log", self.name))
                    .hint("something else writes here; choose another lake.url, or move that folder out of the way"));
            }
        }
        Ok(())
    }

    /// Deletes objects in their order, a batch at a time. False if the store says that this user may not delete.
    pub async fn delete_objects(&self, paths: &[Path], mut deleted: impl FnMut(usize)) -> Result<bool> {
        for batch in paths.chunks(DELETE_BATCH) {
            let asked = futures::stream::iter(batch.to_vec()).map(Ok).boxed();
            let mut answers = self.store.delete_stream(asked);
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(_) => deleted(1),
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(e) if store::is_refused(&e) => return Ok(false),
                    Err(e) => return Err(store::error("delete from", &self.dir, e)),
                }
            }
        }
        Ok(true)
    }

    /// Deletes files that no version names: candidates that were not published.
    pub async fn delete_files(&self, files: Vec<String>) -> Result<()> {
        for file in files {
            let path = self.path_of(&file);
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(store::error("delete", &path, e)),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}
