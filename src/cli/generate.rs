//! `medallion generate`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;

use super::{World, grouped};
use crate::error::{Error, Result};
use crate::generate::{Crm, Event, Events, Producer, Settings};

#[derive(Args)]
pub struct Arguments {
    /// Write JSON lines into this folder, a file a topic, instead of sending to Kafka
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Write the CRM's extracts into this folder as CSV
    #[arg(long, value_name = "DIR")]
    crm: Option<PathBuf>,
    /// In how many batches the CRM is extracted
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    crm_batches: u32,
    /// How many events; 0 for none
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Events a second; as fast as possible if left out
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Only this topic
    #[arg(long)]
    topic: Option<String>,
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Customers of the carrier
    #[arg(long, default_value_t = Settings::default().customers)]
    customers: u32,
    /// When the stream begins [default: 2025-03-03]
    #[arg(long, value_name = "TIME")]
    start: Option<DateTime<Utc>>,
    /// How many days it spans
    #[arg(long, default_value_t = 14)]
    days: u32,
    /// Share of records that something is wrong with
    #[arg(long, default_value_t = Settings::default().dirty)]
    dirty: f64,
    /// Share of records that come once more
    #[arg(long, default_value_t = Settings::default().duplicates)]
    duplicates: f64,
    /// Share of records that come hours late
    #[arg(long, default_value_t = Settings::default().late)]
    late: f64,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let settings = Settings {
        seed: arguments.seed,
        start: arguments.start.unwrap_or(Settings::default().start),
        span: TimeDelta::days(i64::from(arguments.days)),
        customers: arguments.customers,
        dirty: arguments.dirty,
        duplicates: arguments.duplicates,
        late: arguments.late,
    };
    settings.check()?;
    if let Some(folder) = &arguments.crm {
        make(folder)?;
        let crm = Crm::new(&settings)?;
        for number in 1..=arguments.crm_batches {
            let file = folder.join(format!("customers-{number:03}.csv"));
            let rows = crm.batch(number, arguments.crm_batches);
            Crm::write_csv(&rows, &file)?;
            println!("{}: {} rows", file.display(), grouped(rows.len() as u64));
        }
    }
    let events = match &arguments.topic {
        Some(topic) => Events::only(&settings, topic, arguments.events)?,
        None => Events::new(&settings, arguments.events)?,
    };
    let kafka = world.config.kafka.clone();
    let work = move || match &arguments.to {
        Some(folder) => to_files(events, folder, arguments.rate),
        None => to_kafka(events, &kafka, arguments.rate),
    };
    let sent = tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug("the generator ended").because(e))??;
    for (topic, count) in sent {
        println!("{topic}: {} events", grouped(count));
    }
    Ok(())
}

type Counts = BTreeMap<&'static str, u64>;

fn to_kafka(events: Events, kafka: &crate::config::KafkaConfig, rate: Option<u64>) -> Result<Counts> {
    let producer = Producer::new(kafka)?;
    let sent = paced(events, rate, |event| producer.send(event))?;
    producer.flush(Duration::from_secs(30))?;
    Ok(sent)
}

fn to_files(events: Events, folder: &PathBuf, rate: Option<u64>) -> Result<Counts> {
    make(folder)?;
    let mut files: BTreeMap<&'static str, BufWriter<File>> = BTreeMap::new();
    let failed = |e| Error::outside(format!("cannot write into {}", folder.display())).because(e);
    let sent = paced(events, rate, |event| {
        if !files.contains_key(event.topic) {
            let file = File::create(folder.join(format!("{}.json", event.topic))).map_err(failed)?;
            files.insert(event.topic, BufWriter::new(file));
        }
        match files.get_mut(event.topic) {
            Some(file) => file.write_all(&event.value).and_then(|()| file.write_all(b"\n")).map_err(failed),
            None => Ok(()),
        }
    })?;
    files.values_mut().try_for_each(|f| f.flush()).map_err(failed)?;
    Ok(sent)
}

fn paced(events: Events, rate: Option<u64>, mut send: impl FnMut(&Event) -> Result<()>) -> Result<Counts> {
    let began = Instant::now();
    let mut counts = Counts::new();
    for (number, event) in events.enumerate() {
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        send(&event)?;
        *counts.entry(event.topic).or_default() += 1;
    }
    Ok(counts)
}

fn make(folder: &PathBuf) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::outside(format!("cannot make {}", folder.display())).because(e))
}
