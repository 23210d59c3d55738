//! One machine, cut after cut.

use super::expected::{Expected, Sure};
use super::judge::{find, judge};
use super::ledger::Ledger;
use super::operation::{self, Moment, Operation};
use crate::chance::Chance;
use crate::checks::{VERDICT, assert_trash_goes};
use crate::harness::{Guest, Initramfs, Machine, RootFs, StateFs, Suite};
use crate::power::EXECUTOR_STARTS;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// What an emulated machine takes long to start, and no store has to do with: more than half of a boot.
const NEEDLESS: &[&str] = &[
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-udev-load-credentials.service",
    "systemd-logind.service",
    "systemd-user-sessions.service",
    "systemd-machine-id-commit.service",
    "systemd-firstboot.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup-dev-early.service",
    "kmod-static-nodes.service",
    "modprobe@configfs.service",
    "modprobe@fuse.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
];

/// Boots that may fail: fewer than by default, for each takes its time.
const TRIES: u32 = 2;

/// How long something takes of which nothing is known yet.
const UNKNOWN: Duration = Duration::from_secs(4);

/// So many files, besides those that count, for what takes the longer the more there are.
const MANY: &str =
    "[ -d /var/many ] || { mkdir /var/many && for i in {1..300}; do echo $i >/var/many/$i; done; }";

/// So many files are written until the power goes.
const WRITES: u32 = 60;

/// A machine, what must be on its disk, and what was done to it.
pub(super) struct Campaign {
    machine: Machine,
    ledger: Ledger,
    chance: Chance,
    /// How long each kind of thing takes when nobody disturbs it.
    windows: BTreeMap<(Operation, Moment), Duration>,
    counts: BTreeMap<(Operation, Moment), u32>,
    /// The number of the next file.
    next: u32,
    /// What was done, the last at the end.
    story: Vec<String>,
}

impl Campaign {
    pub(super) fn new(name: &str, fs: StateFs) -> Campaign {
        let mut machine = Machine::new(name, Suite::Trixie, Initramfs::InitramfsTools, RootFs::Squashfs, fs);
        let words = ["overlayd.device=/dev/vdb".to_owned(), "overlayd.format=if-blank".to_owned()];
        machine.words.extend(words);
        machine.words.extend([format!("overlayd.fstype={}", fs.word()), format!("overlayd.tries={TRIES}")]);
        machine.words.push("systemd.condition_first_boot=no".to_owned());
        machine.words.extend(NEEDLESS.iter().map(|unit| format!("systemd.mask={unit}")));
        let chance = Chance::new(name);
        let story = vec![format!("{name}: seed {}", chance.seed)];
        let (windows, counts) = (BTreeMap::new(), BTreeMap::new());
        Campaign { machine, ledger: Ledger::default(), chance, windows, counts, next: 1, story }
    }

    /// So many cuts, each judged by the next boot.
    pub(super) fn run(&mut self, times: u32) {
        let (mut guest, mut root) = self.boot(&Expected::nothing());
        for number in 1..=times {
            let (operation, moment) = self.choose(&root);
            self.story.push(format!("cut {number} of {times}: {operation:?}, {moment:?}"));
            self.write_some(&mut guest);
            let sure = self.cut(guest, operation, moment, &root);
            *self.counts.entry((operation, moment)).or_default() += 1;
            let expected = Expected::of(operation, &root, sure);
            (guest, root) = self.boot(&expected);
        }
        assert_trash_goes(&mut guest);
        guest.poweroff();
        self.machine.disk.assert_clean();
    }

    /// What was cut least, of what is possible now.
    fn choose(&mut self, root: &Value) -> (Operation, Moment) {
        let count = |one: Operation| -> u32 {
            self.counts.iter().filter(|((other, _), _)| *other == one).map(|(_, count)| count).sum()
        };
        let possible: Vec<Operation> = operation::ALL.into_iter().filter(|one| one.fits(root)).collect();
        let least = possible.iter().map(|one| count(*one)).min().unwrap_or(0);
        let rare: Vec<Operation> = possible.into_iter().filter(|one| count(*one) == least).collect();
        let chosen = rare[self.chance.index(rare.len())];
        let moments = chosen.moments();
        (chosen, moments[self.chance.index(moments.len())])
    }

    /// Boots, and compares everything with what may be there.
    fn boot(&mut self, expected: &Expected) -> (Guest, Value) {
        let mut guest = self.machine.boot(&[]);
        let root = judge(&mut guest);
        let found = find(&mut guest);
        if let Err(why) = self.ledger.settle(&root, &found, expected) {
            guest.fail(&format!("{why}\nexpected: {expected:?}\n{root:#}"));
        }
        (guest, root)
    }

    /// Two files that count, one of them where a keep-list finds it.
    fn write_some(&mut self, guest: &mut Guest) {
        guest.succeed(&format!("mkdir -p /var/ledger /var/kept; {MANY}"));
        for place in ["ledger", "kept"] {
            let (path, content) = self.new_file(place);
            guest.succeed(&script_of(&path, &content));
            self.ledger.is_durable(&path, &content);
        }
    }

    fn new_file(&mut self, place: &str) -> (String, String) {
        let number = self.next;
        self.next += 1;
        let path = format!("{place}/{number}");
        self.ledger.begin(&path);
        (path, format!("{number} of seed {}", self.chance.seed))
    }

    /// Lets the power go somewhere in the moment; tells whether the guest had said before that it is done.
    fn cut(&mut self, guest: Guest, operation: Operation, moment: Moment, root: &Value) -> Sure {
        match (operation, moment) {
            (Operation::Write, _) => self.cut_writing(guest),
            (Operation::Cleanup, _) => self.cut_cleanup(guest, root),
            (Operation::FirstBoot, _) => {
                guest.cut_power();
                self.machine.disk = self.machine.disk.blanked();
                self.ledger = Ledger::default();
                self.cut_executor(operation);
                Sure::Yes
            }
            (Operation::FailedBoots, _) => {
                guest.cut_power();
                for _ in 0..TRIES {
                    self.machine.boot(VERDICT).wait_off();
                }
                self.cut_executor(operation);
                Sure::Yes
            }
            (_, Moment::Command) => self.cut_command(guest, operation, &operation.script(root)),
            (_, Moment::Shutdown) => self.cut_shutdown(guest, operation, root),
            (_, Moment::Executor) => {
                let mut guest = guest;
                guest.succeed(&operation.script(root));
                // What is answered is durable: a shutdown in order is not needed for it.
                match self.chance.index(2) {
                    0 => guest.cut_power(),
                    _ => guest.reboot(),
                }
                self.cut_executor(operation);
                Sure::Yes
            }
        }
    }

    fn cut_command(&mut self, mut guest: Guest, operation: Operation, script: &str) -> Sure {
        let (delay, start) = (self.delay(operation, Moment::Command), Instant::now());
        guest.send(script);
        let answer = guest.answer_within(delay);
        let took = start.elapsed();
        if let Some(answer) = &answer {
            if answer.status != 0 {
                guest.fail(&format!("{script}: {answer:?}"));
            }
            self.took(operation, Moment::Command, took);
            std::thread::sleep(delay.saturating_sub(took));
        }
        guest.cut_power();
        if answer.is_some() { Sure::Yes } else { Sure::Perhaps }
    }

    /// Each file is told of on the console once it is durable.
    fn cut_writing(&mut self, guest: Guest) -> Sure {
        let files: Vec<(String, String)> = (0..WRITES).map(|_| self.new_file("ledger")).collect();
        let script: String = files
            .iter()
            .map(|(path, content)| {
                format!("{} && echo \"durable {path}\" >/dev/console\n", script_of(path, content))
            })
            .collect();
        let serial = guest.serial().to_owned();
        self.cut_command(guest, Operation::Write, &script);
        let console = String::from_utf8_lossy(&std::fs::read(serial).unwrap_or_default()).into_owned();
        let told: Vec<&str> =
            console.lines().filter_map(|line| line.trim().strip_prefix("durable ")).collect();
        for (path, content) in files.iter().filter(|(path, _)| told.contains(&path.as_str())) {
            self.ledger.is_durable(path, content);
        }
        Sure::Yes
    }

    /// The reset is over when it begins.
    fn cut_cleanup(&mut self, mut guest: Guest, root: &Value) -> Sure {
        guest.succeed("mkdir /var/more && for i in {1..1500}; do echo $i >/var/more/$i; done; sync");
        guest.succeed(&Operation::Cleanup.script(root));
        guest.reboot();
        let mut guest = self.machine.boot(&[]);
        guest.wait_for_agent();
        guest.succeed("until systemctl is-active -q overlayd.service; do sleep 0.1; done");
        let empty = "until [ -z \"$(ls /run/overlayd/store/overlays/root/trash)\" ]; do sleep 0.1; done";
        self.cut_command(guest, Operation::Cleanup, empty);
        Sure::Yes
    }

    fn cut_shutdown(&mut self, mut guest: Guest, operation: Operation, root: &Value) -> Sure {
        guest.succeed(&operation.script(root));
        let (delay, start) = (self.delay(operation, Moment::Shutdown), Instant::now());
        guest.send("systemctl reboot");
        while start.elapsed() < delay && !guest.is_off() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if guest.is_off() {
            self.took(operation, Moment::Shutdown, start.elapsed());
        }
        guest.cut_power();
        Sure::Yes
    }

    fn cut_executor(&mut self, operation: Operation) {
        let delay = self.delay(operation, Moment::Executor);
        let mut guest = self.machine.boot(VERDICT);
        guest.wait_for_console(EXECUTOR_STARTS);
        let start = Instant::now();
        while start.elapsed() < delay && !guest.console().contains("verdict: begin") {
            std::thread::sleep(Duration::from_millis(5));
        }
        if start.elapsed() < delay {
            self.took(operation, Moment::Executor, start.elapsed());
        }
        guest.cut_power();
    }

    fn delay(&mut self, operation: Operation, moment: Moment) -> Duration {
        let window = self.windows.get(&(operation, moment)).copied().unwrap_or(UNKNOWN);
        let delay = self.chance.below(window);
        self.tell(&format!("{delay:?} into {window:?}"));
        delay
    }

    fn took(&mut self, operation: Operation, moment: Moment, time: Duration) {
        self.tell(&format!("it was over after {time:?}"));
        self.windows.insert((operation, moment), time.mul_f64(1.1));
    }

    fn tell(&mut self, what: &str) {
        if let Some(line) = self.story.last_mut() {
            line.push_str(&format!("; {what}"));
        }
    }
}

/// Writes a file below /var, and ends when it is durable.
fn script_of(path: &str, content: &str) -> String {
    let place = path.split('/').next().unwrap_or_default();
    format!("echo '{content}' >/var/{path} && sync /var/{path} /var/{place} /var /")
}

impl Drop for Campaign {
    /// Past the test harness, which shows the output of failed tests alone.
    fn drop(&mut self) {
        let mut text = format!("{}\n", self.story[0]);
        if std::thread::panicking() {
            text = self.story.join("\n") + "\n";
        }
        let all: u32 = self.counts.values().sum();
        for ((operation, moment), count) in &self.counts {
            text += &format!("  {count:3} {operation:?}, {moment:?}\n");
        }
        let _ = std::io::stderr().write_all(format!("{text}  {all:3} in all\n").as_bytes());
    }
}
