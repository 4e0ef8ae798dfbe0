# SPDX-License-Identifier: GPL-2.0-only
#
# Guest code: freestanding, at -2 GiB, without SSE (the engine starts a vCPU with it off). Never
# instrumented, whatever the variant. Guests are linked with the guest library; modules stay
# relocatable objects, as a kernel module file is, and carry unwind data for the toolchain.

GUEST_ENV    := -std=gnu11 -I. -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone \
		-mno-sse -mno-mmx -mno-80387 -fno-stack-protector -fcf-protection=none
GUEST_WARN   := $(filter-out -Wmissing-prototypes,$(WARN))
GUEST_CFLAGS  = $(GUEST_ENV) -O2 -g -fno-asynchronous-unwind-tables $(GUEST_WARN)
MODULE_CFLAGS = $(GUEST_ENV) -O2 -g -fasynchronous-unwind-tables -fno-jump-tables $(GUEST_WARN)
GUEST_LDFLAGS = -nostdlib -static -no-pie -Wl,-z,norelro -Wl,-z,noexecstack -Wl,--build-id=none

# As in a distribution's kernel: indirect branches and returns go through thunks, which the
# toolchain replaces by its own. counter-raw.ko is built without, doorbell.ko with endbr64.
THUNKS := -mindirect-branch=thunk-extern -mindirect-branch-register -mfunction-return=thunk-extern
$(BUILD)/corpus/modules/doorbell.ko: private THUNKS += -fcf-protection=branch

GUEST_LD      := $(wildcard corpus/lib/guest.ld)
GUEST_SRC     := $(if $(GUEST_LD),$(wildcard corpus/guests/*.c corpus/guests/*.S))
GUEST_LIB_SRC := $(wildcard corpus/lib/*.c corpus/lib/*.S)
MODULE_SRC    := $(wildcard corpus/modules/*.c)

GUESTS    := $(addprefix $(BUILD)/,$(addsuffix .elf,$(basename $(GUEST_SRC))))
GUEST_LIB := $(call obj,$(GUEST_LIB_SRC))
# A guest in several files: NAME.c and all that lies in the folder NAME/.
GUEST_PARTS := $(if $(GUEST_LD),$(wildcard corpus/guests/*/*.c corpus/guests/*/*.S))
parts_of     = $(call obj,$(filter corpus/guests/$(1)/%,$(GUEST_PARTS)))
MODULES   := $(MODULE_SRC:%.c=$(BUILD)/%.ko) $(if $(MODULE_SRC),$(BUILD)/corpus/modules/counter-raw.ko) \
	     $(MODULE_SRC:corpus/modules/%.c=$(BUILD)/corpus/views/%.ko) \
	     $(if $(MODULE_SRC),$(BUILD)/corpus/views/counter-raw.ko)

# The puppet that carries out scenarios has entry code and a linker script of its own.
PUPPET_LD  := $(wildcard corpus/puppet/puppet.ld)
PUPPET_SRC := $(if $(PUPPET_LD),$(wildcard corpus/puppet/*.c corpus/puppet/*.S))
PUPPET     := $(if $(PUPPET_SRC),$(BUILD)/corpus/puppet/puppet.elf)

STAMP_guest-flags = $(CC) $(GUEST_CFLAGS) $(MODULE_CFLAGS) $(THUNKS)

corpus: $(GUESTS) $(MODULES) $(PUPPET)

$(BUILD)/corpus/%.o: corpus/%.c $(BUILD)/guest-flags.stamp
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/corpus/%.o: corpus/%.S $(BUILD)/guest-flags.stamp
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) -D__ASSEMBLY__ -MMD -MP -c $< -o $@

$(BUILD)/corpus/modules/%.ko: corpus/modules/%.c $(BUILD)/guest-flags.stamp
	$(call say,MODULE,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(MODULE_CFLAGS) $(THUNKS) -MMD -MP -MF $(@:.ko=.d) -c $< -o $@

$(BUILD)/corpus/modules/%-raw.ko: corpus/modules/%.c $(BUILD)/guest-flags.stamp
	$(call say,MODULE,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(MODULE_CFLAGS) -MMD -MP -MF $(@:.ko=.d) -c $< -o $@

# For `views` mode, where a module stays as it is: nobody replaces thunks, so there are none, and
# private memory fills its pages (corpus/modules/module.h).
$(BUILD)/corpus/views/%.ko: corpus/modules/%.c $(BUILD)/guest-flags.stamp
	$(call say,MODULE,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(MODULE_CFLAGS) -DUNWRAPPED -MMD -MP -MF $(@:.ko=.d) -c $< -o $@

# They all are raw; scenarios and guests ask for this one by name.
$(BUILD)/corpus/views/%-raw.ko: $(BUILD)/corpus/views/%.ko
	$(Q)cp $< $@

$(BUILD)/corpus/puppet/puppet.elf: $(call obj,$(PUPPET_SRC)) $(PUPPET_LD)
	$(call say,LINK,$@)
	$(Q)$(CC) $(GUEST_LDFLAGS) -Wl,--no-warn-rwx-segments -Wl,-T,$(PUPPET_LD) $(filter %.o,$^) -o $@

# What `guardhouse export --c` wrote becomes a guest: the puppet with a program of its own.
.PHONY: exported
exported: $(call obj,$(PUPPET_SRC)) $(PUPPET_LD)
	$(if $(and $(C),$(ELF)),,$(error make exported C=FILE.c ELF=FILE.elf))
	$(call say,GUEST,$(ELF))
	$(Q)$(CC) $(GUEST_CFLAGS) -c $(C) -o $(ELF).o
	$(Q)$(CC) $(GUEST_LDFLAGS) -Wl,--no-warn-rwx-segments -Wl,-T,$(PUPPET_LD) $(filter %.o,$^) $(ELF).o -o $(ELF)
	@rm -f $(ELF).o

.SECONDEXPANSION:
$(BUILD)/corpus/guests/%.elf: $(BUILD)/corpus/guests/%.o $$(call parts_of,$$*) $(GUEST_LIB) $(GUEST_LD)
	$(call say,LINK,$@)
	$(Q)$(CC) $(GUEST_LDFLAGS) -Wl,--no-warn-rwx-segments -Wl,-T,$(GUEST_LD) $(filter %.o,$^) -o $@

.SECONDARY: $(GUESTS:.elf=.o) $(call obj,$(PUPPET_SRC) $(GUEST_PARTS)) $(GUEST_LIB)
-include $(GUESTS:.elf=.d) $(patsubst %.o,%.d,$(call obj,$(GUEST_PARTS))) $(patsubst %.o,%.d,$(call obj,$(PUPPET_SRC))) $(GUEST_LIB:.o=.d) $(MODULES:.ko=.d)
