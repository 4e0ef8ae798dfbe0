# SPDX-License-Identifier: GPL-2.0-only
#
# Programs of tests/boot: `truth` judges a dump here, `dump` takes it in the guest. See
# docs/load-truth.md.

BOOT_SRC := $(wildcard tests/boot/*.c)
BOOT_OBJ := $(call obj,$(BOOT_SRC))
BOOT_PROGRAMS := $(if $(BOOT_SRC),$(BUILD)/tests/boot/truth $(BUILD)/tests/boot/dump)

.PHONY: boot-programs
boot-programs: $(BOOT_PROGRAMS)

$(BOOT_OBJ): $(BUILD)/%.o: %.c $(BUILD)/host-flags.stamp
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/tests/boot/truth: $(filter-out %/dump.o,$(BOOT_OBJ)) $(LIBHOST) $(LIBGUARD) $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@

$(BUILD)/tests/boot/dump: $(BUILD)/tests/boot/dump.o $(BUILD)/link-flags.stamp
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) -lelf -o $@

-include $(BOOT_OBJ:.o=.d)
