//! `medallion status`

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{World, grouped};
use crate::care::status;
use crate::engine::release;
use crate::error::Result;
use crate::ingest;
use crate::lake::TableName;

pub async fn run(world: &World) -> Result<()> {
    let engine = world.engine()?;
    let tables = status::tables(&engine.lake, &world.config.care).await?;
    let now = Utc::now();
    println!("{:<42} {:>8} {:>14} {:>6} {:>6} {:>10}  changed", "table", "version", "rows", "files", "small", "size");
    for t in &tables {
        println!(
            "{:<42} {:>8} {:>14} {:>6} {:>6} {:>10}  {}",
            t.name.to_string(),
            t.version,
            t.rows.map_or_else(|| "?".to_owned(), grouped),
            t.files,
            t.small_files,
            bytes(t.bytes),
            t.changed_at.map_or_else(|| "never".to_owned(), |at| age(now, at))
        );
    }
    if tables.is_empty() {
        println!("the lake {} is empty", engine.lake.address());
    }
    lag(world, Arc::new(engine.lake.clone())).await?;
    println!();
    match release::all(&engine).await?.last() {
        None => println!("no release yet: `medallion build` makes one"),
        Some(current) => println!(
            "release {} of {}: {} tables and views",
            current.id,
            current.created_at.format("%F %T UTC"),
            current.members.len()
        ),
    }
    Ok(())
}

/// How far the tables are behind the broker, as far as it answers.
async fn lag(world: &World, lake: Arc<crate::lake::Lake>) -> Result<()> {
    let mut routes = Vec::new();
    for contract in world.contracts()? {
        if contract.topics().is_some() {
            let table = lake.table(&TableName::new("bronze", contract.name.as_str()))?;
            if table.exists().await? {
                routes.push((contract, table));
            }
        }
    }
    if routes.is_empty() {
        return Ok(());
    }
    println!();
    match ingest::lag(&world.config, routes).await {
        Ok(topics) => {
            for (topic, records) in topics {
                println!("{topic:<42} {} records behind Kafka", grouped(records));
            }
        }
        Err(e) => println!("lag unknown: {}", e.what()),
    }
    Ok(())
}

/// Sizes in a way that people read: 1.5 MB.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// Ages in a way that people read: 5 min ago.
pub(super) fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
