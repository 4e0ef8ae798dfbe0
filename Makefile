# SPDX-License-Identifier: GPL-2.0-only
#
# Guardhouse. Plain `make` only builds, into build/$(VARIANT). `make help` lists the targets.
#
# Sources are found by folder, so a new file or folder needs no change here:
#   model/                    libguard.a: freestanding, proved so after every link
#   $(HOST_DIRS)              libguardhouse.a, and with cli/main.c the binary `guardhouse`
#   corpus/                   guest code (mk/corpus.mk)
#   tests/*_test.c, *_test.sh test programs; tests/model_*_test.c link libguard.a alone
#   bench/*.c                 benchmarks
#   fuzz/targets/*.c          fuzz targets (mk/fuzz.mk)
# Whatever installs or downloads is in tools/ and runs only for the targets that say so.

VERSION := 0.1.0
VARIANT ?= release
BUILD   ?= build/$(VARIANT)
PREFIX  ?= /usr/local
DESTDIR ?=

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := gcc-ar
endif

HOST_DIRS := lib oracle vmm sim hv-port wrap check scenario hosted fuzz/events fuzz/drivers fuzz/find cli

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.PRECIOUS: $(BUILD)/%.stamp
.DEFAULT_GOAL := all

comma := ,
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')
# Recipes that start a second make (to build after packages were installed) use every CPU.
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- Flags ------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Werror

ifeq ($(VARIANT),release)
OPT := -O2 -g
else ifeq ($(VARIANT),asan)
OPT := -O1 -g -fno-omit-frame-pointer
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
else ifeq ($(VARIANT),cov)
OPT := -O0 -g
COVERAGE := --coverage
else ifneq ($(filter libfuzzer afl,$(VARIANT)),)
# For a fuzzer: only what its targets need (mk/fuzz.mk).
OPT := -O1 -g -fno-omit-frame-pointer
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
HOST_DIRS := lib oracle wrap check scenario
FUZZ_NOT := guest ko
FUZZ_ENGINE := -fsanitize=fuzzer
ifeq ($(VARIANT),afl)
CC := AFL_QUIET=1 afl-clang-fast
else
CC := clang
SANITIZE += -fsanitize=fuzzer-no-link
endif
else ifneq ($(filter guard-libfuzzer guard-afl,$(VARIANT)),)
# For a fuzzer of the core itself: at full speed, with feedback of model/ alone.
OPT := -O2 -g
HOST_DIRS := lib oracle wrap check scenario vmm sim hosted
FUZZ_ENGINE := -fsanitize=fuzzer
FUZZ_ONLY := core guest ko
CC := clang
ifeq ($(VARIANT),guard-libfuzzer)
# The engine without its own memcmp() and strcmp(), which would watch those of the whole program.
FUZZ_ENGINE := -Wl,--whole-archive $(shell clang --print-file-name=libclang_rt.fuzzer-x86_64.a) \
	-Wl,--no-whole-archive -lstdc++ -lm
endif
else
$(error VARIANT=$(VARIANT) is unknown: release, asan, cov, libfuzzer, afl, guard-libfuzzer or guard-afl)
endif

# The core must do without a libc, floating point and a red zone, as in a kernel.
GUARD_ENV    := -std=c11 -I. -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only
GUARD_CFLAGS  = $(GUARD_ENV) $(OPT) $(SANITIZE) $(COVERAGE) $(WARN) -Wconversion
KERNEL_CFLAGS = $(GUARD_ENV) $(OPT) $(WARN) -Wconversion -nostdlib -fno-pic -fno-pie -mcmodel=kernel

PKGS := unicorn libelf libdw jansson libsodium liblzma libzstd
PKG_OK := $(shell pkg-config --exists $(PKGS) 2>/dev/null && echo yes)
ifeq ($(PKG_OK),yes)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS))
endif

HOST_CFLAGS = -std=gnu11 -I. $(PKG_CFLAGS) -pthread $(OPT) $(SANITIZE) $(WARN)
CLI_CFLAGS  = -DGUARDHOUSE_VERSION='"$(VERSION)"' -DGUARDHOUSE_DATADIR='"$(PREFIX)/share/guardhouse"'
# -rdynamic: definitions in the executable may take precedence over a shared library's own.
LDFLAGS     = -rdynamic -pthread $(SANITIZE) $(COVERAGE) -Wl,--as-needed
LDLIBS      = $(PKG_LIBS) -lZydis -lZycore -lm
TEST_LDLIBS = -lcmocka -ldw

# ---- What there is ----------------------------------------------------------------------------

obj = $(patsubst %,$(BUILD)/%.o,$(basename $(1)))

GUARD_SRC   := $(wildcard model/*.c)
HOST_SRC    := $(filter-out cli/main.c,$(wildcard $(HOST_DIRS:%=%/*.c)))
MAIN_SRC    := $(wildcard cli/main.c)
SUPPORT_SRC := $(wildcard tests/support/*.c)
TEST_SRC    := $(wildcard tests/*_test.c)
MODEL_TEST_SRC := $(filter tests/model_%,$(TEST_SRC))
BENCH_SRC   := $(wildcard bench/*.c)
FUZZ_SRC    := $(wildcard fuzz/*.c fuzz/targets/*.c fuzz/events/*.c fuzz/puppet/*.c fuzz/drivers/*.c)

LIBGUARD    := $(if $(GUARD_SRC),$(BUILD)/libguard.a)
LIBHOST     := $(if $(HOST_SRC),$(BUILD)/libguardhouse.a)
# What the world of the fuzz target `core` shares with other targets and with the core's tests.
HOST_EXTRA  := $(call obj,$(if $(filter fuzz/find,$(HOST_DIRS)),fuzz/fuzz.c fuzz/steps.c tests/support/manifest_builder.c))
LIBSUPPORT  := $(if $(SUPPORT_SRC),$(BUILD)/libtestsupport.a)
GUARDHOUSE  := $(if $(MAIN_SRC),$(BUILD)/guardhouse)
TESTS       := $(TEST_SRC:%.c=$(BUILD)/%)
MODEL_TESTS := $(MODEL_TEST_SRC:%.c=$(BUILD)/%)
BENCHES     := $(BENCH_SRC:%.c=$(BUILD)/%)

# The proof that the core is freestanding: for the archive, and for the same code built with a
# kernel's code model. Instrumented variants call into their run-time libraries.
ifeq ($(VARIANT),release)
PROOF := $(if $(GUARD_SRC),$(BUILD)/freestanding.ok)
endif

.PHONY: all run test lint format asan coverage bench mutants oracle-mutants without attacks corpus-debian install test-kvm test-boot test-modules clean distclean help
.PHONY: tests model-tests benches corpus FORCE

## all            build the binary, the core's archive and the guests (default; installs nothing)
all: $(LIBGUARD) $(PROOF) $(LIBHOST) $(GUARDHOUSE) corpus
tests: $(TESTS)
model-tests: $(MODEL_TESTS)
benches: $(BENCHES)

# ---- Building ---------------------------------------------------------------------------------

# A stamp that changes when what it holds does: objects depend on their flags, archives and
# programs on the list of their objects.
$(BUILD)/%.stamp: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(call quote,$(STAMP_$*)) | cmp -s - $@ || printf '%s\n' $(call quote,$(STAMP_$*)) >$@
quote = '$(subst ','\'',$(1))'
STAMP_guard-flags  = $(CC) $(GUARD_CFLAGS)
STAMP_kernel-flags = $(CC) $(KERNEL_CFLAGS)
STAMP_host-flags   = $(CC) $(HOST_CFLAGS)
STAMP_cli-flags    = $(CLI_CFLAGS)
STAMP_link-flags   = $(CC) $(LDFLAGS) $(LDLIBS) $(TEST_LDLIBS)
STAMP_guard-list   = $(GUARD_SRC)
STAMP_host-list    = $(HOST_SRC)
STAMP_support-list = $(SUPPORT_SRC)

$(call obj,$(GUARD_SRC)): $(BUILD)/%.o: %.c $(BUILD)/guard-flags.stamp
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUARD_CFLAGS) -MMD -MP -c $< -o $@

$(GUARD_SRC:%.c=$(BUILD)/kernel/%.o): $(BUILD)/kernel/%.o: %.c $(BUILD)/kernel-flags.stamp
	@mkdir -p $(@D)
	$(Q)$(CC) $(KERNEL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libguard.a: $(call obj,$(GUARD_SRC)) $(BUILD)/guard-list.stamp
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/freestanding.ok: $(BUILD)/libguard.a $(GUARD_SRC:%.c=$(BUILD)/kernel/%.o) tools/check-freestanding.sh
	$(call say,PROVE,freestanding: $(BUILD)/libguard.a)
	$(Q)tools/check-freestanding.sh $(BUILD)/libguard.a
	$(Q)tools/check-freestanding.sh $(filter %.o,$^)
	@touch $@

HOST_OBJ := $(sort $(call obj,tests/oracle/shim.c $(HOST_SRC) $(MAIN_SRC) $(SUPPORT_SRC) $(TEST_SRC) $(BENCH_SRC) $(FUZZ_SRC)))
$(HOST_OBJ): $(BUILD)/%.o: %.c $(BUILD)/host-flags.stamp
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c $< -o $@
$(filter $(BUILD)/cli/%,$(HOST_OBJ)): EXTRA_CFLAGS = $(CLI_CFLAGS)
$(filter $(BUILD)/cli/%,$(HOST_OBJ)): $(BUILD)/cli-flags.stamp

ifneq ($(PKG_OK),yes)
$(BUILD)/host-flags.stamp: need-packages
.PHONY: need-packages
need-packages:
	@echo 'make: libraries are missing; run tools/deps.sh build (see docs/dependencies.md)' >&2; exit 1
endif

$(BUILD)/libguardhouse.a: $(call obj,$(HOST_SRC)) $(BUILD)/host-list.stamp
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/libtestsupport.a: $(call obj,$(SUPPORT_SRC)) $(BUILD)/support-list.stamp
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

# Every object goes into the binary, referenced or not: one may replace a library's function.
$(BUILD)/guardhouse: $(call obj,$(MAIN_SRC) $(HOST_SRC)) $(HOST_EXTRA) $(LIBGUARD) $(BUILD)/host-list.stamp $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@

$(filter-out $(MODEL_TESTS),$(TESTS)): $(BUILD)/%: $(BUILD)/%.o $(LIBSUPPORT) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) $(TEST_LDLIBS) -o $@

# The core's own tests need nothing but the core.
$(MODEL_TESTS): $(BUILD)/%: $(BUILD)/%.o $(LIBSUPPORT) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(TEST_LDLIBS) -o $@

# The same tests with the oracle between them and the core (tests/oracle_world_test.sh).
WRAPPED := $(patsubst %,-Wl$(comma)--wrap=guard_%,init judge register unregister grant vcpu_reset)
WORLDS  := $(MODEL_TESTS:$(BUILD)/tests/%=$(BUILD)/tests/oracle/%)
tests: $(WORLDS)
$(WORLDS): $(BUILD)/tests/oracle/%: $(BUILD)/tests/%.o $(BUILD)/tests/oracle/shim.o $(LIBSUPPORT) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(WRAPPED) $(filter %.o %.a,$^) $(LDLIBS) $(TEST_LDLIBS) -o $@

# Where a crossing's time goes: the benchmark's clock runs around these two.
$(BUILD)/bench/kvm_bench: private LDFLAGS += -Wl,--wrap=guard_judge -Wl,--wrap=kv_slots_show

$(BENCHES): $(BUILD)/%: $(BUILD)/%.o $(LIBSUPPORT) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -o $@

include mk/corpus.mk
include mk/boot.mk
include mk/fuzz.mk

-include $(patsubst %.o,%.d,$(HOST_OBJ) $(call obj,$(GUARD_SRC)) $(GUARD_SRC:%.c=$(BUILD)/kernel/%.o))

# ---- Doing ------------------------------------------------------------------------------------
# Packages first, then a second make: it sees the libraries that the first one did not have.

## run            install what is missing, build, and show crossings, attacks and their results
run:
	@tools/deps.sh build
	@$(SUBMAKE) all
	@GUARDHOUSE=$(BUILD)/guardhouse BUILD=$(BUILD) tools/demo.sh

## test           install what is missing, build, run all tests; T=PATTERN runs some of them
test:
	@tools/deps.sh build test
	@$(SUBMAKE) all tests
	@GUARDHOUSE=$(BUILD)/guardhouse BUILD=$(BUILD) tests/run $(T)

## test-kvm       the KVM engine on this machine's /dev/kvm and on an SVM host in QEMU; REQUIRE=pvm,svm
test-kvm:
	@tools/deps.sh build test testbed
	@tools/corpus-debian.sh || echo 'make test-kvm: no kernel package' >&2
	@$(SUBMAKE) all tests
	@GUARDHOUSE=$(BUILD)/guardhouse BUILD=$(BUILD) REQUIRE=$(REQUIRE) hv-port/test-kvm

## soak-kvm       random guest code on the same hosts, five minutes each (SOAK_SECONDS=300)
.PHONY: soak-kvm
soak-kvm:
	@tools/deps.sh build test testbed
	@tools/corpus-debian.sh || echo 'make soak-kvm: no kernel package' >&2
	@$(SUBMAKE) all tests
	@GUARDHOUSE=$(BUILD)/guardhouse BUILD=$(BUILD) REQUIRE=$(REQUIRE) hv-port/test-kvm --soak

## test-modules   wrap and check every module of Debian's kernel package; writes results/modules.*
test-modules:
	@tools/deps.sh build modules
	@tools/corpus-debian.sh
	@$(SUBMAKE) all benches
	@BUILD=$(BUILD) tools/test-modules.sh

## test-boot      Debian's kernel, emulated, loads its own modules wrapped; REQUIRE=1: no skip
test-boot:
	@tools/deps.sh build test testbed
	@tools/corpus-debian.sh || echo 'make test-boot: no kernel package' >&2
	@$(SUBMAKE) all boot-programs
	@GUARDHOUSE=$(BUILD)/guardhouse BUILD=$(BUILD) REQUIRE=$(REQUIRE) tests/boot/run

## fuzz-targets   programs for fuzzers: VARIANT=libfuzzer, afl, guard-libfuzzer, guard-afl (mk/fuzz.mk)

## fuzz-smoke     two minutes: all targets on both engines, ten planted bugs killed by each
.PHONY: fuzz-smoke
fuzz-smoke:
	@tools/deps.sh build
	@tools/deps.sh fuzz || echo 'make fuzz-smoke: no fuzzers; it will be skipped' >&2
	@$(SUBMAKE) all fuzz-targets
	@BUILD=$(BUILD) fuzz/smoke.sh

## fuzz-mutants   planted bugs of the core: are they found? into results/mutants.*; M=OPTIONS
.PHONY: fuzz-mutants
fuzz-mutants:
	@tools/deps.sh build fuzz modules
	@$(SUBMAKE) all fuzz-targets
	@mkdir -p build/fuzz
	@tools/fuzz_mutants.py --build $(BUILD) --control --steps --json build/fuzz/mutants.json --resume \
		--out results/mutants.md $(M)

## fuzzing        fuzz the core, FUZZ_SECONDS for each target; goes on; results/fuzzing.md; M=OPTIONS
.PHONY: fuzzing
fuzzing:
	@tools/deps.sh build fuzz coverage
	@$(SUBMAKE) all fuzz-targets
	@$(SUBMAKE) VARIANT=guard-libfuzzer fuzz-targets
	@$(SUBMAKE) VARIANT=guard-afl fuzz-targets
	@$(SUBMAKE) VARIANT=cov FUZZ_ONLY="$(FUZZ_GUARD)" fuzz-targets
	@BUILD=$(BUILD) OWN=1 fuzz/make-seeds.sh build/fuzz/guard/seeds
	@tools/fuzz_parsers.py --guard --dir build/fuzz/guard --total $(FUZZ_SECONDS) --slice 60 \
		--engines libfuzzer $(M) || [ $$? -eq 1 ]
	@tools/fuzz_report.py

## fuzz-parsers   fuzz what reads files, an hour (FUZZ_SECONDS=N); writes results/fuzz-parsers.md
.PHONY: fuzz-parsers
FUZZ_SECONDS ?= 3600
fuzz-parsers:
	@tools/deps.sh build fuzz
	@tools/corpus-debian.sh || echo 'make fuzz-parsers: no kernel package; fewer seeds' >&2
	@$(SUBMAKE) all fuzz-targets
	@$(SUBMAKE) VARIANT=libfuzzer fuzz-targets
	@$(SUBMAKE) VARIANT=afl fuzz-targets
	@BUILD=$(BUILD) fuzz/make-seeds.sh
	@tools/fuzz_parsers.py --seconds $(FUZZ_SECONDS) --report results/fuzz-parsers.md $(M)

## asan           the tests under AddressSanitizer and UBSan
asan:
	@$(MAKE) --no-print-directory VARIANT=asan test

## lint           clang-format, clang-tidy and shellcheck over the tree
lint:
	@tools/deps.sh build test lint
	@tools/lint.sh

## format         let clang-format rewrite the C files
format:
	@tools/deps.sh lint
	@tools/lint.sh --fix

## coverage       the core's unit tests at -O0: must reach 100 % of model/'s lines and branches
coverage:
	@tools/deps.sh build test coverage
	@$(SUBMAKE) VARIANT=cov model-tests
	@tools/coverage.sh build/cov build/coverage

## mutants        force every condition in model/ both ways: the unit tests must notice; M=OPTIONS
mutants:
	@tools/deps.sh build test mutants
	@$(SUBMAKE) model-tests
	@tools/mutants.py --build $(BUILD) --cc "$(CC)" --cflags "$(GUARD_ENV)" $(M)

## attack-interrupts  every honest flow with an interrupt at every instruction boundary (minutes), into results/interrupts.md
.PHONY: attack-interrupts
attack-interrupts:
	@tools/deps.sh build
	@$(SUBMAKE) all
	@tools/attack-interrupts.sh $(BUILD)/guardhouse results/interrupts.md

## oracle-mutants faults of model/ that the oracle sees alone, into results/oracle-mutants.md; M=OPTIONS
oracle-mutants:
	@tools/deps.sh build test mutants
	@$(SUBMAKE) all model-tests
	@tools/oracle_mutants.py --build $(BUILD) --cc "$(CC)" --cflags "$(GUARD_ENV)" --dirs "$(HOST_DIRS)" \
		--ldflags=" $(LDFLAGS)" --ldlibs=" $(HOST_EXTRA) $(LDLIBS)" --out results/oracle-mutants.md $(M)

## without        the test build for guardhouse attack --without CHECK, in the folder without beside BUILD
WITHOUT = tools/without.py --build $(BUILD) --out $(dir $(BUILD))without --cc "$(CC)" --cflags "$(GUARD_ENV)" \
	--dirs "$(HOST_DIRS)" --ldflags=" $(LDFLAGS)" --ldlibs=" $(HOST_EXTRA) $(LDLIBS)"
without:
	@tools/deps.sh build
	@$(SUBMAKE) all
	@$(WITHOUT) --only-build

## attacks        every attack, and what succeeds with each check removed, into results/attacks.md
attacks:
	@tools/deps.sh build
	@$(SUBMAKE) all
	@$(WITHOUT) --report results/attacks.md $(M)

## idle           exits and wake-up delays of MWAIT, HLT and adaptive, into results/idle.md
.PHONY: idle
idle:
	@tools/deps.sh build
	@$(SUBMAKE) all
	@tools/idle_table.py $(BUILD)/guardhouse results/idle.md

## bench          build and run the benchmarks
bench:
	@tools/deps.sh build bench
	@$(SUBMAKE) all benches
	@if [ -x bench/run ]; then GUARDHOUSE=$(BUILD)/guardhouse BUILD=$(BUILD) bench/run; else echo 'bench/run: not there yet'; fi

## bench-fuzz     how fast the fuzz targets of the core are, each way; into results/fuzz-speed.md
.PHONY: bench-fuzz
bench-fuzz:
	@tools/deps.sh build fuzz bench
	@$(SUBMAKE) all benches fuzz-targets
	@$(SUBMAKE) VARIANT=guard-libfuzzer fuzz-targets
	@$(SUBMAKE) VARIANT=guard-afl fuzz-targets
	@tools/fuzz_speed.py --build $(BUILD) --out results/fuzz-speed.md $(M)

## exported       a guest from a file that guardhouse export --c wrote: C=FILE.c ELF=FILE.elf

## corpus-debian  download Debian's kernel package and its headers into build/debian
corpus-debian:
	@tools/corpus-debian.sh

## install        install under $(DESTDIR)$(PREFIX) (default /usr/local)
install: all
	@tools/install.sh "$(BUILD)" "$(DESTDIR)$(PREFIX)"

## clean          remove what was built; keeps the downloaded kernel package and what fuzzers found
clean:
	@for d in build/*; do case $$d in build/debian | build/fuzz) ;; *) rm -rf "$$d" ;; esac; done

## distclean      remove build/ altogether
distclean:
	rm -rf build

## help           this list
help:
	@echo 'Guardhouse $(VERSION). Targets:'
	@sed -n 's/^## \([a-z-]*  *.*\)/  \1/p' Makefile
	@echo 'Variables: VARIANT=release|asan|cov  PREFIX=  DESTDIR=  T=PATTERN (test)  M=OPTIONS (mutants)  V=1'
