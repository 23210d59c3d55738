//! Overlays that are not the root on a booted system: PID 1 mounts them, and mounts them again at once.

use crate::harness::{Guest, Machine};

/// A configuration belongs to the image, which is read-only: this one is bound over the image's.
const PREPARE: &str = r#"
    mkdir -p /srv/data
    echo given >/srv/data/given
    file=/run/overlayd/root/base/usr/lib/overlayd/overlayd.toml
    { cat $file; printf '\n[overlay.data]\ntarget = "/srv/data"\n'; } >/run/test.toml
    mount --bind /run/test.toml $file
"#;

const HEALTHY: &str = "
    set -e
    systemctl is-active srv-data.mount local-fs.target multi-user.target
    [ \"$(findmnt -no SOURCE /srv/data)\" = overlayd:data ]
";

fn resets_and_comes_back(guest: &mut Guest) {
    guest.succeed("echo mine >/srv/data/mine; rm -f /srv/data/given");
    let said = guest.succeed("overlayctl --overlay data reset --yes");
    assert!(said.contains("data is reset: done."), "{said}");
    guest.succeed("[ -e /srv/data/given ] && [ ! -e /srv/data/mine ]");
    guest.succeed(HEALTHY);
    guest
        .succeed("overlayctl --overlay data undo --yes && [ -e /srv/data/mine ] && [ ! -e /srv/data/given ]");
    guest.succeed(HEALTHY);
}

#[test]
fn another_overlay_changes_at_once_through_its_mount_unit() {
    let mut machine = Machine::usual("other-overlay");
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    guest.succeed(PREPARE);
    // A line in fstab; the drop-in makes a second service need the mount, as many do.
    guest.succeed(
        "echo 'data /srv/data overlayd defaults 0 0' >>/etc/fstab
        printf '[Unit]\nRequiresMountsFor=/srv/data\n[Service]\nExecStart=sleep infinity\n' >/etc/systemd/system/needs.service
        systemctl daemon-reload && systemctl start srv-data.mount needs.service",
    );
    let pid = guest.succeed("systemctl show -P MainPID needs.service");
    resets_and_comes_back(&mut guest);
    assert_eq!(
        guest.succeed("systemctl show -P MainPID needs.service"),
        pid,
        "who does not use it is left alone"
    );

    let busy = guest.run(
        "cd /srv/data; sleep 300 & cd /; overlayctl --overlay data reset --yes; code=$?; kill %1; exit $code",
    );
    assert_eq!(busy.status, 4, "{busy:?}");
    let text = format!("{busy:?}");
    assert!(text.contains("sleep[") && text.contains("(working directory)"), "{text}");
    guest.succeed("[ -e /srv/data/mine ]");
    guest.succeed("overlayctl --overlay data reset --yes && [ ! -e /srv/data/mine ]");

    // By hand, without a unit file: a transient unit takes its place.
    guest.succeed(
        "systemctl stop needs.service srv-data.mount; sed -i /overlayd/d /etc/fstab; systemctl daemon-reload",
    );
    guest.succeed("mount -t overlayd data /srv/data");
    resets_and_comes_back(&mut guest);
    assert_eq!(guest.succeed("systemctl show -P Transient srv-data.mount").trim(), "yes");
    resets_and_comes_back(&mut guest);
    guest.succeed(
        "umount /srv/data; ! findmnt /srv/data; overlayctl --overlay data reset --yes; ! findmnt /srv/data",
    );
    guest.poweroff();
    machine.disk.assert_clean();
}
