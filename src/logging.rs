//! Where messages go: `/dev/kmsg` in early boot; the journal, or stderr on a terminal, later. MESSAGE_IDs.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Ids of the messages that tell a change of state; explained in `config/catalog/overlayd.catalog`.
pub mod message_id {
    /// Somebody asked for a reset.
    pub const RESET_REQUESTED: &str = "01a90e723408db133a655e17b0f2a3a0";
    /// A boot executed a reset.
    pub const RESET_EXECUTED: &str = "d6247bd12cb5e53193a5bf1af83ceed6";
    /// A boot could not execute a reset.
    pub const RESET_FAILED: &str = "f82ab9e4e71d4fc1b088e0758fe6ff9d";
    /// What a reset kept.
    pub const RESET_KEPT: &str = "0585734a3bc747d397ba2ee8405d92da";
    /// What a reset gave up is deleted, and the device was told.
    pub const ERASURE_COMPLETE: &str = "9d0cde9890ed412686ea24c45f617845";
    /// A pending request was taken back.
    pub const REQUEST_CANCELLED: &str = "315c5c24076aa5db5c1e8f98e465fd98";
    /// An overlay is not in its configured mode.
    pub const BOOTED_DEGRADED: &str = "c4f1a38d2d28023937f3cfa7aa5520e6";
    /// The store, or the files of a layer, are gone without anybody having asked.
    pub const LAYER_LOST: &str = "c34a5fb50b8e495f9946292c83498a28";
    /// The state filesystem is in trouble while it is in use.
    pub const STATE_TROUBLE: &str = "54ba803582a644c891fb9cae36d33b3e";
    /// It is no longer.
    pub const STATE_WELL: &str = "d4ce815c4a43451a83024ff31a0887df";
    /// Space is low, or critical.
    pub const SPACE_LOW: &str = "3d024438559d4da8aacc04e8029e363a";
    /// There is space again.
    pub const SPACE_ENOUGH: &str = "70c823afe74a4e998b2b72524afaebe4";
    /// The trash is empty.
    pub const CLEANUP_FINISHED: &str = "2315c87e344bcb1e88c7c347f93f7cdf";
    /// Something in the store was repaired.
    pub const STORE_REPAIRED: &str = "844b6038f1ab0f2c5e4a2a70fd90b0e4";
    /// A snapshot was made.
    pub const SNAPSHOT_CREATED: &str = "92eabb00b3441659f515d261189c9912";
    /// Somebody asked for a snapshot at the next boot.
    pub const SNAPSHOT_REQUESTED: &str = "d39b64ed5b0ac89f99f29ca99511972a";
    /// A boot made a snapshot of the layer as a whole.
    pub const SNAPSHOT_SEALED: &str = "67c4d013af3bbc628ad2e2eca29ceff9";
    /// What a snapshot's record says was changed, or its protection.
    pub const SNAPSHOT_CHANGED: &str = "e3c80afbbbbb34712e2ca21f673c975b";
    /// A snapshot was deleted, by somebody or by retention.
    pub const SNAPSHOT_DELETED: &str = "0307ca56a6d38d09a95f4bd43a3eb67a";
    /// A snapshot was made and is the baseline.
    pub const COMMITTED: &str = "bbee565cdda0cda4fc7fbd31e46ea5f6";
    /// Somebody asked for a restore.
    pub const RESTORE_REQUESTED: &str = "dca81c98971d1cdff7ebba363904d697";
    /// A boot executed a restore.
    pub const RESTORE_EXECUTED: &str = "62f0d676c3a05c658fb7354149e65314";
    /// Single paths were brought back.
    pub const RESTORED_PATHS: &str = "ff535816863db90a4a7a8eba2ec153d2";
    /// Somebody asked for an undo.
    pub const UNDO_REQUESTED: &str = "9925757aa4cc27ba2a612621c8bd509f";
    /// A boot executed an undo.
    pub const UNDO_EXECUTED: &str = "aab0e3c782cbc520011a2f20a6e7e64c";
    /// A boot could not execute a request.
    pub const REQUEST_FAILED: &str = "844596f3ee3f1e1ce91f934f912c66eb";
    /// A generation was marked good.
    pub const MARKED_GOOD: &str = "de1633b28548482e803414dc76d24f96";
    /// A generation was marked bad.
    pub const MARKED_BAD: &str = "c43469ac2eab4ed2bf0bb43d45be1aa1";
    /// A boot went back by itself.
    pub const WENT_BACK: &str = "3ce8b1ea582d4a2faf2eb44b4c991e6b";
    /// Boots do not come up, and there is nothing left to go back to.
    pub const NOTHING_BELOW: &str = "24734b5e797a48d092484251fd1aa162";
}

/// Sends messages to the kernel log, or to stderr where there is none. For `overlayd-early`.
pub fn init_early() {
    let kmsg = OpenOptions::new().write(true).open("/dev/kmsg").ok();
    let level = if std::env::var_os("OVERLAYD_DEBUG").is_some() { Level::DEBUG } else { Level::INFO };
    // It fails only if somebody set one before, and then that one is right.
    let _ = tracing::subscriber::set_global_default(Lines { kmsg: kmsg.map(Mutex::new), level });
}

/// One line a message, without spans.
struct Lines {
    kmsg: Option<Mutex<File>>,
    level: Level,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let line = format!("overlayd-early[{}]: {}{}\n", std::process::id(), text.message, text.fields);
        // A log that can not be written has nowhere to tell it.
        let _ = match &self.kmsg {
            Some(kmsg) => kmsg.lock().map(|mut f| {
                f.write_all(format!("<{}>{line}", priority(*event.metadata().level())).as_bytes())
            }),
            None => Ok(std::io::stderr().write_all(line.as_bytes())),
        };
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// syslog(3) priorities, facility daemon (3 << 3).
fn priority(level: Level) -> u8 {
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    (3 << 3) | severity
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String can not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(feature = "host")]
pub use host::{LogHandle, init_host};

#[cfg(feature = "host")]
mod host {
    use std::fmt::Debug;
    use std::io::{IsTerminal, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use tracing::{Event, Level, Metadata, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry::Registry;

    /// The log's level and target, for LogControl1; the level can be changed while running.
    #[derive(Clone, Debug)]
    pub struct LogHandle {
        step: Arc<AtomicU8>,
        target: &'static str,
    }

    impl LogHandle {
        /// The least severe level that is logged.
        pub fn level(&self) -> Level {
            LADDER[usize::from(self.step.load(Ordering::Relaxed)).min(LADDER.len() - 1)]
        }

        /// Logs `level` and all that is more severe from now on.
        pub fn set_level(&self, level: Level) {
            let step = LADDER.iter().position(|l| *l == level).unwrap_or(INFO);
            self.step.store(u8::try_from(step).unwrap_or_default(), Ordering::Relaxed);
            tracing::callsite::rebuild_interest_cache();
        }

        /// `journal` or `console`.
        pub fn target(&self) -> &'static str {
            self.target
        }
    }

    const LADDER: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    const INFO: usize = 2;

    /// Sends messages to the journal, or to stderr on a terminal and where no journal is. For the daemon.
    pub fn init_host() -> LogHandle {
        let journal = match std::io::stderr().is_terminal() {
            true => None,
            false => tracing_journald::layer().ok().map(|l| l.with_field_prefix(None)),
        };
        let target = if journal.is_some() { "journal" } else { "console" };
        let handle = LogHandle { step: Arc::new(AtomicU8::new(INFO as u8)), target };
        let stderr = journal.is_none().then_some(Stderr);
        let subscriber = Registry::default().with(Filter(handle.clone())).with(journal).with(stderr);
        // It fails only if somebody set one before, and then that one is right.
        let _ = tracing::subscriber::set_global_default(subscriber);
        handle
    }

    /// Lets through what [`LogHandle`] says, and of other crates warnings only.
    struct Filter(LogHandle);

    impl<S: Subscriber> Layer<S> for Filter {
        fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
            let own = metadata.target().starts_with("overlayd");
            *metadata.level() <= if own { self.0.level() } else { Level::WARN }
        }
    }

    struct Stderr;

    impl<S: Subscriber> Layer<S> for Stderr {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut text = super::Text::default();
            event.record(&mut text);
            let level = event.metadata().level().as_str().to_lowercase();
            // A log that can not be written has nowhere to tell it.
            let _ = writeln!(std::io::stderr(), "{level}: {}{}", text.message, text.fields);
        }
    }
}
