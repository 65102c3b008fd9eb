//! The generator's events on their way to the embedded broker, no faster than they are read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use crate::config::KafkaConfig;
use crate::error::{Error, Result};
use crate::generate::{Events, Producer};
use crate::ingest::Metrics;

/// The embedded broker keeps 5 MiB a partition and drops what is older. So no more than this many events may be on
/// their way: even if all were of one key they would be fewer bytes.
const UNREAD: u64 = 8_000;
/// Ingest commits every second; if nothing has landed for this long, nothing will.
const STANDSTILL: Duration = Duration::from_secs(60);

pub struct Stream {
    events: Events,
    producer: Producer,
    metrics: Arc<Metrics>,
    sent: u64,
}

impl Stream {
    pub fn new(events: Events, kafka: &KafkaConfig, metrics: Arc<Metrics>) -> Result<Stream> {
        Ok(Stream { events, producer: Producer::new(kafka)?, metrics, sent: 0 })
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends events until so many are sent in all, and waits until they are committed.
    pub async fn send_until(&mut self, total: u64, bar: &ProgressBar, daemon: &JoinHandle<Result<()>>) -> Result<()> {
        while self.sent < total {
            let taken = self.metrics.taken.load(Ordering::Relaxed);
            let room = UNREAD.saturating_sub(self.sent.saturating_sub(taken)).min(total - self.sent);
            if room < UNREAD / 4 && room < total - self.sent {
                self.wait_for(daemon, |c| c.taken.load(Ordering::Relaxed) > taken).await?;
                continue;
            }
            tokio::task::block_in_place(|| -> Result<()> {
                for event in self.events.by_ref().take(usize::try_from(room).unwrap_or(usize::MAX)) {
                    self.producer.send(&event)?;
                    self.sent += 1;
                }
                Ok(())
            })?;
            bar.inc(room);
        }
        tokio::task::block_in_place(|| self.producer.flush(STANDSTILL))?;
        self.wait_for(daemon, move |c| c.rows() + c.rejected() >= total).await
    }

    async fn wait_for(&self, daemon: &JoinHandle<Result<()>>, reached: impl Fn(&Metrics) -> bool) -> Result<()> {
        let began = Instant::now();
        while !reached(&self.metrics) {
            if daemon.is_finished() || began.elapsed() > STANDSTILL {
                return Err(Error::bug("ingest does not take the demo's events"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
