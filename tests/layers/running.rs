//! While a copy runs: canceling it, a full disk, files that change.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use overlayd::error::Kind;
use overlayd::layer::{self, Options, Progress};

use crate::edits::Random;
use crate::oddities::alone;
use crate::rig::Disk;

#[test]
fn canceling_works_within_a_second_even_in_a_huge_file() {
    let disk = Disk::new("ext4", 1800);
    let upper = disk.directory("upper");
    let mut file = fs::File::create(upper.join("huge")).unwrap();
    let block = vec![5; 1 << 20];
    (0..800).for_each(|_| file.write_all(&block).unwrap());
    let mut asked = None;
    let result = layer::build(&alone(&upper), &disk.fresh("layer"), &Options::default(), &mut |_| {
        asked.get_or_insert_with(Instant::now);
        ControlFlow::Break(())
    });
    assert_eq!(result.unwrap_err().kind(), Kind::Canceled);
    assert!(asked.unwrap().elapsed() < Duration::from_secs(1));
}

#[test]
fn progress_is_counted_against_the_estimate() {
    let disk = Disk::new("ext4", 1200);
    let upper = disk.directory("upper");
    for number in 0..40 {
        fs::write(upper.join(format!("file-{number}")), vec![1; 10 << 20]).unwrap();
    }
    let mut options = Options::default();
    options.estimate = layer::estimate(&alone(&upper), &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((options.estimate.entries, options.estimate.bytes), (40, 400 << 20));
    assert_eq!(options.estimate.new_inodes, 41);
    assert!(options.estimate.new_bytes >= 400 << 20);
    let mut heard: Vec<Progress> = Vec::new();
    let into = disk.fresh("layer");
    layer::build(&alone(&upper), &into, &options, &mut |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(heard.is_sorted_by_key(|progress| progress.bytes));
    assert!(heard.iter().all(|progress| (progress.total_entries, progress.total_bytes) == (40, 400 << 20)));
    let last = heard.last().unwrap();
    assert_eq!((last.entries, last.bytes), (40, 400 << 20));
}

fn fails_for_space(disk: &Disk, upper: &Path) {
    let result = layer::build(&alone(upper), &disk.fresh("layer"), &Options::default(), &mut |_| {
        ControlFlow::Continue(())
    });
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::InsufficientSpace, "{error}");
    assert!(error.message().contains("dir/file-"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let disk = Disk::new("ext4", 64);
    let upper = disk.directory("upper");
    fs::create_dir(upper.join("dir")).unwrap();
    for number in 0..36 {
        fs::write(upper.join(format!("dir/file-{number}")), vec![7; 1 << 20]).unwrap();
    }
    fails_for_space(&disk, &upper);
}

#[test]
fn running_out_of_inodes_is_an_error_that_names_the_file() {
    let disk = Disk::with_options("ext4", 64, &["-N", "256"]);
    let upper = disk.directory("upper");
    fs::create_dir(upper.join("dir")).unwrap();
    for number in 0..150 {
        fs::write(upper.join(format!("dir/file-{number}")), "").unwrap();
    }
    fails_for_space(&disk, &upper);
}

/// Does something over and over, as long as a copy runs.
fn meanwhile<T>(disturb: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let (over, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                disturb();
                begun.store(true, Ordering::Relaxed);
            }
        });
        // Even if the work panics.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&over);
        while !begun.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        work()
    })
}

#[test]
fn a_file_that_never_rests_is_copied_and_named() {
    let disk = Disk::new("ext4", 512);
    let upper = disk.directory("upper");
    fs::create_dir(upper.join("log")).unwrap();
    fs::write(upper.join("log/quiet"), "quiet").unwrap();
    fs::write(upper.join("log/busy"), vec![b'a'; 96 << 20]).unwrap();
    let busy = fs::File::options().write(true).open(upper.join("log/busy")).unwrap();
    let (layer, built) =
        meanwhile(|| busy.write_all_at(b"b", 0).unwrap(), || disk.build(&alone(&upper), &Options::default()));
    assert_eq!(built.unstable, [PathBuf::from("log/busy")]);
    assert_eq!(fs::metadata(layer.join("log/busy")).unwrap().len(), 96 << 20);
    assert_eq!(fs::read(layer.join("log/quiet")).unwrap(), b"quiet");
    assert_eq!(built.entries, 3);
}

#[test]
fn a_tree_that_never_rests_is_no_error() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let disk = Disk::new(fstype, 512);
        let upper = disk.directory("upper");
        for number in 0..300 {
            let dir = upper.join(format!("dir-{}/sub-{}", number % 20, number % 7));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("file-{number}")), vec![1; 5000]).unwrap();
        }
        let random = std::sync::Mutex::new(Random::new(5));
        let disturb = || {
            let (a, b, what) = {
                let mut random = random.lock().unwrap();
                (random.below(20), random.below(7), random.below(6))
            };
            let (dir, sub) = (upper.join(format!("dir-{a}")), upper.join(format!("dir-{a}/sub-{b}")));
            // Each may fail, as the others get in its way.
            let _ = match what {
                0 => fs::remove_dir_all(&sub),
                1 => fs::remove_dir_all(&sub).and_then(|()| fs::write(&sub, "a file now")),
                2 => fs::remove_file(&sub),
                3 => fs::create_dir_all(&sub).and_then(|()| fs::write(sub.join("new"), "new")),
                4 => fs::rename(&sub, dir.join(format!("moved-{b}"))),
                _ => fs::remove_dir_all(dir.join(format!("moved-{b}"))),
            };
        };
        meanwhile(disturb, || {
            for _ in 0..15 {
                let (layer, built) = disk.build(&alone(&upper), &Options::default());
                let made = crate::manifest::record(&layer).0.len() as u64 - 1;
                assert_eq!(made, built.entries, "{fstype}");
            }
        });
    }
}
