//! `medallion ingest`

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use super::{World, grouped, stop_signal};
use crate::error::{Error, Result};
use crate::ingest::{self, Metrics, Options};

/// Once told to stop, ingest leaves within 10 s, even if the store answers nobody. It has that time to do so by itself.
const DEADLINE: Duration = Duration::from_millis(9_500);

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
    let lake = world.lake()?;
    let folder = &world.config.ingest.contracts;
    if !folder.is_dir() {
        let here = std::env::current_dir().unwrap_or_default();
        let folder = here.join(folder);
        tracing::warn!(folder = %folder.display(), "ingest.contracts is no folder: the contracts that came with medallion hold");
    }
    let late = late(stop.clone());
    tokio::select! {
        ended = ingest::run(&lake, &world.config, world.contracts()?, options, stop, metrics.clone()) => ended?,
        () = late => {
            return Err(Error::outside("the last commit did not end within the deadline")
                .hint("nothing is lost: what is not in the tables is read again"));
        }
    }
    tracing::info!(
        rows = grouped(metrics.rows()),
        rejected = grouped(metrics.rejected()),
        commits = grouped(metrics.commits()),
        "done"
    );
    Ok(())
}

async fn late(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(DEADLINE).await;
}
