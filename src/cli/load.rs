//! `medallion load`

use std::path::PathBuf;

use chrono::Utc;
use clap::Args;

use super::{World, grouped};
use crate::contracts::Contract;
use crate::error::{Error, Result, nearest};
use crate::load::{self, Options};

#[derive(Args)]
pub struct Arguments {
    /// A contract of files, such as crm_customers
    source: String,
    /// A file or folder, in place of the contract's location
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// The extract is complete: what is absent has gone
    #[arg(long)]
    full: bool,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let contracts = world.contracts()?;
    let contract = find(&contracts, &arguments.source)?;
    let options = Options { from: arguments.from, full: arguments.full };
    let report = load::run(&world.engine()?, contract, &options, Utc::now()).await?;
    let mut said = format!(
        "bronze.{}: {} rows, {} rejected, from {} files",
        contract.name,
        grouped(report.rows),
        grouped(report.rejected),
        report.files
    );
    if report.known > 0 {
        said += &format!("; {} files had landed before", report.known);
    }
    if report.vanished > 0 {
        said += &format!("; {} keys have gone", grouped(report.vanished));
    }
    if let Some(watermark) = report.watermark {
        said += &format!("; newest {}", watermark.format("%F %T UTC"));
    }
    println!("{said}");
    Ok(())
}

pub fn find<'a>(contracts: &'a [Contract], name: &str) -> Result<&'a Contract> {
    contracts.iter().find(|c| c.name == name).ok_or_else(|| {
        let error = Error::input(format!("there is no contract `{name}`"));
        match nearest(name, contracts.iter().map(|c| c.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("ingest.contracts is the folder of contracts"),
        }
    })
}
