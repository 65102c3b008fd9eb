//! The failing rows of a test, kept as a table where it asks for that.
//!
//! They lie in a schema of their own beside the project's, as dbt has it, and belong to no release: they are of rows that
//! may never have been published. Each run of the test replaces them, one that passes by none.

use chrono::Utc;

use super::PATIENCE;
use super::turn::Turn;
use crate::engine::sql::{self, Text};
use crate::engine::stage::{same_columns, stage};
use crate::error::{Error, Result};
use crate::lake::TableName;
use crate::lake::commit::{Commit, Outcome, commit};
use crate::models::Node;

impl Turn {
    /// Replaces what is kept of the test by what this query gives.
    pub(super) async fn keep_failures(&self, test: &Node, rows: &str) -> Result<TableName> {
        let schema = format!("{}_dbt_test__audit", self.build.project.target.schema);
        let table = self.lake().table(&TableName::new(schema, test.config.alias.as_str()))?;
        let kept = table.latest().await?;
        if kept.is_none() {
            table.ensure_free().await?;
        }
        let frame = sql::query(&self.session(), Text { file: &test.name, text: rows }).await?;
        let staged = stage(frame, &table).await?;
        let names: Vec<String> = staged.files.iter().map(|file| file.path.clone()).collect();
        let mut change = Commit::new("WRITE")
            .parameter("test", test.unique_id.as_str())
            .parameter("build", self.build.id.to_string());
        if kept.as_ref().is_none_or(|kept| !same_columns(&kept.schema, &staged.schema)) {
            let id = kept.as_ref().map_or_else(|| uuid::Uuid::new_v4().to_string(), |kept| kept.table_id.clone());
            change = change.with_metadata(&id, &staged.schema, &[], &[], None)?;
        }
        let now = Utc::now();
        change.removes = kept.iter().flat_map(|kept| &kept.files).map(|file| file.removal(now, true)).collect();
        change.adds = staged.files;
        if change.is_empty() {
            return Ok(table.name);
        }
        self.build.ensure_alone().await?;
        match commit(&table, kept.map(|kept| kept.version), &change, PATIENCE).await? {
            Outcome::Committed { .. } => Ok(table.name),
            Outcome::Fenced { version, .. } | Outcome::Conflict { version, .. } => {
                table.delete_files(names).await?;
                Err(Error::outside(format!("{}: version {version} came in between", table.name))
                    .hint("something besides medallion writes this table; test again"))
            }
        }
    }
}
