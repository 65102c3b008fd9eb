//! `medallion demo`: the whole main job before the reader's eyes, with nothing else installed.
//!
//! An embedded broker speaks Kafka's protocol over real sockets; ingest and build run exactly as they do in production.
//! Events and CRM come in three batches with a build after each, so that increments and history happen on the way.

mod broker;
mod place;
mod stream;
mod summary;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::{World, build, grouped};
use crate::build::Options as BuildOptions;
use crate::contracts;
use crate::error::{Error, Result};
use crate::generate::{Crm, Events, Settings};
use crate::ingest::{self, Metrics};
use crate::load;
use crate::models::{self, Project};
use place::Place;
use stream::Stream;

const BATCHES: u32 = 3;

#[derive(Args)]
pub struct Arguments {
    /// The folder of the demo's lake
    #[arg(long, default_value = "medallion-demo")]
    dir: PathBuf,
    /// How many events
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..))]
    events: u64,
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
}

pub async fn run(mut world: World, arguments: Arguments) -> Result<()> {
    let began = Instant::now();
    let place = Place::open(&arguments.dir, arguments.seed, arguments.events)?;
    world.config.lake.url = arguments.dir.display().to_string();
    if std::env::var_os("MEDALLION_PII_KEY").is_none() {
        world.config.privacy.key_file = Some(place.key_file()?);
    }
    let folder = place.project(&world.config.build.project)?;
    world.config.build.project = folder;
    let times = if place.is_complete() {
        eprintln!("{} holds this demo already: building what is stale, which is nothing\n", arguments.dir.display());
        vec![build_all(&world, &Arc::new(project(&world)?)).await?]
    } else {
        let times = play(&mut world, &arguments, &place).await?;
        place.complete()?;
        times
    };
    summary::show(&world, &arguments.dir, began.elapsed(), &times).await
}

/// What one round took, for the table at the end.
#[derive(Debug, Clone, Default)]
pub struct Times {
    pub bronze: Duration,
    pub silver: Duration,
    pub gold: Duration,
}

async fn play(world: &mut World, arguments: &Arguments, place: &Place) -> Result<Vec<Times>> {
    let settings = Settings { seed: arguments.seed, ..Settings::default() };
    let contracts = contracts::defaults()?;
    // Kept until everything that talks to it has ended.
    let broker = broker::start(&contracts)?;
    world.config.kafka.brokers = broker.address();
    world.config.kafka.properties.clear();
    world.config.ingest.metrics_address = "127.0.0.1:0".to_owned();
    eprintln!("a broker on {} and a lake in {}\n", broker.address(), arguments.dir.display());
    let crm_contract = super::load::find(&contracts, "crm_customers")?.clone();

    let metrics = Arc::new(Metrics::default());
    let (stop, stopped) = watch::channel(false);
    let daemon = {
        let (lake, config, metrics) = (world.lake()?, world.config.clone(), metrics.clone());
        let options = ingest::Options::default();
        tokio::spawn(async move { ingest::run(&lake, &config, contracts, options, stopped, metrics).await })
    };
    let crm = Crm::new(&settings)?;
    let mut stream = Stream::new(Events::new(&settings, arguments.events)?, &world.config.kafka, metrics.clone())?;
    let mut rounds = Vec::new();
    for batch in 1..=BATCHES {
        let began = Instant::now();
        let bar = progress(arguments.events / u64::from(BATCHES), &format!("batch {batch} of {BATCHES}: events"));
        let until = arguments.events * u64::from(batch) / u64::from(BATCHES);
        let sent = stream.send_until(until, &bar, &daemon).await;
        if let Err(e) = sent {
            // The daemon knows better than its feeder why nothing moves.
            return Err(match daemon.is_finished() {
                true => ended(daemon).await.err().unwrap_or(e),
                false => e,
            });
        }
        bar.finish_and_clear();
        let file = place.crm_file(batch)?;
        Crm::write_csv(&crm.batch(batch, BATCHES), &file)?;
        let options = load::Options { from: Some(file), full: false };
        let loaded = load::run(&world.engine()?, &crm_contract, &options, Utc::now()).await?;
        let bronze = began.elapsed();
        eprintln!(
            "batch {batch} of {BATCHES}: {} events and {} customer rows in Bronze after {:.1} s",
            grouped(stream.sent()),
            grouped(loaded.rows),
            bronze.as_secs_f64()
        );
        match build_all(world, &Arc::new(project(world)?)).await {
            Ok(times) => rounds.push(Times { bronze, ..times }),
            Err(e) => {
                let _ = stop.send(true);
                ended(daemon).await?;
                return Err(e);
            }
        }
    }
    // Ingest ends as it would on SIGTERM; the last commit is in the table.
    let _ = stop.send(true);
    ended(daemon).await?;
    drop(stream);
    let landed = metrics.rows() + metrics.rejected();
    if landed != arguments.events {
        return Err(Error::bug(format!("{} events were sent, {landed} landed", arguments.events)));
    }
    Ok(rounds)
}

async fn ended(daemon: tokio::task::JoinHandle<Result<()>>) -> Result<()> {
    daemon.await.map_err(|e| Error::bug("ingest ended").because(e))?
}

fn project(world: &World) -> Result<Project> {
    let options = models::Options { run_started_at: Utc::now(), ..models::Options::default() };
    models::load(&world.config.build.project, &options)
}

async fn build_all(world: &World, project: &Arc<Project>) -> Result<Times> {
    let bar = progress(project.order().len() as u64, "building");
    let mut times = Times::default();
    let options = BuildOptions { threads: build::threads(world, project, None), ..build::settings(world)? };
    let summary = build::execute(world, project, options, Utc::now(), watch::channel(false).1, &mut |result| {
        bar.inc(1);
        match result.relation.split('.').next() {
            Some("silver") => times.silver += result.elapsed,
            Some("gold") => times.gold += result.elapsed,
            _ => {}
        }
    })
    .await?;
    bar.finish_and_clear();
    for result in &summary.results {
        let how = result.how;
        if let Some(rows) = result.rows {
            eprintln!(
                "    {:<42} {how:<13} {:>12} rows {:>6.2} s",
                result.relation,
                grouped(rows),
                result.elapsed.as_secs_f64()
            );
        }
    }
    eprintln!("  {}\n", build::closing(&summary));
    match summary.failure() {
        None => Ok(times),
        Some(kind) => {
            for result in summary.results.iter().filter(|r| r.status.is_failure()) {
                eprintln!("{}: {}", result.name, result.message);
            }
            Err(Error::new(kind, "the demo's build failed"))
        }
    }
}

fn progress(length: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(what.to_owned())
}
