//! One thread on which everything happens in an order that a seed decides: which task runs next, how time passes, what
//! is drawn by lot. The same seed gives the same history.
//!
//! Tasks belong to processes, which can be killed (all their tasks are dropped where they stand) or frozen (time goes by
//! without them). Time passes only when no task can run.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::Mistake;

/// What runs in one process: 0 is the world around.
pub type Process = u32;
type Work = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static RUNNING: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

struct World {
    began: Instant,
    elapsed: Cell<Duration>,
    rng: RefCell<SmallRng>,
    tasks: RefCell<BTreeMap<u64, Entry>>,
    next_task: Cell<u64>,
    current: Cell<Process>,
    frozen: RefCell<BTreeSet<Process>>,
    /// Woken tasks. Wakers must be Send, so this is behind a lock that nobody contends for.
    ready: Arc<Mutex<BTreeSet<u64>>>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    next_timer: Cell<u64>,
    planted: Option<Mistake>,
    history: RefCell<Vec<String>>,
}

struct Entry {
    process: Process,
    /// None while it is being polled.
    work: Option<Work>,
    ended: Arc<Ended>,
}

#[derive(Default)]
struct Ended {
    done: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Ended {
    fn set(&self) {
        self.done.store(true, Ordering::Relaxed);
        self.waiting.lock().unwrap().drain(..).for_each(Waker::wake);
    }
}

struct Alarm {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().insert(self.task);
    }
}

/// Runs `root` to its end, and gives what it answers with the history that led there. An error is a simulation that
/// panicked, or in which nothing can happen any more.
pub fn run<T: 'static>(
    seed: u64,
    planted: Option<Mistake>,
    root: impl Future<Output = T> + 'static,
) -> (Result<T, String>, Vec<String>) {
    let world = Rc::new(World {
        began: Instant::now(),
        elapsed: Cell::default(),
        rng: RefCell::new(SmallRng::seed_from_u64(seed)),
        tasks: RefCell::default(),
        next_task: Cell::default(),
        current: Cell::default(),
        frozen: RefCell::default(),
        ready: Arc::default(),
        timers: RefCell::default(),
        next_timer: Cell::default(),
        planted,
        history: RefCell::default(),
    });
    RUNNING.with(|running| *running.borrow_mut() = Some(world.clone()));
    let answer = Rc::new(RefCell::new(None));
    let kept = answer.clone();
    start(0, async move {
        let answer = root.await;
        *kept.borrow_mut() = Some(answer);
    });
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        loop {
            if let Some(answer) = answer.borrow_mut().take() {
                return Ok(answer);
            }
            if !world.step() && !world.pass_time() {
                return Err("nothing can happen any more".to_owned());
            }
        }
    }));
    let outcome = outcome.unwrap_or_else(|_| Err("a panic".to_owned()));
    // Dropping tasks may wake others, or look at the clock.
    let left = std::mem::take(&mut *world.tasks.borrow_mut());
    drop(left);
    RUNNING.with(|running| *running.borrow_mut() = None);
    (outcome, world.history.take())
}

impl World {
    /// Runs one task that can run. False if there is none.
    fn step(&self) -> bool {
        let task = {
            let mut ready = self.ready.lock().unwrap();
            let (tasks, frozen) = (self.tasks.borrow(), self.frozen.borrow());
            ready.retain(|task| tasks.contains_key(task));
            let able: Vec<u64> = ready.iter().copied().filter(|t| !frozen.contains(&tasks[t].process)).collect();
            if able.is_empty() {
                return false;
            }
            let chosen = able[self.rng.borrow_mut().random_range(0..able.len())];
            ready.remove(&chosen);
            chosen
        };
        let (process, work) = match self.tasks.borrow_mut().get_mut(&task) {
            Some(entry) => (entry.process, entry.work.take()),
            None => return true,
        };
        let Some(mut work) = work else { return true };
        let waker = Waker::from(Arc::new(Alarm { task, ready: self.ready.clone() }));
        self.current.set(process);
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        self.current.set(0);
        let mut finished = None;
        {
            let mut tasks = self.tasks.borrow_mut();
            match polled {
                Poll::Ready(()) => finished = tasks.remove(&task),
                // It may have been killed while it ran.
                Poll::Pending => {
                    if let Some(entry) = tasks.get_mut(&task) {
                        entry.work = Some(work);
                        return true;
                    }
                }
            }
        }
        if let Some(entry) = finished {
            entry.ended.set();
        }
        true
    }

    /// Goes on to the next moment for which somebody waits. False if nobody waits.
    fn pass_time(&self) -> bool {
        let next = self.timers.borrow_mut().pop_first();
        let Some(((when, _), waker)) = next else { return false };
        self.elapsed.set(self.elapsed.get().max(when));
        waker.wake();
        true
    }

    fn remove(&self, wanted: impl Fn(&u64, &Entry) -> bool) {
        let gone: Vec<Entry> = {
            let mut tasks = self.tasks.borrow_mut();
            let ids: Vec<u64> = tasks.iter().filter(|(id, entry)| wanted(id, entry)).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| tasks.remove(id)).collect()
        };
        for entry in gone {
            drop(entry.work);
            entry.ended.set();
        }
    }
}

fn world() -> Option<Rc<World>> {
    RUNNING.with(|running| running.borrow().clone())
}

fn here() -> Rc<World> {
    world().expect("only inside a simulation")
}

pub fn runs() -> bool {
    world().is_some()
}

pub fn elapsed() -> Duration {
    here().elapsed.get()
}

pub fn now() -> Option<Instant> {
    world().map(|w| w.began + w.elapsed.get())
}

pub fn utc_now() -> Option<DateTime<Utc>> {
    // Late enough in a day that some histories go over midnight.
    let began = Utc.with_ymd_and_hms(2024, 2, 28, 23, 59, 30).single()?;
    world().map(|w| began + TimeDelta::from_std(w.elapsed.get()).unwrap_or_default())
}

pub fn chance() -> Option<f64> {
    world().map(|w| w.rng.borrow_mut().random())
}

pub fn new_id() -> Option<Uuid> {
    world().map(|w| uuid::Builder::from_random_bytes(w.rng.borrow_mut().random()).into_uuid())
}

pub fn planted() -> Option<Mistake> {
    world().and_then(|w| w.planted)
}

/// Whether something happens that happens with this probability.
pub fn happens(probability: f64) -> bool {
    here().rng.borrow_mut().random_bool(probability)
}

/// A number below `end`.
pub fn below(end: u64) -> u64 {
    here().rng.borrow_mut().random_range(0..end)
}

/// Adds a line to the history.
pub fn note(line: impl Display) {
    let world = here();
    let line = format!("{:>9.3} s  {line}", world.elapsed.get().as_secs_f64());
    world.history.borrow_mut().push(line);
}

/// A task of the running process.
pub fn spawn(work: impl Future<Output = ()> + 'static) -> Handle {
    start(here().current.get(), work)
}

/// A task of that process.
pub fn start(process: Process, work: impl Future<Output = ()> + 'static) -> Handle {
    let world = here();
    let task = world.next_task.replace(world.next_task.get() + 1);
    let ended = Arc::new(Ended::default());
    world.tasks.borrow_mut().insert(task, Entry { process, work: Some(Box::pin(work)), ended: ended.clone() });
    world.ready.lock().unwrap().insert(task);
    Handle { task, ended }
}

/// Ends a process, each of its tasks where it stands.
pub fn kill(process: Process) {
    here().remove(|_, entry| entry.process == process);
    here().frozen.borrow_mut().remove(&process);
}

/// Stops a process, or lets it go on.
pub fn freeze(process: Process, frozen: bool) {
    let world = here();
    let mut all = world.frozen.borrow_mut();
    if frozen {
        all.insert(process)
    } else {
        all.remove(&process)
    };
}

pub fn is_frozen(process: Process) -> bool {
    here().frozen.borrow().contains(&process)
}

pub struct Handle {
    task: u64,
    ended: Arc<Ended>,
}

impl Handle {
    pub fn abort(&self) {
        let task = self.task;
        if let Some(world) = world() {
            world.remove(|id, _| *id == task);
        }
    }

    pub fn is_finished(&self) -> bool {
        self.ended.done.load(Ordering::Relaxed)
    }
}

impl Future for Handle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_finished() {
            return Poll::Ready(());
        }
        self.ended.waiting.lock().unwrap().push(context.waker().clone());
        Poll::Pending
    }
}

pub fn sleep(time: Duration) -> Sleep {
    Sleep { until: elapsed() + time, set: false }
}

pub struct Sleep {
    until: Duration,
    set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = here();
        if world.elapsed.get() >= self.until {
            return Poll::Ready(());
        }
        if !self.set {
            self.set = true;
            let number = world.next_timer.replace(world.next_timer.get() + 1);
            world.timers.borrow_mut().insert((self.until, number), context.waker().clone());
        }
        Poll::Pending
    }
}
