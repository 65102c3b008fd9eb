//! `medallion vacuum`

use std::time::Duration;

use clap::Args;

use super::status::bytes;
use super::{World, grouped};
use crate::care::by_hand;
use crate::config::parse_duration;
use crate::error::{Error, Result};
use crate::maintenance::vacuum::{Vacuumed, ensure_safe};

#[derive(Args)]
pub struct Arguments {
    /// Bronze tables [default: all of them]
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// How long files stay that no version names any more [default: care.vacuum_retention]
    #[arg(long, value_name = "7d")]
    retention: Option<String>,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Allow a retention under a day, when nothing else reads the lake
    #[arg(long)]
    force: bool,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let retention: Duration = match &arguments.retention {
        Some(text) => parse_duration(text).map_err(|e| e.context("--retention"))?,
        None => world.config.care.vacuum_retention,
    };
    ensure_safe(retention, world.config.ingest.commit_timeout, arguments.force)?;
    let lake = world.lake()?;
    for table in by_hand::chosen(&lake, &arguments.tables).await? {
        let vacuumed = by_hand::vacuum(&lake, &table, retention, arguments.dry_run).await?;
        println!("{table}: {}", told(&vacuumed, arguments.dry_run));
        if vacuumed.refused {
            return Err(Error::outside(format!("{table}: the store refuses to delete"))
                .hint("vacuum with the credentials of the role care; ingest never deletes"));
        }
    }
    Ok(())
}

fn told(vacuumed: &Vacuumed, dry_run: bool) -> String {
    let count = |n: usize| grouped(n as u64);
    let mut told = match (vacuumed.files, dry_run) {
        (0, _) => "nothing to delete".to_owned(),
        (files, true) => format!("{} files ({}) would be deleted", count(files), bytes(vacuumed.bytes)),
        (files, false) if vacuumed.deleted == files => {
            format!("{} files ({}) deleted", count(files), bytes(vacuumed.bytes))
        }
        (files, false) => format!("{} of {} files deleted", count(vacuumed.deleted), count(files)),
    };
    if vacuumed.foreign > 0 {
        told.push_str(&format!("; {} files with names of another writer stay", count(vacuumed.foreign)));
    }
    told
}
