//! What a copy must keep, one oddity at a time, on each filesystem.

use std::fs;
use std::os::unix::fs::FileExt;

use overlayd::layer::{Options, Stack};

use crate::manifest::data_ranges;
use crate::rig::{Disk, run, s};

/// The filesystems that state is kept on.
pub(crate) const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

pub(crate) fn alone(upper: &std::path::Path) -> Stack {
    Stack { layers: vec![upper.to_owned()], base: None }
}

#[test]
fn holes() {
    for fstype in FILESYSTEMS {
        let disk = Disk::new(fstype, 512);
        let upper = disk.directory("upper");
        for (name, length, islands) in [
            ("start", 5 << 20, &[4 << 20][..]),
            ("end", 9 << 20, &[0]),
            ("all", 3 << 20, &[]),
            ("many", 1 << 20, &[65536, 300_000, 800_000]),
        ] {
            let file = fs::File::create(upper.join(name)).unwrap();
            file.set_len(length).unwrap();
            for &at in islands {
                file.write_all_at(b"island", at).unwrap();
            }
        }
        run("sync", &["-f", s(&disk.root)]);
        let (layer, _) = disk.build(&alone(&upper), &Options::default());
        run("sync", &["-f", s(&disk.root)]);
        for name in ["start", "end", "all", "many"] {
            let (from, to) = (upper.join(name), layer.join(name));
            assert!(
                data_ranges(&from).len() < 4
                    && data_ranges(&from) != [(0, fs::metadata(&from).unwrap().len())]
            );
            assert_eq!(data_ranges(&from), data_ranges(&to), "{fstype} {name}");
            assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap(), "{fstype} {name}");
        }
    }
}
