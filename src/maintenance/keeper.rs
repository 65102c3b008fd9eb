//! The keeper looks after the tables of a process that writes them, beside their commits.
//!
//! One task a table writes checkpoints as commits are told. One thread for all tables goes round at an interval: what is
//! to be compacted, cleaned up or vacuumed is done under the table's lease, one table at a time, so that its memory is
//! that of one compaction. Whatever fails is said, counted, and tried again in the next round.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cleanup::{self, Cleaned};
use super::plan::{self, Sizes};
use super::{Counters, checkpoint, compact, vacuum};
use crate::config::CareConfig;
use crate::error::Result;
use crate::lake::{Lake, Table};

/// After so many commits, or so long after the last look, a round looks whether there is something to compact.
const WORTH_A_LOOK: u64 = 8;
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);
/// Log clean-up lists the whole log, so it comes at most this often, and about so many times a retention.
const CLEANUP_AT_MOST_EVERY: Duration = Duration::from_secs(3600);
const CLEANUPS_A_RETENTION: u32 = 20;
/// What is still under way when all else has ended may take so much longer.
const FAREWELL: Duration = Duration::from_secs(2);

/// A table to look after, and where its writer tells of versions that it committed.
pub struct Tended {
    pub table: Table,
    pub committed: watch::Sender<u64>,
}

pub struct Keeper {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// Begins to look after these tables. It leaves off once `leaving` turns true, or at [`Keeper::stop`].
    pub fn start(
        lake: &Lake,
        tended: &[Tended],
        config: &CareConfig,
        mut leaving: watch::Receiver<bool>,
        counters: Arc<Counters>,
    ) -> Keeper {
        let (stop, stopped) = watch::channel(false);
        let mut tasks: Vec<JoinHandle<()>> = tended
            .iter()
            .map(|t| {
                let (table, committed, counters) = (t.table.clone(), t.committed.subscribe(), counters.clone());
                let stopped = stopped.clone();
                tokio::spawn(async move { checkpoint::keep(table, committed, stopped, &counters).await })
            })
            .collect();
        let tables = tended.iter().map(|t| Rounds::of(&t.table, t.committed.subscribe(), config)).collect();
        let (lake, config, runtime) = (lake.clone(), config.clone(), Handle::current());
        // A thread of its own: decoding and encoding must not hold up what serves commits.
        tasks.push(tokio::task::spawn_blocking(move || {
            runtime.block_on(go_round(&lake, tables, &config, stopped, &counters));
        }));
        let (passed_on, mut until) = (stop.clone(), stop.subscribe());
        tasks.push(tokio::spawn(async move {
            tokio::select! {
                left = leaving.wait_for(|leaving| *leaving) => if left.is_ok() { passed_on.send_replace(true); },
                _ = until.wait_for(|stop| *stop) => {}
            }
        }));
        Keeper { stop, tasks }
    }

    /// Waits for what is under way to end. What takes too long is dropped, which leaves the tables as they are.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let all = futures::future::join_all(self.tasks);
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::debug!("maintenance is dropped half-way");
        }
    }
}

/// What rounds remember of a table.
struct Rounds {
    table: Table,
    committed: watch::Receiver<u64>,
    /// When compaction looked at it last, and the version then.
    looked: Option<Instant>,
    looked_at: u64,
    /// Files that were to be compacted then, unless that was done.
    waiting: usize,
    cleaned: Option<Instant>,
    vacuumed: Option<Instant>,
    log_retention: Duration,
    /// Deletions were refused, which was said.
    may_not_delete: bool,
}

async fn go_round(
    lake: &Lake,
    mut tables: Vec<Rounds>,
    config: &CareConfig,
    mut stop: watch::Receiver<bool>,
    counters: &Counters,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(config.interval) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        for table in &mut tables {
            if *stop.borrow() {
                return;
            }
            if let Err(e) = table.round(lake, config, &stop, counters).await {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(table = %table.table.name, error = %e, "maintenance failed; the next round tries again");
            }
        }
        let waiting = tables.iter().map(|table| table.waiting as u64).sum();
        counters.files_waiting.store(waiting, Ordering::Relaxed);
    }
}

impl Rounds {
    fn of(table: &Table, committed: watch::Receiver<u64>, config: &CareConfig) -> Rounds {
        let log_retention = config.log_retention;
        Rounds {
            table: table.clone(),
            committed,
            looked: None,
            looked_at: 0,
            waiting: 0,
            cleaned: None,
            vacuumed: None,
            log_retention,
            may_not_delete: false,
        }
    }

    async fn round(
        &mut self,
        lake: &Lake,
        config: &CareConfig,
        stop: &watch::Receiver<bool>,
        counters: &Counters,
    ) -> Result<()> {
        let version = *self.committed.borrow();
        let over = |last: Option<Instant>, interval: Duration| last.is_none_or(|last| last.elapsed() >= interval);
        let clean = over(self.cleaned, (self.log_retention / CLEANUPS_A_RETENTION).min(CLEANUP_AT_MOST_EVERY));
        let vacuum = over(self.vacuumed, config.vacuum_interval);
        let look = version >= self.looked_at + WORTH_A_LOOK || over(self.looked, LOOK_EVERY);
        let sizes = Sizes { target: config.target_file, min_age: config.min_age };
        let now = Utc::now();
        let mut compact = false;
        if look {
            (self.looked, self.looked_at) = (Some(Instant::now()), version);
            let Some(snapshot) = self.table.latest().await? else { return Ok(()) };
            self.log_retention = cleanup::retention(&snapshot, config.log_retention);
            self.waiting = plan::bins(&snapshot, sizes, now).iter().map(Vec::len).sum();
            compact = self.waiting > 0;
        }
        if !(clean || vacuum || compact) {
            return Ok(());
        }
        let lease = match super::lease(lake, &self.table.name).await? {
            Ok(lease) => lease,
            Err(held) => {
                tracing::debug!(reason = held.what(), "maintenance is done elsewhere");
                return Ok(());
            }
        };
        let done = async {
            if clean {
                self.cleaned = Some(Instant::now());
                let cleaned = cleanup::run(&self.table, self.log_retention, lease.taken_at, counters).await?;
                self.note_refusal(cleaned == Cleaned::Refused);
            }
            if vacuum {
                self.vacuumed = Some(Instant::now());
                let retention = config.vacuum_retention;
                let vacuumed = vacuum::run(&self.table, retention, lease.taken_at, false, counters).await?;
                self.note_refusal(vacuumed.refused);
            }
            // Last, for it may take long.
            if compact {
                let done = compact::run(&self.table, sizes, now, stop, counters).await?;
                self.waiting = self.waiting.saturating_sub(done.files_before);
            }
            Ok(())
        }
        .await;
        let released = lease.release().await;
        done.and(released)
    }

    fn note_refusal(&mut self, refused: bool) {
        if refused && !self.may_not_delete {
            self.may_not_delete = true;
            tracing::info!(
                table = %self.table.name,
                "this user may not delete: `medallion compact` and `medallion vacuum` with the role care clear away what no \
                 version needs"
            );
        }
    }
}
