//! An object store that fails on cue, in the ways in which stores fail: before a write, after it, in between, or for a
//! while; and once more by doing late what it said it had not done. It can also stop answering for good at any call, which
//! is what a store sees of a process that dies.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

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
    state: Arc<Mutex<State>>,
    /// Nothing is answered; calls hang until it is over, and then fail.
    dead: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Fault>,
    away: u8,
    late: Vec<(u8, Path, PutPayload)>,
    /// Decides which calls take longer than others.
    calls: u64,
    /// Deletions are refused, as to a user who may only add.
    keeps_all: bool,
    /// The last call that is answered. Where there is one, calls take no time of their own.
    last: Option<u64>,
}

impl Faulty {
    /// The faults happen to the conditional PUTs in their order; after the last one the store is in order.
    pub fn new(script: Vec<Fault>) -> Arc<Faulty> {
        let state = State { script: script.into(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        Arc::new(Faulty { inner: InMemory::new(), state, dead: watch::Sender::new(false) })
    }

    /// A store with what is in another one now, and no faults.
    pub fn with_content_of(other: &InMemory) -> Arc<Faulty> {
        let (inner, state) = (other.fork(), Arc::default());
        Arc::new(Faulty { inner, state, dead: watch::Sender::new(false) })
    }

    /// Stops answering after so many more calls. A deletion among others is a call of its own.
    pub fn die_after(&self, calls: u64) {
        let mut state = self.state.lock().unwrap();
        state.last = Some(state.calls + calls);
    }

    /// Refuses all deletions from now on.
    pub fn refuse_deletions(&self) {
        self.state.lock().unwrap().keeps_all = true;
    }

    /// Waits until a call was not answered.
    pub async fn died(&self) {
        self.dead.subscribe().wait_for(|dead| *dead).await.unwrap();
    }

    /// Answers again. What hung fails.
    pub fn revive(&self) {
        self.state.lock().unwrap().last = Some(u64::MAX);
        self.dead.send_replace(false);
    }

    /// Counts a call, and fails once it is over with if it is one that is not answered.
    fn counted(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let (state, dead) = (self.state.clone(), self.dead.clone());
        async move {
            let dies = {
                let mut state = state.lock().unwrap();
                state.calls += 1;
                state.last.is_some_and(|last| state.calls > last)
            };
            if !dies {
                return Ok(());
            }
            dead.send_replace(true);
            let _ = dead.subscribe().wait_for(|dead| !dead).await;
            Err(broken("no answer came"))
        }
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
        self.counted().await?;
        let (due, away, calls) = {
            let mut state = self.state.lock().unwrap();
            if state.last.is_some() {
                return Ok(());
            }
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
        self.call().await?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.call().await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.state.lock().unwrap().keeps_all {
            let refused =
                |path: Path| Error::PermissionDenied { path: path.to_string(), source: "AccessDenied".into() };
            return paths.map(move |path| path.and_then(|path| Err(refused(path)))).boxed();
        }
        let counted = {
            let this = Faulty { inner: self.inner.clone(), state: self.state.clone(), dead: self.dead.clone() };
            move || this.counted()
        };
        let asked = paths.then(move |path| {
            let counted = counted();
            async move { counted.await.and(path) }
        });
        self.inner.delete_stream(asked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let away = {
            let mut state = self.state.lock().unwrap();
            let away = state.away > 0;
            state.away = state.away.saturating_sub(1);
            away
        };
        if away {
            return stream::iter([Err(broken("the store is away"))]).boxed();
        }
        let (counted, inner, prefix) = (self.counted(), self.inner.clone(), prefix.cloned());
        let listed = counted.map(move |counted| match counted {
            Ok(()) => inner.list(prefix.as_ref()),
            Err(e) => stream::iter([Err(e)]).boxed(),
        });
        listed.flatten_stream().boxed()
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
