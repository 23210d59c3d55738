//! Who does the work: the daemon, or an operation on the store that `--store` names. The only place of the tool that
//! knows there are two.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::agent::Agent;
use super::answer::{Changes, Losses, Marks, Requested, Steps, Taken};
use super::args::{Arguments, Now};
use super::output::Output;
use super::progress::Meter;
use crate::dbus::client::{Client, Taking, When};
use crate::dbus::errors::kind_of;
use crate::error::{Error, Kind, Result};
use crate::operation::erase;
use crate::operation::health::{self, Mark};
use crate::operation::restore::From;
use crate::operation::snapshot::Wanted;
use crate::operation::switch::{self, ByHand};
use crate::operation::{self, Asked, Planned, Site, check, commit, diff, losing, restore, snapshot};
use crate::plan::execute::ROOT;
use crate::plan::request::Resetting;
use crate::status::change::{self, End, Entry, Line, Sink};
use crate::status::report::StoreReport;
use crate::sys::user;

/// Something to go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// The baseline or the image.
    Reset {
        /// How far, and what is kept.
        wanted: Resetting,
        /// What asks, if not whoever runs the tool.
        via: Option<String>,
    },
    /// A snapshot.
    Restore(u64),
    /// The generation before.
    Undo,
}

/// Where the work is done.
enum Place {
    Bus { client: Client, _agent: Option<Agent> },
    Store { site: Site, asked: Asked },
}

/// Does what commands ask for.
pub(crate) struct Worker<'a> {
    place: Place,
    overlay: &'a str,
    output: &'a Output,
}

impl<'a> Worker<'a> {
    /// The daemon, and somebody who asks for the password if it takes one; or the store.
    pub(crate) fn new(arguments: &'a Arguments, output: &'a Output) -> Result<Worker<'a>> {
        let place = match &arguments.store {
            Some(store) => Place::Store {
                site: Site::offline(store),
                asked: Asked {
                    by: format!("{} via overlayctl --store", user::describe(user::own_uid())),
                    via: Some("overlayctl --store".to_owned()),
                },
            },
            None => {
                let interactive = !arguments.no_ask_password;
                let client = Client::connect(interactive)?;
                let asks = interactive && user::own_uid() != 0 && io::stdin().is_terminal();
                Place::Bus { client, _agent: asks.then(Agent::start).flatten() }
            }
        };
        Ok(Worker { place, overlay: arguments.target(), output })
    }

    /// What going back would take.
    pub(crate) fn preview(&self, back: &Back) -> Result<Steps> {
        match &self.place {
            Place::Bus { client, .. } => self.ask(client, back, When::DryRun).map(Steps::told),
            Place::Store { site, asked } => match back {
                Back::Reset { wanted, .. } => self.losses(wanted).map(|losses| losses.steps),
                Back::Restore(id) => restore::preview(site, self.overlay, *id, asked).map(Steps::from),
                Back::Undo => restore::preview_undo(site, self.overlay, asked).map(Steps::from),
            },
        }
        .map_err(told)
    }

    /// What a reset would take and keep.
    pub(crate) fn losses(&self, wanted: &Resetting) -> Result<Losses> {
        let mut meter = Meter::start(self.output)?;
        match &self.place {
            Place::Bus { client, .. } => client
                .reset(self.overlay, wanted, None, When::DryRun, &mut |at| meter.job(at))
                .map(Losses::told),
            Place::Store { site, asked } => {
                let mut looking = |at| meter.layer("comparing", at);
                losing::preview(site, self.overlay, wanted, asked, &mut looking).map(Losses::from)
            }
        }
        .map_err(told)
    }

    /// Asks for going back, at the next boot or by one that begins now.
    pub(crate) fn go(&self, back: &Back, now: Option<Now>) -> Result<Requested> {
        match &self.place {
            Place::Bus { client, .. } => {
                self.ask(client, back, when(now)).map(|done| Requested::told(self.overlay, done))
            }
            Place::Store { site, asked } => self.carry_out(site, asked, &|| match back {
                Back::Reset { wanted, via } => {
                    let asked = Asked { via: via.clone().or(asked.via.clone()), ..asked.clone() };
                    operation::request_reset(site, self.overlay, wanted, &asked)
                }
                Back::Restore(id) => restore::request(site, self.overlay, *id, asked),
                Back::Undo => restore::request_undo(site, self.overlay, asked),
            }),
        }
        .map_err(told)
    }

    fn carry_out(&self, site: &Site, asked: &Asked, ask: &dyn Fn() -> Result<Planned>) -> Result<Requested> {
        let done = switch::carry_out(site, self.overlay, asked, &ByHand::default(), ask);
        if switch::is_immediate(self.overlay) {
            self.tidy(site, &mut Meter::start(self.output)?);
        }
        done.map(|planned| Requested::planned(self.overlay, planned))
    }

    /// Takes the pending request back.
    pub(crate) fn cancel(&self) -> Result<()> {
        match &self.place {
            Place::Bus { client, .. } => client.cancel(self.overlay),
            Place::Store { site, .. } => operation::cancel(&site.store, self.overlay).map(drop),
        }
        .map_err(told)
    }

    /// Makes a snapshot, now.
    pub(crate) fn create(&self, wanted: &Wanted) -> Result<Taken> {
        let mut meter = Meter::start(self.output)?;
        match &self.place {
            Place::Bus { client, .. } => client
                .create_snapshot(self.overlay, wanted, Taking::Now, &mut |at| meter.job(at))
                .map(|done| Taken::told(self.overlay, done)),
            Place::Store { site, asked } => {
                let mut copying = |at| meter.layer("copying", at);
                let made = snapshot::create(site, self.overlay, wanted, asked, &mut copying);
                self.tidy(site, &mut meter);
                made.map(|made| Taken::made(self.overlay, made))
            }
        }
        .map_err(|error| remains(told(error), "there is no new snapshot"))
    }

    /// Makes a snapshot that becomes the baseline, now.
    pub(crate) fn commit(&self, wanted: &Wanted, paths: &[PathBuf]) -> Result<Taken> {
        let mut meter = Meter::start(self.output)?;
        match &self.place {
            Place::Bus { client, .. } => client
                .commit(self.overlay, wanted, paths, Taking::Now, &mut |at| meter.job(at))
                .map(|done| Taken::told(self.overlay, done)),
            Place::Store { site, asked } => {
                let mut copying = |at| meter.layer("copying", at);
                let made = commit::commit(site, self.overlay, wanted, paths, asked, &mut copying);
                self.tidy(site, &mut meter);
                made.map(|made| Taken::made(self.overlay, made))
            }
        }
        .map_err(|error| remains(told(error), "there is no new snapshot, and the baseline is as it was"))
    }

    /// What a commit would hold.
    pub(crate) fn preview_commit(&self, paths: &[PathBuf]) -> Result<Changes> {
        let mut meter = Meter::start(self.output)?;
        match &self.place {
            Place::Bus { client, .. } => {
                let wanted = Wanted::default();
                let mut looking = |at: &_| meter.job(at);
                let done = client.commit(self.overlay, &wanted, paths, Taking::DryRun, &mut looking);
                done.map(|done| Changes::told(self.overlay, "preview", done))
            }
            Place::Store { site, .. } => {
                let mut looking = |at| meter.layer("comparing", at);
                let preview = commit::preview(site, self.overlay, paths, &mut looking);
                preview.map(|preview| Changes::previewed(self.overlay, preview))
            }
        }
        .map_err(told)
    }

    /// Asks for a snapshot at the next boot; with `commit` it becomes the baseline.
    pub(crate) fn create_at_boot(&self, wanted: &Wanted, commit: bool) -> Result<Requested> {
        match &self.place {
            Place::Bus { client, .. } => {
                let mut meter = Meter::start(self.output)?;
                let mut waiting = |at: &_| meter.job(at);
                let done = match commit {
                    true => client.commit(self.overlay, wanted, &[], Taking::Quiesced, &mut waiting),
                    false => client.create_snapshot(self.overlay, wanted, Taking::Quiesced, &mut waiting),
                };
                done.map(|done| Requested::told(self.overlay, done))
            }
            Place::Store { site, asked } => {
                self.carry_out(site, asked, &|| snapshot::request(site, self.overlay, wanted, commit, asked))
            }
        }
        .map_err(told)
    }

    /// Makes paths what they are elsewhere, at once; with `dry_run` it only tells what that would be.
    pub(crate) fn restore_paths(&self, from: From, paths: &[PathBuf], dry_run: bool) -> Result<Changes> {
        let mut meter = Meter::start(self.output)?;
        let result = if dry_run { "preview" } else { "done" };
        match &self.place {
            Place::Bus { client, .. } => client
                .restore_paths(self.overlay, from, paths, dry_run, &mut |at| meter.job(at))
                .map(|done| Changes::told(self.overlay, result, done)),
            Place::Store { site, asked } => {
                let stage = if dry_run { "comparing" } else { "restoring" };
                let mut copying = |at| meter.layer(stage, at);
                let restored = restore::paths(site, self.overlay, from, paths, dry_run, asked, &mut copying);
                restored.map(|restored| Changes::restored(self.overlay, result, restored))
            }
        }
        .map_err(|error| remains(told(error), "what was restored until then stays; the same again goes on"))
    }

    /// Tells all that differs, as it is found.
    pub(crate) fn diff(
        &self,
        wanted: &diff::Wanted,
        each: &mut dyn FnMut(&Entry) -> Result<()>,
    ) -> Result<End> {
        match &self.place {
            Place::Bus { client, .. } => {
                client.list_changes(self.overlay, wanted).and_then(|pipe| read(pipe, each))
            }
            Place::Store { site, .. } => {
                let diff = diff::prepare(site, self.overlay, wanted)?;
                change::tell(&diff, &mut Each(each))
            }
        }
        .map_err(told)
    }

    /// Looks the store through, and repairs what can be proved if told to.
    pub(crate) fn check_store(&self, repair: bool, layers: bool) -> Result<StoreReport> {
        let here = |store: &Path, asked| {
            let mut checked = if repair { check::repair(store, asked) } else { check::check(store, asked) }?;
            if layers {
                checked.add(check::layers(store, asked, &mut || ControlFlow::Continue(()))?);
            }
            Ok(StoreReport::new(&checked))
        };
        match &self.place {
            Place::Bus { client, .. } => client.check_store(repair, layers),
            Place::Store { site, asked } => here(&site.store, asked),
        }
        .map_err(told)
    }

    /// Marks the booted root.
    pub(crate) fn mark(&self, mark: &Mark) -> Result<Marks> {
        match &self.place {
            Place::Bus { client, .. } => client.mark(mark).and_then(|()| {
                let root = client.status()?.overlays.into_iter().find(|o| o.name == ROOT).unwrap_or_default();
                let next = root.health.and_then(|health| health.next);
                Ok(Marks::new(mark, root.generation.unwrap_or_default(), next))
            }),
            Place::Store { site, asked } => health::mark(site, mark, asked)
                .map(|done| Marks::new(mark, done.generation, done.next))
                .inspect(|_| self.clean().unwrap_or_default()),
        }
        .map_err(told)
    }

    /// Deletes a snapshot.
    pub(crate) fn delete(&self, id: u64) -> Result<()> {
        match &self.place {
            Place::Bus { client, .. } => client.delete_snapshot(self.overlay, id).map(drop),
            Place::Store { site, asked } => snapshot::delete(site, self.overlay, id, asked),
        }
        .map_err(told)
    }

    /// Gives the space of what was deleted back, if nobody else does.
    pub(crate) fn clean(&self) -> Result<()> {
        if let Place::Store { site, .. } = &self.place {
            self.tidy(site, &mut Meter::start(self.output)?);
        }
        Ok(())
    }

    /// Protects a snapshot, or does so no longer.
    pub(crate) fn protect(&self, id: u64, protected: bool) -> Result<()> {
        match &self.place {
            Place::Bus { client, .. } => client.set_protected(self.overlay, id, protected),
            Place::Store { site, .. } => snapshot::set_protected(site, self.overlay, id, protected),
        }
        .map_err(told)
    }

    /// Changes what a snapshot's record says.
    pub(crate) fn describe(&self, id: u64, wanted: &Wanted) -> Result<()> {
        match &self.place {
            Place::Bus { client, .. } => client.set_metadata(self.overlay, id, wanted),
            Place::Store { site, .. } => snapshot::set_metadata(site, self.overlay, id, wanted),
        }
        .map_err(told)
    }

    fn ask(&self, client: &Client, back: &Back, when: When) -> Result<crate::dbus::client::JobDone> {
        match back {
            Back::Reset { wanted, via } => {
                let mut meter = Meter::start(self.output)?;
                client.reset(self.overlay, wanted, via.as_deref(), when, &mut |at| meter.job(at))
            }
            Back::Restore(id) => client.restore(self.overlay, *id, when),
            Back::Undo => client.undo(self.overlay, when),
        }
    }

    /// Without a daemon nobody else empties the trash. What was asked for is done, whatever comes of this.
    fn tidy(&self, site: &Site, meter: &mut Meter) {
        let emptied = erase::clean(&site.store, &mut |at| meter.cleanup(at));
        if let Err(error) = emptied {
            self.output.note(&format!("overlayctl: the trash is not empty: {}", error.message()));
        }
    }
}

/// Hands on what a diff tells.
struct Each<'e>(&'e mut dyn FnMut(&Entry) -> Result<()>);

impl Sink for Each<'_> {
    fn entry(&mut self, entry: Entry) -> Result<()> {
        (self.0)(&entry)
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Reads what the daemon tells, up to the line that says how it ended.
fn read(pipe: File, each: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<End> {
    let failed = |why: &str| Error::new(Kind::Failed, format!("failed to read overlayd's answer: {why}"));
    for line in BufReader::new(pipe).lines() {
        let line = line.map_err(|e| failed(&e.to_string()))?;
        match serde_json::from_str(&line).map_err(|e| failed(&e.to_string()))? {
            Line::Entry(entry) => each(&entry)?,
            Line::End(end) if end.result == "complete" => return Ok(end),
            Line::End(end) => return Err(Error::new(kind_of(&end.error), end.message)),
        }
    }
    Err(failed("it ended before all was told"))
}

fn when(now: Option<Now>) -> When {
    match now {
        None => When::NextBoot,
        Some(Now::Reboot) => When::Reboot,
        Some(Now::SoftReboot) => When::SoftReboot,
    }
}

/// What remained, for work that was stopped.
fn remains(error: Error, what: &str) -> Error {
    if error.kind() == Kind::Canceled { error.detail(what) } else { error }
}

/// An error with what helps, where neither the daemon nor the operation knows what the tool calls it.
fn told(error: Error) -> Error {
    // The store of a running system is shown read-only: its daemon is the one to change it.
    if error.errno() == Some(nix::Error::EROFS as i32) {
        return error
            .with_kind(Kind::Refused)
            .remedy("a running system's store is changed by its daemon: leave --store out");
    }
    // On the bus it stands in brackets behind the message.
    if error.remedy_text().is_some() || error.message().ends_with(')') {
        return error;
    }
    let remedy = match error.kind() {
        Kind::NoSuchSnapshot => "`overlayctl snapshot list` shows them",
        Kind::NoSuchOverlay => "`overlayctl list` shows them all",
        Kind::JobInProgress => "try again when it is done; `overlayctl monitor` tells",
        Kind::RebootPending => "`overlayctl cancel` takes it back",
        Kind::InsufficientSpace => "`overlayctl snapshot delete` gives space back",
        _ => return error,
    };
    error.remedy(remedy)
}
