//! The executor: initramfs, shutdown. No D-Bus, no async runtime, statically linked.

use std::io::Write;
use std::process::ExitCode;

use overlayd::early::args::{self, Task};
use overlayd::early::{boot, shutdown};
use overlayd::logging;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    match args::parse(&arguments) {
        Ok(Task::Help) => print(args::HELP),
        Ok(Task::Version) => print(&format!("overlayd-early {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Task::Boot { sysroot }) => {
            logging::init_early();
            boot::run(&sysroot).map_or_else(|e| fail(&e.to_string(), 1), |()| ExitCode::SUCCESS)
        }
        Ok(Task::Shutdown { verb }) => {
            logging::init_early();
            let refused = shutdown::run(&verb);
            fail(&format!("failed to {verb}: {}", refused.desc().to_lowercase()), 1)
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "overlayd-early: {why}");
            ExitCode::from(2)
        }
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    tracing::error!("{why}");
    let _ = writeln!(std::io::stderr(), "overlayd-early: {why}");
    ExitCode::from(code)
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
