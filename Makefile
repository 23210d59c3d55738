# overlayd: build, check, test, install.
#
#   make              build the three programs
#   make install      put everything in place, below DESTDIR (builds nothing: run `make` first)
#   make check        formatting, lints, unit and golden tests: seconds, no root
#   make test         check, and real mounts, the bus, and boots in QEMU: minutes, root
#   make test-full    test, with the whole boot matrix and the long crash runs
#   make test-crash   the long crash runs alone: thousands of power cuts, a kill at every system call
#   make fuzz         parsers under a coverage-guided fuzzer, FUZZ_TIME seconds (60) each
#   make try          boot an appliance in QEMU and hand over its console (RESET=1: afresh)
#   make bench        the figures of docs/benchmarks.md
#
# Switches for packagers:
PREFIX         = /usr
DESTDIR        =
INITRAMFS_TOOLS = yes
DRACUT         = yes
CARGO          = cargo
CARGOFLAGS     =

BINDIR         = $(PREFIX)/bin
LIBDIR         = $(PREFIX)/lib
SHAREDIR       = $(PREFIX)/share
UNITDIR        = $(LIBDIR)/systemd/system
# Where the programs, initramfs-tools and dracut look, whatever the prefix.
CONFIGDIR      = /usr/lib/overlayd
INITRAMFS_TOOLS_DIR = /usr/share/initramfs-tools
DRACUT_DIR     = /usr/lib/dracut/modules.d

# overlayd-early is linked statically with the C library of the host. An explicit target
# keeps those flags from build scripts and procedural macros, which cannot be static.
HOST_TARGET   := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR     = $(or $(CARGO_TARGET_DIR),target)
BIN            = $(TARGET_DIR)/release
# Without a toolchain (`sudo make install`): whatever was built.
EARLY_PROGRAM  = $(or $(if $(HOST_TARGET),$(TARGET_DIR)/$(HOST_TARGET)/early/overlayd-early), \
	$(firstword $(wildcard $(TARGET_DIR)/*/early/overlayd-early)),overlayd-early)
# The outliner makes functions of instructions that occur in several places: 33 KB less.
EARLY_RUSTFLAGS = -C target-feature=+crt-static -C relocation-model=static \
	-C llvm-args=-enable-machine-outliner=always \
	-C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,$(CURDIR)/src/bin/overlayd-early.ld

INSTALL        = install -D
INSTALL_FILE   = $(INSTALL) -m 644

# Two machines at a time is what two cores can emulate.
VM_THREADS     = 2

.PHONY: all build check test test-full test-crash fuzz try bench install clean
.PHONY: as-root packages-build packages-test packages-try packages-bench packages-fuzz lint tests-host tests-crash tests-vm tests-vm-full
all: build

build:
	$(CARGO) build --release --locked $(CARGOFLAGS) --bin overlayd --bin overlayctl
	RUSTFLAGS='$(EARLY_RUSTFLAGS)' $(CARGO) build --profile early --locked $(CARGOFLAGS) \
		--target $(HOST_TARGET) --no-default-features --bin overlayd-early

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --bin overlayd-early -- -D warnings
	@if command -v shellcheck >/dev/null; then set -x; \
		shellcheck -x tests/packages tests/fuzz/run .ci/run tests/vm/image tests/vm/try tests/vm/guest/agent tests/vm/guest/init tests/vm/guest/marks \
			initramfs/initramfs-tools/hooks/overlayd \
			initramfs/initramfs-tools/scripts/init-bottom/overlayd \
			initramfs/dracut/90overlayd/module-setup.sh; \
	else echo 'shellcheck is not installed: the scripts were not linted'; fi

# Without what needs root or mkfs programs: `make test` runs that too.
check: lint
	$(CARGO) test --locked --lib --test golden --test store -- \
		--skip as_root --skip superblock::tests --skip elsewhere::tests --skip probes_an_image

packages-build packages-test packages-try packages-bench packages-fuzz:
	tests/packages install $(@:packages-%=%)

as-root:
	@test "$$(id -u)" = 0 || { echo 'real mounts and machines need root: sudo env "PATH=$$PATH" make test' >&2; exit 1; }

# Everything that is no virtual machine.
tests-host: as-root build
	$(CARGO) test --locked --lib --test golden --test store --test mounts --test layers --test bus --test crash

# So many power cuts that at least 2,500 are tried, and a kill at every call.
CRASHES        = OVERLAYD_CRASH_STATES=2700 OVERLAYD_CRASH_KILLS=all

tests-crash: as-root
	$(CRASHES) $(CARGO) test --locked --test crash -- --nocapture

tests-vm: as-root build
	$(CARGO) test --locked --test vm -- --test-threads=$(VM_THREADS)

tests-vm-full: as-root build
	$(CARGO) test --locked --features test-full --test vm --test vm_full --no-fail-fast -- \
		--test-threads=$(VM_THREADS)

# In this order, and the summary of the boots last.
test: as-root packages-test
	$(MAKE) lint
	$(MAKE) tests-host
	$(MAKE) tests-vm

test-full: as-root packages-test
	$(MAKE) lint
	$(MAKE) tests-host
	$(MAKE) tests-crash
	$(MAKE) tests-vm-full

test-crash: as-root packages-test
	$(MAKE) tests-crash

fuzz: packages-build packages-fuzz
	CARGO='$(CARGO)' tests/fuzz/run

try: packages-try
	$(MAKE) build
	tests/vm/try $(if $(RESET),--reset)

bench: as-root packages-bench
	$(MAKE) build
	OVERLAYD_EARLY=$(EARLY_PROGRAM) $(CARGO) bench --locked --bench figures

# What is installed from the source tree, found by kind so that a new file needs no line here.
BUS_POLICY     = $(wildcard config/dbus-1/*.conf config/dbus-1/system.d/*.conf)
BUS_SERVICE    = $(wildcard config/dbus-1/*.service config/dbus-1/system-services/*.service)
POLKIT_POLICY  = $(wildcard config/polkit-1/*.policy config/polkit-1/actions/*.policy)
CATALOG        = $(wildcard config/*.catalog config/catalog/*.catalog)
TMPFILES       = $(wildcard config/tmpfiles/*.conf config/tmpfiles.d/*.conf)
MAN1           = $(wildcard docs/man/*.1)
MAN5           = $(wildcard docs/man/*.5)
MAN8           = $(wildcard docs/man/*.8)
INTERFACES     = $(wildcard docs/*.xml docs/dbus/*.xml)

install:
	@for file in $(BIN)/overlayd $(BIN)/overlayctl $(EARLY_PROGRAM); do \
		test -x $$file || { echo "$$file is missing: run \`make\` as yourself first" >&2; exit 1; }; \
	done
	$(INSTALL) $(BIN)/overlayctl $(DESTDIR)$(BINDIR)/overlayctl
	$(INSTALL) $(BIN)/overlayd $(DESTDIR)$(LIBDIR)/overlayd/overlayd
	$(INSTALL) $(EARLY_PROGRAM) $(DESTDIR)$(LIBDIR)/overlayd/overlayd-early
	@# mount(8) looks for its helpers in /sbin alone, which is /usr/sbin.
	install -d $(DESTDIR)/usr/sbin
	ln -sfr $(DESTDIR)$(LIBDIR)/overlayd/overlayd-early $(DESTDIR)/usr/sbin/mount.overlayd
	$(INSTALL_FILE) config/overlayd.toml $(DESTDIR)$(CONFIGDIR)/overlayd.toml
	for file in units/*.service units/*.timer units/initrd/*.service; do \
		$(INSTALL_FILE) $$file $(DESTDIR)$(UNITDIR)/$${file##*/} || exit; \
	done
	$(INSTALL_FILE) units/systemd-remount-fs.conf $(DESTDIR)$(UNITDIR)/systemd-remount-fs.service.d/overlayd.conf
	$(INSTALL_FILE) units/run-overlayd-mounts.conf $(DESTDIR)$(UNITDIR)/run-overlayd-.mount.d/overlayd.conf
	install -d $(DESTDIR)$(UNITDIR)/soft-reboot.target.wants
	ln -sf ../overlayd-nextroot.service $(DESTDIR)$(UNITDIR)/soft-reboot.target.wants/overlayd-nextroot.service
	install -d $(DESTDIR)$(UNITDIR)/multi-user.target.wants
	ln -sf ../overlayd-cleanup.service $(DESTDIR)$(UNITDIR)/multi-user.target.wants/overlayd-cleanup.service
	install -d $(DESTDIR)$(UNITDIR)/basic.target.wants
	ln -sf ../overlayd-good.service $(DESTDIR)$(UNITDIR)/basic.target.wants/overlayd-good.service
	install -d $(DESTDIR)$(UNITDIR)/timers.target.wants
	ln -sf ../overlayd-watch.timer $(DESTDIR)$(UNITDIR)/timers.target.wants/overlayd-watch.timer
	install -d $(DESTDIR)$(UNITDIR)/factory-reset.target.wants
	for unit in overlayd-factory-reset.service overlayd-factory-reset-reboot.service; do \
		ln -sf ../$$unit $(DESTDIR)$(UNITDIR)/factory-reset.target.wants/$$unit || exit; \
	done
	$(INSTALL_FILE) units/systemd-factory-reset-reboot.conf \
		$(DESTDIR)$(UNITDIR)/systemd-factory-reset-reboot.service.d/overlayd.conf
	$(call install_all,$(BUS_POLICY),$(SHAREDIR)/dbus-1/system.d)
	$(call install_all,$(BUS_SERVICE),$(SHAREDIR)/dbus-1/system-services)
	$(call install_all,$(INTERFACES),$(SHAREDIR)/dbus-1/interfaces)
	$(call install_all,$(POLKIT_POLICY),$(SHAREDIR)/polkit-1/actions)
	$(call install_all,$(CATALOG),$(LIBDIR)/systemd/catalog)
	$(call install_all,$(TMPFILES),$(LIBDIR)/tmpfiles.d)
	$(call install_all,$(MAN1),$(SHAREDIR)/man/man1)
	$(call install_all,$(MAN5),$(SHAREDIR)/man/man5)
	$(call install_all,$(MAN8),$(SHAREDIR)/man/man8)
	$(call install_as,docs/completions/overlayctl.bash,$(SHAREDIR)/bash-completion/completions/overlayctl)
	$(call install_as,docs/completions/_overlayctl,$(SHAREDIR)/zsh/vendor-completions/_overlayctl)
	$(call install_as,docs/completions/overlayctl.fish,$(SHAREDIR)/fish/vendor_completions.d/overlayctl.fish)
ifeq ($(INITRAMFS_TOOLS),yes)
	$(INSTALL) initramfs/initramfs-tools/hooks/overlayd $(DESTDIR)$(INITRAMFS_TOOLS_DIR)/hooks/overlayd
	$(INSTALL) initramfs/initramfs-tools/scripts/init-bottom/overlayd \
		$(DESTDIR)$(INITRAMFS_TOOLS_DIR)/scripts/init-bottom/overlayd
endif
ifeq ($(DRACUT),yes)
	$(INSTALL) initramfs/dracut/90overlayd/module-setup.sh \
		$(DESTDIR)$(DRACUT_DIR)/90overlayd/module-setup.sh
	$(INSTALL_FILE) units/dracut-shutdown.conf \
		$(DESTDIR)$(UNITDIR)/dracut-shutdown.service.d/overlayd.conf
endif
ifneq ($(PREFIX),/usr)
	@# Another prefix: the paths of the programs, and of nothing else.
	for file in $(DESTDIR)$(UNITDIR)/overlayd*.service \
		$(DESTDIR)$(SHAREDIR)/dbus-1/system-services/org.overlayd1.service \
		$(DESTDIR)$(INITRAMFS_TOOLS_DIR)/hooks/overlayd \
		$(DESTDIR)$(INITRAMFS_TOOLS_DIR)/scripts/init-bottom/overlayd \
		$(DESTDIR)$(DRACUT_DIR)/90overlayd/module-setup.sh; do \
		test ! -e $$file || \
			sed -i -E -e 's,/usr/lib/(overlayd/overlayd(-early)?)([^.[:alnum:]-]|$$),$(LIBDIR)/\1\3,g' \
				-e 's,/usr/bin/overlayctl,$(BINDIR)/overlayctl,g' $$file || exit; \
	done
endif

# $(call install_all,files,directory): nothing, if there are none.
install_all = $(if $(1),$(INSTALL_FILE) -t $(DESTDIR)$(2) $(1))
install_as  = $(if $(wildcard $(1)),$(INSTALL_FILE) $(1) $(DESTDIR)$(2))

clean:
	$(CARGO) clean
