//! A machine that is on. Every wait has a limit, and every failure shows the end of the serial console.

use super::agent::{Agent, Output};
use super::clock::Running;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// An idle machine boots in 20 s under emulation; two of them on a busy host may need many times that.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asked again and again: `--wait` misses the end of the boot if that comes between its first look and its subscription.
const UNTIL_RUNNING: &str = "while state=$(systemctl is-system-running); [ -z \"$state\" ] || [ $state = initializing ] || [ $state = starting ]; do
        sleep 0.3
    done
    echo $state";

/// A running QEMU.
pub(crate) struct Guest {
    qemu: Child,
    serial: PathBuf,
    agent: Agent,
    _clock: Running,
}

impl Guest {
    /// Connects to the agent's socket, which QEMU makes when it starts.
    pub(super) fn attach(mut qemu: Child, dir: &Path, serial: PathBuf, clock: Running) -> Guest {
        let end = Instant::now() + Duration::from_secs(30);
        let agent = loop {
            match Agent::connect(dir) {
                Ok(agent) => break agent,
                Err(error) if Instant::now() > end => {
                    let _ = qemu.kill();
                    let _ = qemu.wait();
                    panic!("qemu did not start: {error}");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Guest { qemu, serial, agent, _clock: clock }
    }

    /// Waits until the agent is there: long before the system is up.
    pub(crate) fn wait_for_agent(&mut self) {
        if let Err(error) = self.agent.hello(PATIENCE) {
            self.fail(&format!("the guest did not come up: {error}"));
        }
    }

    /// Waits until the system is up, and says in which state: `running`, `degraded`.
    pub(crate) fn wait_until_up(&mut self) -> String {
        self.wait_for_agent();
        self.wait_until_running()
    }

    /// The same, of a guest whose agent is there.
    pub(crate) fn wait_until_running(&mut self) -> String {
        self.run(UNTIL_RUNNING).out.trim().to_owned()
    }

    /// Runs a command that ends in a soft-reboot, and waits for the agent of the userspace that comes up.
    pub(crate) fn soft_reboot_by(&mut self, script: &str) {
        if let Err(error) = self.agent.send(script).and_then(|()| self.agent.hello(PATIENCE)) {
            self.fail(&format!("userspace did not come up again: {error}\nscript: {script}"));
        }
    }

    /// Runs a bash script in the guest.
    pub(crate) fn run(&mut self, script: &str) -> Output {
        match self.agent.send(script).and_then(|()| self.agent.receive(PATIENCE)) {
            Ok(output) => output,
            Err(error) => self.fail(&format!("the guest did not answer: {error}\nscript: {script}")),
        }
    }

    /// Starts a bash script, and does not wait for its end.
    pub(crate) fn send(&mut self, script: &str) {
        if let Err(error) = self.agent.send(script) {
            self.fail(&format!("the guest does not listen: {error}"));
        }
    }

    /// Where its console is written to.
    #[cfg(feature = "test-full")]
    #[allow(dead_code, reason = "the rows of full.rs do not ask")]
    pub(crate) fn serial(&self) -> &Path {
        &self.serial
    }

    /// How the script ended that was started last; none, if it goes on for longer than the limit, or the machine is gone.
    #[cfg(feature = "test-full")]
    #[allow(dead_code, reason = "the rows of full.rs wait for every answer")]
    pub(crate) fn answer_within(&mut self, limit: Duration) -> Option<Output> {
        // A socket's time limit of zero is none at all.
        self.agent.receive(limit.max(Duration::from_millis(1))).ok()
    }

    /// Runs a bash script that must succeed, and gives back what it printed.
    pub(crate) fn succeed(&mut self, script: &str) -> String {
        let output = self.run(script);
        if output.status != 0 {
            self.fail(&format!("exit status {}: {script}\n{}{}", output.status, output.out, output.err));
        }
        output.out
    }

    /// Runs a command that ends in a reboot, and waits for it.
    pub(crate) fn reboot_by(mut self, script: &str) {
        self.ask(script);
        self.wait_for_end("reboot: Restarting system");
    }

    /// Holds a key of the keyboard down, and waits for the reboot that it leads to.
    #[cfg(feature = "test-full")]
    pub(crate) fn reboot_by_key(mut self, key: &str) {
        // For an hour: nobody lets go before the machine is off.
        self.at_the_monitor(&format!("sendkey {key} 3600000"));
        self.wait_for_end("reboot: Restarting system");
    }

    /// Stops the machine where it is, and its disk with it.
    #[cfg(feature = "test-full")]
    pub(crate) fn pause(&self) {
        self.at_the_monitor("stop");
    }

    /// Lets it go on.
    #[cfg(feature = "test-full")]
    pub(crate) fn resume(&self) {
        self.at_the_monitor("cont");
    }

    #[cfg(feature = "test-full")]
    fn at_the_monitor(&self, words: &str) {
        let dir = self.serial.parent().expect("a directory");
        if let Err(error) = super::monitor::command(dir, words) {
            self.fail(&format!("the monitor does not listen: {error}"));
        }
    }

    /// `systemctl reboot`, to the end.
    pub(crate) fn reboot(self) {
        self.reboot_by("systemctl reboot");
    }

    /// `systemctl poweroff`, to the end.
    pub(crate) fn poweroff(mut self) {
        self.ask("systemctl poweroff");
        self.wait_for_end("reboot: Power down");
    }

    /// `systemctl halt`, to the end, which is none: then the power goes.
    #[cfg(feature = "test-full")]
    pub(crate) fn halt(mut self) {
        // Nobody answers, and QEMU does not end.
        self.send("systemctl halt");
        self.wait_for_console("reboot: System halted");
        self.kill();
    }

    /// Waits until the machine goes off by itself, and gives back all that it said.
    pub(crate) fn wait_off(mut self) -> String {
        self.wait_for_end("reboot: Power down");
        self.console()
    }

    /// Waits until the kernel panics, and the machine goes off by that.
    pub(crate) fn wait_panic(mut self) {
        self.wait_gone();
        if !self.console().contains("Kernel panic") {
            self.fail("the machine ended without a panic");
        }
    }

    /// Waits until something resets the machine without a word of init.
    #[cfg(feature = "test-full")]
    #[allow(dead_code, reason = "only the rows of full.rs have a watchdog")]
    pub(crate) fn wait_reset(mut self) {
        self.wait_gone();
        let console = self.console();
        if console.contains("Kernel panic") || console.contains("reboot: Power down") {
            self.fail("the machine was not reset");
        }
    }

    /// Cuts the power. What the disk holds is what the guest had flushed.
    pub(crate) fn cut_power(mut self) {
        self.kill();
    }

    /// Waits until the console says `text`; false, if the machine went off before.
    pub(crate) fn wait_for_console(&mut self, text: &str) -> bool {
        self.wait_for_console_times(text, 1)
    }

    /// The same, of what it says so many times.
    pub(crate) fn wait_for_console_times(&mut self, text: &str, times: usize) -> bool {
        let end = Instant::now() + PATIENCE;
        let said = |guest: &Guest| guest.console().matches(text).count() >= times;
        while !said(self) {
            if self.is_off() {
                return said(self);
            }
            if Instant::now() > end {
                self.fail(&format!("the console never said {text:?}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Whether QEMU has ended.
    pub(crate) fn is_off(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(Some(_)))
    }

    /// All that the console said so far.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    /// Fails the test with the end of the console.
    pub(crate) fn fail(&self, why: &str) -> ! {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        panic!("{why}\n--- end of {}:\n{tail}", self.serial.display());
    }

    /// Sends a script that the guest may not live to answer; an answer that it failed is a failure.
    fn ask(&mut self, script: &str) {
        self.send(script);
        match self.agent.receive(PATIENCE) {
            Ok(output) if output.status != 0 && output.status < 128 => {
                self.fail(&format!("exit status {}: {script}\n{}{}", output.status, output.out, output.err))
            }
            _ => {}
        }
    }

    fn wait_for_end(&mut self, last_words: &str) {
        self.wait_gone();
        let console = self.console();
        if console.contains("Kernel panic") || !console.contains(last_words) {
            self.fail(&format!("the machine did not end with {last_words:?}"));
        }
    }

    fn wait_gone(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.is_off() {
            if Instant::now() > end {
                self.fail("the machine did not go off");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}
