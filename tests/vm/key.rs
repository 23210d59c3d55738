//! A key held down, which logind takes for the wish of a factory reset. Before systemd 259 it aborts instead.

use crate::asked::{assert_asked, generation};
use crate::checks::{make_marks, up};
use crate::harness::{Initramfs, Machine, RootFs, StateFs, Suite};

/// What docs/factory-reset.md says, and the power key of the keyboard made the key of a reboot.
const KEY: &str = r#"
    set -e
    mkdir -p /usr/lib/systemd/logind.conf.d /run/udev/rules.d
    printf '[Login]\nHandleRebootKeyLongPress=factory-reset\n' >/usr/lib/systemd/logind.conf.d/factory-reset.conf
    echo 'SUBSYSTEM=="input", KERNEL=="event*", ENV{ID_INPUT_KEYBOARD}=="1", ENV{KEYBOARD_KEY_de}="restart", RUN{builtin}+="keyboard"' \
        >/run/udev/rules.d/99-key.rules
    udevadm control --reload
    udevadm trigger --settle --subsystem-match=input
    systemctl restart systemd-logind.service
    pid=$(systemctl show --property=MainPID --value systemd-logind.service)
    until journalctl -b _PID=$pid | grep 'Watching system buttons.*keyboard'; do sleep 0.3; done
"#;

#[test]
fn a_key_held_down_on_debian_testing() {
    let initramfs = Initramfs::InitramfsTools;
    let mut machine = Machine::new("triggers-key", Suite::Forky, initramfs, RootFs::Squashfs, StateFs::Ext4);
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    guest.succeed(KEY);
    guest.reboot_by_key("power");
    machine.disk.assert_clean();
    assert_eq!(generation(&mut machine, &[]), 2);
    assert_asked(&machine, "systemd", "factory-reset.target");
}
