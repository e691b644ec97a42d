# The everyday commands. `make help` lists them.
#
# Each target installs the Debian packages that it needs and the machine lacks, which takes root.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
CARGO ?= cargo
TARGET := x86_64-unknown-linux-gnu
OUT := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release

# Where rtn keeps runc's contract against the specification: a created container can be deleted
# without --force, on which containerd's shim relies.
DEVIATIONS := --deviates runtime.delete.created

# What `make conformance` sets side by side: paths, or names in PATH.
RUNTIMES ?= $(abspath $(OUT))/rtn runc crun

PACKAGES_BUILD := gcc libc6-dev
PACKAGES_DEMO := $(PACKAGES_BUILD) busybox-static
PACKAGES_BENCH := $(PACKAGES_DEMO) crun runc
PACKAGES_TREE := $(PACKAGES_BUILD) mmdebstrap iproute2 jq
# Before trixie virtiofsd is a part of QEMU's packages.
PACKAGES_VM = $(PACKAGES_TREE) qemu-system-x86 e2fsprogs zstd lz4 \
	$(shell apt-cache show virtiofsd >/dev/null 2>&1 && echo virtiofsd)
PACKAGES_TEST := $(PACKAGES_BENCH) jq containerd containernetworking-plugins docker.io iproute2 iptables procps python3-seccomp uidmap

# One process per test where it is installed; the tests themselves do not care.
NEXTEST := $(shell command -v cargo-nextest)
# runc 1.1 loses races of its own now and then (a terminal's first size, two starts at once); one
# pass is enough to show that a test is right.
RETRIES := $(if $(NEXTEST),--retries 2)
# What .ci/run allows; see there. nextest does not count: each test has its second try.
AGAIN := $(if $(NEXTEST),$(if $(RTN_AGAIN),--retries 1))
RUN_TESTS := $(if $(NEXTEST),$(CARGO) nextest run --no-fail-fast,$(CARGO) test --no-fail-fast)

# integration/vm/suites: each mode of the integration tests; and the rest of what needs no kernel of
# its own.
MODES := integration integration-systemd integration-rootless
SUITES_SYSTEMD := $(MODES) integration-nocgroup conformance docker docker-cgroupfs docker-shim podman containerd
ONLY_OPTION = $(if $(ONLY),--only '$(ONLY)')
# These judge files that are there without any controller, too, and what is in them with one.
# A pod needs the controller cpu.
CGROUP_TESTS := ^(cgroups_v2|cgroups_v2_place|systemd|rootless_systemd|update_events)::|^kubernetes::(resources::(memory|updated|the_cgroup|figures_of_a_pod)|ends::(no_memory|a_pod_l)|pods::several|disaster::)
# Whose kernel an emulated machine has.
KERNEL ?= trixie

# newer PACKAGE: its tests with rtn's shim under the containerd of these Debian suites.
CONTAINERDS := trixie sid
newer = set -e; for suite in $(CONTAINERDS); do \
	CONTAINERD=$$(integration/vm/image containerd $$suite); export CONTAINERD; \
	SHIM=$(abspath $(OUT)) $(CARGO) test --package $(1) --all-targets; done

.PHONY: help demo test test-unit test-integration test-control test-docker test-docker-shim test-containerd test-kubernetes \
	test-conformance conformance test-systemd test-vm test-controllers \
	check bench \
	build install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## a busybox container: its plan, its run, and how long it took
	@scripts/packages $(PACKAGES_DEMO)
	@$(MAKE) --no-print-directory build
	@scripts/demo $(OUT)/rtn

test: test-unit test-integration test-control test-conformance test-docker test-containerd test-kubernetes ## every test, on the real kernel and under real daemons; needs root

test-unit: ## the library, the command line and the benchmark
	@scripts/packages $(PACKAGES_TEST)
	$(RUN_TESTS) $(AGAIN) --workspace --exclude integration --exclude e2e-docker --exclude e2e-podman --exclude e2e-containerd --exclude e2e-kubernetes

test-integration: build ## rtn on the real kernel
	@scripts/packages $(PACKAGES_TEST)
	CARGO="$(CARGO)" integration/vm/run --machine host $(ONLY_OPTION) integration

test-control: ## the same tests judge runc: a test that fails here tests nothing
	@scripts/packages $(PACKAGES_TEST)
	RUNTIME=runc $(RUN_TESTS) $(RETRIES) --package integration

test-docker: build ## rtn under a dockerd of its own
	@scripts/packages $(PACKAGES_TEST)
	RUNTIME=$(abspath $(OUT))/rtn $(CARGO) test --package e2e-docker --all-targets

test-docker-shim: build ## the same with rtn's shim behind dockerd, in the place of containerd's own
	@scripts/packages $(PACKAGES_TEST)
	RUNTIME=$(abspath $(OUT))/rtn DOCKER_RUNTIME=renamed $(CARGO) test --package e2e-docker --test docker

test-containerd: build ## the shim under a containerd of its own, and containerd's own shim by the same tests
	@scripts/packages $(PACKAGES_TEST) mmdebstrap
	SHIM=$(abspath $(OUT)) $(CARGO) test --package e2e-containerd --all-targets
	SHIM=runc $(CARGO) test --package e2e-containerd --all-targets
	$(call newer,e2e-containerd)

test-kubernetes: build ## the shim under containerd's CRI, as kubelet uses it, and containerd's own shim by the same tests
	@scripts/packages $(PACKAGES_TEST) mmdebstrap
	SHIM=$(abspath $(OUT)) $(CARGO) test --package e2e-kubernetes --all-targets
	SHIM=runc $(CARGO) test --package e2e-kubernetes --test kubernetes
	$(call newer,e2e-kubernetes)

test-systemd: ## rtn on cgroup v2 under systemd, in a container on this kernel (integration/vm)
	@scripts/packages $(PACKAGES_TREE)
	CARGO="$(CARGO)" integration/vm/run --machine container $(ONLY_OPTION) $(or $(SUITES),$(SUITES_SYSTEMD))

test-vm: ## the same with all controllers, in an emulated machine on a kernel of its own
	@scripts/packages $(PACKAGES_VM)
	CARGO="$(CARGO)" integration/vm/run --machine $(KERNEL) $(ONLY_OPTION) $(or $(SUITES),integration)

test-controllers: ## of test-vm what test-systemd, run before, had to skip, and all about cgroups
	@scripts/packages $(PACKAGES_VM)
	CARGO="$(CARGO)" integration/vm/run --machine $(KERNEL) --skipped-by container \
		--only '$(or $(ONLY),$(CGROUP_TESTS))' $(or $(SUITES),$(MODES) conformance docker podman kubernetes)

test-conformance: build ## rtn by the runtime specification; CONFORMANCE="hooks mounts" takes a part
	@scripts/packages $(PACKAGES_TEST)
	RUNTIME=$(abspath $(OUT))/rtn $(CARGO) run --quiet --package conformance -- $(DEVIATIONS) $(CONFORMANCE)

conformance: build ## docs/conformance.md anew: rtn, runc and crun side by side
	@scripts/packages $(PACKAGES_TEST)
	$(CARGO) run --quiet --package conformance -- matrix $(RUNTIMES) --out docs/conformance.md

check: ## formatting, lints, licences and sources of dependencies, documentation
	@scripts/packages $(PACKAGES_BUILD)
	@scripts/cargo-tools
	@scripts/check-docs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) deny --log-level error check licenses bans sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

bench: build ## rtn beside crun, runc and the floor; BENCH="--rounds 20 --only run" or "--shims 50" pass options
	@scripts/packages $(PACKAGES_BENCH) containerd
	$(CARGO) build --release --package bench
	$(OUT)/bench --out $(OUT)/../bench $(BENCH)

build: ## the static release binaries
	$(CARGO) build --release --package rtn --package containerd-shim-rtn-v2

install: build ## rtn and the shim into PREFIX (/usr/local), what podman and CRI-O read into SYSCONFDIR (/etc)
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(OUT)/rtn $(OUT)/containerd-shim-rtn-v2
	install -D -m 644 -t $(DESTDIR)$(SYSCONFDIR)/containers/containers.conf.d etc/containers/containers.conf.d/50-rtn.conf
	install -D -m 644 -t $(DESTDIR)$(SYSCONFDIR)/crio/crio.conf.d etc/crio/crio.conf.d/50-rtn.conf

clean: ## remove everything that was built
	$(CARGO) clean
