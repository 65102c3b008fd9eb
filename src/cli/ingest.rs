//! `medallion ingest`

use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;

use super::{World, grouped, stop_signal};
use crate::error::Result;
use crate::ingest::{self, Counters, Options};

#[derive(Args)]
pub struct Arguments {
    /// Only these topics or contracts
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    topics: Vec<String>,
    /// Stop when every partition is committed up to the end that it has at the start
    #[arg(long)]
    until_caught_up: bool,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let counters = Arc::new(Counters::default());
    let options = Options { topics: arguments.topics, until_caught_up: arguments.until_caught_up };
    let stop = stop_signal()?;
    ingest::run(&world.lake()?, &world.config, world.contracts()?, options, stop, counters.clone()).await?;
    let total = |n: &std::sync::atomic::AtomicU64| grouped(n.load(Ordering::Relaxed));
    tracing::info!(
        rows = total(&counters.rows),
        rejected = total(&counters.rejected),
        commits = total(&counters.commits),
        "done"
    );
    Ok(())
}
