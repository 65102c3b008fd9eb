//! `medallion compact`

use clap::Args;

use super::status::bytes;
use super::{World, grouped, stop_signal};
use crate::care::by_hand::{self, Report};
use crate::error::Result;
use crate::maintenance::cleanup::Cleaned;

#[derive(Args)]
pub struct Arguments {
    /// Bronze tables [default: all of them]
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let lake = world.lake()?;
    let stop = stop_signal("leaving after what is under way")?;
    for table in by_hand::chosen(&lake, &arguments.tables).await? {
        if *stop.borrow() {
            break;
        }
        let report = by_hand::compact(&lake, &table, &world.config.care, &stop).await?;
        println!("{table}: {}", told(&report));
    }
    Ok(())
}

fn told(report: &Report) -> String {
    let done = &report.compacted;
    let count = |n: usize| grouped(n as u64);
    let mut parts = vec![match done.commits {
        0 => "nothing to compact".to_owned(),
        _ => format!(
            "{} files ({}) became {} ({})",
            count(done.files_before),
            bytes(done.bytes_before),
            count(done.files_after),
            bytes(done.bytes_after)
        ),
    }];
    if done.conflicts > 0 {
        parts.push(format!("{} times another writer came first", count(done.conflicts)));
    }
    parts.extend(report.checkpoint.map(|version| format!("checkpoint of version {version}")));
    match report.cleaned {
        Cleaned::Deleted(0) => {}
        Cleaned::Deleted(files) => parts.push(format!("{} files of the log deleted", count(files))),
        Cleaned::Refused => parts.push("the log stays as long as it is, for this user may not delete".to_owned()),
    }
    parts.join("; ")
}
