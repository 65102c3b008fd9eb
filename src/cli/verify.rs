//! `medallion verify`

use super::{World, grouped};
use crate::care::verify;
use crate::error::{Error, Result};

pub async fn run(world: &World) -> Result<()> {
    let engine = world.engine()?;
    let report = verify::run(&engine).await?;
    if report.tables == 0 {
        let lake = world.lake()?;
        return Err(Error::input(format!("the lake {} holds no table, so there is nothing to verify", lake.address()))
            .hint("is lake.url, or --lake, the lake that you mean?"));
    }
    let count = |n: i64| grouped(n.unsigned_abs());
    for p in &report.partitions {
        let lost = match p.marks.lost {
            0 => String::new(),
            n => format!(", {} lost (accepted)", count(n)),
        };
        println!(
            "{} {} {}: offsets {} to {}: {} rows, {} rejected, {} tombstones, {} gaps{lost}",
            p.table,
            p.topic,
            p.partition,
            p.marks.first.unwrap_or(0),
            p.marks.next.unwrap_or(0),
            count(p.rows),
            count(p.rejected),
            count(p.marks.tombstones),
            count(p.marks.gaps)
        );
    }
    println!("{} tables, {} files", report.tables, grouped(report.files as u64));
    if report.problems.is_empty() {
        println!("nothing is missing, nothing is double");
        return Ok(());
    }
    report.problems.iter().for_each(|problem| println!("wrong: {problem}"));
    Err(Error::failed(format!("{} things are wrong", report.problems.len())))
}
