# The verbs of ABUSE; what they do lives in tests/, .ci/ and the crates. `make help` lists them.
# SPDX-License-Identifier: MIT

PREFIX ?= /usr/local
DESTDIR ?=
KERNEL ?= stock
export KERNEL

DURATION ?= 30m
export TIMES

.PHONY: all help demo bench test scenarios systemd fuzz fuzz-parsers leaks races powercut powercut-guest torture shell module install uninstall clean distclean selftest

all: ## build the module for this machine's own kernel, and the tools
	tests/vm/build own

help: ## list the verbs
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo 'KERNEL=cloud takes the cloud flavour of the kernel in the guest, KERNEL=debug one that'
	@echo 'checks itself: make test KERNEL=debug shows first that it would notice.'

demo: ## see it work: a guest, two workers, a file system, twenty kills
	@tests/vm/run -- abuse-demo

bench: ## what a request costs beside other drivers; BENCH=--quick for three minutes of it
	@tests/bench/run $(BENCH)

test: ## run every check and every scenario
	@tests/run-all $(SCENARIOS)

scenarios: ## run the scenarios alone, or SCENARIOS='NAME...', TIMES=N times as long
	@tests/vm/build all --kernel $(KERNEL)
	@tests/run-scenarios $(SCENARIOS)

systemd: ## boot systemd in a guest, and do to the units what operators do
	@tests/run-systemd

powercut: ## states a power cut can leave a disk in, STATES=10000 of them, with SEED=N
	@tests/vm/build all --kernel $(KERNEL)
	@tests/powercut/run $(or $(STATES),10000) $(SEED)

powercut-guest: ## SIGKILL the machine under load, COUNT=100 times, with SEED=N
	@tests/vm/build all --kernel $(KERNEL)
	@tests/powercut/guests $(or $(COUNT),100) $(SEED)

fuzz: ## hostile calls from many processes, for DURATION=30m, with SEED=N
	@tests/run-fuzz $(or $(DURATION),30m) "$(SEED)"

fuzz-parsers: ## random text for every parser in user space, for DURATION=30m
	@tests/run-fuzz-parsers $(or $(DURATION),30m)

leaks: ## look at every byte that comes out of a poisoned kernel, GETS=100000
	@tests/run-leaks $(or $(GETS),100000)

races: ## each step of a device's life against all that goes on, COUNT=100 times, beginning with FROM=0
	@tests/run-races $(or $(COUNT),100) $(or $(FROM),0)

torture: ## everything that can happen to workers, at random, for DURATION=30m, with SEED=N
	@tests/torture $(DURATION) "$(SEED)" "$(ROUND)"

shell: ## a shell in a guest with the module loaded
	@tests/vm/run -- bash -l || [ $$? -lt 99 ]

module: ## build the module for the guest's kernel
	tests/vm/build module --kernel $(KERNEL)

install: ## install module, tools, header, units and udev rule (after make, as root)
	@tests/vm/install install $(PREFIX) $(DESTDIR)

uninstall: ## take out again what make install put there
	@tests/vm/install uninstall $(PREFIX) $(DESTDIR)

selftest: ## test the guest runner itself
	tests/vm/selftest

clean: ## remove what was built of this tree
	@tests/vm/build clean

distclean: ## remove the whole cache too: build root, kernel, guest
	@tests/vm/build distclean
