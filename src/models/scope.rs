//! What a template is rendered for: the node, the phase, and the variables that follow from them.
//!
//! Macros are rendered in the scope of the node that calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use minijinja::value::{Enumerator, Object};
use minijinja::{Error, State, Value};
use serde_json::{Map, Value as Json, json};

use super::RunContext;
use super::adapter;
use super::config::{self, Layer, Resource};
use super::database::Database;
use super::graph::{Dependency, Index};
use super::macros::{BUILT_IN_PACKAGE, Namespaces};
use super::moment::Moment;
use super::problem::Problem;
use super::profile::Target;
use super::relation::{DATABASE, Named, Relation};
use super::unit_tests::Overrides;
use super::values;

/// The variables of every scope.
pub const VARIABLES: &[&str] = &[
    "this",
    "model",
    "target",
    "project_name",
    "invocation_id",
    "run_started_at",
    "execute",
    "flags",
    "database",
    "schema",
    "graph",
    "selected_resources",
    "varargs",
    "kwargs",
];

/// Nested macro calls; deeper ones are taken for a circle. Each takes some stack.
const DEEPEST: usize = 48;

/// No identifier is spelled like this, so templates cannot reach it.
const SELF: &str = " scope";

/// What all scopes of a project share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub project: String,
    pub vars: Map<String, Json>,
    pub target: Target,
    pub docs: BTreeMap<String, String>,
    pub run_started_at: DateTime<Utc>,
    pub full_refresh: bool,
    /// The macros of all packages, once they are read.
    pub namespaces: Arc<OnceLock<Namespaces>>,
    /// By namespace, the packages where its macros are looked for, as the project file has it.
    pub dispatch: BTreeMap<String, Vec<String>>,
    /// The variables of each package.
    pub package_vars: BTreeMap<String, Map<String, Json>>,
}

/// Why a template is rendered.
#[derive(Debug)]
pub enum Phase {
    /// A text of a properties file, which belongs to no node.
    Text,
    /// Parsing: refs, sources and configuration are written down, and no name is known yet.
    Collect,
    /// Parsing again, to find the place of a name that turned out to be unknown.
    Resolve(Arc<Index>),
    Compile {
        index: Arc<Index>,
        run: RunContext,
        /// What parsing found; a name beyond that would be missing in the graph.
        depends_on: BTreeSet<String>,
        /// The queries of ephemeral models, by unique id.
        queries: BTreeMap<String, String>,
        database: Option<Arc<dyn Database>>,
        /// All nodes and sources, as `graph`.
        graph: Value,
    },
}

/// The node that a template belongs to, as templates see it under `model` and macros are given it as `node`.
#[derive(Debug)]
pub struct Subject<'a> {
    pub unique_id: &'a str,
    pub name: &'a str,
    pub kind: &'static str,
    pub path: &'a str,
    pub fqn: &'a [String],
    pub description: &'a str,
    pub text: &'a str,
    pub relation: &'a Relation,
    pub config: &'a Layer,
}

#[derive(Debug, Default)]
pub struct Collected {
    pub depends_on: Vec<Dependency>,
    pub config: Layer,
}

#[derive(Debug)]
pub struct Scope {
    pub shared: Arc<Shared>,
    /// Whose node it is.
    package: String,
    pub resource: Resource,
    pub this: Relation,
    pub model: Value,
    /// The configuration from project and properties; that of the file itself is collected.
    pub config: Layer,
    pub phase: Phase,
    pub run_started_at: DateTime<Utc>,
    collected: Mutex<Collected>,
    /// The macros that are under way, the innermost last.
    frames: Mutex<Vec<Frame>>,
    /// What `statement` was answered, by name.
    results: Mutex<BTreeMap<String, Value>>,
}

/// A macro that is under way.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Whose macro it is: its names are those of this package.
    pub package: String,
    /// Arguments that the macro does not name, as a list and as a map.
    pub varargs: Value,
    pub kwargs: Value,
}

/// Leaves a macro when dropped.
pub struct Level<'a>(&'a Mutex<Vec<Frame>>);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        locked(self.0).pop();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scope {
    pub fn new(shared: &Arc<Shared>, resource: Resource, subject: &Subject<'_>, phase: Phase) -> Self {
        let Subject { relation, config, .. } = subject;
        let package = subject.fqn.first().unwrap_or(&shared.project).clone();
        let model = Value::from_serialize(json!({
            "unique_id": subject.unique_id,
            "name": subject.name,
            "alias": relation.name,
            "schema": relation.schema,
            "resource_type": subject.kind,
            "package_name": package,
            "original_file_path": subject.path,
            "fqn": subject.fqn,
            "config": config,
            "tags": config.get("tags").map(config::texts).unwrap_or_default(),
            "meta": config.get("meta"),
            "description": subject.description,
            "raw_code": subject.text,
        }));
        Scope {
            shared: shared.clone(),
            package,
            resource,
            this: (*relation).clone(),
            model,
            config: (*config).clone(),
            phase,
            run_started_at: shared.run_started_at,
            collected: Mutex::default(),
            frames: Mutex::default(),
            results: Mutex::default(),
        }
    }

    /// The scope of texts in YAML, which belong to no node.
    pub fn text(shared: &Arc<Shared>) -> Arc<Self> {
        Scope::text_of(shared, &shared.project)
    }

    /// The same in a package.
    pub fn text_of(shared: &Arc<Shared>, package: &str) -> Arc<Self> {
        Arc::new(Scope {
            shared: shared.clone(),
            package: package.to_owned(),
            resource: Resource::Model,
            this: Relation { schema: String::new(), name: String::new() },
            model: Value::from(()),
            config: Layer::new(),
            phase: Phase::Text,
            run_started_at: shared.run_started_at,
            collected: Mutex::default(),
            frames: Mutex::default(),
            results: Mutex::default(),
        })
    }

    pub fn value(self: &Arc<Self>) -> Value {
        Value::from_dyn_object(self.clone())
    }

    pub fn of(state: &State) -> Result<Arc<Scope>, Error> {
        let scope = state.lookup(SELF).and_then(|value| value.downcast_object::<Scope>());
        scope.ok_or_else(|| Problem::new("this function only works in the templates of a project").into())
    }

    pub fn enter(&self, name: &str, frame: Frame) -> Result<Level<'_>, Error> {
        let mut frames = locked(&self.frames);
        if frames.len() >= DEEPEST {
            let problem = Problem::new(format!("macros call each other more than {DEEPEST} levels deep, at `{name}`"));
            return Err(problem.hint("look for a macro that calls itself").into());
        }
        frames.push(frame);
        Ok(Level(&self.frames))
    }

    /// The package whose names mean something here: that of the macro under way, else that of the node.
    pub fn package(&self) -> String {
        locked(&self.frames).last().map_or_else(|| self.package.clone(), |frame| frame.package.clone())
    }

    /// A macro by the name that it has in a package.
    fn function(&self, package: &str, name: &str) -> Option<Value> {
        self.shared.namespaces.get()?.function(package, name)
    }

    /// The implementation of a macro: that for medallion before the default, package by package.
    pub fn dispatch(&self, name: &str, namespace: Option<&str>) -> Result<Value, Problem> {
        let project = self.shared.project.as_str();
        let own = self.package();
        let configured = namespace.and_then(|namespace| self.shared.dispatch.get(namespace));
        let packages: Vec<&str> = match (configured, namespace) {
            (Some(order), _) => order.iter().map(String::as_str).collect(),
            (None, Some(namespace)) => vec![project, namespace],
            (None, None) if own == project => vec![project, BUILT_IN_PACKAGE],
            (None, None) => vec![own.as_str(), project, BUILT_IN_PACKAGE],
        };
        let prefixes = [adapter::TYPE, "default"];
        let mut names = packages.iter().flat_map(|package| prefixes.map(|p| (*package, format!("{p}__{name}"))));
        names.find_map(|(package, name)| self.function(package, &name)).ok_or_else(|| {
            let problem = Problem::new(format!("the macro `{name}` has no implementation for {}", adapter::TYPE));
            problem.hint(format!(
                "write {}__{name} or default__{name}; it was looked for in {}",
                adapter::TYPE,
                packages.join(", ")
            ))
        })
    }

    /// What stands in for a built-in macro: the project's own implementation of it.
    pub fn stand_in(&self, name: &str) -> Option<Value> {
        let project = self.shared.project.as_str();
        let packages = self.shared.dispatch.get(BUILT_IN_PACKAGE).map_or(&[][..], Vec::as_slice);
        let packages = packages.iter().map(String::as_str).filter(|p| *p != BUILT_IN_PACKAGE);
        let mut names = [project]
            .into_iter()
            .chain(packages)
            .flat_map(|package| [adapter::TYPE, "default"].map(|prefix| (package, format!("{prefix}__{name}"))));
        names.find_map(|(package, name)| self.function(package, &name))
    }

    /// The variables of the package that the node belongs to.
    pub fn vars(&self) -> &Map<String, Json> {
        self.shared.package_vars.get(&self.package).unwrap_or(&self.shared.vars)
    }

    /// Whether the node is being compiled, and not just read.
    pub fn executes(&self) -> bool {
        matches!(self.phase, Phase::Compile { .. })
    }

    pub fn database(&self) -> Result<&Arc<dyn Database>, Problem> {
        match &self.phase {
            Phase::Compile { database: Some(database), .. } => Ok(database),
            _ => Err(Problem::new("a query of a template needs the tables, which this command does not read")),
        }
    }

    pub fn result(&self, name: &str) -> Option<Value> {
        locked(&self.results).get(name).cloned()
    }

    pub fn keep_result(&self, name: String, result: Value) {
        locked(&self.results).insert(name, result);
    }

    pub fn take_collected(&self) -> Collected {
        std::mem::take(&mut *self.collected())
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        locked(&self.collected)
    }

    fn run(&self) -> Option<&RunContext> {
        match &self.phase {
            Phase::Compile { run, .. } => Some(run),
            _ => None,
        }
    }

    fn overrides(&self) -> Option<&Overrides> {
        self.run()?.overrides.as_deref()
    }

    /// What a unit test has the macro give.
    pub fn overridden(&self, name: &str) -> Option<Value> {
        Some(Value::from_serialize(self.overrides()?.macros.get(name)?))
    }

    pub fn var(&self, name: &str) -> Option<&Json> {
        self.overrides().and_then(|o| o.vars.get(name)).or_else(|| self.vars().get(name))
    }

    pub fn env_var(&self, name: &str) -> Option<&str> {
        self.overrides()?.env_vars.get(name).map(String::as_str)
    }

    fn full_refresh(&self) -> bool {
        self.run().map_or(self.shared.full_refresh, |run| run.full_refresh)
    }

    /// Takes an entry that the file itself gives.
    pub fn configure(&self, key: &str, value: Json) {
        config::merge_entry(&mut self.collected().config, key, value);
    }

    pub fn configured(&self, key: &str) -> Option<Json> {
        let collected = self.collected();
        collected.config.get(key).or_else(|| self.config.get(key)).filter(|value| !value.is_null()).cloned()
    }

    pub fn is_incremental(&self) -> bool {
        if let Some(told) = self.overrides().and_then(|o| o.macros.get("is_incremental")) {
            return told.as_bool().unwrap_or(false);
        }
        self.run().is_some_and(|run| run.is_incremental && !run.full_refresh)
            && self.configured("materialized").is_some_and(|m| m == "incremental")
    }

    /// What a name stands for in this scope; the name is written down.
    pub fn depend(&self, dependency: Dependency) -> Result<Value, Problem> {
        let named = match &self.phase {
            Phase::Text => return Err(Problem::new(format!("{dependency} cannot be used here"))),
            Phase::Collect => Named::new(self.this.clone()),
            Phase::Resolve(index) => {
                index.resolve(&dependency)?;
                Named::new(self.this.clone())
            }
            Phase::Compile { index, depends_on, queries, .. } => {
                let id = index.resolve(&dependency)?;
                if !depends_on.contains(id) {
                    let problem = Problem::new(format!("{dependency} was not seen when the project was parsed"));
                    return Err(problem.hint(format!("add the line: -- depends_on: {{{{ {dependency} }}}}")));
                }
                let relation = index.relation(id).unwrap_or(&self.this).clone();
                Named::new(relation).with_query(queries.get(id).cloned())
            }
        };
        self.collected().depends_on.push(dependency);
        Ok(Value::from_object(named))
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let shared = &self.shared;
        Some(match key.as_str()? {
            SELF => self.value(),
            "this" => {
                let kind = self.configured("materialized").map(|m| if m == "view" { "view" } else { "table" });
                Value::from_object(Named::new(self.this.clone()).of_kind(kind))
            }
            "model" => self.model.clone(),
            "target" => Value::from_serialize(json!({
                "database": DATABASE,
                "name": shared.target.name,
                "schema": shared.target.schema,
                "type": shared.target.kind,
                "threads": shared.target.threads,
                "profile_name": shared.target.profile,
            })),
            "project_name" => Value::from(shared.project.as_str()),
            "invocation_id" => Value::from(self.run().map_or("", |run| run.invocation_id.as_str())),
            "run_started_at" => Value::from_object(Moment::aware(self.run_started_at, Tz::UTC)),
            "execute" => Value::from(self.executes()),
            "flags" => Value::from_serialize(json!({
                "FULL_REFRESH": self.full_refresh(),
                "WHICH": self.run().map_or("parse", |run| if run.verb.is_empty() { "compile" } else { run.verb.as_str() }),
                "STORE_FAILURES": false,
            })),
            "database" => Value::from(DATABASE),
            "schema" => Value::from(shared.target.schema.as_str()),
            "graph" => match &self.phase {
                Phase::Compile { graph, .. } => graph.clone(),
                _ => Value::from_serialize(json!({"nodes": {}, "sources": {}, "exposures": {}, "metrics": {}})),
            },
            "selected_resources" => {
                values::from_json(&self.run().map_or_else(|| json!([]), |run| json!(*run.selected)))
            }
            "varargs" => locked(&self.frames).last().map(|frame| frame.varargs.clone())?,
            "kwargs" => locked(&self.frames).last().map(|frame| frame.kwargs.clone())?,
            name => return self.function(&self.package(), name),
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(VARIABLES)
    }
}
