//! `medallion sql`

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::World;
use crate::error::{Error, Result};
use crate::shell::{Format, Shell};

#[derive(Args)]
pub struct Arguments {
    /// Run this and leave; may be repeated
    #[arg(short, value_name = "TEXT")]
    command: Vec<String>,
    /// Run this file and leave; - is standard input
    #[arg(short, value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// table, csv, tsv, json, ndjson or parquet
    #[arg(long, default_value = "table")]
    format: String,
    /// Read this release instead of the newest
    #[arg(long, value_name = "ID")]
    release: Option<u64>,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let format: Format = arguments.format.parse()?;
    let engine = world.engine()?;
    engine.lake.ensure_reachable().await?;
    let shell = Shell::open(engine, format, arguments.release).await?;
    for (number, text) in arguments.command.iter().enumerate() {
        let name = if arguments.command.len() == 1 { "-c".to_owned() } else { format!("-c {}", number + 1) };
        shell.run(&name, text).await?;
    }
    if !arguments.command.is_empty() {
        return Ok(());
    }
    let piped = !std::io::stdin().is_terminal();
    match arguments.file {
        Some(file) if file.as_os_str() != "-" => {
            let shown = file.display().to_string();
            let text =
                std::fs::read_to_string(&file).map_err(|e| Error::input(format!("cannot read {shown}")).because(e))?;
            shell.run(&shown, &text).await.map(|_| ())
        }
        None if !piped => shell.converse().await,
        _ => {
            let text = std::io::read_to_string(std::io::stdin())
                .map_err(|e| Error::input("cannot read standard input").because(e))?;
            shell.run("standard input", &text).await.map(|_| ())
        }
    }
}
