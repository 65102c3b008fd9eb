//! A lease: one holder at a time, on any store that can create an object only if it is absent.
//!
//! Each state of the lease is a numbered object; the highest number holds. Taking, renewing and giving back each create
//! the next number, which only one writer can do. A holder that dies stops renewing, and its lease runs out. A lease
//! keeps builds from wasting work on each other; what makes commits safe is the Delta log alone, so clocks that differ
//! can cost time, never rows.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Lake, store};
use crate::error::{Error, Result};

/// A lease runs this long without renewal, and is renewed at a third of it.
const TERM: Duration = Duration::from_secs(60);
/// How often it is looked for the newest state before giving up.
const LOOKS: usize = 10;

#[derive(Serialize, Deserialize)]
struct State {
    holder: Uuid,
    /// Who, for people: user, host, process.
    name: String,
    since: DateTime<Utc>,
    /// None once it is given back.
    until: Option<DateTime<Utc>>,
}

/// Held until [`Lease::release`] or, failing that, until its term ends.
pub struct Lease {
    inner: Arc<Inner>,
    renewal: JoinHandle<()>,
    /// When it was taken, by the store's clock.
    pub taken_at: DateTime<Utc>,
    /// When the holder before began, if it never gave the lease back.
    pub abandoned: Option<DateTime<Utc>>,
}

struct Inner {
    lake: Lake,
    folder: Path,
    holder: Uuid,
    name: String,
    since: DateTime<Utc>,
}

/// Takes the lease called `what`, or says who holds it. A lease that somebody else holds is an error, as is a store that
/// does not answer; [`try_acquire`] tells the two apart.
pub async fn acquire(lake: &Lake, what: &str) -> Result<Lease> {
    match try_acquire(lake, what).await? {
        Ok(lease) => Ok(lease),
        Err(held) => Err(held),
    }
}

/// Takes the lease called `what`. The inner error is somebody else's lease.
pub async fn try_acquire(lake: &Lake, what: &str) -> Result<Result<Lease>> {
    let inner = Arc::new(Inner {
        lake: lake.clone(),
        folder: lake.own_path(&["leases", &what.replace(' ', "-")]),
        holder: Uuid::new_v4(),
        name: format!("process {} on {}", std::process::id(), host()),
        since: Utc::now(),
    });
    let current = inner.current().await?;
    if let Some((_, state)) = &current
        && let Some(until) = state.until
        && until > Utc::now()
    {
        let held = Error::outside(format!("another {what} is running on this lake: {}", state.name));
        return Ok(Err(held.hint(format!(
            "it began at {}; wait for it to end. If it is gone, its lease runs out at {}",
            state.since.format("%F %T UTC"),
            until.format("%T UTC")
        ))));
    }
    let abandoned = current.as_ref().filter(|(_, state)| state.until.is_some()).map(|(_, state)| state.since);
    let number = current.map_or(0, |(number, _)| number + 1);
    if !inner.put(number, Some(TERM)).await? {
        let held = Error::outside(format!("another {what} has just begun on this lake"));
        return Ok(Err(held.hint("wait for it to end")));
    }
    let taken_at = inner.forget_before(number).await?.unwrap_or_else(Utc::now);
    let renewing = inner.clone();
    let renewal = tokio::spawn(async move {
        loop {
            tokio::time::sleep(TERM / 3).await;
            if let Err(e) = renewing.extend(Some(TERM)).await {
                tracing::warn!(error = %e, "the lease could not be renewed");
            }
        }
    });
    Ok(Ok(Lease { inner, renewal, taken_at, abandoned }))
}

impl Lease {
    /// Fails if somebody else may have taken it, as when this process was stopped for longer than its term.
    pub async fn ensure_held(&self) -> Result<()> {
        let ours = |state: &State| state.holder == self.inner.holder && state.until.is_some_and(|u| u > Utc::now());
        match self.inner.current().await? {
            Some((_, state)) if ours(&state) => Ok(()),
            _ => Err(Error::outside("the lease was lost: this process did not renew it in time").hint(
                "another one may have begun meanwhile; what was published so far stands, the rest is left to it",
            )),
        }
    }

    /// Gives the lease back, so that the next holder need not wait for its end.
    pub async fn release(&self) -> Result<()> {
        self.renewal.abort();
        self.inner.extend(None).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Inner {
    fn path(&self, number: u64) -> Path {
        self.folder.clone().join(format!("{number:020}.json"))
    }

    async fn files(&self) -> Result<Vec<ObjectMeta>> {
        let listed = self.lake.store().list(Some(&self.folder)).try_collect().await;
        listed.map_err(|e| store::error("list", &self.folder, e))
    }

    async fn highest(&self) -> Result<Option<u64>> {
        Ok(self.files().await?.iter().filter_map(|f| number_of(&f.location)).max())
    }

    async fn read(&self, number: u64) -> Result<Option<State>> {
        let path = self.path(number);
        let bytes = match self.lake.store().get(&path).await {
            Ok(found) => found.bytes().await.map_err(|e| store::error("read", &path, e))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(store::error("read", &path, e)),
        };
        let state =
            serde_json::from_slice(&bytes).map_err(|e| Error::outside(format!("{path} is not a lease")).because(e))?;
        Ok(Some(state))
    }

    async fn current(&self) -> Result<Option<(u64, State)>> {
        for _ in 0..LOOKS {
            let Some(number) = self.highest().await? else { return Ok(None) };
            // A state that went away since it was listed has been followed by another.
            if let Some(state) = self.read(number).await? {
                return Ok(Some((number, state)));
            }
        }
        Err(Error::outside("the lease is changing hands all the time").hint("try again"))
    }

    /// Writes the next state. False if somebody else was faster.
    async fn put(&self, number: u64, term: Option<Duration>) -> Result<bool> {
        let state = State {
            holder: self.holder,
            name: self.name.clone(),
            since: self.since,
            until: term.map(|t| Utc::now() + t),
        };
        let body = serde_json::to_vec(&state).map_err(|e| Error::bug("a lease cannot be written").because(e))?;
        let path = self.path(number);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let answer = self.lake.store().put_opts(&path, body.into(), options).await;
        // The answer alone does not decide: our own PUT, repeated by the client, meets itself; one whose answer was lost
        // may be done, or may be done later, when others have passed its number and cleared it away. The highest number
        // is never cleared away, so one that is ours, and is the highest afterwards, was never passed.
        let ours = self.read(number).await?.is_some_and(|state| state.holder == self.holder);
        if ours && self.highest().await? == Some(number) {
            return Ok(true);
        }
        match answer {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(e) => Err(store::error("write", &path, e)),
        }
    }

    /// Only the highest number counts; the folder must not grow with time. Tells when `number` was written.
    async fn forget_before(&self, number: u64) -> Result<Option<DateTime<Utc>>> {
        let files = self.files().await?;
        let written = files.iter().find(|f| number_of(&f.location) == Some(number)).map(|f| f.last_modified);
        for file in files.iter().filter(|f| number_of(&f.location).is_some_and(|n| n < number)) {
            match self.lake.store().delete(&file.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                // Whoever may delete clears them away with the next lease.
                Err(e) if store::is_refused(&e) => {
                    tracing::debug!(error = %e, "earlier states of the lease stay behind");
                    break;
                }
                Err(e) => return Err(store::error("delete", &file.location, e)),
            }
        }
        Ok(written)
    }

    async fn extend(&self, term: Option<Duration>) -> Result<()> {
        if let Some((number, state)) = self.current().await?
            && state.holder == self.holder
            && self.put(number + 1, term).await?
        {
            return self.forget_before(number + 1).await.map(drop);
        }
        Err(Error::outside("the lease was lost to another process"))
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "this machine".to_owned(), |h| h.trim().to_owned())
}
