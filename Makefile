# Everything a newcomer or CI does goes through here; `make` alone lists it. The work itself is in
# scripts/, a few lines each.

# Debian packages, each list fetched only by the targets that use it. "?" = where the release has it.
APT_RUN  := ca-certificates clang iproute2 libbpf-dev libbpf1 llvm python3-venv
APT_DEV  := g++ gcc libc6-dev shellcheck
APT_TEST := bpftrace busybox-static containerd crun debuginfod docker.io docker-cli? linux-perf \
	podman prometheus runc tmux
APT_VM   := $(shell sed '/^\#/d' tests/vm/packages.txt)
# Go and npm only where there are none: a machine may have newer ones than Debian's.
APT_WEB = chromium-headless-shell fonts-dejavu-core $(if $(wildcard /usr/local/go/bin/go)$(shell \
	command -v go),,golang-go) $(if $(shell command -v npm),,npm)
APT_WHEEL := patchelf
APT_BENCH := bpftrace gcc libc6-dbg libelf-dev linux-perf make redis-server xz-utils zlib1g-dev

BIN    := .venv/bin
PYTHON := $(BIN)/python
BPF_C  := $(wildcard src/cotenant/bpf/*.bpf.c)
BPF_H  := $(shell find src/cotenant/bpf -name '*.h')
BPF_O  := $(BPF_C:.bpf.c=.bpf.o)

export MAKECMDGOALS
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test test-unit test-kernel test-peers test-web test-vm setup setup-dev setup-test setup-web \
	setup-vm setup-bench build generate check lint format types contracts generated sizes lock wheel \
	try-wheel uninstall

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

# --- use

run: setup ## set up and open the live table (with demo tenants if the host has no other)
	@scripts/run

setup: packages-run .venv/.run build ## the command at .venv/bin/cotenant
	@scripts/give-back
uninstall: ## take away everything that make made or installed
	@scripts/uninstall

# --- test

test: need-root setup-test ## unit tests and one kernel test per claim (10 minutes at most)
	$(PYTHON) -m pytest tests/unit -m "not go"
	scripts/with-docker $(PYTHON) -m pytest tests/kernel -m claim
	@scripts/give-back

test-unit: setup-dev ## the tests that need neither root nor a kernel
	$(PYTHON) -m pytest tests/unit -m "not go"

test-kernel: need-root setup-test ## the long real-kernel and Docker tests (15 minutes at most)
	scripts/with-docker $(PYTHON) -m pytest tests/kernel -m "not claim and not vm_only"
	@scripts/give-back

test-web: setup-web ## profiles in a real browser, in go tool pprof and speedscope (8 minutes at most)
	$(PYTHON) -m pytest tests/web
	$(PYTHON) -m pytest tests/unit -m go
	@scripts/give-back

test-peers: need-root setup-test ## pushes and pulls against Go programs, built once with Go (10 minutes at most)
	scripts/with-docker $(PYTHON) -m pytest tests/peers
	@scripts/give-back

test-vm: need-root setup-vm ## the kernel tests on other kernels, in VMs (20 minutes at most)
	$(PYTHON) tests/vm/run.py
	@scripts/give-back

# --- build

build: $(BPF_O) ## compile the BPF programs

src/cotenant/bpf/%.bpf.o: src/cotenant/bpf/%.bpf.c $(BPF_H) scripts/build-bpf
	@echo "build: $@"
	@scripts/build-bpf $< $@

wheel: setup-dev packages-wheel ## a wheel with BPF objects and libbpf inside, in dist/
	@rm -rf dist
	$(PYTHON) -m hatchling build --target wheel

try-wheel: wheel ## install that wheel away from here and meter this host with it
	@scripts/try-wheel dist/*.whl

# --- keep in order

check: lint types contracts generated sizes ## all that needs no kernel: lint, types, contracts ...
	@scripts/give-back

lint: setup-dev
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check --output-format concise .
	$(if $(BPF_C)$(BPF_H),$(BIN)/clang-format --dry-run --Werror $(BPF_C) $(BPF_H))
	shellcheck .ci/run $$(grep -lE '^#!/bin/(ba)?sh' scripts/*)

format: setup-dev ## put every file into the project's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(BPF_C)$(BPF_H),$(BIN)/clang-format -i $(BPF_C) $(BPF_H))

types: setup-dev
	$(BIN)/mypy

contracts: setup-dev
	$(BIN)/lint-imports --no-logo

generate: setup-dev ## write the generated files anew
	@for generator in $(sort $(wildcard scripts/gen_*.py)); do \
		echo "generate: $$generator"; $(PYTHON) $$generator || exit; done

generated: setup-dev
	@for generator in $(sort $(wildcard scripts/gen_*.py)); do \
		$(PYTHON) $$generator --check || { echo "hint: make generate" >&2; exit 1; }; done

sizes:
	@scripts/sizes

lock: ## resolve pyproject.toml into requirements/*.txt again
	@scripts/lock

# --- stages of set-up; a second run finds all in place and costs well under a second

setup-dev: setup packages-dev .venv/.dev
setup-test: setup-dev packages-test
setup-web: setup-dev packages-web
	@scripts/speedscope
setup-vm: setup-test packages-vm
	@$(PYTHON) tests/vm/run.py --prepare

setup-bench: setup packages-bench ## what `cotenant bench` measures by: perf, redis, Debian's peers

.PHONY: packages-run packages-dev packages-test packages-web packages-vm packages-wheel \
	packages-bench need-root
packages-run:
	@scripts/apt-need "building and running" $(APT_RUN)
packages-dev:
	@scripts/apt-need "make check" $(APT_DEV)
packages-test:
	@scripts/apt-need "the kernel tests" $(APT_TEST)
packages-web:
	@scripts/apt-need "the tests in a browser" $(APT_WEB)
packages-vm:
	@scripts/apt-need "the tests in VMs" $(APT_VM)
packages-bench:
	@scripts/apt-need "the benchmarks" $(APT_BENCH)
packages-wheel:
	@scripts/apt-need "the wheel" $(APT_WHEEL)
need-root:
	@[ "$$(id -u)" = 0 ] || { echo "these tests need root." >&2; \
		echo "hint: sudo make $(firstword $(MAKECMDGOALS)) (without root: make test-unit)" >&2; exit 3; }

.venv/.run: requirements/build.txt requirements/run.txt pyproject.toml scripts/venv
	@scripts/venv requirements/build.txt requirements/run.txt
	@echo "setup: installing cotenant itself, editable"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.run
	@scripts/venv requirements/dev.txt
	@touch $@
