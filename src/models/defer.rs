//! `--defer`: what is not built here is read where an earlier run has built it, so that one model can be worked on in a
//! target of one's own without building all that it stands on.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::Project;
use super::config::Materialized;
use super::node::NodeKind;
use super::relation::Relation;
use super::select::State;

impl Project {
    /// Points each table that is neither selected nor there to where `state` has it. Views and ephemeral models are
    /// queries of this project, whose own inputs are looked for in the same way. Tells the ids of what was pointed away.
    pub fn defer(
        &mut self,
        state: &State,
        selected: &BTreeSet<String>,
        is_there: impl Fn(&Relation) -> bool,
    ) -> Vec<String> {
        let mut deferred = Vec::new();
        let index = Arc::make_mut(&mut self.index);
        let tables = self.nodes.values_mut().filter(|node| {
            let is_query = matches!(node.config.materialized, Materialized::View | Materialized::Ephemeral);
            let has_no_table = node.kind.is_test() || (node.kind == NodeKind::Model && is_query);
            !has_no_table && !selected.contains(&node.unique_id)
        });
        for node in tables {
            let own = Relation { schema: node.config.schema.clone(), name: node.config.alias.clone() };
            let Some(other) = state.entry(&node.unique_id).and_then(relation) else { continue };
            if other == own || is_there(&own) {
                continue;
            }
            node.config.schema.clone_from(&other.schema);
            node.config.alias.clone_from(&other.name);
            index.move_to(&node.unique_id, other);
            deferred.push(node.unique_id.clone());
        }
        deferred
    }
}

fn relation(entry: &Value) -> Option<Relation> {
    let text = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
    Some(Relation { schema: text("schema")?, name: text("alias")? })
}
