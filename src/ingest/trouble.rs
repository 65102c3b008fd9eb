//! How long a store may refuse what is to be committed before ingest gives up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::runtime;

/// Since when the store refuses what is to be committed. A session that meets that starts over from the tables, which
/// costs nothing but reading again, until the store has had its time.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<Instant>>);

impl Trouble {
    pub fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is still worth trying, after an error.
    pub fn worth_trying(&self, error: &Error, patience: Duration) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert_with(runtime::now);
        error.kind() == Kind::Outside && !error.is_lasting() && runtime::now().duration_since(since) < patience
    }
}
