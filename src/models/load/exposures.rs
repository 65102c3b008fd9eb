//! Exposures and groups linked with the nodes: what an exposure reads, and who may read what is private.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Loader, config_place};
use crate::error::{Place, Result};
use crate::models::checks;
use crate::models::config::Access;
use crate::models::exposure::{Exposure, ExposureEntry, Group};
use crate::models::graph::{Graph, Index};
use crate::models::node::{Node, NodeKind};
use crate::models::problem::Problem;
use crate::models::relation::Relation;
use crate::models::scope::{Phase, Scope, Subject};

impl Loader {
    /// Reads the references of the exposures; what they mean is known when all nodes are.
    pub(super) fn read_exposures(&mut self) -> Result<()> {
        for ExposureEntry { mut exposure, references, enabled } in std::mem::take(&mut self.properties.exposures) {
            if !enabled {
                continue;
            }
            exposure.unique_id = format!("exposure.{}.{}", self.package, exposure.name);
            exposure.fqn = self.fqn(&[], &[&exposure.name]);
            let scope = Arc::new(self.exposure_scope(&exposure, Phase::Collect));
            for (reference, place) in references {
                checks::reference(&self.jinja, &scope, &reference).map_err(|problem| problem.at(place))?;
            }
            exposure.names = scope.take_collected().depends_on;
            self.exposures.push(exposure);
        }
        for group in self.properties.groups.values_mut() {
            group.unique_id = format!("group.{}.{}", self.package, group.name);
        }
        Ok(())
    }

    fn exposure_scope(&self, exposure: &Exposure, phase: Phase) -> Scope {
        let subject = Subject {
            unique_id: &exposure.unique_id,
            name: &exposure.name,
            kind: "exposure",
            path: &exposure.path,
            fqn: &exposure.fqn,
            description: &exposure.description,
            text: "",
            relation: &Relation { schema: self.shared.target.schema.clone(), name: exposure.name.clone() },
            config: &crate::models::config::Layer::new(),
        };
        Scope::new(&self.shared, crate::models::config::Resource::Source, &subject, phase)
    }

    pub(super) fn link_exposures(
        &mut self,
        index: &Index,
        nodes: &BTreeMap<String, Node>,
        graph: &mut Graph,
    ) -> Result<BTreeMap<String, Exposure>> {
        let mut linked = BTreeMap::new();
        for mut exposure in std::mem::take(&mut self.exposures) {
            for name in &exposure.names {
                let id = index.resolve(name).map_err(|problem| problem.at(exposure.place.clone()))?;
                if let Some(node) = nodes.get(id).filter(|n| n.config.access == Access::Private) {
                    return Err(private(node, &format!("the exposure `{}`", exposure.name), exposure.place.clone()));
                }
                if !exposure.depends_on.iter().any(|known| known == id) {
                    exposure.depends_on.push(id.to_owned());
                }
            }
            graph.add(&exposure.unique_id, &exposure.depends_on);
            linked.insert(exposure.unique_id.clone(), exposure);
        }
        Ok(linked)
    }
}

/// Every group that is named is there, and what is private is read in its group alone.
pub(super) fn ensure_access(nodes: &BTreeMap<String, Node>, groups: &BTreeMap<String, Group>) -> Result<()> {
    for node in nodes.values() {
        let place = || match node.test.as_ref().and_then(|t| t.generic.as_ref()) {
            Some(_) => Place { file: node.path.clone(), line: node.line, column: 1, text: None },
            None => config_place(&node.path, &node.raw),
        };
        if let Some(group) = node.config.group.as_deref().filter(|group| !groups.contains_key(*group)) {
            let problem = Problem::unknown("group", group, groups.keys().map(String::as_str));
            let problem = if problem.has_hint() {
                problem
            } else {
                problem.hint("declare it under `groups:` in a properties file")
            };
            return Err(problem.at(place()));
        }
        if node.config.access == Access::Private && node.config.group.is_none() {
            let problem = Problem::new(format!("`{}` is private, but it belongs to no group", node.name));
            return Err(problem.hint("set `group`, or another `access`").at(place()));
        }
        let group = group_of(node, nodes);
        let hidden = |p: &&Node| p.config.access == Access::Private && p.config.group.as_deref() != group;
        if let Some(parent) = node.depends_on.iter().filter_map(|id| nodes.get(id)).find(hidden) {
            let what = format!("the {} `{}`", node.kind.as_str(), node.name);
            let offset = node.raw.find(&format!("'{}'", parent.name)).or_else(|| node.raw.find(&parent.name));
            let place = match offset.filter(|_| node.kind != NodeKind::Test || node.line == 1) {
                Some(offset) => Place::at_offset(&node.path, &node.raw, offset),
                None => place(),
            };
            return Err(private(parent, &what, place));
        }
    }
    Ok(())
}

/// A generic test belongs where the node that it stands at belongs.
fn group_of<'n>(node: &'n Node, nodes: &'n BTreeMap<String, Node>) -> Option<&'n str> {
    let attached = node.test.as_ref().and_then(|test| nodes.get(test.attached_node.as_deref()?));
    attached.unwrap_or(node).config.group.as_deref()
}

fn private(parent: &Node, reader: &str, place: Place) -> crate::error::Error {
    let group = parent.config.group.as_deref().unwrap_or_default();
    Problem::new(format!("`{}` is private to the group `{group}`, and {reader} is not in it", parent.name))
        .hint("read a model that is protected or public, or move the reader into the group")
        .at(place)
}
