/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules as the boot page names them, and the numbered calls to the guard. */
#include "corpus/lib/guest.h"
#include "model/names.h"

enum { X_VMMCALL, X_VMCALL, X_OUT }; /* enum gm_x_kind, as in boot->x_kind */

const struct gh_boot_module *module_find(const char *name)
{
	for (unsigned i = 0; i < boot->modules && i < GH_MAX_MODULES; i++)
		if (!strcmp(boot->module[i].name, name))
			return &boot->module[i];
	printk("no module %s was loaded\n", name);
	exit(3);
}

void *module_symbol(const char *module, const char *symbol)
{
	const struct gh_boot_module *m = module_find(module);
	const struct gh_symbol *s = (const struct gh_symbol *)m->symbols;

	for (unsigned i = 0; i < m->symbol_count; i++)
		if (!strcmp(s[i].name, symbol))
			return (void *)s[i].address;
	printk("module %s has no symbol %s\n", module, symbol);
	exit(3);
}

long module_init(const char *name)
{
	int (*init)(void) = (int (*)(void))module_symbol(name, "init_module");

	return init();
}

/* Not inlined, so that every call has the same few sites in logs. */
__attribute__((noinline)) uint64_t guard_call(uint64_t number, uint64_t rbx, uint64_t rcx,
					      uint64_t rdx)
{
	uint64_t result = number;

	switch (boot->x_kind) {
	case X_VMMCALL:
		__asm__ volatile(".byte 0x0f, 0x01, 0xd9"
				 : "+a"(result)
				 : "b"(rbx), "c"(rcx), "d"(rdx)
				 : "memory");
		break;
	case X_VMCALL:
		__asm__ volatile(".byte 0x0f, 0x01, 0xc1"
				 : "+a"(result)
				 : "b"(rbx), "c"(rcx), "d"(rdx)
				 : "memory");
		break;
	case X_OUT:
		__asm__ volatile(".byte 0xe6, 0xb6, 0x90"
				 : "+a"(result)
				 : "b"(rbx), "c"(rcx), "d"(rdx)
				 : "memory");
		break;
	default: printk("no way to call the guard with X of kind %u\n", boot->x_kind); exit(3);
	}
	return result;
}

uint64_t module_announce(const struct gh_boot_module *m, const uint64_t *bases)
{
	uint64_t r;

	do
		r = guard_call(CALL_ANNOUNCE, m->id, (uint64_t)bases, m->segments);
	while (r == GUARD_V_AGAIN);
	return r;
}

uint64_t module_withdraw(const struct gh_boot_module *m)
{
	return guard_call(CALL_WITHDRAW, m->id, 0, 0);
}

uint64_t module_status(const struct gh_boot_module *m)
{
	return guard_call(CALL_STATUS, m->id, 0, 0);
}

bool module_reload(const struct gh_boot_module *m)
{
	uint64_t result = GH_HOST_RELOAD, n = (uint64_t)(m - boot->module);

	__asm__ volatile("outb %%al, %1" : "+a"(result) : "N"(GH_PORT_HOST), "b"(n) : "memory");
	return result == 0;
}
