//! Time, chance and tasks: the machine's, or a seed's when a simulation runs.
//!
//! What has to be right under every interleaving (commits, leases, ingest) takes its clock, its waits, its ids and its
//! tasks from here, so that a test can replay a history by its seed. Outside tests these are plain calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

#[cfg(test)]
pub mod simulated;

pub fn now() -> Instant {
    #[cfg(test)]
    if let Some(now) = simulated::now() {
        return now;
    }
    Instant::now()
}

pub fn utc_now() -> DateTime<Utc> {
    #[cfg(test)]
    if let Some(now) = simulated::utc_now() {
        return now;
    }
    Utc::now()
}

/// A number from 0 up to, not including, 1.
pub fn chance() -> f64 {
    #[cfg(test)]
    if let Some(chance) = simulated::chance() {
        return chance;
    }
    rand::random()
}

/// An id that nothing else has.
pub fn new_id() -> Uuid {
    #[cfg(test)]
    if let Some(id) = simulated::new_id() {
        return id;
    }
    Uuid::new_v4()
}

pub async fn sleep(time: Duration) {
    #[cfg(test)]
    if simulated::runs() {
        return simulated::sleep(time).await;
    }
    tokio::time::sleep(time).await;
}

/// Gives the work this long, and None if that was not enough.
pub async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (work, timer) = (std::pin::pin!(work), std::pin::pin!(sleep(time)));
    match futures::future::select(work, timer).await {
        futures::future::Either::Left((done, _)) => Some(done),
        futures::future::Either::Right(_) => None,
    }
}

/// Runs the work beside the caller. It goes on when the handle is dropped.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    #[cfg(test)]
    if simulated::runs() {
        return Task::Simulated(simulated::spawn(work));
    }
    Task::Real(tokio::spawn(work))
}

pub enum Task {
    Real(tokio::task::JoinHandle<()>),
    #[cfg(test)]
    Simulated(simulated::Handle),
}

impl Task {
    /// Ends the work where it stands, at its next wait.
    pub fn abort(&self) {
        match self {
            Task::Real(task) => task.abort(),
            #[cfg(test)]
            Task::Simulated(task) => task.abort(),
        }
    }

    pub fn is_finished(&self) -> bool {
        match self {
            Task::Real(task) => task.is_finished(),
            #[cfg(test)]
            Task::Simulated(task) => task.is_finished(),
        }
    }
}

/// Resolves once the work has ended, by itself or because it was ended.
impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Task::Real(task) => Pin::new(task).poll(context).map(|_| ()),
            #[cfg(test)]
            Task::Simulated(task) => Pin::new(task).poll(context),
        }
    }
}

/// A mistake that a simulation plants, to see that it is caught. Without one, always false.
#[inline(always)]
pub fn planted(_mistake: Mistake) -> bool {
    #[cfg(test)]
    return simulated::planted() == Some(_mistake);
    #[cfg(not(test))]
    false
}

/// Mistakes that can be planted where exactness is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// An error of the store is taken for "not done", and the next version is tried.
    RetryWithoutReading,
    /// "It is there already" is taken for another writer's entry.
    TakenMeansAnother,
    /// An entry that is there after an error is taken for ours.
    AnyEntryIsOurs,
    /// Log entries are written over what is there.
    OverwriteEntry,
    /// Another writer's marks are no obstacle.
    NoFence,
    /// Only the first of a commit's marks is a fence.
    OneFence,
    /// Another writer's first entry is passed over unread.
    UncheckedEntry,
    /// A mark that moved right after it was read is taken for read.
    FenceOneTooLate,
    /// What another writer set in an entry that an earlier commit of ours passed over is forgotten.
    PassedForgotten,
    /// Marks are said to be read later than they were.
    ReadAtIsForever,
    /// The mark is the offset of the last record, not of the next.
    LastInsteadOfNext,
    /// A record that is handed over twice is taken twice.
    TakeAgain,
    /// What Kafka passes over is not counted.
    GapsNotCounted,
    /// A tombstone is not counted.
    TombstonesNotCounted,
    /// Where a partition began is not recorded.
    FirstForgotten,
    /// A rejected record makes no row.
    RejectedDropped,
    /// Marks are taken while rows still wait in the builders.
    MarksBeforeRows,
    /// Of several topics of a table only one has its rows sent before a commit.
    RowsOfOneTopic,
    /// Of several topics of a table only one has its marks in a commit.
    MarksOfOneTopic,
    /// A partition is given up while its rows still wait in the builders.
    GiveUpUnflushed,
    /// A partition is taken over from where this process believes that it is.
    StartFromMemory,
    /// A partition without a mark is read from its end.
    StartAtEnd,
    /// The end of a partition says nothing of where the next record will be.
    EndIgnored,
    /// What is polled while fetching is paused is dropped.
    BacklogDropped,
    /// A fenced commit is taken for done.
    FencedTakenForDone,
    /// A failed commit is passed over, and the next one goes on behind it.
    GoOnAfterFailure,
    /// A file that could not be written is passed over.
    LostFileIgnored,
    /// A file that is still open when a commit is due goes into the next one.
    OpenFileCarriedOver,
    /// The files of a commit whose outcome is not known are deleted.
    DeleteAfterUnknown,
}
