//! From drafts to a graph: what the names mean, and what they must not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::generic_tests::at_entry;
use super::{Draft, Loader, config_place};
use crate::error::{Error, Place, Result, nearest};
use crate::models::Project;
use crate::models::checks;
use crate::models::config::Materialized;
use crate::models::graph::{Dependency, Graph, Index};
use crate::models::node::Node;
use crate::models::problem::Problem;
use crate::models::relation::Relation;
use crate::models::scope::{Phase, Scope};

impl Loader {
    /// What describes or configures something that is not there.
    pub(super) fn warn_of_leftovers(&mut self) {
        let of_kind = |kind: &str| self.fqns.get(kind).into_iter().flatten().map(Vec::as_slice);
        let trees = [
            (&self.file.models, "model"),
            (&self.file.seeds, "seed"),
            (&self.file.snapshots, "snapshot"),
            (&self.file.sources, "source"),
            (&self.file.tests, "test"),
            (&self.file.unit_tests, "unit_test"),
        ];
        let mut warnings: Vec<String> = trees.iter().flat_map(|(tree, kind)| tree.unused(of_kind(kind))).collect();
        let left = &self.properties;
        let described =
            [("model", &left.models), ("seed", &left.seeds), ("snapshot", &left.snapshots), ("test", &left.tests)];
        for (kind, entries) in described {
            let names = || of_kind(kind).filter_map(|fqn| fqn.last()).map(String::as_str);
            warnings.extend(entries.iter().map(|(name, d)| leftover(kind, name, &d.place, nearest(name, names()))));
        }
        for (name, doc) in left.macros.iter().filter(|(name, _)| !self.macros.has(name)) {
            warnings.push(leftover("macro", name, &doc.place, nearest(name, self.macros.names())));
        }
        self.warnings.extend(warnings);
    }

    pub(super) fn link(mut self) -> Result<Project> {
        let index = Arc::new(std::mem::take(&mut self.index));
        let mut nodes = BTreeMap::new();
        let mut graph = Graph::default();
        for id in self.sources.keys() {
            graph.add(id, &[]);
        }
        for Draft { mut node, names } in std::mem::take(&mut self.drafts) {
            let mut seen = BTreeSet::new();
            for name in &names {
                let id = index.resolve(name).map_err(|problem| self.unknown_name(&node, &index, problem))?;
                if seen.insert(id.to_owned()) {
                    node.depends_on.push(id.to_owned());
                }
            }
            check_inputs(&node, &names)?;
            node.names = names;
            graph.add(&node.unique_id, &node.depends_on);
            nodes.insert(node.unique_id.clone(), node);
        }
        for unit in std::mem::take(&mut self.units) {
            let Some(node) = nodes.get_mut(&unit.unique_id) else { continue };
            let (id, given) = (node.unique_id.clone(), unit.link(&index, node)?);
            if let Some(node) = nodes.get(&id) {
                check_given(node, given, &nodes)?;
            }
        }
        let groups = std::mem::take(&mut self.properties.groups);
        super::exposures::ensure_access(&nodes, &groups)?;
        let exposures = self.link_exposures(&index, &nodes, &mut graph)?;
        let order = match graph.order() {
            Ok(order) => order.into_iter().map(str::to_owned).collect(),
            Err(circle) => return Err(circular(&circle, &nodes)),
        };
        Ok(Project {
            name: self.shared.project.clone(),
            target: self.shared.target.clone(),
            target_path: self.root.join(&self.file.target_path),
            root: self.root,
            nodes,
            sources: self.sources,
            exposures,
            groups,
            disabled: self.disabled,
            docs: self.docs,
            described_macros: self.properties.macros,
            selectors: self.selectors,
            warnings: self.warnings,
            order,
            graph,
            index,
            graph_shown: OnceLock::new(),
            jinja: self.jinja,
            macros: self.macros,
            shared: self.shared,
        })
    }

    /// Renders a node's template again, now that names are known, for the place of the one that means nothing.
    fn unknown_name(&self, node: &Node, index: &Arc<Index>, problem: Problem) -> Error {
        let relation = Relation { schema: node.config.schema.clone(), name: node.config.alias.clone() };
        let phase = Phase::Resolve(index.clone());
        let scope = Arc::new(Scope::new(&self.shared, node.kind.resource(), &node.subject(&relation), phase));
        let generic = node.test.as_ref().and_then(|t| t.generic.as_ref());
        let rendered = match generic {
            Some(generic) => checks::sql(&self.jinja, &self.macros, &scope, generic)
                .map_err(|e| at_entry(e, &node.name, &generic.place)),
            None => self.jinja.render(&node.template(), &scope),
        };
        match rendered {
            Err(error) => error,
            Ok(_) => problem.at(Place::in_text(&node.path, &node.raw, 1, 1)),
        }
    }
}

fn leftover(kind: &str, name: &str, place: &Place, near: Option<&str>) -> String {
    let hint = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
    format!("{}:{}: there is no {kind} `{name}`{hint}", place.file, place.line)
}

/// Every input with a mapping must be something that the model reads.
fn check_inputs(node: &Node, names: &[Dependency]) -> Result<()> {
    let spelled: Vec<String> = names.iter().map(Dependency::plain).collect();
    match node.config.inputs.keys().find(|input| !spelled.contains(input)) {
        None => Ok(()),
        Some(input) => {
            let problem = Problem::new(format!("`inputs` names `{input}`, which this model does not read"));
            let problem = problem.nearest(input, spelled.iter().map(String::as_str));
            let problem = if problem.has_hint() {
                problem
            } else {
                problem.hint(format!("it reads {}; a source is spelled source.table", spelled.join(", ")))
            };
            Err(problem.at(config_place(&node.path, &node.raw)))
        }
    }
}

/// A unit test gives rows to whatever its model reads, and to nothing else.
fn check_given(node: &Node, given: Vec<(String, Place)>, nodes: &BTreeMap<String, Node>) -> Result<()> {
    let Some(unit) = &node.unit else { return Ok(()) };
    let reads = |id: &str| nodes.get(id).map_or(&[][..], |n| &n.depends_on);
    // What an ephemeral model reads stands in the queries of its readers.
    let (mut read, mut next) = (BTreeSet::new(), vec![unit.model.as_str()]);
    while let Some(id) = next.pop() {
        for parent in reads(id).iter().filter(|parent| read.insert(parent.as_str())) {
            let is_ephemeral = |n: &Node| n.config.materialized == Materialized::Ephemeral;
            if nodes.get(parent).is_some_and(is_ephemeral) && !unit.overrides.given.contains(parent) {
                next.push(parent);
            }
        }
    }
    let spelled =
        |id: &str| id.split_once('.').map_or(id, |(_, rest)| rest.split_once('.').map_or(rest, |(_, n)| n)).to_owned();
    if let Some((input, place)) = given.into_iter().find(|(id, _)| *id != unit.model && !read.contains(id.as_str())) {
        let known: Vec<String> = read.iter().map(|id| spelled(id)).collect();
        let error = Error::input(format!("the model of this unit test does not read {}", spelled(&input))).at(place);
        return Err(error.hint(format!("it reads {}", known.join(", "))));
    }
    let ephemeral = |id: &&str| nodes.get(*id).is_some_and(|n| n.config.materialized == Materialized::Ephemeral);
    match read.iter().find(|id| !unit.overrides.given.contains(**id) && !ephemeral(id)) {
        None => Ok(()),
        Some(missing) => {
            let place = Place { file: node.path.clone(), line: node.line, column: 1, text: None };
            Err(Error::input(format!("the unit test `{}` gives no rows for {}", node.name, spelled(missing)))
                .hint("`rows: []` gives an input without rows")
                .at(place))
        }
    }
}

fn circular(circle: &[String], nodes: &BTreeMap<String, Node>) -> Error {
    let names: Vec<&str> = circle.iter().map(|id| nodes.get(id).map_or(id.as_str(), |n| n.name.as_str())).collect();
    let error = Error::input(format!("these nodes are made from each other: {}", names.join(" <- ")))
        .hint("one of these refs has to go");
    match (circle.first().and_then(|id| nodes.get(id)), names.get(1)) {
        (Some(node), Some(parent)) => {
            let offset = node.raw.find(&format!("'{parent}'")).or_else(|| node.raw.find(parent)).unwrap_or(0);
            error.at(Place::at_offset(&node.path, &node.raw, offset))
        }
        _ => error,
    }
}
