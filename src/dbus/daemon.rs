//! The daemon's life: claim the name, serve, look after the jobs, exit when idle. One thread, one loop.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use zbus::Connection;
use zbus::connection::{ActivityListener, Builder};
use zbus::fdo::{ObjectManager, RequestNameFlags};
use zruntime::signal::{Signal, Signals};
use zruntime::{EventListener, Shared, SharedRuntime};

use super::core::{Core, Depth, Places, Report};
use super::errors::{BusError, kind_of};
use super::job::JobObject;
use super::jobs::{Ended, Initiator, Job, Jobs};
use super::known::{self, Known};
use super::log_control::{self, LogControl};
use super::manager::ManagerObject;
use super::notify::{self, Watchdog};
use super::task::Work;
use super::{NAME, ROOT, announce, boot_report, paths, reboot, request, wait, work};
use crate::error::{Error, Kind, Result};
use crate::logging::LogHandle;
use crate::operation::erase;
use crate::status::{OverlayStatus, Status};

/// How long the daemon waits at its end for calls and jobs that are not over.
const DRAIN: Duration = Duration::from_secs(10);
/// After this part of it jobs are stopped that would take longer.
const GRACE: Duration = Duration::from_secs(5);

/// A timer of this length is over only after everything that was ready has run.
const SETTLE: Duration = Duration::from_millis(20);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where things are.
    pub places: Places,
    /// Exit after this long without calls and jobs; none to stay.
    pub idle: Option<Duration>,
}

/// Serves until it is idle or told to stop.
pub fn run(options: Options, log: LogHandle) -> Result<()> {
    zbus::block_on(async {
        let daemon = Daemon::start(&options, log).await?;
        daemon.serve(&options).await
    })
}

struct Daemon {
    core: Arc<Core>,
    bus: Connection,
    runtime: SharedRuntime,
    signals: Signals<Shared>,
    known: Known,
    told: Arc<Status>,
    active: Instant,
    /// A job left something behind while a cleanup ran that may have missed it.
    litter: bool,
    stopping: bool,
}

/// Why the loop turned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Again,
    Stop,
}

impl Daemon {
    /// Objects first, then the name, and only then the store: whoever has the name is the only one to work on it.
    async fn start(options: &Options, log: LogHandle) -> Result<Daemon> {
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            Error::new(Kind::Failed, format!("failed to {what}: {e}"))
        };
        let runtime = SharedRuntime::current().map_err(|e| failed("start the main loop", &e))?;
        let signals = Signals::new(&runtime, [Signal::Terminate, Signal::Interrupt])
            .map_err(|e| failed("listen for signals", &e))?;
        let core = Arc::new(Core::new(options.places.clone(), first_job()));
        let bus = connect(&core, log).await.map_err(|e| failed("connect to the system bus", &e))?;
        let known = known::overlays(&options.places);
        show(&core, &bus, &known).await.map_err(|e| failed("serve overlays", &e))?;
        core.serve();
        bus.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE)
            .await
            .map_err(|e| failed("claim the name org.overlayd1", &e))?;
        notify::ready();
        let active = Instant::now();
        let told = Arc::default();
        Ok(Daemon { core, bus, runtime, signals, known, told, active, litter: false, stopping: false })
    }

    async fn serve(mut self, options: &Options) -> Result<()> {
        boot_report::tell(&options.places);
        self.told = self.known_part().await;
        self.clean_up().await;
        let mut watchdog = Watchdog::new();
        loop {
            let woken = self.core.wake.listen();
            let called = self.bus.monitor_activity();
            self.turn().await;
            watchdog.feed();
            if options.idle.is_some_and(|idle| self.core.idle() && self.active.elapsed() >= idle) {
                if self.nobody_calls().await {
                    tracing::debug!("idle, exiting");
                    break;
                }
                self.active = Instant::now();
            }
            let until = self.next_deadline(options.idle, watchdog.deadline());
            if self.sleep(woken, called, until).await == Turn::Stop {
                break;
            }
        }
        self.stop().await
    }

    /// Everything that there is to do now. What clients can not be told does not keep it from being done.
    async fn turn(&mut self) {
        for report in self.core.take_reports() {
            match report {
                Report::Progress { id, stage, percent, counts } => {
                    self.core.jobs(|jobs| jobs.progress(id, stage, percent, counts));
                    if let Some(job) = self.core.job(id) {
                        note(announce::job_moves(&self.bus, &job).await);
                    }
                }
                Report::Ended(id, ended) => self.finish(id, ended).await,
            }
        }
        for job in self.core.jobs(Jobs::start) {
            work::start(&self.core, job.clone());
            note(announce::active_job(&self.core, &self.bus, &job.overlay).await);
            note(announce::job(&self.bus, &job).await);
        }
        for id in self.core.jobs(|jobs| jobs.expire(Instant::now())) {
            note(self.bus.object_server().remove::<JobObject, _>(&paths::job(id)).await);
        }
        self.tell_difference().await;
    }

    /// What clients know of a status before anything is told: what was there from the start.
    async fn known_part(&self) -> Arc<Status> {
        let status = self.core.status().await;
        Arc::new(known::part(&status, &self.known))
    }

    async fn tell_difference(&mut self) {
        let Some(now) = self.core.seen() else { return };
        if !Arc::ptr_eq(&now, &self.told) {
            let before = std::mem::replace(&mut self.told, now.clone());
            note(announce::difference(&self.core, &self.bus, &before, &now).await);
            if now.is_short() && !before.is_short() {
                self.clean_up().await;
            }
        }
    }

    /// Ends a job: clients that hear of it see its effect.
    async fn finish(&mut self, id: u64, ended: Ended) {
        self.core.look(Depth::Quick, Some(Instant::now())).await;
        self.tell_difference().await;
        let Some(job) = self.core.jobs(|jobs| jobs.finish(id, ended, Instant::now())) else { return };
        if let Some(Ended::Failed(error)) = &job.ended {
            tell_failure(&job, error);
        }
        note(announce::active_job(&self.core, &self.bus, &job.overlay).await);
        note(announce::job(&self.bus, &job).await);
        note(announce::job_removed(&self.bus, &job).await);
        self.sweep_after(&job.work).await;
        if let Some(boot) = job.work.boots()
            && matches!(job.ended, Some(Ended::Done(_)))
            && let Err(error) = reboot::reboot(&self.bus, boot).await
        {
            tracing::error!(operation = "reboot", "failed to reboot: {error}");
        }
    }

    /// Has deleted what a job left behind; while that is done already, once more.
    async fn sweep_after(&mut self, work: &Work) {
        if *work == Work::Cleanup {
            if std::mem::take(&mut self.litter) {
                self.clean_up().await;
            }
        } else if work.litters() {
            self.litter = self.core.jobs(|jobs| jobs.open().any(|j| j.work == Work::Cleanup));
            if !self.litter {
                self.clean_up().await;
            }
        }
    }

    /// Starts the job that makes room where it is short, deletes what lies in the trash, and ends resets whose erasure
    /// was interrupted.
    async fn clean_up(&self) {
        let writable = self.told.store.as_ref().is_some_and(|s| !s.read_only);
        let erasing = |o: &OverlayStatus| {
            o.last.as_ref().is_some_and(|last| last.erasure.as_deref() == Some(erase::ERASING))
        };
        let wanted = self.told.is_short() || self.told.overlays.iter().any(|o| o.trash > 0 || erasing(o));
        if self.stopping || !writable || !wanted {
            return;
        }
        let by = Initiator { uid: 0, name: "overlayd".to_owned() };
        if let Err(error) = request::submit(&self.core, &self.bus, Work::Cleanup, "", by).await {
            tracing::error!(operation = "cleanup", "failed to start a job: {error}");
        }
    }

    /// Waits for something to do.
    async fn sleep(
        &mut self,
        woken: EventListener,
        called: ActivityListener,
        until: Option<Instant>,
    ) -> Turn {
        let runtime = self.runtime.clone();
        let bus = self.bus.clone();
        let (woken, called) = (pin!(woken), pin!(called));
        let signal = pin!(async { drop(self.signals.recv().await) });
        let closed = pin!(bus.closed());
        let timer = pin!(async move {
            match until {
                Some(until) => runtime.sleep_until(until).await,
                None => std::future::pending().await,
            }
        });
        match wait::first([signal, closed, called, woken, timer]).await {
            0 | 1 => Turn::Stop,
            2 => {
                self.active = Instant::now();
                Turn::Again
            }
            _ => Turn::Again,
        }
    }

    /// After a stall the time may be over with calls still lying in the socket: they count.
    async fn nobody_calls(&self) -> bool {
        let called = pin!(self.bus.monitor_activity());
        let pause = pin!(self.runtime.sleep(SETTLE));
        wait::first([called, pause]).await == 1
    }

    fn next_deadline(&self, idle: Option<Duration>, watchdog: Option<Instant>) -> Option<Instant> {
        let expiry = self.core.jobs(|jobs| jobs.next_expiry());
        let idle = idle.filter(|_| self.core.idle()).map(|idle| self.active + idle);
        [expiry, idle, watchdog].into_iter().flatten().min()
    }

    /// Gives the name back, answers what arrived until then, and lets jobs end. A start request that comes from
    /// here on is queued by systemd, so that no call is lost.
    async fn stop(mut self) -> Result<()> {
        notify::stopping();
        self.stopping = true;
        self.core.jobs(|jobs| jobs.stop_cleanups());
        if self.bus.is_closed() {
            return Err(Error::new(Kind::Failed, "lost the connection to the system bus"));
        }
        let end = Instant::now() + DRAIN;
        let grace = Instant::now() + GRACE;
        if let Err(error) = self.bus.release_name(NAME).await {
            tracing::warn!("failed to release the name: {error}");
        }
        loop {
            let woken = self.core.wake.listen();
            self.turn().await;
            self.settle().await;
            let now = Instant::now();
            if !self.core.busy() || now >= end {
                break;
            }
            if now >= grace {
                self.core.close_streams();
                self.core.jobs(|jobs| jobs.stop_all());
            }
            let timer = self.runtime.sleep_until(if now >= grace { end } else { grace });
            wait::first([pin!(woken), pin!(timer)]).await;
        }
        self.turn().await;
        self.settle().await;
        Ok(())
    }

    /// Comes back after every message that the bus delivered before has been dispatched: its answer comes behind
    /// them, and a timer runs only when no task is ready. (A ping of ourselves would be denied by the bus policy.)
    async fn settle(&self) {
        let bus = Some("org.freedesktop.DBus");
        let call = self.bus.call_method(bus, "/org/freedesktop/DBus", bus, "GetId", &());
        let limit = self.runtime.sleep(Duration::from_secs(1));
        wait::first([pin!(async { drop(call.await) }), pin!(limit)]).await;
        self.runtime.sleep(SETTLE).await;
    }
}

fn note<T>(told: zbus::Result<T>) {
    if let Err(error) = told {
        tracing::warn!("failed to tell clients what changed: {error}");
    }
}

/// An administrator is to look at what failed; not at what somebody asked for in vain.
fn tell_failure(job: &Job, error: &BusError) {
    let (operation, message) = (job.work.word(), error.message());
    if kind_of(error.name()).is_refusal() {
        tracing::info!(operation, overlay = %job.overlay, job = job.id, "{operation} refused: {message}");
    } else {
        tracing::error!(operation, overlay = %job.overlay, job = job.id, "{operation} failed: {message}");
    }
}

/// Puts on the bus what is known before the store is read.
async fn show(core: &Arc<Core>, bus: &Connection, known: &Known) -> zbus::Result<()> {
    for (name, snapshots) in known {
        announce::add(core, bus, name).await?;
        for id in snapshots {
            announce::add_snapshot(core, bus, name, *id).await?;
        }
    }
    Ok(())
}

async fn connect(core: &Arc<Core>, log: LogHandle) -> zbus::Result<Connection> {
    Builder::system()
        .serve_at(ROOT, ManagerObject { core: core.clone() })
        .serve_at(ROOT, ObjectManager)
        .serve_at(log_control::PATH, LogControl { log })
        .build()
        .await
}

/// Milliseconds since boot: numbers of jobs grow over restarts of the daemon too.
fn first_job() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(1)
}
