//! The commit: all of its files and marks become visible at once, exactly once, or not at all.
//!
//! Any error of the store while a commit is being written is ambiguous: the entry may be there all the same (a lost
//! acknowledgement, a proxy's time-out, a repeated conditional PUT that meets its own success). So an error never
//! decides. Every commit carries an id of its own, and after any error the log is read again: our id there means done,
//! another writer's entry is checked against what we rely on, and only a version that is still free is tried again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::Schema;
use bytes::Bytes;
use object_store::{PutMode, PutOptions};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::log::{self, Action, Add, Remove, Txn};
use super::snapshot::KEY_PROPERTY;
use super::{Table, schema, store};
use crate::error::{Error, Result};
use crate::runtime::{self, Mistake, planted};

/// Waits between tries grow to this. Jitter keeps two writers from meeting again and again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// What one commit does.
#[derive(Debug, Clone)]
pub struct Commit {
    id: Uuid,
    operation: &'static str,
    parameters: Map<String, Value>,
    metadata: Option<Value>,
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
    /// What the commit does follows from the files that it takes away and from nothing else in the table: other rows may
    /// come and go beside it.
    pub from_removed_alone: bool,
    /// Marks to set. Each is also a fence: should anyone else move one of them in between, this commit does not happen.
    pub marks: Vec<Txn>,
    /// The versions at which marks were read, where that was not the version that the commit builds on. Who moved one
    /// up to then stands in nobody's way. If it was earlier, `passed` has to tell of what lies between.
    pub read_at: HashMap<String, u64>,
    /// Shared by the commits of one writer that build on each other.
    pub passed: Arc<Passed>,
    pub tally: Arc<Tally>,
}

/// The marks that other writers set in entries which a writer's commits have passed over, with their versions: its next
/// commit begins behind those entries, and may carry marks that were read before them. It holds one number a mark.
#[derive(Debug, Default)]
pub struct Passed(Mutex<HashMap<String, u64>>);

impl Passed {
    fn note(&self, entry: &log::Commit) {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for action in &entry.actions {
            if let Action::Txn(txn) = action {
                passed.insert(txn.app_id.clone(), entry.version);
            }
        }
    }

    /// A mark that was moved after it was read.
    fn moved(&self, commit: &Commit) -> Option<Outcome> {
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commit.marks.iter().find_map(|mark| {
            let (version, read) = (*passed.get(&mark.app_id)?, *commit.read_at.get(&mark.app_id)?);
            (version > read).then(|| Outcome::Fenced { version, mark: mark.app_id.clone() })
        })
    }
}

/// What stood in the way of commits before they ended, for whoever counts it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Versions that another writer took first.
    pub conflicts: AtomicU64,
    /// Tries after an error of the store.
    pub retries: AtomicU64,
}

/// How a commit ended, once the log has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Committed {
        version: u64,
    },
    /// Another writer set one of our marks first: what we hold is theirs already.
    Fenced {
        version: u64,
        mark: String,
    },
    /// Another writer changed what we read: the work has to be done again on the new version.
    Conflict {
        version: u64,
        why: String,
    },
}

impl Commit {
    pub fn new(operation: &'static str) -> Self {
        Commit {
            id: runtime::new_id(),
            operation,
            parameters: Map::new(),
            metadata: None,
            adds: Vec::new(),
            removes: Vec::new(),
            from_removed_alone: false,
            marks: Vec::new(),
            read_at: HashMap::new(),
            passed: Arc::default(),
            tally: Arc::default(),
        }
    }

    /// Says something of this commit in the table's history.
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        // The protocol wants parameters as text.
        let text = match value.into() {
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.parameters.insert(name.to_owned(), Value::String(text));
        self
    }

    /// Makes the table, or gives it another schema.
    pub fn with_metadata(
        mut self,
        table_id: &str,
        columns: &Schema,
        partition_columns: &[&str],
        key: &[String],
        description: Option<&str>,
    ) -> Result<Self> {
        let mut configuration = Map::new();
        if !key.is_empty() {
            configuration.insert(KEY_PROPERTY.to_owned(), key.join(",").into());
        }
        self.metadata = Some(json!({
            "id": table_id,
            "description": description,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema::delta_schema(columns)?,
            "partitionColumns": partition_columns,
            "configuration": configuration,
            "createdTime": runtime::utc_now().timestamp_millis(),
        }));
        Ok(self)
    }

    /// Says something lasting of the table that is made.
    pub fn with_property(mut self, name: &str, value: String) -> Self {
        if let Some(properties) = self.metadata.as_mut().and_then(|m| m.get_mut("configuration")?.as_object_mut()) {
            properties.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Puts other metadata in the place of the table's, all of it.
    pub fn replacing_metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty() && self.marks.is_empty() && self.metadata.is_none()
    }

    fn entry(&self, creates: bool) -> Result<Bytes> {
        let mut lines = vec![json!({ "commitInfo": {
            "timestamp": runtime::utc_now().timestamp_millis(),
            "operation": self.operation,
            "operationParameters": self.parameters,
            "isBlindAppend": self.removes.is_empty(),
            "engineInfo": concat!("medallion/", env!("CARGO_PKG_VERSION")),
            "txnId": self.id.to_string(),
        }})];
        if creates {
            lines.push(json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } }));
        }
        if let Some(metadata) = &self.metadata {
            lines.push(json!({ "metaData": metadata }));
        }
        let actions = (self.marks.iter().map(|m| Action::Txn(m.clone())))
            .chain(self.removes.iter().map(|r| Action::Remove(r.clone())))
            .chain(self.adds.iter().map(|a| Action::Add(a.clone())));
        for action in actions {
            lines.push(serde_json::to_value(action).map_err(|e| Error::bug("an action cannot be written").because(e))?);
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        Ok(Bytes::from(text))
    }

    /// What in another writer's entry keeps ours from following it, if anything.
    fn obstacle(&self, other: &log::Commit) -> Option<Outcome> {
        let version = other.version;
        let fences = match (planted(Mistake::NoFence), planted(Mistake::OneFence)) {
            (true, _) => 0,
            (_, true) => 1,
            _ => usize::MAX,
        };
        let marks: HashSet<&str> = self.marks.iter().take(fences).map(|m| m.app_id.as_str()).collect();
        let removed: HashSet<&str> = self.removes.iter().map(|r| r.path.as_str()).collect();
        let blind = u64::from(planted(Mistake::FenceOneTooLate));
        let moved_since = |mark: &str| self.read_at.get(mark).is_none_or(|read| version > *read + blind);
        let conflict = |why: String| Some(Outcome::Conflict { version, why });
        let mut changes_data = false;
        for action in &other.actions {
            match action {
                Action::Txn(txn) if marks.contains(txn.app_id.as_str()) && moved_since(&txn.app_id) => {
                    return Some(Outcome::Fenced { version, mark: txn.app_id.clone() });
                }
                Action::MetaData(_) | Action::Protocol(_) => return conflict("the table's schema was changed".into()),
                Action::Remove(r) if removed.contains(r.path.as_str()) => {
                    return conflict(format!("the file {} was rewritten", r.path));
                }
                Action::Add(a) => changes_data |= a.data_change,
                Action::Remove(r) => changes_data |= r.data_change,
                _ => {}
            }
        }
        // A rewrite of rows was computed from the whole table, unless it says otherwise. An append relies on nothing but
        // its marks, and a compaction on nothing but the files that it takes away.
        if changes_data && !self.from_removed_alone && self.removes.iter().any(|r| r.data_change) {
            return conflict("the table's rows were changed".into());
        }
        None
    }
}

/// Commits on top of `read_version` (None: the table does not exist yet), going on until the log says how it ended.
///
/// An error means that the store could not tell within `patience`; the commit may have happened or may still happen.
/// Calling again with the same [`Commit`] is safe, and so is reading the marks from the table and starting over.
pub async fn commit(table: &Table, read_version: Option<u64>, commit: &Commit, patience: Duration) -> Result<Outcome> {
    let started = runtime::now();
    let mut wait = FIRST_WAIT;
    let mut version = read_version.map_or(0, |v| v + 1);
    let entry = commit.entry(read_version.is_none())?;
    if let Some(fenced) = commit.passed.moved(commit).filter(|_| !planted(Mistake::PassedForgotten)) {
        return Ok(fenced);
    }
    loop {
        let path = table.path_of(&log::entry_name(version));
        let mode = if planted(Mistake::OverwriteEntry) { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, ..PutOptions::default() };
        let error = match table.store().put_opts(&path, entry.clone().into(), options).await {
            Ok(_) => return Ok(Outcome::Committed { version }),
            Err(e) => e,
        };
        let taken =
            matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. });
        if planted(Mistake::RetryWithoutReading) && !taken || planted(Mistake::TakenMeansAnother) && taken {
            version += 1;
            continue;
        }
        let mut failure = store::error("write", &path, error);
        let mut moved = false;
        // Whatever the error was, the log decides.
        loop {
            match table.commit_entry(version).await {
                Ok(Some(entry))
                    if entry.id() == Some(commit.id.to_string().as_str()) || planted(Mistake::AnyEntryIsOurs) =>
                {
                    return Ok(Outcome::Committed { version });
                }
                Ok(Some(entry)) => {
                    if read_version.is_none() {
                        return Ok(Outcome::Conflict { version, why: "the table was made by another writer".into() });
                    }
                    if let Some(obstacle) = commit.obstacle(&entry)
                        && (moved || !planted(Mistake::UncheckedEntry))
                    {
                        return Ok(obstacle);
                    }
                    commit.passed.note(&entry);
                    commit.tally.conflicts.fetch_add(1, Ordering::Relaxed);
                    version += 1;
                    moved = true;
                }
                Ok(None) => break,
                Err(e) => {
                    failure = e;
                    moved = false;
                    break;
                }
            }
        }
        if !moved {
            if runtime::now().duration_since(started) >= patience {
                return Err(failure.context(format!(
                    "{}: whether version {version} was committed is not known, as the store does not say",
                    table.name
                )));
            }
            if !taken {
                tracing::warn!(table = %table.name, version, error = %failure, "commit is not settled yet; trying again");
            }
            commit.tally.retries.fetch_add(1, Ordering::Relaxed);
            runtime::sleep(wait.mul_f64(0.5 + runtime::chance() / 2.0)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}
