//! The bus in a booted system, with the shipped policy and the real polkit: who may not, cannot.

use crate::checks::{Verdict, assert_healthy, make_marks, status, status_of_root};
use crate::harness::{Guest, Machine};

const MANAGER: (&str, &str) = ("/org/overlayd1", "org.overlayd1.Manager");
const OVERLAY: (&str, &str) = ("/org/overlayd1/overlay/root", "org.overlayd1.Overlay");
const SNAPSHOT: (&str, &str) = ("/org/overlayd1/overlay/root/snapshot/1", "org.overlayd1.Snapshot");

/// Every method that changes something, or tells names of files, with arguments in the words of dbus-send.
const MUTATING: &[((&str, &str), &str, &str)] = &[
    (MANAGER, "Reload", "uint64:0"),
    (MANAGER, "RequestFactoryReset", "string: array:string: uint64:0"),
    (MANAGER, "CancelFactoryReset", "uint64:0"),
    (MANAGER, "CheckStore", "uint64:0"),
    (MANAGER, "MarkGood", "uint64:0"),
    (MANAGER, "MarkBad", "string:x uint64:0"),
    (OVERLAY, "Reset", "string: array:string: uint64:0"),
    (OVERLAY, "ResetVia", "string: array:string: string:x uint64:0"),
    (OVERLAY, "CancelPending", "uint64:0"),
    (OVERLAY, "ListChanges", "string: string: array:string: uint64:0"),
    (OVERLAY, "CreateSnapshot", "string:x dict:string:string:a,b uint64:0"),
    (OVERLAY, "Commit", "string:x dict:string:string:a,b array:string: uint64:0"),
    (OVERLAY, "Restore", "uint64:1 array:string: uint64:0"),
    (OVERLAY, "Undo", "uint64:0"),
    (SNAPSHOT, "Delete", "uint64:0"),
    (SNAPSHOT, "SetMetadata", "string:x dict:string:string:a,b uint64:0"),
    (SNAPSHOT, "SetProtected", "boolean:false uint64:0"),
];

/// Every method that only reads.
const READING: &[&str] =
    &["ListOverlays", "GetOverlay", "ListJobs", "ListSnapshots", "Describe", "CanFactoryReset"];

#[test]
fn an_unprivileged_caller_is_denied_every_mutating_method() {
    let mut machine = Machine::usual("bus-unprivileged");
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    make_marks(&mut guest);
    guest.succeed("overlayctl snapshot create && overlayctl reset --yes");
    let before = status_of_root(&mut guest);
    assert_eq!(before["pending"]["action"], "reset", "{before:#}");

    assert_every_method_is_known(&mut guest, MANAGER);
    assert_every_method_is_known(&mut guest, OVERLAY);
    assert_every_method_is_known(&mut guest, SNAPSHOT);
    for &((path, interface), method, arguments) in MUTATING {
        assert_denied(&mut guest, path, &format!("{interface}.{method} {arguments}"));
    }
    let job = last_job(&mut guest);
    assert_denied(&mut guest, &job, "org.overlayd1.Job.Cancel uint64:0");
    assert_denied(&mut guest, &job, "org.overlayd1.Job.GetDetails uint64:0");
    assert_denied(
        &mut guest,
        MANAGER.0,
        "org.freedesktop.DBus.Properties.Set string:org.freedesktop.LogControl1 string:LogLevel variant:string:debug",
    );

    assert_eq!(status_of_root(&mut guest)["pending"], before["pending"], "a denied call had an effect");
    let status = guest.run("setpriv --reuid=65534 --regid=65534 --clear-groups overlayctl status --json");
    assert_eq!(status.status, 0, "everyone may look: {status:?}");
    guest.succeed("overlayctl cancel");
    guest.reboot();

    machine.disk.assert_clean();
    let verdict = Verdict::of(&mut machine, &[]);
    assert_eq!((verdict.mode(), verdict.marks()), ("persistent", "all"), "{verdict:#?}");
}

#[test]
fn the_daemon_answers_exits_and_answers_again() {
    let mut machine = Machine::usual("bus-idle-exit");
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    status(&mut guest);
    guest.succeed(
        "for second in $(seq 180); do
            [ \"$(systemctl is-active overlayd.service)\" = inactive ] && exit 0
            sleep 1
        done
        systemctl status overlayd.service; exit 1",
    );
    status(&mut guest);
    assert_healthy(&mut guest, "persistent");
    let exposure = guest.succeed("systemd-analyze security --no-pager overlayd.service | tail -n 1");
    let level = exposure.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or(10.0);
    assert!(level <= 2.8, "the sandbox has become wider: {exposure}");
    guest.poweroff();
    machine.disk.assert_clean();
}

/// The object of the job that is listed; a request for a reset made one.
fn last_job(guest: &mut Guest) -> String {
    let jobs = guest.succeed("overlayctl reset --yes; busctl tree --list org.overlayd1 | grep /job/");
    jobs.lines().rfind(|line| line.starts_with("/org/overlayd1/job/")).unwrap_or_default().to_owned()
}

/// A method that is in neither list would go untested.
fn assert_every_method_is_known(guest: &mut Guest, (path, interface): (&str, &str)) {
    let listing = guest.succeed(&format!("busctl --no-legend introspect org.overlayd1 {path} {interface}"));
    for line in listing.lines().filter(|line| line.split_whitespace().nth(1) == Some("method")) {
        let method = line.split_whitespace().next().unwrap_or_default().trim_start_matches('.');
        let known = READING.contains(&method) || MUTATING.iter().any(|known| known.1 == method);
        assert!(known, "{interface}.{method} is in no list of this test");
    }
}

fn assert_denied(guest: &mut Guest, path: &str, call: &str) {
    let output = guest.run(&format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups dbus-send --system --print-reply \
         --dest=org.overlayd1 {path} {call}"
    ));
    let denied =
        ["AccessDenied", "InteractiveAuthorizationRequired"].iter().any(|name| output.err.contains(name));
    assert!(output.status != 0 && denied, "{call} was not denied: {output:?}");
}
