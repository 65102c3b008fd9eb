//! The verbs of dbt that look at a project, or keep its folder in order, and build nothing.

pub mod docs;
pub mod folder;
pub mod list;
pub mod operation;
pub mod retry;
pub mod source;
pub mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::World;
use crate::error::{Error, Result};
use crate::lake::TableName;
use crate::models::artifact::{self, Invocation};
use crate::models::{self, Indirect, Project, Relation, Selection, State};

/// Where a project is, and how it is read.
#[derive(Args)]
pub struct ProjectArguments {
    /// Variables as YAML or JSON, over those of the project
    #[arg(long, value_name = "YAML")]
    vars: Option<String>,
    /// The dbt project [default: build.project, or the one that the working directory lies in]
    #[arg(long, value_name = "DIR", env = "DBT_PROJECT_DIR", hide_env = true)]
    project_dir: Option<PathBuf>,
    /// The target of the profile
    #[arg(short, long)]
    target: Option<String>,
    /// The profile, instead of the project's own
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Where profiles.yml is [default: DBT_PROFILES_DIR, the working directory, the project, ~/.dbt]
    #[arg(long, value_name = "DIR")]
    profiles_dir: Option<PathBuf>,
    /// The folder for artifacts, instead of the project's own
    #[arg(long, value_name = "DIR", env = "DBT_TARGET_PATH", hide_env = true)]
    target_path: Option<PathBuf>,
}

/// Which of its nodes.
#[derive(Args)]
pub struct Chosen {
    /// Only these nodes, in dbt's selector language
    #[arg(short, long, num_args = 1.., value_name = "SELECTOR", alias = "models", short_alias = 'm')]
    pub select: Vec<String>,
    /// All but these
    #[arg(long, num_args = 1.., value_name = "SELECTOR")]
    pub exclude: Vec<String>,
    /// What this selector of selectors.yml defines
    #[arg(long, value_name = "NAME", conflicts_with_all = ["select", "exclude"])]
    selector: Option<String>,
    /// How tests come along with what is selected: eager, cautious, buildable or empty
    #[arg(long, value_name = "MODE")]
    indirect_selection: Option<String>,
    /// Only resources of these types
    #[arg(long, num_args = 1.., value_name = "TYPE")]
    resource_type: Vec<String>,
    /// All but resources of these types
    #[arg(long, num_args = 1.., value_name = "TYPE")]
    exclude_resource_type: Vec<String>,
    /// The artifacts of an earlier run, for state:, result: and source_status:
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Where tables are read that are not built in this target.
#[derive(Args)]
pub struct Deferral {
    /// Read what is neither selected nor built here where the run of --state has it
    #[arg(long, requires = "state")]
    defer: bool,
    /// With --defer: also what is built here
    #[arg(long, requires = "defer")]
    favor_state: bool,
}

impl Deferral {
    pub async fn apply(&self, world: &World, project: &mut Project, selection: &Selection) -> Result<()> {
        let Some(state) = selection.state.as_ref().filter(|_| self.defer) else { return Ok(()) };
        let selected = project.selected(selection)?;
        let tables: BTreeSet<TableName> = world.lake()?.tables().await?.into_iter().collect();
        let is_there = |relation: &Relation| {
            let name = TableName::new(relation.schema.as_str(), relation.name.as_str());
            !self.favor_state && tables.contains(&name)
        };
        let deferred = project.defer(state, &selected, is_there);
        tracing::debug!("read where the earlier run has them: {}", deferred.join(", "));
        Ok(())
    }
}

impl Chosen {
    /// As run_results.json keeps it.
    pub fn as_given(&self) -> Map<String, Value> {
        let given = serde_json::json!({
            "select": self.select,
            "exclude": self.exclude,
            "selector": self.selector,
            "indirect_selection": self.indirect_selection,
            "resource_types": self.resource_type,
            "exclude_resource_types": self.exclude_resource_type,
            "state": self.state,
        });
        given.as_object().cloned().unwrap_or_default()
    }

    /// Reads the earlier run too, so it has to be called before this one leaves artifacts of its own in the same place.
    pub fn selection(&self) -> Result<Selection> {
        let indirect = self.indirect_selection.as_deref().map(str::parse::<Indirect>).transpose();
        Ok(Selection {
            select: self.select.clone(),
            exclude: self.exclude.clone(),
            selector: self.selector.clone(),
            indirect: indirect?.unwrap_or_default(),
            resource_types: self.resource_type.clone(),
            exclude_resource_types: self.exclude_resource_type.clone(),
            state: self.state.as_deref().map(State::read).transpose()?.map(Arc::new),
        })
    }
}

impl ProjectArguments {
    pub fn folder(&self, world: &World) -> PathBuf {
        let configured = &world.config.build.project;
        match &self.project_dir {
            Some(folder) => folder.clone(),
            // Somebody who works in the folder of a project means that one.
            None if !configured.is_dir() && models::find_root(Path::new(".")).is_ok() => PathBuf::from("."),
            None => configured.clone(),
        }
    }

    pub fn load(&self, world: &World, full_refresh: bool) -> Result<Project> {
        let options = models::Options {
            vars: parse_vars(self.vars.as_deref())?,
            target: self.target.clone(),
            profile: self.profile.clone(),
            profiles_dir: self.profiles_dir.clone(),
            target_path: self.target_path.clone(),
            run_started_at: Utc::now(),
            full_refresh,
        };
        let project = models::load(&self.folder(world), &options)?;
        if let Some(first) = project.warnings.first().filter(|_| world.warn_error) {
            return Err(Error::input(first.as_str()).hint("a warning ends the run because of --warn-error"));
        }
        project.warnings.iter().for_each(|w| tracing::warn!("{w}"));
        // Who only looks at a project may not be allowed to write into it.
        if let Err(e) = write_manifest(&project, &invocation(options.run_started_at), &BTreeMap::new()) {
            tracing::warn!("{e}");
        }
        Ok(project)
    }

    /// The folder for artifacts, before the project is read.
    pub fn target_path(&self, world: &World) -> Result<PathBuf> {
        match &self.target_path {
            Some(folder) => Ok(folder.clone()),
            None => models::target_path(&self.folder(world)),
        }
    }

    pub fn vars_as_given(&self) -> Value {
        self.vars.as_deref().map_or(Value::Null, Value::from)
    }

    pub fn set_vars(&mut self, vars: Option<String>) {
        self.vars = self.vars.take().or(vars);
    }
}

const VARS: &str = "write names and values as YAML, the space behind the colon included: --vars '{as_of: 2026-01-31}'";

/// This call of the command line, for artifacts that no build writes.
pub fn invocation(started_at: DateTime<Utc>) -> Invocation {
    Invocation { id: Uuid::new_v4().to_string(), started_at }
}

/// Writes manifest.json; `compiled` is the SQL that this invocation has compiled, by unique id.
pub fn write_manifest(project: &Project, invocation: &Invocation, compiled: &BTreeMap<String, String>) -> Result<()> {
    let manifest = project.manifest(invocation, compiled).to_string();
    artifact::write(&project.target_path, models::MANIFEST, &manifest)
}

fn parse_vars(text: Option<&str>) -> Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    match serde_yaml_ng::from_str(text) {
        Ok(Value::Object(vars)) => Ok(vars),
        Ok(_) => Err(Error::input(format!("--vars: `{text}` gives no variable a value")).hint(VARS)),
        Err(e) => Err(Error::input(format!("--vars: `{text}` is not YAML")).because(e).hint(VARS)),
    }
}
