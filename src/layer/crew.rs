//! Threads that share work: a queue that the work itself adds to, one error, one way to stop.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// More threads than this wait for each other in the filesystem.
const MOST_THREADS: usize = 16;
/// What a thread of the crew needs; the default takes 2 MiB for each.
const STACK: usize = 512 << 10;
/// How often the caller hears of the progress.
const TICK: Duration = Duration::from_millis(20);

/// Work that waits: `urgent` is done before the rest, and the last of each first.
#[derive(Debug)]
struct Queue<T> {
    urgent: Vec<T>,
    later: Vec<T>,
    busy: usize,
    idle: usize,
    error: Option<Error>,
}

/// Threads at one piece of work.
#[derive(Debug)]
pub(super) struct Crew<T> {
    queue: Mutex<Queue<T>>,
    more: Condvar,
    over: Condvar,
    stop: Arc<AtomicBool>,
    threads: usize,
}

impl<T: Send> Crew<T> {
    /// A crew as large as the machine suggests.
    pub(super) fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, |n| n.get()).min(MOST_THREADS);
        let queue = Queue { urgent: Vec::new(), later: Vec::new(), busy: 0, idle: 0, error: None };
        Crew {
            queue: Mutex::new(queue),
            more: Condvar::new(),
            over: Condvar::new(),
            stop: Arc::default(),
            threads,
        }
    }

    /// How many threads it has.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Turns true when all work shall end.
    pub(super) fn stop_sign(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether all work shall end: canceled, or something failed.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds work for any thread.
    pub(super) fn add(&self, tasks: impl IntoIterator<Item = T>) {
        let mut queue = self.lock();
        let before = queue.later.len();
        queue.later.extend(tasks);
        let added = queue.later.len() - before;
        let idle = queue.idle;
        drop(queue);
        self.wake(added.min(idle));
    }

    /// Asks the other threads to help with what is being done: those that are idle, or all if it is `much`.
    pub(super) fn call_for_help(&self, much: bool, mut task: impl FnMut() -> T) {
        let mut queue = self.lock();
        let idle = queue.idle;
        let helpers = if much { self.threads - 1 } else { idle };
        queue.urgent.extend((0..helpers).map(|_| task()));
        drop(queue);
        self.wake(helpers.min(idle));
    }

    fn wake(&self, threads: usize) {
        match threads {
            0 => (),
            1 => self.more.notify_one(),
            _ => self.more.notify_all(),
        }
    }

    /// Works until nothing is left. Each thread has a `Local` of its own. `on_tick` is called by this thread, and may
    /// stop everything: that is an error of [`Kind::Canceled`].
    pub(super) fn run<Local>(
        &self,
        local: impl Fn() -> Local + Sync,
        work: impl Fn(T, &mut Local) -> Result<()> + Sync,
        on_tick: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<()> {
        let canceled = thread::scope(|scope| {
            for number in 0..self.threads {
                let builder = thread::Builder::new().name(format!("layer-{number}")).stack_size(STACK);
                let spawned = builder.spawn_scoped(scope, || self.member(&local, &work));
                if let Err(e) = spawned
                    && number == 0
                {
                    self.fail(Error::new(Kind::Failed, format!("failed to start a thread: {e}")));
                }
            }
            self.watch(on_tick)
        });
        let error = self.lock().error.take();
        match error {
            Some(error) => Err(error),
            None if canceled => Err(Error::new(Kind::Canceled, "the copy was canceled")),
            None => Ok(()),
        }
    }

    /// Waits for the end; true if the caller stopped it.
    fn watch(&self, on_tick: &mut dyn FnMut() -> ControlFlow<()>) -> bool {
        let mut queue = self.lock();
        let mut canceled = false;
        while !self.is_over(&queue) {
            let (guard, wait) = self.over.wait_timeout(queue, TICK).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            if wait.timed_out() && !canceled {
                drop(queue);
                canceled = on_tick().is_break();
                if canceled {
                    self.halt();
                }
                queue = self.lock();
            }
        }
        canceled
    }

    fn member<Local>(
        &self,
        local: &(impl Fn() -> Local + Sync),
        work: &(impl Fn(T, &mut Local) -> Result<()> + Sync),
    ) {
        let mut local = local();
        while let Some(task) = self.next() {
            let guard = Busy(self);
            if let Err(error) = work(task, &mut local) {
                self.fail(error);
            }
            drop(guard);
        }
    }

    /// The next piece of work, once there is one; none when there will be none.
    fn next(&self) -> Option<T> {
        let mut queue = self.lock();
        loop {
            if self.is_stopping() {
                return None;
            }
            if let Some(task) = queue.urgent.pop().or_else(|| queue.later.pop()) {
                queue.busy += 1;
                return Some(task);
            }
            if queue.busy == 0 {
                return None;
            }
            queue.idle += 1;
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn is_over(&self, queue: &Queue<T>) -> bool {
        queue.busy == 0 && (self.is_stopping() || queue.urgent.is_empty() && queue.later.is_empty())
    }

    fn fail(&self, error: Error) {
        self.lock().error.get_or_insert(error);
        self.halt();
    }

    fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Taken, so that nobody is between looking at `stop` and waiting.
        let queue = self.lock();
        self.more.notify_all();
        self.over.notify_all();
        drop(queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread at work; a panic too ends it.
struct Busy<'a, T: Send>(&'a Crew<T>);

impl<T: Send> Drop for Busy<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::new(Kind::Failed, "a thread of the copy failed"));
        }
        let mut queue = self.0.lock();
        queue.busy -= 1;
        if self.0.is_over(&queue) {
            self.0.more.notify_all();
            self.0.over.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    use super::*;

    fn go_on() -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn work_that_makes_work_is_all_done() {
        let crew = Crew::new();
        let sum = AtomicU64::new(0);
        crew.add([14_u64]);
        let work = |task: u64, _: &mut ()| {
            sum.fetch_add(1, Ordering::Relaxed);
            crew.add((0..2).filter(|_| task > 1).map(|_| task - 1));
            crew.call_for_help(task == 7, || 0);
            Ok(())
        };
        crew.run(|| (), |task, local| if task > 0 { work(task, local) } else { Ok(()) }, &mut go_on).unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), (1 << 14) - 1);
    }

    #[test]
    fn the_first_error_ends_it() {
        let crew = Crew::new();
        crew.add(0..1000);
        let work = |task: u64, _: &mut ()| match task {
            500 => Err(Error::new(Kind::Refused, "no")),
            _ => Ok(()),
        };
        assert_eq!(crew.run(|| (), work, &mut go_on).unwrap_err().kind(), Kind::Refused);
    }

    #[test]
    fn whoever_waits_can_stop_it() {
        let crew = Crew::new();
        crew.add([()]);
        let start = Instant::now();
        let work = |(), _: &mut ()| {
            while !crew.is_stopping() {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        let error = crew.run(|| (), work, &mut || ControlFlow::Break(())).unwrap_err();
        assert_eq!(error.kind(), Kind::Canceled);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
