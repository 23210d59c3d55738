//! The executor: initramfs, shutdown. No D-Bus, no async runtime, statically linked.

#![no_main]

use std::io::Write;

use overlayd::early::args::{self, Task};
use overlayd::early::{boot, factory_reset, mount, nextroot, shutdown};
use overlayd::logging;

/// The C entry point instead of Rust's: std's start code handles stack overflows of threads, and for that takes a
/// tenth of a megabyte of the C library's text scanning along. This program has one thread.
#[allow(unsafe_code)]
// SAFETY: no other item of this program or of its libraries is named `main`.
#[unsafe(no_mangle)]
extern "C" fn main(_: i32, _: *const *const u8) -> i32 {
    run()
}

fn run() -> i32 {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    match args::parse(&arguments) {
        Ok(Task::Help) => print(args::HELP),
        Ok(Task::Version) => print(&format!("overlayd-early {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Task::Boot { sysroot }) => {
            logging::init_early();
            boot::run(&sysroot).map_or_else(|e| fail(&e.to_string(), 1), |()| 0)
        }
        Ok(Task::Mount { fake: true, .. }) => 0,
        Ok(Task::Mount { name, target, flags, .. }) => match mount::run(&name, target.as_deref(), flags) {
            Ok(true) => print(&format!("overlay {name} is mounted already\n")),
            Ok(false) => 0,
            // As mount(8): 32 is a mount that failed.
            Err(e) => fail(&e.to_string(), 32),
        },
        Ok(Task::NextRoot) => {
            logging::init_early();
            nextroot::run().map_or_else(|e| fail(&e.to_string(), 1), |()| 0)
        }
        Ok(Task::FactoryReset) => match factory_reset::run() {
            Ok(said) => print(&format!("{said}\n")),
            Err(e) => fail(&e.to_string(), 1),
        },
        Ok(Task::Unmount) => {
            shutdown::pass();
            0
        }
        Ok(Task::Shutdown { verb }) => {
            logging::init_early();
            let refused = shutdown::run(&verb);
            fail(&format!("failed to {verb}: {}", refused.desc().to_lowercase()), 1)
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "overlayd-early: {why}");
            2
        }
    }
}

fn fail(why: &str, code: i32) -> i32 {
    tracing::error!("{why}");
    let _ = writeln!(std::io::stderr(), "overlayd-early: {why}");
    code
}

fn print(text: &str) -> i32 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
