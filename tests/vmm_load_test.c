/* SPDX-License-Identifier: GPL-2.0-only */
/* The two loaders: what a guest finds, and what becomes of files that are not what they claim. */
#include "tests/support/vmtest.h"

#include <elf.h>

/* ---- the guest image ---- */

/* Does a vCPU start exactly as the contract says? */
static void test_boot_state(void **state)
{
	struct vm *vm = vt_guest(2);
	const struct guard_cpu *c = &fake_last->cpu[0];
	const struct engine_sys *s = &fake_last->sys[0];

	(void)state;
	assert_int_equal(fake_last->state[0], ENGINE_RUNNABLE);
	assert_int_equal(fake_last->state[1], ENGINE_OFF);
	assert_int_equal(c->cr0, 0x80010033);
	assert_int_equal(c->cr4, 0x20);
	assert_int_equal(c->efer, 0xd00);
	assert_int_equal(c->rflags, 2);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->mode, GUARD_MODE_64);
	assert_int_equal(c->rip, vt_symbol(vm, "start"));
	for (unsigned i = 0; i < GUARD_GPRS; i++)
		if (i != GUARD_RDI && i != GUARD_RSP)
			assert_int_equal(c->gpr[i], 0);
	assert_int_equal(s->cs.selector, 8);
	assert_int_equal(s->ss.selector, 0x10);
	assert_int_equal(s->idt.limit, 0);
	/* room for user segments and a TSS behind the two that are there */
	assert_true(s->gdt.limit >= 8 * 8 - 1);

	/* the second one, by port: the same place, its number in RSI, a stack of its own */
	vm_port_out(vm, 0, GH_PORT_START_VCPU, 1, 1);
	assert_int_equal(fake_last->state[1], ENGINE_RUNNABLE);
	assert_int_equal(fake_last->cpu[1].gpr[GUARD_RSI], 1);
	assert_int_equal(fake_last->cpu[1].rip, c->rip);
	assert_int_not_equal(fake_last->cpu[1].gpr[GUARD_RSP], c->gpr[GUARD_RSP]);
	/* one that runs, and one that does not exist, are left alone */
	fake_last->cpu[1].rip = 7;
	vm_port_out(vm, 0, GH_PORT_START_VCPU, 1, 1);
	vm_port_out(vm, 0, GH_PORT_START_VCPU, 1, 200);
	assert_int_equal(fake_last->cpu[1].rip, 7);
	vm_destroy(vm);
}

/* Rights of one page as the guest's tables give them: "rwx". */
static void rights(struct vm *vm, uint64_t gva, const char *want)
{
	struct engine_walk w;
	struct guard_cpu cpu;
	char got[8] = "none";

	vm_get_cpu(vm, 0, &cpu);
	if (vm_walk(vm, &cpu, gva, ENGINE_WALK_PEEK, &w))
		snprintf(got, sizeof(got), "%s%s%s", w.user ? "u" : "r", w.write ? "w" : "-",
			 w.exec ? "x" : "-");
	if (strcmp(got, want))
		fail_msg("0x%llx: %s, expected %s", (unsigned long long)gva, got, want);
}

static void test_memory_map(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t top = fake_last->cpu[0].gpr[GUARD_RSP], word = 0, start = vt_symbol(vm, "start");
	uint8_t code[4], alias[4];
	const struct gh_boot *b;

	(void)state;
	rights(vm, start, "r-x");
	rights(vm, vt_symbol(vm, "boot"), "rw-");
	rights(vm, top - 8, "rw-");
	rights(vm, top - GH_STACK_BYTES, "rw-");
	rights(vm, top - GH_STACK_BYTES - 1, "none");
	rights(vm, top, "none");
	rights(vm, GH_DIRECT_MAP, "rw-");
	rights(vm, GH_DIRECT_MAP + vm->ram_size - 1, "rw-");
	rights(vm, GH_DIRECT_MAP + vm->ram_size, "none");
	rights(vm, GH_MODULES_BASE, "none");
	rights(vm, 0, "none");
	assert_true(vm_read_u(vm, 0, start, code, 4));
	assert_true(vm_read_u(vm, 0, GH_DIRECT_MAP + vt_gpa(vm, start), alias, 4));
	assert_memory_equal(code, alias, 4);
	/* data that the file does not have is zero; code cannot be written */
	assert_true(vm_read_u(vm, 0, vt_symbol(vm, "boot"), &word, 8));
	assert_int_equal(word, 0);
	assert_false(vm_write_u(vm, 0, start, code, 4));
	assert_false(vm_read_u(vm, 0, top - 4, &word, 8));

	b = (const void *)(vm->ram + vm->boot_gpa);
	assert_int_equal(fake_last->cpu[0].gpr[GUARD_RDI], GH_DIRECT_MAP + vm->boot_gpa);
	assert_int_equal(b->magic, GH_BOOT_MAGIC);
	assert_int_equal(b->vcpus, 1);
	assert_int_equal(b->ram_size, vm->ram_size);
	assert_int_equal(b->device, 0);
	assert_int_equal(b->modules, 0);
	assert_true(b->image_end >= vt_gpa(vm, vt_symbol(vm, "boot")));
	assert_true(b->mailbox_size >= 4096);
	rights(vm, b->mailbox, "rw-");
	/* the status page reads, and what is written to it is lost */
	word = ~0ull;
	assert_true(vm_write_u(vm, 0, b->status_page[0], &word, 8));
	assert_true(vm_read_u(vm, 0, b->status_page[0], &word, 8));
	assert_int_equal(word, 0);
	vm_destroy(vm);
}

/* The error names file and offset, in one line. */
static void check_error(const struct error *err, const char *file)
{
	if (strncmp(err->text, file, strlen(file)) != 0 || !strstr(err->text, "offset 0x") ||
	    strchr(err->text, '\n'))
		fail_msg("error without file or offset: %s", err->text);
}

static bool try_guest(const uint8_t *data, size_t size)
{
	struct vm *vm = vt_create(1, 64);
	struct blob b = { malloc(size ? size : 1), size };
	struct error err = { "" };
	bool ok;

	assert_non_null(b.data);
	if (size)
		memcpy(b.data, data, size);
	ok = vm_load_guest(vm, "g.elf", &b, &err);
	if (!ok) {
		check_error(&err, "g.elf: ");
		assert_int_equal(fake_last->state[0], ENGINE_OFF);
	}
	blob_free(&b);
	vm_destroy(vm);
	return ok;
}

/* What if the file ends anywhere in its headers, or is random? */
static void test_guest_truncated(void **state)
{
	struct blob elf = vt_read("corpus/guests/hello.elf");
	uint8_t noise[512];

	(void)state;
	assert_true(try_guest(elf.data, elf.size));
	for (size_t n = 0; n < 512 && n < elf.size; n++)
		assert_false(try_guest(elf.data, n));
	for (size_t n = 512; n < elf.size; n += elf.size / 97)
		assert_false(try_guest(elf.data, n));
	srand(1);
	for (unsigned round = 0; round < 64; round++) {
		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)rand();
		if (round & 1)
			memcpy(noise, elf.data, 64);
		assert_false(try_guest(noise, sizeof(noise)));
	}
	blob_free(&elf);
}

static const uint64_t odd[] = {
	0,
	1,
	4095,
	0x7fffffff,
	0x80000000,
	0xffffffff,
	0x7fffffffffffffffull,
	0x8000000000000000ull,
	0xffffffff80000000ull,
	0xffffffffc0000000ull,
	0xfffffffffffff000ull,
	0xffffffffffffffffull,
};

/* Every 64-bit word of [from, from + len) takes every odd value. */
static void mutate(struct blob *b, size_t from, size_t len,
		   bool (*attempt)(const uint8_t *, size_t))
{
	for (size_t at = from; at + 8 <= from + len && at + 8 <= b->size; at += 8) {
		uint64_t old;

		memcpy(&old, b->data + at, 8);
		for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]) + 64; k++) {
			uint64_t v = k < 64 ? old ^ (1ull << k) : odd[k - 64];

			memcpy(b->data + at, &v, 8);
			attempt(b->data, b->size);
		}
		memcpy(b->data + at, &old, 8);
	}
}

static void test_guest_mutated(void **state)
{
	struct blob elf = vt_read("corpus/guests/hello.elf");
	Elf64_Ehdr eh;

	(void)state;
	memcpy(&eh, elf.data, sizeof(eh));
	mutate(&elf, 0, sizeof(eh), try_guest);
	mutate(&elf, eh.e_phoff, (size_t)eh.e_phnum * sizeof(Elf64_Phdr), try_guest);
	mutate(&elf, eh.e_shoff, (size_t)eh.e_shnum * sizeof(Elf64_Shdr), try_guest);
	blob_free(&elf);
}

/* ---- modules ---- */

static void test_insmod(void **state)
{
	struct vm *vm = vt_guest(2);
	struct guard_module_info info;
	struct vt_module m;
	const struct gh_boot_module *bm;
	const struct gh_symbol *table;
	uint64_t text, gate, gva = 0;
	uint8_t bytes[16];
	unsigned index;
	bool found = false;

	(void)state;
	vt_wrap(&m, "counter", false);
	index = vt_load(vm, &m);
	assert_true(guard_module_info(vm_guard(vm), index, &info));
	assert_true(info.announced);
	assert_string_equal(vm_module_name(vm, index), "counter");

	/* segments where the boot page says, with a kernel's rights */
	rights(vm, vm_module_base(vm, index, vt_segment(vm, index, GM_SEG_TEXT)), "r-x");
	rights(vm, vm_module_base(vm, index, vt_segment(vm, index, GM_SEG_GATES)), "r-x");
	rights(vm, vm_module_base(vm, index, vt_segment(vm, index, GM_SEG_RODATA)), "r--");
	rights(vm, vm_module_base(vm, index, vt_segment(vm, index, GM_SEG_DATA)), "rw-");
	rights(vm, vm_module_base(vm, index, vt_segment(vm, index, GM_SEG_PRIVATE)), "rw-");
	bm = &((const struct gh_boot *)(const void *)(vm->ram + vm->boot_gpa))->module[0];
	assert_string_equal(bm->name, "counter");
	assert_int_equal(bm->id, info.id);
	for (unsigned i = 0; i < bm->segments; i++) {
		assert_int_equal(bm->base[i], info.base[i]);
		assert_int_equal(bm->base[i], vm_module_base(vm, index, i));
	}
	assert_int_equal(bm->gates, vm_module_base(vm, index, vt_segment(vm, index, GM_SEG_GATES)));

	/* a gate under its function's name, in the guest's table and in ours */
	gate = vt_symbol(vm, "counter:enter/counter_get");
	text = vt_symbol(vm, "counter:counter_get");
	assert_int_not_equal(gate, text);
	table = (const void *)(vm->ram + (bm->symbols - GH_DIRECT_MAP));
	for (unsigned i = 0; i < bm->symbol_count; i++)
		if (!strcmp(table[i].name, "counter_get")) {
			assert_int_equal(table[i].address, gate);
			found = true;
		}
	assert_true(found);
	assert_true(vm_symbol_address(vm, "counter:leave/kernel_callout", &gva));
	assert_true(vm_symbol_address(vm, "counter:leave-return", &gva));
	assert_true(vm_symbol_address(vm, "counter:enter-return", &gva));
	assert_false(vm_symbol_address(vm, "counter:no_such", &gva));
	assert_false(vm_symbol_address(vm, "count:counter_get", &gva));

	/* X; jmp f with the jump relocated to f */
	assert_true(vm_read_u(vm, 0, gate, bytes, sizeof(bytes)));
	assert_memory_equal(bytes, "\x0f\x01\xd9\xe9", 4);
	memcpy(&gva, bytes + 4, 4);
	assert_int_equal(gate + 8 + (uint64_t)(int64_t)(int32_t)gva, text);

	/* every privilege is granted on every vCPU, and the log has told all of it */
	assert_int_equal(vm->module[index]->granted[1], m.binding.bound);
	vt_free(&m);
	vm_destroy(vm);
}

/* An import of an earlier module leads to its enter gate, never to its text. */
static void test_module_imports_module(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module a, b;
	uint8_t bytes[8];
	int32_t rel;
	uint64_t gate;
	unsigned ia;
	bool seen = false;

	(void)state;
	vt_wrap(&b, "pair_b", false);
	vt_wrap(&a, "pair_a", false);
	vt_load(vm, &b);
	ia = vt_load(vm, &a);
	for (size_t i = 0; i < vm->module[ia]->symbols.count; i++) {
		const struct vm_symbol *s = &vm->module[ia]->symbols.by_address[i];
		char target[160];

		if (strncmp(s->name, "leave/pair_b", 12) != 0)
			continue;
		assert_true(vm_read_u(vm, 0, s->address, bytes, 8));
		memcpy(&rel, bytes + 4, 4);
		gate = s->address + 8 + (uint64_t)(int64_t)rel;
		snprintf(target, sizeof(target), "pair_b:enter/%s", s->name + 6);
		assert_int_equal(gate, vt_symbol(vm, target));
		seen = true;
	}
	assert_true(seen);
	vt_free(&a);
	vt_free(&b);
	vm_destroy(vm);
}

static bool resolve_nothing(void *ctx, const char *symbol, uint64_t *gva)
{
	(void)symbol;
	(void)gva;
	++*(unsigned *)ctx;
	return false;
}

/* Without a guest that has them, imports are asked for, and named if nobody knows them. */
static void test_unresolved_import(void **state)
{
	struct vm *vm = vt_create(1, 0);
	struct vt_module m;
	struct error err;
	unsigned index, asked = 0;

	(void)state;
	vt_wrap(&m, "counter", false);
	assert_false(vm_load_module(vm, &m.source, true, resolve_nothing, &asked, &index, &err));
	check_error(&err, "counter: ");
	assert_non_null(strstr(err.text, "import "));
	assert_int_equal(asked, 1);
	/* nothing is left of it: the guard has room for the same module again */
	assert_int_equal(vm->nloaded, 0);
	assert_null(vm->module[0]);
	assert_false(vm_load_module(vm, &m.source, true, NULL, NULL, &index, &err));
	assert_non_null(strstr(err.text, "import "));
	vt_free(&m);
	vm_destroy(vm);
}

/* Without a binding a module is loaded like any other, and the guard does not know it. */
static void test_not_bound(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module m;
	struct error err;
	unsigned index = 0;
	char line[512];

	(void)state;
	vt_wrap(&m, "counter", false);
	m.source.binding = NULL;
	if (!vm_load_module(vm, &m.source, true, NULL, NULL, &index, &err))
		fail_msg("%s", err.text);
	assert_int_equal(index, GUARD_VIEW_U);
	vm_log_format(vm, vm_log_line(vm, vm_log_count(vm) - 1), line, sizeof(line));
	assert_non_null(strstr(line, " REGISTER "));
	assert_non_null(strstr(line, "verdict=not-bound"));
	assert_int_equal(vm_frame_of(vm, vt_gpa(vm, vt_symbol(vm, "counter:counter_get")))->role,
			 GUARD_ROLE_NONE);

	/* a binding of other code is an error of whoever loads it */
	m.source.binding = &m.binding;
	m.binding.digest[0] ^= 1;
	assert_false(vm_load_module(vm, &m.source, true, NULL, NULL, &index, &err));
	assert_non_null(strstr(err.text, "not-bound"));
	vt_free(&m);
	vm_destroy(vm);
}

/* Object and manifest of different modules: the layout does not fit. */
static void test_wrong_manifest(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module m, other;
	struct error err;
	unsigned index;

	(void)state;
	vt_wrap(&m, "counter", false);
	vt_wrap(&other, "pair_a", false);
	m.source.ko = other.wrapped.ko;
	assert_false(vm_load_module(vm, &m.source, true, NULL, NULL, &index, &err));
	check_error(&err, "counter: ");
	assert_non_null(strstr(err.text, "manifest"));
	vt_free(&m);
	vt_free(&other);
	vm_destroy(vm);
}

/* Sections of no size have a place, the one that the manifest's relocations imply. */
static void test_empty_sections(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module t;
	unsigned m, data;

	(void)state;
	vt_wrap(&t, "target", false);
	m = vt_load(vm, &t);
	data = vt_segment(vm, m, GM_SEG_DATA);
	assert_int_equal(vt_symbol(vm, "target:nothing_first"), vm_module_base(vm, m, data));
	assert_int_equal(vt_symbol(vm, "target:nothing_last"),
			 vm_module_base(vm, m, data) + vm_segments(vm->module[m])[data].size);
	assert_true(vm_segments(vm->module[m])[data].size > 0);
	vt_free(&t);
	vm_destroy(vm);
}

/* What is not loaded has no address: the message says which symbol in which section. */
static void test_relocation_elsewhere(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module t;
	struct error err;
	unsigned index, changed = 0;
	Elf64_Ehdr eh;
	Elf64_Shdr sh;

	(void)state;
	vt_wrap(&t, "target", false);
	memcpy(&eh, t.source.ko.data, sizeof(eh));
	for (unsigned i = 1; i < eh.e_shnum; i++) {
		uint8_t *at = t.source.ko.data + eh.e_shoff + i * sizeof(sh);

		memcpy(&sh, at, sizeof(sh));
		if ((sh.sh_flags & SHF_ALLOC) && (sh.sh_flags & SHF_WRITE) && !sh.sh_size) {
			sh.sh_flags &= ~(uint64_t)SHF_ALLOC;
			memcpy(at, &sh, sizeof(sh));
			changed++;
		}
	}
	assert_true(changed >= 2);
	assert_false(vm_load_module(vm, &t.source, true, NULL, NULL, &index, &err));
	check_error(&err, "target: ");
	if (!strstr(err.text, "symbol ") || !strstr(err.text, "in section .data"))
		fail_msg("%s", err.text);
	vt_free(&t);
	vm_destroy(vm);
}

/* ANNOUNCE of the first module in the boot page, as its loader in the guest does it. */
static enum guard_verdict announce(struct vm *vm)
{
	const struct gh_boot *b = (const void *)(vm->ram + vm->boot_gpa);
	struct guard_event ev = { .type = GUARD_EV_X };
	struct guard_decision d;

	vm_get_cpu(vm, 0, &ev.cpu);
	ev.cpu.gpr[GUARD_RBX] = b->module[0].id;
	ev.cpu.gpr[GUARD_RCX] = ev.cpu.gpr[GUARD_RDI] + offsetof(struct gh_boot, module[0].base);
	ev.cpu.gpr[GUARD_RDX] = b->module[0].segments;
	do {
		ev.cpu.gpr[GUARD_RAX] = GUARD_CALL_ANNOUNCE;
		vm_judge(vm, &ev, &d);
	} while (d.cpu.gpr[GUARD_RAX] == GUARD_V_AGAIN);
	return (enum guard_verdict)d.cpu.gpr[GUARD_RAX];
}

/* Code that differs from the registered one is loaded and not announced. */
static void test_wrong_text(void **state)
{
	struct vm *vm = vt_guest(1);
	struct guard_module_info info;
	struct vt_module m;
	struct error err;
	unsigned index;
	uint64_t gva;
	uint8_t byte;

	(void)state;
	vt_wrap(&m, "counter", false);
	if (!vm_load_module(vm, &m.source, false, NULL, NULL, &index, &err))
		fail_msg("%s", err.text);
	gva = vt_symbol(vm, "counter:counter_get");
	/* by the direct map: the text itself is read-only */
	gva = GH_DIRECT_MAP + vt_gpa(vm, gva);
	assert_true(vm_read_u(vm, 0, gva, &byte, 1));
	byte ^= 1;
	assert_true(vm_write_u(vm, 0, gva, &byte, 1));
	assert_int_equal(announce(vm), GUARD_V_BAD_TEXT);
	assert_true(guard_module_info(vm_guard(vm), index, &info));
	assert_false(info.announced);
	/* a second placing is whole again, and elsewhere */
	gva = vm_module_base(vm, index, 0);
	if (!vm_reload_module(vm, index, true, NULL, NULL, &err))
		fail_msg("%s", err.text);
	assert_int_not_equal(vm_module_base(vm, index, 0), gva);
	assert_true(guard_module_info(vm_guard(vm), index, &info));
	assert_true(info.announced);
	assert_int_equal(info.base[0], vm_module_base(vm, index, 0));
	assert_false(vm_reload_module(vm, 9, true, NULL, NULL, &err));
	vt_free(&m);
	vm_destroy(vm);
}

static void line_about(struct vm *vm, uint64_t rip, char *text, size_t len)
{
	const struct guard_line l = { .event = GUARD_ENTER_CALL, .rip = rip };

	vm_log_append(vm, 0, &l);
	vm_log_format(vm, vm_log_line(vm, vm_log_count(vm) - 1), text, len);
}

/* Lines keep the names that addresses had when they were written, as long as those are kept. */
static void test_old_names(void **state)
{
	static const char name[] = " site=counter:enter/counter_get+0x5 ";
	static const char other[] = " site=target:target_check+0x0 ";
	uint64_t at[VM_OLD_PLACES + 3];
	struct vm *vm = vt_guest(1);
	struct vt_module c, d;
	unsigned index, i;
	struct error err;
	char line[512];
	size_t first;

	(void)state;
	vt_wrap(&c, "counter", false);
	vt_wrap(&d, "target", false);
	index = vt_load(vm, &c);
	vt_load(vm, &d);
	first = vm_log_count(vm);
	for (i = 0; i < VM_OLD_PLACES + 3; i++) {
		at[i] = vt_symbol(vm, "counter:enter/counter_get") + 5;
		line_about(vm, at[i], line, sizeof(line));
		assert_non_null(strstr(line, name));
		line_about(vm, vt_symbol(vm, "target:target_check"), line, sizeof(line));
		assert_non_null(strstr(line, other)); /* this one never moves */
		if (!vm_reload_module(vm, index, false, NULL, NULL, &err))
			fail_msg("%s", err.text);
		assert_int_not_equal(at[i], vt_symbol(vm, "counter:enter/counter_get") + 5);
	}
	for (i = 0; i < VM_OLD_PLACES + 3; i++) {
		vm_log_format(vm, vm_log_line(vm, first + 2 * i), line, sizeof(line));
		assert_non_null(strstr(line, i < 3 ? " site=?+0x" : name));
		vm_log_format(vm, vm_log_line(vm, first + 2 * i + 1), line, sizeof(line));
		assert_non_null(strstr(line, other));
	}
	/* who enters an old place is told which one it was */
	line_about(vm, at[VM_OLD_PLACES], line, sizeof(line));
	assert_non_null(strstr(line, name));
	line_about(vm, at[0], line, sizeof(line));
	assert_non_null(strstr(line, " site=?+0x"));
	vt_free(&c);
	vt_free(&d);
	vm_destroy(vm);
}

static struct vt_module *mutated;

static bool try_ko(const uint8_t *data, size_t size)
{
	struct vm *vm = vt_guest(1);
	struct vm_module_source src = mutated->source;
	struct error err = { "" };
	unsigned index;
	bool ok;

	src.ko.data = malloc(size ? size : 1);
	src.ko.size = size;
	assert_non_null(src.ko.data);
	if (size)
		memcpy(src.ko.data, data, size);
	ok = vm_load_module(vm, &src, true, NULL, NULL, &index, &err);
	/* refused by the loader: file and offset; refused by the guard: its verdict */
	if (!ok && !strstr(err.text, "ANNOUNCE refused"))
		check_error(&err, "counter: ");
	blob_free(&src.ko);
	vm_destroy(vm);
	return ok;
}

static bool try_manifest(const uint8_t *data, size_t size)
{
	struct vm *vm = vt_guest(1);
	struct vm_module_source src = mutated->source;
	struct guard_binding b = mutated->binding;
	struct error err = { "" };
	unsigned index;
	bool ok;

	src.manifest.data = malloc(size ? size : 1);
	src.manifest.size = size;
	assert_non_null(src.manifest.data);
	if (size)
		memcpy(src.manifest.data, data, size);
	/* an administrator who binds whatever is there */
	manifest_digest(&src.manifest, b.digest);
	src.binding = &b;
	ok = vm_load_module(vm, &src, true, NULL, NULL, &index, &err);
	if (!ok)
		assert_true(err.text[0]);
	blob_free(&src.manifest);
	vm_destroy(vm);
	return ok;
}

static void test_module_mutated(void **state)
{
	struct vt_module m;
	struct blob *ko, *man;
	Elf64_Ehdr eh;
	Elf64_Shdr sh;

	(void)state;
	vt_wrap(&m, "counter", false);
	mutated = &m;
	ko = &m.wrapped.ko;
	man = &m.wrapped.manifest;
	assert_true(try_ko(ko->data, ko->size));
	for (size_t n = 0; n < ko->size; n += 1 + ko->size / 199)
		assert_false(try_ko(ko->data, n));
	memcpy(&eh, ko->data, sizeof(eh));
	mutate(ko, 0, sizeof(eh), try_ko);
	mutate(ko, eh.e_shoff, (size_t)eh.e_shnum * sizeof(sh), try_ko);
	for (unsigned i = 0; i < eh.e_shnum; i++) {
		memcpy(&sh, ko->data + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type == SHT_RELA && (sh.sh_flags & SHF_ALLOC) == 0)
			mutate(ko, sh.sh_offset, 3 * sizeof(Elf64_Rela), try_ko);
		if (sh.sh_type == SHT_SYMTAB)
			mutate(ko, sh.sh_offset + sh.sh_size / 2, 3 * sizeof(Elf64_Sym), try_ko);
	}
	assert_true(try_manifest(man->data, man->size));
	for (size_t n = 0; n < man->size; n += 1 + man->size / 199)
		assert_false(try_manifest(man->data, n));
	mutate(man, 0, sizeof(struct gm_header), try_manifest);
	mutate(man, sizeof(struct gm_header), man->size / 16, try_manifest);
	vt_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_state),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_guest_truncated),
		cmocka_unit_test(test_guest_mutated),
		cmocka_unit_test(test_insmod),
		cmocka_unit_test(test_module_imports_module),
		cmocka_unit_test(test_unresolved_import),
		cmocka_unit_test(test_not_bound),
		cmocka_unit_test(test_wrong_manifest),
		cmocka_unit_test(test_empty_sections),
		cmocka_unit_test(test_relocation_elsewhere),
		cmocka_unit_test(test_wrong_text),
		cmocka_unit_test(test_old_names),
		cmocka_unit_test(test_module_mutated),
	};

	return cmocka_run_group_tests_name("vmm: loaders", tests, NULL, NULL);
}
