//! Generic tests: one entry of a properties file, one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Draft, Loader, Tested};
use crate::error::{Error, Place, Result};
use crate::models::checks;
use crate::models::config::{self, Layer, NodeConfig, Resource, TestConfig};
use crate::models::graph::Dependency;
use crate::models::jinja::Jinja;
use crate::models::node::{GenericTest, Node, NodeKind, Test};
use crate::models::problem::Problem;
use crate::models::properties::TestEntry;
use crate::models::relation::Relation;
use crate::models::scope::{Phase, Scope, Subject};
use crate::models::yaml::has_jinja;

impl Loader {
    pub(super) fn read_generic_tests(&mut self) -> Result<()> {
        let mut taken: BTreeMap<String, Place> = BTreeMap::new();
        for draft in self.drafts.iter().filter(|d| d.node.kind == NodeKind::Test) {
            taken.insert(draft.node.name.clone(), Place::in_text(&draft.node.path, &draft.node.raw, 1, 1));
        }
        for (entry, tested) in std::mem::take(&mut self.tests) {
            if self.macros.generic_test(&entry.test, &self.package).is_none() {
                let mut problem = Problem::unknown("test", &entry.test, self.macros.generic_tests());
                if let Some((package, _)) = entry.test.split_once('.') {
                    problem = problem.or_hint(format!("it is looked for in dbt_packages/{package}/macros"));
                }
                return Err(problem.at(entry.place));
            }
            let mut name = entry.name.clone().unwrap_or_else(|| {
                let source = matches!(tested.dependency, Dependency::Source(..));
                checks::generated_name(&entry, &tested.name, source)
            });
            if taken.contains_key(&name) {
                name = format!("{name}.{}", checks::fingerprint(&entry));
            }
            if let Some(other) = taken.insert(name.clone(), entry.place.clone()) {
                let error = Error::input(format!("the test `{name}` stands here twice")).at(entry.place);
                return Err(error.hint(format!("the other one is at {}:{}", other.file, other.line)));
            }
            self.add_generic_test(name, entry, tested)?;
        }
        Ok(())
    }

    fn add_generic_test(&mut self, name: String, entry: TestEntry, tested: Tested) -> Result<()> {
        let fqn = self.fqn(&entry.folders, &[&name]);
        let relation = Relation { schema: self.shared.target.schema.clone(), name: name.clone() };
        let unique_id = self.unique_id(NodeKind::Test, &name);
        let place = entry.place.clone();
        let subject = Subject {
            unique_id: &unique_id,
            name: &name,
            kind: NodeKind::Test.as_str(),
            path: &place.file,
            fqn: &fqn,
            description: &entry.description,
            text: "",
            relation: &relation,
            config: &Layer::new(),
        };
        let scope = Arc::new(Scope::new(&self.shared, Resource::Test, &subject, Phase::Collect));
        let mut layer = self.file.tests.of(&fqn);
        let mut written = self.file.tests.written_of(&fqn);
        config::merge(&mut written, entry.config.clone());
        let own = checks::layer(&self.jinja, &scope, &entry).map_err(|problem| problem.at(place.clone()))?;
        config::merge(&mut layer, own);
        self.fqns.entry("test").or_default().push(fqn.clone());
        if !config::is_enabled(&layer) {
            return Ok(());
        }
        let generic = GenericTest {
            name: entry.test.clone(),
            column: entry.column.as_ref().map(|c| c.name.clone()),
            quote: entry.column.as_ref().is_some_and(|c| c.quote),
            arguments: entry.arguments,
            subject: tested.dependency,
            condition: config::text(&layer, "where"),
            place: place.clone(),
            column_place: entry.column_place,
        };
        checks::sql(&self.jinja, &self.macros, &scope, &generic)
            .map_err(|e| self.wrong_arguments(e, &scope, &generic).unwrap_or_else(|e| at_entry(e, &name, &place)))?;
        let config = TestConfig::resolve(&layer);
        let description = jinja_text(&self.jinja, &scope, &entry.description).map_err(|p| p.at(place.clone()))?;
        let node = Node {
            unique_id,
            kind: NodeKind::Test,
            fqn,
            path: place.file,
            line: place.line,
            raw: checks::written(&generic),
            config: NodeConfig::resolve(layer, Resource::Test, relation.schema, name.clone())
                .map_err(Problem::error)?,
            depends_on: Vec::new(),
            names: Vec::new(),
            macros: self.macros.closure(self.macros.generic_test(&entry.test, &self.package)),
            description,
            columns: Vec::new(),
            constraints: Vec::new(),
            patch: None,
            written,
            test: Some(Test { config, attached_node: Some(tested.unique_id), generic: Some(generic) }),
            unit: None,
            name,
        };
        self.drafts.push(Draft { node, names: scope.take_collected().depends_on });
        Ok(())
    }
}

impl Loader {
    /// An error of a test's macro about its arguments as one about what YAML gives; any other comes back.
    fn wrong_arguments(&self, error: Error, scope: &Arc<Scope>, generic: &GenericTest) -> Result<Error, Error> {
        let quoted = error.what().split('`').nth(1).unwrap_or_default();
        let id = self.macros.generic_test(&generic.name, &self.package).unwrap_or_default();
        let parameters = self.macros.parameters(&self.jinja, scope, &id);
        let of = format!("argument of the test `{}`:", generic.name);
        let problem = if error.what().contains("unknown keyword argument") {
            let known = parameters.iter().map(String::as_str).filter(|p| !["model", "column_name"].contains(p));
            Problem::unknown(&of, quoted, known.clone())
                .or_hint(format!("it takes {}", known.collect::<Vec<_>>().join(", ")))
        } else if error.what().ends_with("is not defined") && parameters.iter().any(|p| p == quoted) {
            Problem::new(format!("the test `{}` needs the argument `{quoted}`", generic.name))
                .hint(format!("indent it below the name of the test: {quoted}: …"))
        } else {
            return Err(error);
        };
        Ok(problem.at(generic.place.clone()))
    }
}

fn jinja_text(jinja: &Jinja, scope: &Arc<Scope>, text: &str) -> Result<String, Problem> {
    if has_jinja(text) { Ok(jinja.render_text(text, scope)?.to_string()) } else { Ok(text.to_owned()) }
}

/// An error in a generic test is the user's at the place that asks for the test, wherever the macro stands.
pub(in crate::models) fn at_entry(error: Error, name: &str, place: &Place) -> Error {
    match error.place() {
        Some(_) => error.context(format!("{}:{}: the test `{name}`", place.file, place.line)),
        None => error.context(format!("the test `{name}`")).at(place.clone()),
    }
}
