//! The configuration of snapshots: how versions of a row are told apart, and what their table calls them.

use std::collections::BTreeMap;

use super::config::{self, Layer};
use super::problem::Problem;

/// What makes a row a new version of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionedBy {
    /// A time that the table does not have yet.
    Time { updated_at: String },
    /// A value of one of these columns, or of any if there are none, that is not that of the current version.
    Values { columns: Vec<String>, updated_at: Option<String> },
}

/// What becomes of a current version whose key the query no longer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletions {
    Ignore,
    /// It ends.
    Invalidate,
    /// It ends, and a version begins that says that the row is deleted.
    NewRecord,
}

/// The names of the columns that a snapshot adds to those of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaColumns {
    pub scd_id: String,
    pub updated_at: String,
    pub valid_from: String,
    pub valid_to: String,
    /// Only there where deletions are records.
    pub is_deleted: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotConfig {
    pub versioned_by: VersionedBy,
    pub deletions: Deletions,
    /// An expression of SQL for the end of a current version; else it is NULL.
    pub valid_to_current: Option<String>,
    pub columns: MetaColumns,
}

impl SnapshotConfig {
    /// Completes a checked layer.
    pub fn resolve(given: &Layer) -> Result<Self, Problem> {
        let texts = |key: &str| given.get(key).map(config::texts).unwrap_or_default();
        if texts("unique_key").is_empty() {
            return Err(Problem::new("a snapshot needs `unique_key`")
                .hint("name the columns that tell its rows apart, as in unique_key='id'"));
        }
        let updated_at = config::text(given, "updated_at");
        let versioned_by = match config::text(given, "strategy").as_deref() {
            Some("timestamp") => match updated_at {
                Some(updated_at) if texts("check_cols").is_empty() => VersionedBy::Time { updated_at },
                Some(_) => return Err(Problem::new("`check_cols` belongs to the strategy `check`")),
                None => {
                    return Err(Problem::new("the strategy `timestamp` needs `updated_at`")
                        .hint("name the column that tells when a row last changed"));
                }
            },
            Some(_) => match texts("check_cols") {
                none if none.is_empty() => {
                    return Err(Problem::new("the strategy `check` needs `check_cols`")
                        .hint("name the columns whose values make a new version, or `all`"));
                }
                all if all == ["all"] => VersionedBy::Values { columns: Vec::new(), updated_at },
                columns => VersionedBy::Values { columns, updated_at },
            },
            None => {
                return Err(Problem::new("a snapshot needs `strategy`").hint("it is `timestamp` or `check`"));
            }
        };
        let older = given.get("invalidate_hard_deletes").and_then(|flag| flag.as_bool());
        let deletions = match (config::text(given, "hard_deletes").as_deref(), older) {
            (Some(_), Some(_)) => {
                return Err(Problem::new("`hard_deletes` and the older `invalidate_hard_deletes` exclude each other"));
            }
            (Some("invalidate"), None) | (None, Some(true)) => Deletions::Invalidate,
            (Some("new_record"), None) => Deletions::NewRecord,
            _ => Deletions::Ignore,
        };
        Ok(SnapshotConfig {
            versioned_by,
            deletions,
            valid_to_current: config::text(given, "dbt_valid_to_current"),
            columns: MetaColumns::named(
                &given.get("snapshot_meta_column_names").map(config::text_map).unwrap_or_default(),
            )?,
        })
    }
}

impl MetaColumns {
    fn named(names: &BTreeMap<String, String>) -> Result<Self, Problem> {
        const KNOWN: [&str; 5] = ["dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted"];
        if let Some(unknown) = names.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Problem::unknown("column of a snapshot", unknown, KNOWN));
        }
        let name = |known: &str| names.get(known).cloned().unwrap_or_else(|| known.to_owned());
        let [scd_id, updated_at, valid_from, valid_to, is_deleted] = KNOWN.map(name);
        Ok(MetaColumns { scd_id, updated_at, valid_from, valid_to, is_deleted })
    }

    pub fn all(&self) -> [&str; 5] {
        [&self.scd_id, &self.updated_at, &self.valid_from, &self.valid_to, &self.is_deleted].map(String::as_str)
    }
}
