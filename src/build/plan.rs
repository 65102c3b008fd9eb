//! What a model needs: nothing, just the rows that its inputs' changes touch, or all of it; and why.

use std::collections::HashMap;
use std::sync::Arc;

use super::inputs::{self, Cursor};
use super::turn::Turn;
use crate::engine::changes::{Difference, difference};
use crate::error::Result;
use crate::lake::{DataFile, Snapshot, TableName};
use crate::models::{Compiled, Materialized, Node, NodeKind, Strategy};

/// Touched keys are held in memory. Beyond this many changed rows, all of the model is built, which spills.
const MOST_CHANGED_ROWS: u64 = 5_000_000;

pub enum Plan {
    /// The inputs and the code are those that the published version was made from.
    Fresh,
    Full {
        reason: String,
    },
    Increment(Vec<Touch>),
    /// The rows that the model's own query gives for a table that is there.
    Addition(Strategy),
    /// The versions of rows that the query gives, into the history that is there.
    History,
}

/// An input that changed, and how its changes touch the target.
pub struct Touch {
    pub snapshot: Arc<Snapshot>,
    pub added: Vec<Arc<DataFile>>,
    pub removed: Vec<Arc<DataFile>>,
    pub mapping: Mapping,
}

/// Target columns with the columns of an input, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub target: Vec<String>,
    pub input: Vec<String>,
}

impl Mapping {
    /// Whether the input's own columns are the keys by which the target is recomputed.
    pub fn is_direct(&self, recompute_by: &[String]) -> bool {
        self.target.len() == recompute_by.len() && self.target.iter().all(|c| recompute_by.contains(c))
    }
}

impl Turn {
    pub async fn plan(
        &self,
        node: &Node,
        compiled: &Compiled,
        published: Option<&Snapshot>,
        log: &HashMap<String, i64>,
    ) -> Result<Plan> {
        if node.kind == NodeKind::Snapshot {
            let stands = published.is_some() && self.stands(node, compiled, log);
            return Ok(if stands { Plan::Fresh } else { Plan::History });
        }
        let full = |reason: String| Ok(Plan::Full { reason });
        let Some(published) = published else { return full("it was never built".into()) };
        if node.config.full_refresh.unwrap_or(self.build.options.full_refresh) {
            return full("a full refresh".into());
        }
        if node.config.materialized == Materialized::Incremental && node.config.strategy != Strategy::Changes {
            // What the table holds may be more than the inputs have by now, also when the code changed.
            let stands = self.stands(node, compiled, log);
            return Ok(if stands { Plan::Fresh } else { Plan::Addition(node.config.strategy) });
        }
        if log.get(inputs::CODE) != Some(&inputs::code_mark(&compiled.code_hash).version) {
            return full("its code, a macro, a variable or its configuration changed".into());
        }
        let now = self.inputs_of(node);
        if let Some(gone) = inputs::recorded_names(log).find(|n| !now.tables.keys().any(|t| t.to_string() == **n)) {
            return full(format!("it no longer reads {gone}"));
        }
        let mut changed = Vec::new();
        for (table, cursor) in &now.tables {
            match Cursor::recorded(log, table) {
                Some(before) if before == *cursor => {}
                Some(before) => changed.push((table, Some(before), *cursor)),
                None => changed.push((table, None, *cursor)),
            }
        }
        if changed.is_empty() {
            return Ok(Plan::Fresh);
        }
        let by_changes = node.config.materialized == Materialized::Incremental;
        let mut touches = Vec::new();
        for (table, before, cursor) in changed {
            let Some(before) = before else { return full(format!("it reads {table} for the first time")) };
            let Some(snapshot) = self.catalog.snapshot(table).await? else {
                return full(format!("{table} went away"));
            };
            let difference = match before.version() {
                // It did not exist: everything in it is new.
                None => Difference::Files { added: snapshot.files.clone(), removed: Vec::new() },
                Some(_) if !before.is_same_table(cursor) => {
                    return full(format!("{table} was dropped and made again"));
                }
                Some(version) => difference(self.lake(), version, &snapshot).await?,
            };
            match difference {
                Difference::Nothing => {}
                Difference::Unknown(reason) => return full(reason),
                Difference::Files { added, removed } => {
                    if !by_changes {
                        return full(format!("{table} changed"));
                    }
                    let Some(mapping) = self.mapping(node, table, &snapshot) else {
                        return full(format!("{table} changed, and `inputs` does not say which rows that touches"));
                    };
                    if let Some(missing) = mapping.input.iter().find(|c| snapshot.schema.field_with_name(c).is_err()) {
                        return full(format!("{table} changed and has no column `{missing}`, which `inputs` names"));
                    }
                    if let Some(missing) = mapping.target.iter().find(|c| published.schema.field_with_name(c).is_err())
                    {
                        return full(format!("the table has no column `{missing}`, which `inputs` names"));
                    }
                    let rows: u64 = added.iter().chain(&removed).filter_map(|f| f.rows()).sum();
                    if rows > MOST_CHANGED_ROWS {
                        return full(format!(
                            "{rows} rows of {table} changed, more than are worth following one by one"
                        ));
                    }
                    touches.push(Touch { snapshot, added, removed, mapping });
                }
            }
        }
        Ok(Plan::Increment(touches))
    }

    /// Whether the code and the versions of the inputs are those that the table was made from.
    fn stands(&self, node: &Node, compiled: &Compiled, log: &HashMap<String, i64>) -> bool {
        log.get(inputs::CODE) == Some(&inputs::code_mark(&compiled.code_hash).version)
            && self.inputs_of(node).tables.iter().all(|(t, now)| Cursor::recorded(log, t) == Some(*now))
    }

    /// How an input's changes touch the target: as the configuration says, or by columns of the same names.
    pub fn mapping(&self, node: &Node, table: &TableName, snapshot: &Snapshot) -> Option<Mapping> {
        let config = &node.config;
        let given = node.depends_on.iter().find_map(|d| {
            let is_it = self.inputs.get(d).is_some_and(|i| i.own.as_ref() == Some(table));
            let spelled = match self.build.project.sources.get(d) {
                Some(source) => format!("{}.{}", source.source_name, source.name),
                None => self.build.project.nodes.get(d)?.name.clone(),
            };
            if is_it { Some(config.inputs.get(&spelled)) } else { None }
        })?;
        match given {
            Some(columns) => {
                // In the order of recompute_by where it names the same columns, so that keys line up.
                let mut target: Vec<String> = columns.keys().cloned().collect();
                target.sort_by_key(|c| config.recompute_by.iter().position(|r| r == c));
                let input = target.iter().filter_map(|c| columns.get(c).cloned()).collect();
                Some(Mapping { target, input })
            }
            None => {
                let by_name = config.recompute_by.iter().all(|c| snapshot.schema.field_with_name(c).is_ok());
                by_name.then(|| Mapping { target: config.recompute_by.clone(), input: config.recompute_by.clone() })
            }
        }
    }
}
