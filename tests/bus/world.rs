//! A bus, a store and a daemon of a test's own, in a directory that goes away with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use zbus::connection::Builder;
use zbus::{Connection, DBusError, DynamicType, OwnedVariant};

pub(crate) const NAME: &str = "org.overlayd1";
pub(crate) const ROOT: &str = "/org/overlayd1";
pub(crate) const OVERLAY_ROOT: &str = "/org/overlayd1/overlay/root";
pub(crate) const MANAGER: &str = "org.overlayd1.Manager";
pub(crate) const OVERLAY: &str = "org.overlayd1.Overlay";
pub(crate) const SNAPSHOT: &str = "org.overlayd1.Snapshot";
pub(crate) const JOB: &str = "org.overlayd1.Job";
pub(crate) const NOBODY: &str = "65534";
/// Generous: the machine may be busy, and a cleanup yields to everything else.
const PATIENCE: Duration = Duration::from_secs(120);

/// Options that generations are mounted with.
const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=nofollow,xino=auto";
/// The boot of [`World::hand_off`].
pub(crate) const BOOT: &str = "0b5b4b83-0000-4000-8000-000000000001";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The project's own directory.
pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything a test needs.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    bus: Option<Child>,
    pub(crate) daemon: Option<Child>,
    polkit: Option<Child>,
    /// What is mounted, in the order in which it was.
    mounts: Vec<PathBuf>,
}

impl Drop for World {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.polkit, &mut self.bus].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default());
        }
        for mount in self.mounts.iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(mount).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl World {
    /// A bus with a policy and a store, and no daemon yet.
    pub(crate) fn new() -> World {
        let mut world = World::empty();
        world.make_store();
        world.start_bus("system", "");
        world
    }

    /// The same, with the store on a fresh filesystem of this type, on btrfs with a subvolume for the generation. The test's thread, and what it starts from here on,
    /// is in a mount namespace of its own.
    pub(crate) fn on(fstype: &str, mib: u64) -> World {
        overlayd::sys::mount::private_namespace().unwrap();
        World::empty().with_filesystem(fstype, mib)
    }

    /// The same on a device that can not discard: no hole can be made in a file of ramfs.
    pub(crate) fn on_what_can_not_discard(fstype: &str, mib: u64) -> World {
        overlayd::sys::mount::private_namespace().unwrap();
        let mut world = World::empty();
        let ram = world.image().parent().unwrap().to_owned();
        world.mount(&["-t", "ramfs"], Path::new("ramfs"), &ram);
        world.with_filesystem(fstype, mib)
    }

    /// The image of the filesystem.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("device/state.img")
    }

    fn with_filesystem(self, fstype: &str, mib: u64) -> World {
        let image = self.make_image(fstype, mib);
        self.on_device(fstype, &["-o", "loop"], &image)
    }

    /// An image with a fresh filesystem.
    pub(crate) fn make_image(&self, fstype: &str, mib: u64) -> PathBuf {
        let image = self.image();
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let force = if fstype == "ext4" { "-F" } else { "-f" };
        self.must(Command::new(format!("mkfs.{fstype}")).args(["-q", force]).arg(&image));
        image
    }

    /// With the store on the filesystem of a device, and a bus.
    pub(crate) fn on_device(self, fstype: &str, options: &[&str], device: &Path) -> World {
        let mut world = self;
        let state = world.dir.join("state");
        world.mount(options, device, &state);
        let store = state.join("overlayd");
        fs::create_dir(&store).unwrap();
        world.mount(&["--bind"], &store, &world.store());
        if fstype == "btrfs" {
            let generations = world.store().join("overlays/root/generations");
            fs::create_dir_all(&generations).unwrap();
            world.must(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(generations.join("1")));
        }
        world.make_store();
        world.start_bus("system", "");
        world
    }

    /// Mounts the overlay as early boot would, over a base with some files, and leaves the handoff.
    pub(crate) fn boot(&mut self) {
        let base = self.dir.join("base");
        fs::create_dir_all(base.join("etc/dir")).unwrap();
        fs::write(base.join("etc/of-the-base"), "base").unwrap();
        fs::write(base.join("etc/dir/file"), "base").unwrap();
        let generation = self.store().join("overlays/root/generations/1");
        let (upper, work) = (generation.join("fs"), generation.join("work"));
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", base.display(), upper.display(), work.display());
        let options = ["-t", "overlay", "-o", &layers];
        self.mount(&options, Path::new("overlay"), &self.dir.join("root"));
        self.mount(&["--bind"], &base, &self.dir.join("run/root/base"));
        self.hand_off("generation = 1\n");
    }

    /// A handoff that says that generation 1 is mounted, with more lines for the overlay.
    pub(crate) fn hand_off(&self, more: &str) {
        let text = format!(
            "version = 1\nboot-id = \"{BOOT}\"\nboot-mode = \"initrd\"\ntook-ms = 1\nwaited-ms = 0\n\
             [overlay.root]\ntarget = \"/\"\nconfigured = \"persistent\"\nmode = \"persistent\"\n\
             lowers = [\"squashfs:test\"]\nbase = \"squashfs:test\"\noptions = \"{OPTIONS}\"\n{more}"
        );
        fs::write(self.handoff(), text).unwrap();
    }

    /// Where the boot handoff lies.
    pub(crate) fn handoff(&self) -> PathBuf {
        self.dir.join("run/boot.toml")
    }

    /// A file in the merged tree of [`boot`](Self::boot), or in the upper.
    pub(crate) fn upper(&self) -> PathBuf {
        self.store().join("overlays/root/generations/1/fs")
    }

    /// A snapshot that is there before the daemon.
    pub(crate) fn make_snapshot(&self, id: u64, more: &str) {
        let dir = self.store().join("overlays/root/snapshots").join(id.to_string());
        fs::create_dir_all(dir.join("fs")).unwrap();
        let record = format!(
            "version = 1\nid = {id}\ncreated = 1700000000\ndescription = \"made by hand\"\n\
             created-by = \"root (uid 0)\"\nbase = \"squashfs:test\"\noptions = \"{OPTIONS}\"\n\
             strategy = \"copy\"\nconsistency = \"per-file\"\nentries = 0\nbytes = 0\n{more}"
        );
        fs::write(dir.join("snapshot.toml"), record).unwrap();
    }

    fn must(&self, command: &mut Command) {
        let output = self.run(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }

    fn mount(&mut self, options: &[&str], source: &Path, target: &Path) {
        fs::create_dir_all(target).unwrap();
        self.must(Command::new("mount").args(options).arg(source).arg(target));
        self.mounts.push(target.to_owned());
    }

    /// A directory with the tool, and nothing else yet.
    pub(crate) fn empty() -> World {
        assert!(nix::unistd::geteuid().is_root(), "the bus tests need root");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("overlayd-bus-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.join("run")).unwrap();
        let world = World { dir, bus: None, daemon: None, polkit: None, mounts: Vec::new() };
        world.install_tool();
        world.keep_what_is_made();
        world
    }

    /// The store lies on the machine's own disk, and how full that is must not decide which snapshots stay.
    fn keep_what_is_made(&self) {
        let dir = self.dir.join("root/usr/lib/overlayd");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("overlayd.toml"), "[overlay.root.snapshots]\nmin-free = \"0%\"\n").unwrap();
    }

    /// The same, with a daemon that stays until the end.
    pub(crate) fn with_daemon() -> World {
        let mut world = World::new();
        world.start_daemon(&["--idle-timeout", "0"]);
        world
    }

    /// A daemon with options of the test's own.
    pub(crate) fn start_daemon(&mut self, options: &[&str]) {
        let mut command = self.daemon_command();
        command.args(options);
        self.spawn_daemon(command);
    }

    /// The daemon's command line, with this world's places.
    pub(crate) fn daemon_command(&self) -> Command {
        self.with_places(Command::new(env!("CARGO_BIN_EXE_overlayd")))
    }

    /// The same, run by another program.
    pub(crate) fn daemon_command_in(&self, mut runner: Command) -> Command {
        runner.arg(env!("CARGO_BIN_EXE_overlayd"));
        self.with_places(runner)
    }

    fn with_places(&self, mut command: Command) -> Command {
        command.args(self.places()).env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command.stderr(self.log("daemon.log"));
        command
    }

    /// Starts the daemon and waits until it has its name.
    pub(crate) fn spawn_daemon(&mut self, mut command: Command) {
        self.daemon = Some(command.spawn().expect("overlayd starts"));
        let bus = self.connect();
        until("overlayd has its name", || has_owner(&bus, NAME));
    }

    /// Options that lead the daemon to this world's files.
    pub(crate) fn places(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let options = [("--store", "store"), ("--handoff", "run/boot.toml"), ("--root", "root")];
        options.iter().flat_map(|(option, name)| [(*option).to_owned(), path(name)]).collect()
    }

    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The pending request's record.
    pub(crate) fn request(&self) -> PathBuf {
        self.store().join("overlays/root/request.toml")
    }

    /// The bus's address.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.dir.join("bus").display())
    }

    /// A connection as root.
    pub(crate) fn connect(&self) -> Connection {
        let address = self.address();
        zbus::block_on(Builder::address(address.as_str()).build()).expect("the bus answers")
    }

    /// `overlayctl` as root.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        self.run(Command::new(self.dir.join("overlayctl")).args(arguments))
    }

    /// Any program as an unprivileged user.
    pub(crate) fn as_nobody(&self, program: &str, arguments: &[&str]) -> Output {
        let ids = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        self.run(Command::new("setpriv").args(ids).arg(program).args(arguments))
    }

    /// A method call as an unprivileged user, in dbus-send's notation.
    pub(crate) fn call_as_nobody(&self, path: &str, method: &str, arguments: &[&str]) -> Output {
        let mut all = vec!["--system", "--print-reply", "--dest=org.overlayd1", path, method];
        all.extend(arguments);
        self.as_nobody("dbus-send", &all)
    }

    /// A program in the world's directory, with its bus.
    pub(crate) fn run(&self, command: &mut Command) -> Output {
        let command = command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address()).current_dir(&self.dir);
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// A real polkitd with the shipped actions and these rules, in a mount namespace of its own.
    pub(crate) fn start_polkit(&mut self, rules: &str) {
        let (actions, rules_d) = (self.dir.join("actions"), self.dir.join("rules"));
        for dir in [&actions, &rules_d] {
            fs::create_dir(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let policy = "org.overlayd1.policy";
        fs::copy(project().join("config/polkit-1").join(policy), actions.join(policy)).unwrap();
        fs::write(rules_d.join("10-test.rules"), rules).unwrap();
        let script = format!(
            "mount --bind {} /usr/share/polkit-1/actions && mount --bind {} /usr/share/polkit-1/rules.d && \
             mkdir -p /etc/polkit-1/rules.d && mount -t tmpfs none /etc/polkit-1/rules.d && \
             chmod 755 /etc/polkit-1/rules.d\n\
             for dir in /usr/lib/polkit-1 /usr/libexec; do test ! -x $dir/polkitd || exec $dir/polkitd; done\n\
             exit 127",
            actions.display(),
            rules_d.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", &script]).env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command.stdout(self.log("polkit.log")).stderr(self.log("polkit.log"));
        self.polkit = Some(command.spawn().expect("unshare starts"));
        let bus = self.connect();
        until("polkitd has its name", || has_owner(&bus, "org.freedesktop.PolicyKit1"));
    }

    /// Another bus in place of the first one, which may start services.
    pub(crate) fn restart_bus(&mut self, kind: &str, extra: &str) {
        if let Some(mut bus) = self.bus.take() {
            let _ = bus.kill();
            let _ = bus.wait();
        }
        let _ = fs::remove_file(self.dir.join("bus"));
        self.start_bus(kind, extra);
    }

    fn start_bus(&mut self, kind: &str, extra: &str) {
        let shipped = project().join("config/dbus-1/org.overlayd1.conf");
        let config = include_str!("bus.conf")
            .replace("@KIND@", kind)
            .replace("@SOCKET@", &self.dir.join("bus").display().to_string())
            .replace("@POLICY@", &shipped.display().to_string())
            .replace("@EXTRA@", extra);
        fs::write(self.dir.join("bus.conf"), config).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--config-file").arg(self.dir.join("bus.conf")).args(["--nofork", "--nopidfile"]);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address()).stderr(self.log("bus.log"));
        self.bus = Some(command.spawn().expect("dbus-daemon starts"));
        until("the bus listens", || UnixStream::connect(self.dir.join("bus")).is_ok());
    }

    fn make_store(&self) {
        let root = self.store().join("overlays/root");
        for dir in ["generations/1/fs", "generations/1/work", "trash"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::set_permissions(self.store(), fs::Permissions::from_mode(0o700)).unwrap();
        let store = "format = 1\nuuid = \"6f1c0a52-93a5-4b0e-9a77-0123456789ab\"\ncreated = 1700000000\nfeatures = []\n";
        fs::write(self.store().join("store.toml"), store).unwrap();
        fs::write(root.join("current"), "1\n").unwrap();
        let generation = format!(
            "version = 1\nnumber = 1\ncreated = 1700000000\nbase = \"squashfs:test\"\noptions = \"{OPTIONS}\"\n"
        );
        fs::write(root.join("generations/1/generation.toml"), generation).unwrap();
        fs::write(root.join("generations/1/fs/changed"), "by the user").unwrap();
    }

    /// Ends the daemon as the kernel would; whoever comes next finds the name free.
    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        let _ = daemon.kill();
        daemon.wait().unwrap();
    }

    /// Names in the directory of snapshots.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        names(&self.store().join("overlays/root/snapshots"))
    }

    /// Names in the trash.
    pub(crate) fn trash(&self) -> Vec<String> {
        names(&self.store().join("overlays/root/trash"))
    }

    /// Where an unprivileged user can run it, too.
    fn install_tool(&self) {
        let tool = self.dir.join("overlayctl");
        fs::copy(env!("CARGO_BIN_EXE_overlayctl"), &tool).unwrap();
        fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self, name: &str) -> fs::File {
        fs::OpenOptions::new().create(true).append(true).open(self.dir.join(name)).unwrap()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(dir) = fs::read_dir(dir) else { return Vec::new() };
    dir.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A method call; the error is the bus's.
pub(crate) fn call<B, R>(
    bus: &Connection,
    path: &str,
    interface: &str,
    method: &str,
    body: &B,
) -> zbus::Result<R>
where
    B: serde::Serialize + DynamicType,
    R: for<'d> zbus::wire::DynamicDeserialize<'d>,
{
    zbus::block_on(async {
        let reply = bus.call_method(Some(NAME), path, Some(interface), method, body).await?;
        reply.body().deserialize()
    })
}

/// A property, read from the daemon.
pub(crate) fn property<T>(bus: &Connection, path: &str, interface: &str, name: &str) -> T
where
    T: TryFrom<OwnedVariant>,
    T::Error: std::fmt::Debug,
{
    let value: zbus::Result<OwnedVariant> =
        call(bus, path, "org.freedesktop.DBus.Properties", "Get", &(interface, name));
    T::try_from(value.unwrap_or_else(|e| panic!("{path} {name}: {e}"))).unwrap()
}

/// The name of the error that a call ended with.
pub(crate) fn error_name<T: std::fmt::Debug>(result: zbus::Result<T>) -> String {
    match result.expect_err("the call fails") {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        zbus::Error::FDO(standard) => standard.name().to_string(),
        other => panic!("{other}"),
    }
}

/// Asks for a reset as root, without arguments.
pub(crate) fn reset(bus: &Connection, flags: u64) -> zbus::Result<(u64, zbus::OwnedObjectPath)> {
    let keep: &[&str] = &[];
    call(bus, OVERLAY_ROOT, OVERLAY, "Reset", &("", keep, flags))
}

/// Waits until `check` holds.
pub(crate) fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether somebody owns a name.
pub(crate) fn has_owner(bus: &Connection, name: &str) -> bool {
    let driver = Some("org.freedesktop.DBus");
    let call = bus.call_method(driver, "/org/freedesktop/DBus", driver, "NameHasOwner", &name);
    zbus::block_on(call).is_ok_and(|reply| reply.body().deserialize().unwrap_or(false))
}

/// Standard output and error, for messages.
pub(crate) fn text(output: &Output) -> String {
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    utf8(&output.stdout) + &utf8(&output.stderr)
}
