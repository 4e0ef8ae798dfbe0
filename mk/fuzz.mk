# SPDX-License-Identifier: GPL-2.0-only
#
# Fuzz targets: one source each in fuzz/targets/, with the libFuzzer ABI (docs/fuzzing.md).
#   VARIANT=libfuzzer, afl   $(BUILD)/fuzz/NAME is the target with that engine
#   any other                with fuzz/replay.c, which gives it files; and fuzz/seeds.c, which makes them

FUZZ_NAMES  := $(patsubst fuzz/targets/%.c,%,$(wildcard fuzz/targets/*.c))
FUZZ_TARGETS := $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)
FUZZ_SHARED := $(BUILD)/fuzz/fuzz.o $(if $(FUZZ_ENGINE),,$(BUILD)/fuzz/replay.o)

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_TARGETS) $(if $(FUZZ_ENGINE),,$(BUILD)/fuzz/seeds)
$(if $(FUZZ_ENGINE),,tests: fuzz-targets)

$(FUZZ_TARGETS): private LDFLAGS += $(FUZZ_ENGINE)
$(FUZZ_TARGETS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/targets/%.o $(FUZZ_SHARED) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -o $@

# The target `core` is more than one file: its world and its judges.
CORE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard fuzz/events/*.c)) $(BUILD)/tests/support/manifest_builder.o
$(BUILD)/fuzz/core $(BUILD)/bench/fuzz_bench: $(CORE_OBJ)
$(BUILD)/bench/fuzz_bench: $(BUILD)/fuzz/fuzz.o
# An engine's feedback is of the core alone: how often its judges took which branch says nothing.
ifneq ($(FUZZ_ENGINE),)
CORE_JUDGES := $(CORE_OBJ) $(patsubst %.c,$(BUILD)/%.o,$(wildcard oracle/*.c))
$(CORE_JUDGES): private override SANITIZE := $(filter-out -fsanitize=fuzzer-no-link,$(SANITIZE))
$(CORE_JUDGES): private override CC := clang
endif

# Its mutation for AFL++: AFL_CUSTOM_MUTATOR_LIBRARY.
$(BUILD)/fuzz/core-mutator.so: fuzz/events/mutate.c fuzz/events/core.h
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)cc -std=gnu11 -I. -O2 $(WARN) -DFC_AFL_MUTATOR -shared -fPIC $< -o $@
ifeq ($(VARIANT),afl)
fuzz-targets: $(BUILD)/fuzz/core-mutator.so
endif

$(BUILD)/fuzz/seeds: $(BUILD)/fuzz/seeds.o $(BUILD)/fuzz/events/seed.o $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@
