//! The figures of docs/benchmarks.md: `make bench`.
//!
//! Everything is compared side by side in one run, in turn, and told as medians and ratios: the machine may be busy.
//! It runs in a mount namespace of its own, on loop devices that vanish with it.
//!
//! Words choose a part: `cargo bench --bench figures -- early`, `-- resets`, `-- resets 1000000`, `-- soft`, `-- snapshots`,
//! `-- snapshots ext4 20000`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what can not be measured stops the bench; it prints its result"
)]

mod boot;
mod daemon;
#[path = "../bus/ear.rs"]
#[allow(dead_code, reason = "the bench needs a part of what the bus tests need")]
mod ear;
mod figures;
#[path = "../vm/harness/mod.rs"]
#[allow(dead_code, unused_imports, clippy::panic, reason = "the bench needs a part of what the boots need")]
mod harness;
mod initramfs;
mod job;
mod machine;
mod reset;
mod snapshot;
mod soft;
mod system;
mod trace;
mod upper;
#[path = "../bus/world.rs"]
#[allow(dead_code, clippy::print_stderr, reason = "the bench needs a part of what the bus tests need")]
mod world;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::MsFlags;
use serde_json::{Value, json};

use boot::Place;
use figures::Report;
use machine::Machine;
use snapshot::Rack;
use system::{Loop, output};

const STATE_MIB: u64 = 512;
const INODES: u64 = 32_768;
/// Of the stripped static program.
const EARLY_BYTES: f64 = 1.5 * 1024.0 * 1024.0;

fn main() -> ExitCode {
    overlayd::sys::mount::private_namespace().expect("root is needed");
    // Whoever else works on this machine disturbs less; all contenders inherit it.
    system::run("renice", &["-n", "-20", "-p", &std::process::id().to_string()]);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let disk = target.join("bench-work");
    let _ = fs::remove_dir_all(&disk);
    let mut report = Report::default();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |word: &str| words.is_empty() || words.iter().any(|w| w == word);
    let ram = disk.join("ram");
    fs::create_dir_all(&ram).unwrap();
    system::attach("tmpfs", &ram, "tmpfs", MsFlags::empty());
    if chosen("early") {
        measure(&mut report, &disk);
    }
    if chosen("resets") {
        measure_resets(&mut report, &disk, words.iter().find_map(|word| word.parse().ok()));
    }
    if chosen("soft") {
        soft::measure(&mut report);
    }
    if chosen("snapshots") {
        snapshot::measure(&mut report, &Rack::new(&ram.join("rack")), &words);
    }
    system::unmount_all(&[system::s(&disk)]);
    fs::remove_dir_all(&disk).unwrap();
    let about = about();
    let json = json!({ "about": about, "figures": report.json() });
    let file = target.with_file_name("bench.json");
    fs::write(&file, serde_json::to_string_pretty(&json).unwrap()).unwrap();
    println!("{about:#}\n{}\nalso in {}", report.table(), file.display());
    let too_large = report.too_large();
    too_large.iter().for_each(|what| println!("over its limit: {what}"));
    if too_large.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(report: &mut Report, disk: &Path) {
    let ram = disk.join("ram");
    report.add_limited("Size of overlayd-early", "stripped, static", "bytes", early_bytes(), EARLY_BYTES);
    daemon::measure_memory(report);
    daemon::measure_activation(report);
    let (base, initramfs) = (machine::base(&ram), machine::initramfs(&ram));
    let (on_disk, in_ram) = (state(disk, "bench-disk"), state(&ram, "bench-ram"));
    let places = [
        Place { name: "on disk", state: &on_disk, label: "bench-disk" },
        Place { name: "in RAM", state: &in_ram, label: "bench-ram" },
    ];
    Machine::with(&initramfs, &base, &[&on_disk, &in_ram], |machine| {
        places.iter().for_each(|place| boot::measure(report, machine, place));
        boot::measure_volatile(report, machine);
        boot::count(report, machine, &places[0]);
        places.iter().for_each(|place| boot::explain(report, machine, place));
    });
}

/// With an upper of 100 entries and with a large one.
fn measure_resets(report: &mut Report, disk: &Path, large: Option<u64>) {
    let ram = disk.join("ram");
    let (base, initramfs) = (machine::base(&ram), machine::initramfs(&ram));
    let uppers = reset::uppers(disk, large.unwrap_or(reset::LARGE));
    let states: Vec<&Loop> = uppers.iter().map(|u| &u.state).collect();
    Machine::with(&initramfs, &base, &states, |machine| reset::measure(report, machine, &uppers));
    reset::measure_bus(report, &uppers);
    reset::measure_rm(report, &uppers, &disk.join("mount"));
}

fn state(dir: &Path, label: &str) -> Loop {
    let image = dir.join("state.img");
    system::ext4(&image, STATE_MIB, INODES, label);
    Loop::attach(&image)
}

fn early_bytes() -> f64 {
    let bytes = fs::metadata(initramfs::early_binary()).unwrap().len();
    f64::from(u32::try_from(bytes).unwrap())
}

/// The circumstances.
fn about() -> Value {
    let line = |program: &str, arguments: &[&str]| output(program, arguments).trim().to_owned();
    json!({
        "date": line("date", &["-u", "+%F %R UTC"]),
        "kernel": line("uname", &["-srm"]),
        "processors": line("nproc", &[]),
        "load": fs::read_to_string("/proc/loadavg").unwrap().trim(),
        "commit": line("git", &["describe", "--always", "--dirty"]),
        "packages": initramfs::package_versions(),
        "rounds": figures::ROUNDS,
    })
}
