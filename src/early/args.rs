//! Which task, by the name the program is called by or by its first argument.

use std::path::{Path, PathBuf};

use crate::sys::mount::Flags;

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Mount the overlay over this directory.
    Boot {
        /// The mounted base.
        sysroot: PathBuf,
    },
    /// Unmount what systemd-shutdown could not, then end: `poweroff`, `reboot`, `halt` or `kexec`.
    Shutdown {
        /// The verb.
        verb: String,
    },
    /// One pass of that. In a process of its own: a device that hangs must not hold PID 1.
    Unmount,
    /// Mount an overlay that is not the root.
    Mount {
        /// Its name.
        name: String,
        /// Where; none: where the configuration says.
        target: Option<PathBuf>,
        /// Mount options.
        flags: Flags,
        /// Only pretend, as `mount -f`.
        fake: bool,
    },
    /// Execute the pending request, and mount what it makes for a soft-reboot.
    NextRoot,
    /// Ask for the reset that is configured: what `factory-reset.target` starts.
    FactoryReset,
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// The help text.
pub const HELP: &str = "\
Usage: overlayd-early boot --sysroot DIR
       overlayd-early mount NAME [TARGET] [-o OPTIONS]
       overlayd-early nextroot
       overlayd-early factory-reset
       overlayd-early shutdown poweroff|reboot|halt|kexec

  boot      mount the configured overlay over the root that is mounted at DIR; runs in the initramfs
  mount     mount another configured overlay, on a running system; as mount.overlayd it is mount(8)'s helper
  nextroot  execute the pending request, and mount its result where a soft-reboot goes on
  factory-reset  ask for the configured reset at the next boot; factory-reset.target starts it
  shutdown  unmount the old root and the state filesystem; runs as /run/initramfs/shutdown

  --help, --version

See overlayd-early(8) and overlayd.toml(5).
";

/// Parses the arguments, the program's name first. The error is for people.
pub fn parse(arguments: &[String]) -> Result<Task, String> {
    let called = arguments
        .first()
        .map(|a| Path::new(a).file_name().unwrap_or_default().to_string_lossy().into_owned());
    let rest: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    if called.as_deref() == Some("shutdown") {
        return Ok(shutdown(rest.first().copied()));
    }
    if called.as_deref() == Some("mount.overlayd") {
        return mount(&rest);
    }
    match rest[..] {
        ["mount", ref rest @ ..] => mount(rest),
        ["boot", "--sysroot", dir] | ["boot", dir] if dir.starts_with('/') => {
            Ok(Task::Boot { sysroot: dir.into() })
        }
        ["boot", ..] => Err("boot needs --sysroot and an absolute path".to_owned()),
        ["nextroot"] => Ok(Task::NextRoot),
        ["shutdown", ..] => Ok(shutdown(rest.get(1).copied())),
        ["unmount"] => Ok(Task::Unmount),
        ["factory-reset"] => Ok(Task::FactoryReset),
        ["--help" | "-h" | "help"] => Ok(Task::Help),
        ["--version" | "-V"] => Ok(Task::Version),
        [] => Err("what shall be done? See --help".to_owned()),
        [first, ..] => Err(format!("unknown task \"{first}\"; see --help")),
    }
}

/// systemd-shutdown gives the verb first; options follow.
fn shutdown(verb: Option<&str>) -> Task {
    Task::Shutdown { verb: verb.unwrap_or("poweroff").to_owned() }
}

/// `SPEC [DIR] [-sfnv] [-o OPTIONS] [-t TYPE]`, as mount(8) calls its helpers.
fn mount(arguments: &[&str]) -> Result<Task, String> {
    let (mut places, mut options, mut fake) = (Vec::new(), Vec::new(), false);
    let mut rest = arguments.iter().copied();
    while let Some(argument) = rest.next() {
        match argument.strip_prefix('-') {
            Some("o") => options.extend(rest.next()),
            Some("t") => drop(rest.next()),
            Some(letters) if !letters.is_empty() && letters.chars().all(|c| "sfnv".contains(c)) => {
                fake |= letters.contains('f');
            }
            Some(_) => return Err(format!("unknown option \"{argument}\"")),
            None => places.push(argument),
        }
    }
    let ([name] | [name, _]) = places[..] else {
        return Err("mount needs the name of an overlay".to_owned());
    };
    let flags = Flags::parse(&options.join(","))?;
    Ok(Task::Mount { name: name.to_owned(), target: places.get(1).map(PathBuf::from), flags, fake })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Task, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn tasks() {
        assert_eq!(of("overlayd-early boot --sysroot /root"), Ok(Task::Boot { sysroot: "/root".into() }));
        assert_eq!(
            of("/run/initramfs/shutdown reboot --log-level 6"),
            Ok(Task::Shutdown { verb: "reboot".into() })
        );
        let mount = |fake| Task::Mount {
            name: "data".into(),
            target: Some("/srv/data".into()),
            flags: Flags::parse("ro,nosuid").unwrap(),
            fake,
        };
        assert_eq!(of("/sbin/mount.overlayd data /srv/data -o ro,nosuid"), Ok(mount(false)));
        assert_eq!(
            of("overlayd-early mount data /srv/data -sf -o ro -o nosuid -t overlayd"),
            Ok(mount(true))
        );
        assert_eq!(of("overlayd-early nextroot"), Ok(Task::NextRoot));
        assert_eq!(of("overlayd-early factory-reset"), Ok(Task::FactoryReset));
        assert_eq!(of("overlayd-early --version"), Ok(Task::Version));
        for bad in [
            "overlayd-early",
            "overlayd-early boot",
            "overlayd-early boot --sysroot root",
            "overlayd-early x",
            "overlayd-early mount",
            "overlayd-early nextroot /x",
            "overlayd-early mount a /b c",
            "overlayd-early mount a -x",
            "mount.overlayd a /b -o lowerdir=/x",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
