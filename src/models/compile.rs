//! One node to the SQL that builds or tests it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::alignment;
use super::checks;
use super::config::Materialized;
use super::node::{Node, NodeKind};
use super::relation::Relation;
use super::scope::{Phase, Scope};
use super::{Project, RunContext};
use crate::error::{Error, Place, Result, nearest};

/// The SQL of a node. That of a test selects the failing rows; a seed has none.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub sql: String,
    /// Changes exactly when what the node means changes: its SQL with every macro and variable in it, its
    /// configuration, or the content of a seed. The identity and the time of a run have no part in it.
    pub code_hash: String,
    raw: String,
}

impl Compiled {
    /// The line of the node's file that a line of the SQL comes from, as well as it can be told. Both count from 1.
    pub fn source_line(&self, line: usize) -> usize {
        alignment::source_line(&self.raw, &self.sql, line)
    }
}

impl Project {
    pub fn compile(&self, unique_id: &str, run: &RunContext) -> Result<Compiled> {
        let node = self.nodes.get(unique_id).ok_or_else(|| {
            let error = Error::input(format!("there is no node `{unique_id}`"));
            match nearest(unique_id, self.nodes.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        })?;
        let mut hasher = Sha256::new();
        hasher.update(node.config.meaning().to_string());
        if node.kind == NodeKind::Seed {
            let path = self.root.join(&node.path);
            let content = std::fs::read(&path)
                .map_err(|e| Error::outside(format!("cannot read {}", path.display())).because(e))?;
            hasher.update(content);
            return Ok(Compiled { sql: String::new(), code_hash: hex(hasher), raw: String::new() });
        }
        for is_incremental in [false, true] {
            let same = RunContext { is_incremental, ..RunContext::default() };
            hasher.update(self.sql(node, &same, DateTime::UNIX_EPOCH)?);
            if node.config.materialized != Materialized::Incremental {
                break;
            }
        }
        let sql = self.sql(node, run, self.shared.run_started_at)?;
        Ok(Compiled { sql, code_hash: hex(hasher), raw: node.raw.clone() })
    }

    fn sql(&self, node: &Node, run: &RunContext, run_started_at: DateTime<Utc>) -> Result<String> {
        let mut queries = BTreeMap::new();
        for parent in node.depends_on.iter().filter_map(|id| self.nodes.get(id)) {
            if parent.kind == NodeKind::Model && parent.config.materialized == Materialized::Ephemeral {
                let whole = RunContext { is_incremental: false, ..run.clone() };
                queries.insert(parent.unique_id.clone(), self.sql(parent, &whole, run_started_at)?);
            }
        }
        let phase = Phase::Compile {
            index: self.index.clone(),
            run: run.clone(),
            depends_on: node.depends_on.iter().cloned().collect(),
            queries,
        };
        let relation = Relation { schema: node.config.schema.clone(), name: node.config.alias.clone() };
        let mut scope = Scope::new(&self.shared, node.kind.resource(), &node.subject(&relation), phase);
        scope.run_started_at = run_started_at;
        let scope = Arc::new(scope);
        match node.test.as_ref().and_then(|test| test.generic.as_ref()) {
            Some(generic) => checks::sql(&self.jinja, &self.macros, &scope, generic).map_err(|e| match e.place() {
                Some(_) => e.context(format!("{}:{}: the test `{}`", node.path, node.line, node.name)),
                None => e.at(Place { file: node.path.clone(), line: node.line, column: 1, text: None }),
            }),
            None => self.jinja.render(&node.path, &scope),
        }
    }
}

fn hex(hasher: Sha256) -> String {
    format!("{:x}", hasher.finalize())
}
