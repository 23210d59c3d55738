//! When the daemon looks, and what it keeps of what it saw.

use super::*;

#[test]
fn nothing_is_looked_at_before_clients_can_call() {
    let dir = crate::sys::process::test_dir("core");
    let places = Places { store: None, handoff: dir.join("boot.toml"), root: dir.clone() };
    let core = Arc::new(Core::new(places, 1));
    zbus::block_on(core.fresh(Depth::Full));
    assert!(core.seen().is_none() && core.idle());
    core.serve();
    zbus::block_on(core.fresh(Depth::Full));
    assert!(core.seen().is_some());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_was_counted_stays_for_the_same_generation_only() {
    let overlay = |generation, upper| OverlayStatus { generation, upper, ..OverlayStatus::default() };
    let status = |o| Status { overlays: vec![o], ..Status::default() };
    let counted = Some(status::Usage { bytes: 1, entries: 2, complete: true });
    let before = status(overlay(Some(1), counted));
    let mut same = status(overlay(Some(1), None));
    keep_usage(&before, &mut same);
    assert_eq!(same.overlays[0].upper, counted);
    let mut other = status(overlay(Some(2), None));
    keep_usage(&before, &mut other);
    assert_eq!(other.overlays[0].upper, None);
}
