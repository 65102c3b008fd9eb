//! The verbs of dbt that look at a project, or keep its folder in order, and build nothing.

pub mod docs;
pub mod folder;
pub mod list;
pub mod operation;
pub mod retry;
pub mod source;
pub mod sql;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::World;
use crate::error::{Error, Result};
use crate::models::artifact::{self, Invocation};
use crate::models::{self, Project};

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
