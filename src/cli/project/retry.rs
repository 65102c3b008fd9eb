//! `medallion retry`: what the last run left undone, once more.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::ProjectArguments;
use crate::build::Options;
use crate::cli::World;
use crate::cli::build::{self, Verb};
use crate::error::{Error, Result};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    at: ProjectArguments,
}

pub async fn run(world: &World, mut arguments: Arguments) -> Result<()> {
    let target = arguments.at.target_path(world)?;
    let path = target.join("run_results.json");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Error::input(format!("there is no last run to retry: cannot read {}", path.display()))
            .because(e)
            .hint("medallion build")
    })?;
    let last: Value = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("{} is not of a run", path.display())).because(e))?;
    let said = |key: &str| last.pointer(&format!("/args/{key}"));
    let which = said("which").and_then(Value::as_str).unwrap_or_default();
    let Some(verb) = Verb::named(which) else {
        return Err(Error::input(format!("{}: `{which}` cannot be retried", path.display())));
    };
    let full_refresh = said("full_refresh").and_then(Value::as_bool).unwrap_or(false);
    arguments.at.set_vars(said("vars").and_then(Value::as_str).map(str::to_owned));
    let project = Arc::new(arguments.at.load(world, full_refresh)?);

    let undone = |result: &&Value| {
        let status = result.get("status").and_then(Value::as_str);
        matches!(status, Some("error" | "fail" | "skipped" | "runtime error"))
    };
    let results = last.get("results").and_then(Value::as_array).into_iter().flatten();
    let named = results.filter(undone).filter_map(|result| result.get("unique_id")?.as_str());
    let nodes: BTreeSet<String> = named.filter(|id| project.nodes.contains_key(*id)).map(str::to_owned).collect();
    if nodes.is_empty() {
        println!("nothing to retry: the last {which} left nothing undone");
        return Ok(());
    }
    let options = Options {
        full_refresh,
        nodes: Some(nodes),
        kinds: verb.kinds(),
        threads: build::threads(world, &project, None),
        ..build::settings(world)?
    };
    build::run_with(world, &project, options, last.get("args").cloned().unwrap_or_default()).await
}
