//! dbt's manifest.json, version 12: all that a loaded project is, for tools that read it and for later runs that compare
//! themselves with it.
//!
//! A reader finds every key that dbt writes for a resource of its kind, also where there is nothing to say.

mod entries;
mod unit_tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::artifact::{Invocation, time};
use super::{Node, Project};
use entries::Entries;

pub const FILE: &str = "manifest.json";

impl Project {
    /// `compiled` is the SQL of the nodes that this invocation has compiled, by unique id.
    pub fn manifest(&self, invocation: &Invocation, compiled: &BTreeMap<String, String>) -> Value {
        let entries = Entries::new(self, compiled, invocation.started_at);
        let of = |nodes: &mut dyn Iterator<Item = &Node>| -> Map<String, Value> {
            nodes.map(|node| (node.unique_id.clone(), entries.node(node))).collect()
        };
        let unit_tests = self.nodes.values().filter_map(|node| Some((node, node.unit.as_ref()?)));
        let unit_tests = unit_tests.map(|(node, unit)| (node.unique_id.clone(), entries.unit_test(node, unit)));
        let sources = self.sources.values().map(|s| (s.unique_id.clone(), entries.source(s)));
        let exposures = self.exposures.values().map(|e| (e.unique_id.clone(), entries.exposure(e)));
        let groups = self.groups.values().map(|g| (g.unique_id.clone(), entries.group(g)));
        let disabled = self.disabled.iter().map(|node| (node.unique_id.clone(), json!([entries.node(node)])));
        json!({
            "metadata": self.manifest_metadata(invocation),
            "nodes": of(&mut self.nodes.values().filter(|node| node.unit.is_none())),
            "sources": sources.collect::<Map<_, _>>(),
            "macros": entries.macros(),
            "docs": entries.docs(),
            "exposures": exposures.collect::<Map<_, _>>(),
            "metrics": {},
            "groups": groups.collect::<Map<_, _>>(),
            "selectors": self.selectors.values().map(|s| (s.name.clone(), s.entry())).collect::<Map<_, _>>(),
            "disabled": disabled.collect::<Map<_, _>>(),
            "parent_map": self.edges(super::graph::Direction::Parents),
            "child_map": self.edges(super::graph::Direction::Children),
            "group_map": self.group_map(),
            "saved_queries": {},
            "semantic_models": {},
            "unit_tests": unit_tests.collect::<Map<_, _>>(),
            "functions": {},
        })
    }

    fn manifest_metadata(&self, invocation: &Invocation) -> Map<String, Value> {
        let mut metadata = invocation.metadata("manifest/v12");
        metadata.insert("project_name".into(), self.name.clone().into());
        metadata.insert("project_id".into(), Value::Null);
        metadata.insert("user_id".into(), Value::Null);
        metadata.insert("send_anonymous_usage_stats".into(), false.into());
        metadata.insert("adapter_type".into(), "medallion".into());
        let quoting = json!({"database": true, "schema": true, "identifier": true, "column": null});
        metadata.insert("quoting".into(), quoting);
        metadata.insert("run_started_at".into(), time(self.shared.run_started_at).into());
        metadata
    }

    fn edges(&self, direction: super::graph::Direction) -> Map<String, Value> {
        let next = |id: &str| self.graph.next(id, direction).collect::<Vec<_>>().into();
        self.graph.ids().map(|id| (id.to_owned(), next(id))).collect()
    }

    fn group_map(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut members: BTreeMap<&str, Vec<&str>> =
            self.groups.values().map(|group| (group.name.as_str(), Vec::new())).collect();
        for node in self.nodes.values() {
            let group = node.config.group.as_deref();
            if let Some(members) = group.and_then(|group| members.get_mut(group)) {
                members.push(&node.unique_id);
            }
        }
        members
    }
}
