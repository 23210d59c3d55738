//! The steps that check, make and mount the state filesystem.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use rustix::mount::MountAttrFlags;

use crate::error::{Error, Kind, Result};
use crate::plan::Step;
use crate::sys::mount::{self, FsContext};
use crate::sys::process;

/// Making a filesystem on a large slow card takes a while.
const FORMAT_LIMIT: Duration = Duration::from_secs(300);
/// Label of a filesystem that overlayd makes.
const LABEL: &str = "overlayd";

/// Executes the steps of `plan::state::prepare`, mounting at `at`. Problems that do not stop it are returned.
pub fn run(steps: &[Step], at: &Path, fsck_limit: Duration) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for step in steps {
        tracing::debug!(step = %step, "executing");
        match step {
            Step::Fsck { device, fstype, force } => {
                problems.extend(fsck(device, fstype, *force, fsck_limit)?)
            }
            Step::Format { device, fstype } => format(device, fstype)?,
            Step::MountState { device, fstype, options } => mount_state(device, fstype, options, at)?,
            _ => {}
        }
    }
    Ok(problems)
}

/// fsck(8): 0 clean, 1 repaired, 2 repaired and wants a reboot (of a mounted one), from 4 on not repaired.
fn fsck(device: &Path, fstype: &str, force: bool, limit: Duration) -> Result<Option<String>> {
    let names = [format!("fsck.{fstype}"), "e2fsck".to_owned()];
    let Some(program) = names.iter().find_map(|n| process::find_program(n)) else {
        return Ok(Some(format!("{} is not installed here: {} was not checked", names[0], device.display())));
    };
    let node = device.to_string_lossy();
    let arguments: &[&str] = if force { &["-p", "-f", &node] } else { &["-p", &node] };
    let exit = process::run(&program, arguments, limit)?;
    match exit.code {
        Some(0) => Ok(None),
        Some(1..4) => Ok(Some(format!("{} repaired {}", program.display(), device.display()))),
        code => Err(Error::new(
            Kind::StoreUnavailable,
            format!(
                "{} found damage on {} that it may not repair by itself (exit {}): {}",
                program.display(),
                device.display(),
                code.map_or("unknown".to_owned(), |c| c.to_string()),
                exit.output.lines().last().unwrap_or_default()
            ),
        )
        .remedy(format!("repair it by hand: e2fsck {}", device.display()))),
    }
}

fn format(device: &Path, fstype: &str) -> Result<()> {
    let name = format!("mkfs.{fstype}");
    let program = process::find_program(&name).ok_or_else(|| {
        Error::new(Kind::StoreUnavailable, format!("{name} is not installed here")).remedy(
            "the initramfs hook takes it along if state.format is \"if-blank\" when the initramfs is made",
        )
    })?;
    let node = device.to_string_lossy();
    let quiet: &[&str] = if fstype.starts_with("ext") { &["-q"] } else { &[] };
    let exit = process::run(&program, &[quiet, &["-L", LABEL, &node]].concat(), FORMAT_LIMIT)?;
    if exit.code == Some(0) {
        return Ok(());
    }
    // mkfs.xfs explains all its options to whoever gave it a device that is too small.
    let why = exit.output.split("\nUsage:").next().unwrap_or_default();
    Err(Error::new(Kind::StoreUnavailable, format!("{name} failed on {}: {why}", device.display())))
}

fn mount_state(device: &Path, fstype: &str, options: &str, at: &Path) -> Result<()> {
    let context = FsContext::new(fstype, format!("{fstype} filesystem on {}", device.display()))?;
    context.string("source", device)?;
    let mut attributes = mount::PRIVATE;
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match (attribute(option), option.split_once('=')) {
            (Some(attribute), _) => attributes |= attribute,
            (None, Some((key, value))) => context.string(key, Path::new(value))?,
            (None, None) => context.flag(option)?,
        }
    }
    let mounted = context.mount(attributes).map_err(|e| e.with_kind(Kind::StoreUnavailable))?;
    make_private_dir(at)?;
    mount::attach(&mounted, at)?;
    mount::restrict(at, false)
}

/// Options that belong to the mount, not to the filesystem.
fn attribute(option: &str) -> Option<MountAttrFlags> {
    Some(match option {
        "defaults" => MountAttrFlags::empty(),
        "noatime" => MountAttrFlags::MOUNT_ATTR_NOATIME,
        "relatime" => MountAttrFlags::MOUNT_ATTR_RELATIME,
        "strictatime" => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        "nodiratime" => MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        _ => return None,
    })
}

fn make_private_dir(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(|e| Error::io("make", path, e))
}
