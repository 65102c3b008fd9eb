//! Unit tests: entries of properties files that say what a model makes of rows.

use std::sync::Arc;

use super::{Draft, Loader};
use crate::error::{Error, Place, Result};
use crate::models::config::{self, Layer, NodeConfig, Resource};
use crate::models::files;
use crate::models::graph::{Dependency, Index};
use crate::models::node::{Node, NodeKind};
use crate::models::problem::Problem;
use crate::models::relation::Relation;
use crate::models::scope::{Phase, Scope, Subject};
use crate::models::unit_tests::{Given, Input, Rows, UnitEntry, UnitTest, Written};

/// A unit test whose inputs are not linked yet.
pub(super) struct UnitDraft {
    pub(super) unique_id: String,
    inputs: Vec<Input>,
}

impl Loader {
    pub(super) fn read_unit_tests(&mut self) -> Result<()> {
        for entry in std::mem::take(&mut self.properties.unit_tests) {
            let fqn = self.fqn(&entry.folders, &[&entry.model, &entry.name]);
            let mut layer = self.file.unit_tests.of(&fqn);
            config::merge(&mut layer, entry.layer.clone());
            self.fqns.entry("unit_test").or_default().push(fqn.clone());
            if config::is_enabled(&layer) && !self.index.is_disabled(&entry.model) {
                self.add_unit_test(entry, fqn, layer)?;
            }
        }
        Ok(())
    }

    fn add_unit_test(&mut self, entry: UnitEntry, fqn: Vec<String>, layer: Layer) -> Result<()> {
        let written = layer.clone();
        let unique_id = self.unique_id(NodeKind::UnitTest, &format!("{}.{}", entry.model, entry.name));
        if let Some(other) = self.drafts.iter().find(|d| d.node.unique_id == unique_id) {
            let error = Error::input(format!("there are two unit tests `{}` of `{}`", entry.name, entry.model));
            return Err(error
                .at(entry.place)
                .hint(format!("the other one is at {}:{}", other.node.path, other.node.line)));
        }
        let model = Dependency::Ref(entry.model.clone());
        self.index.resolve(&model).map_err(|problem| problem.at(entry.place.clone()))?;
        let relation = Relation { schema: self.shared.target.schema.clone(), name: entry.name.clone() };
        let mut inputs = Vec::new();
        for (input, rows, place) in entry.given {
            let name = match input.as_str() {
                "this" => None,
                spelled => Some(self.spelled(spelled).map_err(|problem| problem.at(place.clone()))?),
            };
            inputs.push(Input { name, rows: self.rows(rows)?, place });
        }
        let rows = |written: Option<Written>| written.map(|rows| self.rows(rows)).transpose();
        let unit = UnitTest {
            model: String::new(),
            given: Vec::new(),
            expect: rows(entry.expect)?,
            expect_after: rows(entry.expect_after)?,
            overrides: entry.overrides,
        };
        let config = NodeConfig::resolve(layer, Resource::UnitTest, relation.schema, entry.name.clone())
            .map_err(|problem| problem.at(entry.place.clone()))?;
        let node = Node {
            unique_id: unique_id.clone(),
            kind: NodeKind::UnitTest,
            name: entry.name,
            fqn,
            path: entry.place.file,
            line: entry.place.line,
            raw: String::new(),
            config,
            depends_on: Vec::new(),
            names: Vec::new(),
            macros: Vec::new(),
            description: entry.description,
            columns: Vec::new(),
            constraints: Vec::new(),
            patch: None,
            written,
            test: None,
            unit: Some(unit),
        };
        self.drafts.push(Draft { node, names: vec![model] });
        self.units.push(UnitDraft { unique_id, inputs });
        Ok(())
    }

    /// What `ref('x')` or `source('a', 'b')` names.
    fn spelled(&self, input: &str) -> Result<Dependency, Problem> {
        let relation = Relation { schema: String::new(), name: String::new() };
        let subject = Subject {
            unique_id: "",
            name: "",
            kind: NodeKind::UnitTest.as_str(),
            path: "",
            fqn: &[],
            description: "",
            text: "",
            relation: &relation,
            config: &Layer::new(),
        };
        let scope = Arc::new(Scope::new(&self.shared, Resource::UnitTest, &subject, Phase::Collect));
        self.jinja.render_text(&format!("{{{{ {input} }}}}"), &scope)?;
        let mut named = scope.take_collected().depends_on.into_iter();
        match (named.next(), named.next()) {
            (Some(name), None) => Ok(name),
            _ => Err(Problem::new(format!("`{input}` names no input"))
                .hint("it is ref('model'), source('source', 'table') or this")),
        }
    }

    fn rows(&self, written: Written) -> Result<Rows> {
        let (name, extension, place) = match written {
            Written::Here(rows) => return Ok(rows),
            Written::Fixture { name, extension, place } => (name, extension, place),
        };
        let folders: Vec<String> = self.file.test_paths.iter().map(|path| format!("{path}/fixtures")).collect();
        let found = files::list(&self.root, &folders, &[extension])?;
        let Some(file) = found.iter().find(|f| f.stem == name) else {
            let problem = Problem::unknown("fixture", &name, found.iter().map(|f| f.stem.as_str()));
            let hint = format!("it would be {}/{name}.{extension}", folders.join(" or "));
            return Err((if problem.has_hint() { problem } else { problem.hint(hint) }).at(place));
        };
        let text = files::read(&self.root, &file.path)?;
        Ok(if extension == "csv" { Rows::Csv(text) } else { Rows::Sql(text) })
    }
}

impl UnitDraft {
    /// The inputs by their unique ids.
    pub(super) fn link(self, index: &Index, node: &mut Node) -> Result<Vec<(String, Place)>> {
        let Some(unit) = &mut node.unit else { return Ok(Vec::new()) };
        unit.model = node.depends_on.first().cloned().unwrap_or_default();
        let mut named = Vec::new();
        for Input { name, rows, place } in self.inputs {
            let input = match &name {
                Some(name) => index.resolve(name).map_err(|problem| problem.at(place.clone()))?.to_owned(),
                None => unit.model.clone(),
            };
            if unit.given.iter().any(|given| given.input == input) {
                return Err(Error::input("this input is given twice").at(place));
            }
            unit.overrides.given.insert(input.clone());
            unit.given.push(Given { input: input.clone(), rows });
            named.push((input, place));
        }
        Ok(named)
    }
}
