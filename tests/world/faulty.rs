//! An object store that fails on cue, in the ways in which stores fail: before a write, after it, in between, or for a
//! while; and once more by doing late what it said it had not done.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to one conditional PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It is done, and the answer is lost.
    LostAnswer,
    /// It is not done.
    NotDone,
    /// It is done, and repeated by something on the way: the answer says that the object was there.
    MetItself,
    /// The same with the other error that stores have for it.
    MetItselfAsPrecondition,
    /// It is not done, and the answer says that the object was there, as for two at the same time.
    FalselyTaken,
    /// The answer is an error, and it is done after so many further calls, if nothing is there by then.
    Late(u8),
    /// It is not done, and from then on nothing is for so many calls.
    Away(u8),
    /// It is done, and from then on nothing is for so many calls.
    DoneThenAway(u8),
}

#[derive(Debug)]
pub struct Faulty {
    inner: InMemory,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Fault>,
    away: u8,
    late: Vec<(u8, Path, PutPayload)>,
    /// Decides which calls take longer than others.
    calls: u64,
}

impl Faulty {
    /// The faults happen to the conditional PUTs in their order; after the last one the store is in order.
    pub fn new(script: Vec<Fault>) -> Arc<Faulty> {
        let state = State { script: script.into(), ..State::default() };
        Arc::new(Faulty { inner: InMemory::new(), state: Mutex::new(state) })
    }

    /// What happens from now on.
    pub fn script(&self, script: Vec<Fault>) {
        self.state.lock().unwrap().script = script.into();
    }

    /// Ends all faults, and does what is still to be done late.
    pub async fn settle(&self) {
        let state = std::mem::take(&mut *self.state.lock().unwrap());
        for (_, path, payload) in state.late {
            self.land(path, payload).await;
        }
    }

    async fn land(&self, path: Path, payload: PutPayload) {
        let _ = self.inner.put_opts(&path, payload, PutMode::Create.into()).await;
    }

    /// One call: time passes, what is late may land, and the store may be away.
    async fn call(&self) -> Result<()> {
        let (due, away, calls) = {
            let mut state = self.state.lock().unwrap();
            state.calls += 1;
            state.late.iter_mut().for_each(|(wait, ..)| *wait = wait.saturating_sub(1));
            let (due, late): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.late).into_iter().partition(|(wait, ..)| *wait == 0);
            state.late = late;
            let away = state.away > 0;
            state.away = state.away.saturating_sub(1);
            (due, away, state.calls)
        };
        for (_, path, payload) in due {
            self.land(path, payload).await;
        }
        // Lets the other writers come in between, now and then for longer.
        tokio::task::yield_now().await;
        if calls.is_multiple_of(3) {
            tokio::time::sleep(Duration::from_millis(1 + calls % 4)).await;
        }
        if away { Err(broken("the store is away")) } else { Ok(()) }
    }
}

fn broken(what: &str) -> Error {
    Error::Generic { store: "Faulty", source: what.into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.call().await?;
        if !matches!(options.mode, PutMode::Create) {
            return self.inner.put_opts(path, payload, options).await;
        }
        let fault = self.state.lock().unwrap().script.pop_front().unwrap_or(Fault::None);
        let done = match fault {
            Fault::NotDone | Fault::FalselyTaken | Fault::Late(_) | Fault::Away(_) => None,
            _ => Some(self.inner.put_opts(path, payload.clone(), options).await?),
        };
        // The answer takes its time too.
        tokio::task::yield_now().await;
        let path_text = path.to_string();
        match fault {
            Fault::None => Ok(done.unwrap()),
            Fault::LostAnswer => Err(broken("the answer was lost")),
            Fault::NotDone => Err(broken("the connection was refused")),
            Fault::MetItself | Fault::FalselyTaken => {
                Err(Error::AlreadyExists { path: path_text, source: "it exists".into() })
            }
            Fault::MetItselfAsPrecondition => Err(Error::Precondition { path: path_text, source: "it exists".into() }),
            Fault::Late(calls) => {
                self.state.lock().unwrap().late.push((calls, path.clone(), payload));
                Err(broken("no answer in time"))
            }
            Fault::Away(calls) | Fault::DoneThenAway(calls) => {
                self.state.lock().unwrap().away = calls;
                Err(broken("the connection was reset"))
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.call().await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let away = {
            let mut state = self.state.lock().unwrap();
            let away = state.away > 0;
            state.away = state.away.saturating_sub(1);
            away
        };
        if away { stream::iter([Err(broken("the store is away"))]).boxed() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}
