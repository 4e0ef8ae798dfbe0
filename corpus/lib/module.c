/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules as the boot page names them, and the numbered calls to the guard. */
#include "corpus/lib/guest.h"
#include "model/names.h"

enum { X_VMMCALL, X_VMCALL, X_OUT }; /* enum gm_x_kind, as in boot->x_kind */

extern uint8_t guard_call_x[3];
void module_start(void);

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

/* Once, before anything is called there. */
void module_start(void)
{
	static const uint8_t x[][3] = {
		[X_VMMCALL] = { 0x0f, 0x01, 0xd9 },
		[X_VMCALL] = { 0x0f, 0x01, 0xc1 },
		[X_OUT] = { 0xe6, GH_PORT_CROSS, 0x90 },
	};
	volatile uint8_t *at = guard_call_x;

	if (boot->x_kind >= sizeof(x) / sizeof(x[0]))
		return;
	for (unsigned i = 0; i < sizeof(x[0]); i++)
		at[i] = x[boot->x_kind][i];
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
