//! What a template is rendered for: the node, the phase, and the variables that follow from them.
//!
//! Macros are rendered in the scope of the node that calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use minijinja::value::{Enumerator, Object};
use minijinja::{Error, State, Value};
use serde_json::{Map, Value as Json, json};

use super::RunContext;
use super::config::{self, Layer, Resource};
use super::graph::{Dependency, Index};
use super::moment::Moment;
use super::problem::Problem;
use super::profile::Target;
use super::relation::{Named, Relation};
use super::unit_tests::Overrides;

/// The variables of every scope.
pub const VARIABLES: &[&str] =
    &["this", "model", "target", "project_name", "invocation_id", "run_started_at", "execute", "flags"];

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
    pub resource: Resource,
    pub this: Relation,
    pub model: Value,
    /// The configuration from project and properties; that of the file itself is collected.
    pub config: Layer,
    pub phase: Phase,
    pub run_started_at: DateTime<Utc>,
    collected: Mutex<Collected>,
    depth: AtomicUsize,
}

/// Leaves a macro when dropped.
pub struct Level<'a>(&'a AtomicUsize);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scope {
    pub fn new(shared: &Arc<Shared>, resource: Resource, subject: &Subject<'_>, phase: Phase) -> Self {
        let Subject { relation, config, .. } = subject;
        let model = Value::from_serialize(json!({
            "unique_id": subject.unique_id,
            "name": subject.name,
            "alias": relation.name,
            "schema": relation.schema,
            "resource_type": subject.kind,
            "package_name": shared.project,
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
            resource,
            this: (*relation).clone(),
            model,
            config: (*config).clone(),
            phase,
            run_started_at: shared.run_started_at,
            collected: Mutex::default(),
            depth: AtomicUsize::new(0),
        }
    }

    /// The scope of texts in YAML, which belong to no node.
    pub fn text(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Scope {
            shared: shared.clone(),
            resource: Resource::Model,
            this: Relation { schema: String::new(), name: String::new() },
            model: Value::from(()),
            config: Layer::new(),
            phase: Phase::Text,
            run_started_at: shared.run_started_at,
            collected: Mutex::default(),
            depth: AtomicUsize::new(0),
        })
    }

    pub fn value(self: &Arc<Self>) -> Value {
        Value::from_dyn_object(self.clone())
    }

    pub fn of(state: &State) -> Result<Arc<Scope>, Error> {
        let scope = state.lookup(SELF).and_then(|value| value.downcast_object::<Scope>());
        scope.ok_or_else(|| Problem::new("this function only works in the templates of a project").into())
    }

    pub fn enter(&self, name: &str) -> Result<Level<'_>, Error> {
        let level = Level(&self.depth);
        if self.depth.fetch_add(1, Ordering::Relaxed) >= DEEPEST {
            let problem = Problem::new(format!("macros call each other more than {DEEPEST} levels deep, at `{name}`"));
            return Err(problem.hint("look for a macro that calls itself").into());
        }
        Ok(level)
    }

    pub fn take_collected(&self) -> Collected {
        std::mem::take(&mut *self.collected())
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.overrides().and_then(|o| o.vars.get(name)).or_else(|| self.shared.vars.get(name))
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
            Phase::Collect => Named { relation: self.this.clone(), query: None },
            Phase::Resolve(index) => {
                index.resolve(&dependency)?;
                Named { relation: self.this.clone(), query: None }
            }
            Phase::Compile { index, depends_on, queries, .. } => {
                let id = index.resolve(&dependency)?;
                if !depends_on.contains(id) {
                    let problem = Problem::new(format!("{dependency} was not seen when the project was parsed"));
                    return Err(problem.hint(format!("add the line: -- depends_on: {{{{ {dependency} }}}}")));
                }
                Named { relation: index.relation(id).unwrap_or(&self.this).clone(), query: queries.get(id).cloned() }
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
            "this" => Value::from_object(Named { relation: self.this.clone(), query: None }),
            "model" => self.model.clone(),
            "target" => Value::from_serialize(json!({
                "name": shared.target.name,
                "schema": shared.target.schema,
                "type": shared.target.kind,
                "threads": shared.target.threads,
                "profile_name": shared.target.profile,
            })),
            "project_name" => Value::from(shared.project.as_str()),
            "invocation_id" => Value::from(self.run().map_or("", |run| run.invocation_id.as_str())),
            "run_started_at" => Value::from_object(Moment::aware(self.run_started_at, Tz::UTC)),
            "execute" => Value::from(matches!(self.phase, Phase::Compile { .. })),
            "flags" => Value::from_serialize(json!({"FULL_REFRESH": self.full_refresh()})),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(VARIABLES)
    }
}
