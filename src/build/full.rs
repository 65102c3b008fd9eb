//! All rows of a model, from all rows of its inputs.

use datafusion::common::DFSchema;

use super::publish::Candidate;
use super::turn::Turn;
use super::{at_source, seed};
use crate::engine::sql::{self, Text};
use crate::engine::stage::stage;
use crate::error::{Error, Place, Result, nearest};
use crate::lake::{Snapshot, Table};
use crate::models::{Compiled, Materialized, Node, NodeKind, Strategy};

impl Turn {
    pub(super) async fn stage_full(
        &self,
        node: &Node,
        compiled: &Compiled,
        table: &Table,
        published: Option<&Snapshot>,
    ) -> Result<Candidate> {
        ensure_supported(node)?;
        let context = self.session();
        let frame = match node.kind {
            NodeKind::Seed => seed::frame(&context, &self.build.project.root, node)?,
            _ => sql::query(&context, Text { file: &node.path, text: &compiled.sql })
                .await
                .map_err(|e| at_source(e, node, compiled))?,
        };
        ensure_keys(node, frame.schema())?;
        let staged = stage(frame, table).await.map_err(|e| at_source(e, node, compiled))?;
        Ok(Candidate {
            schema: staged.schema,
            adds: staged.files,
            removes: published.map_or_else(Vec::new, |p| p.files.clone()),
            rows: staged.rows,
            how: if node.kind == NodeKind::Seed { "seed" } else { "full" },
        })
    }
}

/// A key that the query does not give would only show when the table is added to.
fn ensure_keys(node: &Node, schema: &DFSchema) -> Result<()> {
    let config = &node.config;
    if config.materialized != Materialized::Incremental {
        return Ok(());
    }
    let columns = || schema.fields().iter().map(|f| f.name().as_str());
    match config.unique_key.iter().find(|key| !columns().any(|c| c == key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let error = Error::input(format!("`unique_key` names `{key}`, which is no column of this model"));
            let error = error.at(Place::at_offset(&node.path, &node.raw, node.raw.find("unique_key").unwrap_or(0)));
            Err(match nearest(key, columns()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("it has {}", columns().collect::<Vec<_>>().join(", "))),
            })
        }
    }
}

fn ensure_supported(node: &Node) -> Result<()> {
    let config = &node.config;
    let overwrites = config.materialized == Materialized::Incremental && config.strategy == Strategy::InsertOverwrite;
    if !config.partition_by.is_empty() && !overwrites {
        return Err(Error::input(format!("{}: `partition_by` is not supported yet", node.path))
            .hint("files are skipped by their statistics; leave it out"));
    }
    Ok(())
}
