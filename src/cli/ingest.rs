//! `medallion ingest`

use std::sync::Arc;

use clap::Args;

use super::{World, grouped, stop_signal};
use crate::error::Result;
use crate::ingest::{self, Metrics, Options};

#[derive(Args)]
pub struct Arguments {
    /// Only these topics or contracts
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    topics: Vec<String>,
    /// Stop when every partition is committed up to the end that it has at the start
    #[arg(long)]
    until_caught_up: bool,
    /// Go on behind records that Kafka deleted before they were ingested, and record that they are lost
    #[arg(long, value_delimiter = ',', value_name = "TOPIC:PARTITION")]
    accept_gap: Vec<String>,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let options = Options {
        topics: arguments.topics,
        until_caught_up: arguments.until_caught_up,
        accept_gaps: arguments.accept_gap,
    };
    let stop = stop_signal("committing what is in hand and leaving")?;
    ingest::run(&world.lake()?, &world.config, world.contracts()?, options, stop, metrics.clone()).await?;
    tracing::info!(
        rows = grouped(metrics.rows()),
        rejected = grouped(metrics.rejected()),
        commits = grouped(metrics.commits()),
        "done"
    );
    Ok(())
}
