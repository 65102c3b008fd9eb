//! `medallion run-operation`: a macro, called by hand.

use std::sync::Arc;

use clap::Args;
use serde_json::{Map, Value};

use super::ProjectArguments;
use crate::build::ReleasedTables;
use crate::cli::World;
use crate::error::{Error, Result};
use crate::models::RunContext;

#[derive(Args)]
pub struct Arguments {
    /// The macro, or package.macro
    #[arg(value_name = "MACRO")]
    name: String,
    /// Its arguments as YAML or JSON
    #[arg(long, value_name = "YAML")]
    args: Option<String>,
    #[command(flatten)]
    at: ProjectArguments,
}

/// What the macro says goes where it says it; its text goes nowhere, as in dbt.
pub fn run(world: &World, arguments: &Arguments) -> Result<()> {
    let project = arguments.at.load(world, false)?;
    let given = parsed(arguments.args.as_deref())?;
    let run = RunContext {
        verb: "run-operation".to_owned(),
        database: Some(Arc::new(ReleasedTables::new(world.engine()?))),
        ..RunContext::default()
    };
    project.run_operation(&arguments.name, &given, &run).map(drop)
}

fn parsed(text: Option<&str>) -> Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    let wrong = || Error::input(format!("--args: `{text}` names no arguments")).hint("--args '{days: 7}'");
    match serde_yaml_ng::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(wrong()),
        Err(e) => Err(wrong().because(e)),
    }
}
