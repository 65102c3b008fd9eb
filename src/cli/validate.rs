//! `medallion validate`: everything that can be known to be wrong before anything runs.

use chrono::Utc;

use super::World;
use crate::contracts::{Contract, Framing};
use crate::error::{Error, Kind, Result};
use crate::ingest;
use crate::models;
use crate::registry::Client;

pub async fn run(world: &World) -> Result<()> {
    // Each check is made, whatever the others found: one run tells all there is to mend.
    let mut worst: Option<Kind> = None;
    let mut say = |what: &str, outcome: Result<String>| match outcome {
        Ok(detail) => println!("ok     {what}: {detail}"),
        Err(e) => {
            worst = worst.max_by_code(e.kind());
            println!("WRONG  {what}: {e}");
        }
    };
    say("configuration", Ok("read".to_owned()));
    let contracts = world.contracts();
    let to_read: Vec<Contract> = contracts.iter().flatten().cloned().collect();
    let framings: Vec<_> = contracts.iter().flatten().filter_map(Contract::registry).collect();
    say("contracts", contracts.map(|c| format!("{} tables", c.len())));
    let options = models::Options { run_started_at: Utc::now(), ..models::Options::default() };
    let project = models::load(&world.config.build.project, &options);
    say("project", project.map(|p| format!("{} with {} nodes", p.name, p.nodes.len())));
    let key = world.key();
    say(
        "privacy key",
        key.map(|k| {
            k.map_or_else(|| "none (models that hash personal data need one)".to_owned(), |k| format!("{k:?}"))
        }),
    );
    say("store", store(world).await);
    say("broker", ingest::check(&world.config, &to_read).await);
    if !framings.is_empty() {
        say("schema registry", registry(world, &framings).await);
    }
    match worst {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, "not everything is as it should be")),
    }
}

/// Reads, and writes and deletes what may be deleted, as a build would.
async fn store(world: &World) -> Result<String> {
    let lake = world.lake()?;
    let tables = lake.tables().await?.len();
    let lease = crate::lake::lease::acquire(&lake, "validate").await?;
    lease.release().await?;
    Ok(format!("{} with {tables} tables, can be written", lake.address()))
}

/// Asks the registry in each of the ways in which the contracts' records will need it.
async fn registry(world: &World, framings: &[Framing]) -> Result<String> {
    let Some(client) = Client::new(&world.config.registry)? else {
        return Err(Error::input("a contract needs a schema registry, and none is configured").hint("set registry.url"));
    };
    for framing in framings {
        client.check(framing.api()).await?;
    }
    Ok(format!("{} answers", client.address()))
}

trait Worst {
    fn max_by_code(self, kind: Kind) -> Option<Kind>;
}

impl Worst for Option<Kind> {
    fn max_by_code(self, kind: Kind) -> Option<Kind> {
        match self {
            Some(known) if known.exit_code() >= kind.exit_code() => Some(known),
            _ => Some(kind),
        }
    }
}
