//! The login message: what is degraded, in a file that pam_motd(8) shows. It is there as long as something is.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::config::Mode;
use crate::error::{Error, Result};
use crate::handoff::{Handoff, HandoffOverlay};
use crate::sys::atomic;

/// Below `/run`: gone with the boot that it tells about.
pub const PATH: &str = "/run/motd.d/overlayd";

/// What is to be said of a boot, one line an overlay that is not as configured; empty: all is well.
pub fn of_boot(handoff: &Handoff) -> String {
    let mut text = String::new();
    for overlay in handoff.overlay.values() {
        if let Some(reason) = &overlay.reason {
            add(&mut text, &described(overlay, reason));
        }
    }
    text
}

/// Adds a line.
pub fn add(text: &mut String, what: &str) {
    text.push_str("overlayd: ");
    text.push_str(&one_line(what));
    text.push_str("\n          `overlayctl status` tells more\n");
}

/// Text as one line that does nothing to a terminal: reasons hold what programs printed.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Replaces the message; an empty one is no file, and that it was none before is well.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if text.is_empty() {
        return match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        };
    }
    // Whatever else makes this directory makes it for everyone, too.
    let parent = path.parent().unwrap_or(path);
    DirBuilder::new().mode(0o755).recursive(true).create(parent).map_err(|e| Error::io("make", parent, e))?;
    atomic::write_public(path, text)
}

fn described(overlay: &HandoffOverlay, reason: &str) -> String {
    let (target, mode) = (&overlay.target, overlay.mode.word());
    if overlay.mode == overlay.configured {
        return format!("{target}: {reason}");
    }
    let lost = if overlay.mode == Mode::Volatile { ", what is written now is lost at shutdown" } else { "" };
    format!("{target} is {mode}, not {}{lost}: {reason}", overlay.configured.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::BootMode;

    fn boot(mode: Mode, reason: Option<&str>) -> String {
        let mut handoff = Handoff::new(BootMode::Initrd, "b".into());
        let overlay = HandoffOverlay {
            target: "/".into(),
            configured: Mode::Persistent,
            mode,
            reason: reason.map(str::to_owned),
            ..HandoffOverlay::default()
        };
        handoff.overlay.insert("root".into(), overlay);
        of_boot(&handoff)
    }

    #[test]
    fn it_says_what_is_not_as_configured_and_why() {
        assert_eq!(boot(Mode::Persistent, None), "");
        let text = boot(Mode::Volatile, Some("no device LABEL=x came up within 10s"));
        assert!(text.starts_with(
            "overlayd: / is volatile, not persistent, what is written now is lost at shutdown: no device"
        ));
        assert!(boot(Mode::ReadOnly, Some("x")).starts_with("overlayd: / is read-only, not persistent: x\n"));
        assert!(
            boot(Mode::Persistent, Some("the files are lost"))
                .starts_with("overlayd: /: the files are lost\n")
        );
    }

    #[test]
    fn a_reason_can_not_steer_the_terminal() {
        assert!(
            boot(Mode::ReadOnly, Some("a\u{1b}]0;b\u{7}\nc\u{9b}1m"))
                .starts_with("overlayd: / is read-only, not persistent: a ]0;b  c 1m\n")
        );
    }

    #[test]
    fn it_goes_when_there_is_nothing_to_say() {
        let dir = crate::sys::process::test_dir("motd");
        let path = dir.join("motd.d/overlayd");
        write(&path, "").unwrap();
        write(&path, "a\n").unwrap();
        write(&path, "b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b\n");
        write(&path, "").unwrap();
        assert!(!path.exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
