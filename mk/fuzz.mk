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
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@

$(BUILD)/fuzz/seeds: $(BUILD)/fuzz/seeds.o $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@
