//! What is rendered for no node: a template that was typed, and a macro that was called by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Kwargs;
use serde_json::{Map, Value as Json};

use super::compile::remembering;
use super::config::{Layer, Materialized, Resource};
use super::problem::Problem;
use super::relation::Relation;
use super::scope::{Phase, Scope, Subject};
use super::values::from_json;
use super::{Project, RunContext};
use crate::error::Result;

impl Project {
    /// The SQL of a template that stands in no file.
    pub fn compile_inline(&self, text: &str, run: &RunContext) -> Result<String> {
        let scope = self.free_scope("inline", run)?;
        let rendered = self.jinja.render_text(text, &scope).map_err(Problem::error);
        Ok(rendered.map_err(|e| e.context("--inline"))?.to_string())
    }

    /// Calls a macro, by `name` or `package.name`, and gives its text.
    pub fn run_operation(&self, name: &str, arguments: &Map<String, Json>, run: &RunContext) -> Result<String> {
        let scope = self.free_scope(name, run)?;
        let named: Kwargs = arguments.iter().map(|(key, value)| (key.clone(), from_json(value))).collect();
        let arguments: Vec<Value> = if arguments.is_empty() { Vec::new() } else { vec![named.into()] };
        Ok(self.macros.call(&self.jinja, &scope, name, &arguments)?.to_string())
    }

    /// A scope that may name every node.
    fn free_scope(&self, name: &str, run: &RunContext) -> Result<Arc<Scope>> {
        let run = remembering(run);
        let mut queries = BTreeMap::new();
        for node in self.nodes.values().filter(|n| n.config.materialized == Materialized::Ephemeral) {
            queries.insert(node.unique_id.clone(), self.sql(node, &run, self.shared.run_started_at)?);
        }
        let phase = Phase::Compile {
            index: self.index.clone(),
            depends_on: self.nodes.keys().chain(self.sources.keys()).cloned().collect(),
            queries,
            database: run.database.clone(),
            graph: self.graph_value(),
            run,
        };
        let subject = Subject {
            unique_id: &format!("operation.{}.{name}", self.name),
            name,
            kind: "operation",
            path: "",
            fqn: &[self.name.clone(), name.to_owned()],
            description: "",
            text: "",
            relation: &Relation { schema: self.target.schema.clone(), name: name.to_owned() },
            config: &Layer::new(),
        };
        Ok(Arc::new(Scope::new(&self.shared, Resource::Model, &subject, phase)))
    }
}
