//! An object store in memory that is slow, fails before or after it acts, acts late, and is away for a while: each as the
//! seed decides, at every call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::runtime::simulated::{below, elapsed, happens, note, sleep, start};

#[derive(Debug)]
pub struct Faulty {
    inner: Arc<InMemory>,
    /// Faults end when a history is to come to its end.
    calm: AtomicBool,
    /// Milliseconds of the simulation until which every call fails.
    away_until: AtomicU64,
}

fn failed(what: &str) -> Error {
    Error::Generic { store: "simulated", source: what.into() }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Faulty {
    pub fn new() -> Arc<Faulty> {
        let (calm, away_until) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Faulty { inner: Arc::default(), calm, away_until })
    }

    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// The store itself, for whoever judges.
    pub fn truth(&self) -> Arc<InMemory> {
        self.inner.clone()
    }

    fn fault(&self, probability: f64) -> bool {
        !self.calm.load(Ordering::Relaxed) && happens(probability)
    }

    fn go_away(&self) {
        let milliseconds = 100 + below(30_000);
        self.away_until.store(millis(elapsed()) + milliseconds, Ordering::Relaxed);
        note(format!("store: away for {milliseconds} ms"));
    }

    /// What every call goes through before it acts.
    async fn before(&self, call: &str, path: &Path) -> Result<()> {
        let milliseconds = match below(20) {
            0 => below(3000),
            _ => below(30),
        };
        sleep(Duration::from_millis(milliseconds)).await;
        if self.fault(0.002) {
            self.go_away();
        }
        if !self.calm.load(Ordering::Relaxed) && millis(elapsed()) < self.away_until.load(Ordering::Relaxed) {
            return Err(failed("away"));
        }
        if self.fault(0.01) {
            note(format!("store: {call} {path} fails before it acts"));
            return Err(failed("fails before it acts"));
        }
        Ok(())
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.before("put", path).await?;
        let creates = matches!(options.mode, PutMode::Create);
        // What matters most is how log entries fare.
        let rate = if path.as_ref().contains("_delta_log") { 1.0 } else { 0.2 };
        if self.fault(0.04 * rate) {
            // The answer says that it failed, and it is done later all the same.
            let (inner, path, wait) = (self.inner.clone(), path.clone(), Duration::from_millis(below(20_000)));
            note(format!("store: put {path} fails, and is done {} ms later", wait.as_millis()));
            start(0, async move {
                sleep(wait).await;
                let landed = inner.put_opts(&path, payload, options).await.is_ok();
                note(format!("store: late put of {path}: {}", if landed { "landed" } else { "was there" }));
            });
            if self.fault(0.2) {
                self.go_away();
            }
            return Err(failed("times out"));
        }
        if creates && self.fault(0.01) {
            note(format!("store: put {path} is falsely said to be there"));
            return Err(Error::AlreadyExists { path: path.to_string(), source: "falsely".into() });
        }
        let done = self.inner.put_opts(path, payload, options).await?;
        sleep(Duration::from_millis(below(10))).await;
        if self.fault(0.08 * rate) {
            note(format!("store: put {path} is done, and its answer is lost"));
            if self.fault(0.3) {
                self.go_away();
            }
            return Err(match (creates, below(3)) {
                // A proxy repeats it, and it meets itself.
                (true, 0) => Error::AlreadyExists { path: path.to_string(), source: "itself".into() },
                (true, 1) => Error::Precondition { path: path.to_string(), source: "itself".into() },
                _ => failed("times out"),
            });
        }
        Ok(done)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.before("get", path).await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fault(0.01) {
            true => futures::stream::once(async { Err(failed("list fails")) }).boxed(),
            false => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
