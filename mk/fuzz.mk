# SPDX-License-Identifier: GPL-2.0-only
#
# Fuzz targets: one source each in fuzz/targets/, with the libFuzzer ABI (docs/fuzzing.md).
#   VARIANT=libfuzzer, afl   $(BUILD)/fuzz/NAME is the target with that engine
#   VARIANT=guard-libfuzzer, guard-afl   those that are about the core, without sanitizers
#   any other                with fuzz/replay.c, which gives it files; and fuzz/seeds.c, which makes them

FUZZ_NAMES  := $(patsubst fuzz/targets/%.c,%,$(wildcard fuzz/targets/*.c))
FUZZ_NAMES  := $(filter-out $(FUZZ_NOT),$(or $(FUZZ_ONLY),$(FUZZ_NAMES)))
# Those that are about the core: make fuzzing.
FUZZ_GUARD   := $(patsubst fuzz/targets/%.c,%,$(wildcard $(patsubst %,fuzz/targets/%.c,core guest ko)))
FUZZ_TARGETS := $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)
FUZZ_SHARED := $(BUILD)/fuzz/fuzz.o $(BUILD)/fuzz/steps.o $(if $(FUZZ_ENGINE),,$(BUILD)/fuzz/replay.o)

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_TARGETS) $(if $(FUZZ_ENGINE),,$(BUILD)/fuzz/seeds)
$(if $(FUZZ_ENGINE),,tests: fuzz-targets)

$(FUZZ_TARGETS): private LDFLAGS += $(FUZZ_ENGINE)
$(FUZZ_TARGETS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/targets/%.o $(FUZZ_SHARED) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(or $(FUZZ_LD),$(CC)) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -o $@

# The target `core` is more than one file: its world and its judges.
CORE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard fuzz/events/*.c)) $(BUILD)/tests/support/manifest_builder.o
$(BUILD)/fuzz/core $(BUILD)/bench/fuzz_bench: $(CORE_OBJ)
$(BUILD)/bench/fuzz_bench: $(BUILD)/fuzz/fuzz.o
# So is `guest`; what it runs on is not what it fuzzes.
GUEST_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard fuzz/puppet/*.c))
$(BUILD)/fuzz/guest $(BUILD)/tests/scenario_bed_test: $(GUEST_OBJ)
DRIVER_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard fuzz/drivers/*.c))
$(BUILD)/fuzz/ko: $(DRIVER_OBJ)
$(BUILD)/fuzz/guest $(BUILD)/fuzz/ko: $(BUILD)/fuzz/feedback.o
$(BUILD)/tests/fuzz_ko_test $(BUILD)/bench/fuzz_bench: $(BUILD)/fuzz/steps.o
$(BUILD)/tests/find_minimize_test: $(BUILD)/fuzz/fuzz.o $(BUILD)/fuzz/steps.o $(BUILD)/tests/support/manifest_builder.o
# An engine's feedback is of the core alone: how often its judges took which branch says nothing.
ifneq ($(filter libfuzzer afl,$(VARIANT)),)
CORE_JUDGES := $(CORE_OBJ) $(patsubst %.c,$(BUILD)/%.o,$(wildcard oracle/*.c))
$(CORE_JUDGES): private override SANITIZE := $(filter-out -fsanitize=fuzzer-no-link,$(SANITIZE))
$(CORE_JUDGES): private override CC := clang
else ifeq ($(VARIANT),guard-libfuzzer)
# No tracing of comparisons: what mutates by steps makes nothing of them.
$(call obj,$(GUARD_SRC)): private override SANITIZE := -fsanitize-coverage=inline-8bit-counters,pc-table
else ifeq ($(VARIANT),guard-afl)
$(call obj,$(GUARD_SRC)) $(FUZZ_TARGETS): private override CC := AFL_QUIET=1 afl-clang-fast
endif

# Their mutation for AFL++: AFL_CUSTOM_MUTATOR_LIBRARY. Of what a library holds others see the functions
# that AFL++ asks for alone.
MUTATOR := cc -std=gnu11 -I. -O2 $(WARN) -DFUZZ_AFL_MUTATOR -shared -fPIC -fvisibility=hidden
$(BUILD)/fuzz/core-mutator.so: fuzz/events/mutate.c fuzz/steps.c fuzz/afl_mutator.c fuzz/events/core.h fuzz/steps.h fuzz/afl_mutator.h
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(MUTATOR) $(filter %.c,$^) -o $@
$(BUILD)/fuzz/guest-mutator.so: fuzz/puppet/mutate.c fuzz/afl_mutator.c $(patsubst %,scenario/%.c,binary parse print table) lib/error.c lib/file.c model/names.c fuzz/puppet/puppet.h fuzz/afl_mutator.h
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(MUTATOR) $(filter %.c,$^) -o $@
$(BUILD)/fuzz/ko-mutator.so: fuzz/drivers/mutate.c fuzz/steps.c fuzz/afl_mutator.c fuzz/drivers/driver.h fuzz/steps.h fuzz/afl_mutator.h
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(MUTATOR) $(filter %.c,$^) -o $@
ifeq ($(VARIANT),afl)
fuzz-targets: $(BUILD)/fuzz/core-mutator.so
else ifeq ($(VARIANT),guard-afl)
fuzz-targets: $(BUILD)/fuzz/core-mutator.so $(BUILD)/fuzz/guest-mutator.so $(BUILD)/fuzz/ko-mutator.so
endif

$(BUILD)/fuzz/seeds: $(BUILD)/fuzz/seeds.o $(BUILD)/fuzz/events/seed.o $(BUILD)/fuzz/drivers/mutate.o $(BUILD)/fuzz/steps.o $(GUEST_OBJ) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@
