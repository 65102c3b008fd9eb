//! Models, singular tests and seeds: one file, one node.

use std::sync::Arc;

use minijinja::Value;

use super::{Draft, Loader, Tested, config_place};
use crate::error::{Error, Result};
use crate::models::config::{self, Layer, NodeConfig, TestConfig};
use crate::models::files::{self, Found};
use crate::models::graph::Dependency;
use crate::models::node::{self, Node, NodeKind, Test};
use crate::models::properties::Described;
use crate::models::relation::Relation;
use crate::models::scope::{Phase, Scope, Subject};
use crate::models::written;

/// What is known of a file that becomes a node.
pub(super) struct Origin<'a> {
    pub(super) kind: NodeKind,
    pub(super) found: &'a Found,
    pub(super) fqn: Vec<String>,
    pub(super) text: String,
    pub(super) described: Option<Described>,
    /// The configuration of the project before its Jinja was rendered.
    pub(super) written: Layer,
}

impl Loader {
    pub(super) fn read_models(&mut self) -> Result<()> {
        for found in files::list(&self.root, &self.file.model_paths, &["sql"])? {
            let text = files::read(&self.root, &found.path)?;
            let fqn = self.fqn(&found.folders, &[&found.stem]);
            let described = self.properties.models.remove(&found.stem);
            let (layer, written) = (self.file.models.of(&fqn), self.file.models.written_of(&fqn));
            let origin = Origin { kind: NodeKind::Model, found: &found, fqn, text, described, written };
            self.read_template(origin, layer)?;
        }
        Ok(())
    }

    pub(super) fn read_singular_tests(&mut self) -> Result<()> {
        let all = files::list(&self.root, &self.file.test_paths, &["sql"])?;
        for found in all
            .iter()
            .filter(|f| !f.folders.first().is_some_and(|folder| ["generic", "fixtures"].contains(&folder.as_str())))
        {
            let text = files::read(&self.root, &found.path)?;
            let fqn = self.fqn(&found.folders, &[&found.stem]);
            let described = self.properties.tests.remove(&found.stem);
            let (layer, written) = (self.file.tests.of(&fqn), self.file.tests.written_of(&fqn));
            let origin = Origin { kind: NodeKind::Test, found, fqn, text, described, written };
            self.read_template(origin, layer)?;
        }
        Ok(())
    }

    /// A model, a snapshot or a singular test: a template that may configure itself.
    pub(super) fn read_template(&mut self, origin: Origin<'_>, mut layer: Layer) -> Result<()> {
        let template = node::template(origin.kind, &origin.found.path, &origin.found.stem);
        // The file of a snapshot may hold more than that.
        if origin.kind != NodeKind::Snapshot {
            self.jinja.add_text(&origin.found.path, &origin.text);
        }
        self.jinja.add_template(&template, &origin.text)?;
        let described = origin.described.as_ref();
        config::merge(&mut layer, described.map(|d| d.layer.clone()).unwrap_or_default());
        let scope = self.scope(&origin, &layer);
        self.jinja.render(&template, &scope)?;
        let collected = scope.take_collected();
        config::merge(&mut layer, collected.config);
        let macros = self.macros.used_by(&self.jinja, &template, scope.package().as_str());
        self.add(origin, layer, collected.depends_on, macros)
    }

    pub(super) fn read_seeds(&mut self) -> Result<()> {
        for found in files::list(&self.root, &self.file.seed_paths, &["csv"])? {
            let fqn = self.fqn(&found.folders, &[&found.stem]);
            let described = self.properties.seeds.remove(&found.stem);
            let (mut layer, written) = (self.file.seeds.of(&fqn), self.file.seeds.written_of(&fqn));
            config::merge(&mut layer, described.as_ref().map(|d| d.layer.clone()).unwrap_or_default());
            let text = String::new();
            let origin = Origin { kind: NodeKind::Seed, found: &found, fqn, text, described, written };
            self.add(origin, layer, Vec::new(), Vec::new())?;
        }
        Ok(())
    }

    /// The scope of a node whose relation is not decided yet.
    fn scope(&self, origin: &Origin<'_>, layer: &Layer) -> Arc<Scope> {
        let name = &origin.found.stem;
        let alias = config::text(layer, "alias").unwrap_or_else(|| name.clone());
        let subject = Subject {
            unique_id: &self.unique_id(origin.kind, name),
            name,
            kind: origin.kind.as_str(),
            path: &origin.found.path,
            fqn: &origin.fqn,
            description: origin.described.as_ref().map_or("", |d| d.description.as_str()),
            text: &origin.text,
            relation: &Relation { schema: self.shared.target.schema.clone(), name: alias },
            config: layer,
        };
        Arc::new(Scope::new(&self.shared, origin.kind.resource(), &subject, Phase::Collect))
    }

    fn add(&mut self, origin: Origin<'_>, layer: Layer, names: Vec<Dependency>, macros: Vec<String>) -> Result<()> {
        let name = origin.found.stem.clone();
        let path = origin.found.path.clone();
        self.fqns.entry(origin.kind.as_str()).or_default().push(origin.fqn.clone());
        let enabled = config::is_enabled(&layer);
        // The macros that name relations may rely on what a node that is switched off has not got.
        let relation = match enabled {
            true => self.relation(&origin, &layer)?,
            false => Relation { schema: self.shared.target.schema.clone(), name: name.clone() },
        };
        let unique_id = self.unique_id(origin.kind, &name);
        if enabled {
            self.refuse_twin(&origin, &relation)?;
        }
        let Relation { schema, name: alias } = relation.clone();
        let test = (origin.kind == NodeKind::Test).then(|| Test {
            config: TestConfig::resolve(&layer),
            attached_node: None,
            generic: None,
        });
        let config = NodeConfig::resolve(layer, origin.kind.resource(), schema, alias)
            .map_err(|problem| problem.at(config_place(&path, &origin.text)))?;
        let described = origin.described;
        let patch = described.as_ref().map(|d| d.place.file.clone());
        let mut written = origin.written;
        config::merge(&mut written, described.as_ref().map(|d| d.written.clone()).unwrap_or_default());
        config::merge(&mut written, written::configuration(&origin.text));
        let constraints = described.as_ref().map(|d| d.constraints.clone()).unwrap_or_default();
        let (description, columns, tests) = described.map(|d| (d.description, d.columns, d.tests)).unwrap_or_default();
        if enabled && !origin.kind.is_test() {
            let dependency = Dependency::Ref(name.clone());
            let tested = Tested { unique_id: unique_id.clone(), name: name.clone(), dependency };
            self.tests.extend(tests.into_iter().map(|test| (test, tested.clone())));
            self.index.add_ref(&name, &unique_id, relation);
        }
        let node = Node {
            unique_id,
            kind: origin.kind,
            name,
            fqn: origin.fqn,
            path,
            line: first_line(&origin.text),
            raw: origin.text,
            config,
            depends_on: Vec::new(),
            names: Vec::new(),
            macros,
            description,
            columns,
            constraints,
            patch,
            written,
            test,
            unit: None,
        };
        if !enabled {
            self.index.disable(node.name.clone());
            self.disabled.push(node);
            return Ok(());
        }
        self.drafts.push(Draft { node, names });
        Ok(())
    }

    /// Where the node's table lies, as the macros have it.
    fn relation(&self, origin: &Origin<'_>, layer: &Layer) -> Result<Relation> {
        if origin.kind == NodeKind::Test {
            return Ok(Relation { schema: self.shared.target.schema.clone(), name: origin.found.stem.clone() });
        }
        let scope = self.scope(origin, layer);
        let call = |macro_name: &str, key: &str| -> Result<String> {
            let custom = config::text(layer, key).map_or(Value::from(()), Value::from);
            let given = self.macros.call(&self.jinja, &scope, macro_name, &[custom, scope.model.clone()])?;
            let name = given.to_string().trim().to_owned();
            if name.is_empty() {
                return Err(Error::input(format!("the macro `{macro_name}` gives {} no name", origin.found.path)));
            }
            Ok(name)
        };
        // dbt takes the older name of a snapshot's schema as it is.
        if let Some(schema) = config::text(layer, "target_schema") {
            return Ok(Relation { schema, name: call("generate_alias_name", "alias")? });
        }
        Ok(Relation { schema: call("generate_schema_name", "schema")?, name: call("generate_alias_name", "alias")? })
    }

    /// Models, seeds and snapshots share one space of names and one of tables; tests have a space of names.
    fn refuse_twin(&mut self, origin: &Origin<'_>, relation: &Relation) -> Result<()> {
        let path = &origin.found.path;
        let is_test = origin.kind == NodeKind::Test;
        let named = self.names.insert((is_test, origin.found.stem.clone()), path.clone());
        let table = if is_test { None } else { self.tables.insert(relation.clone(), path.clone()) };
        let (twice, other) = match (named, table) {
            (Some(other), _) => (format!("there are two nodes called `{}`", origin.found.stem), other),
            (None, Some(other)) => (format!("there are two nodes for the table {relation}"), other),
            (None, None) => return Ok(()),
        };
        let error = Error::input(twice).at(config_place(path, &origin.text));
        Err(error.hint(format!("the other one is {other}; rename one of them")))
    }
}

/// Where the first word stands.
fn first_line(text: &str) -> usize {
    let blank = text.len() - text.trim_start().len();
    1 + text.bytes().take(blank).filter(|b| *b == b'\n').count()
}
