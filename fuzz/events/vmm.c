// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMM that pretends: RAM with real tables in it, roles of frames, copies. It does what it is
 * asked, fails when the input says so, and says when the core asks for what the contract forbids.
 */
#include <string.h>

#include "fuzz/events/core.h"

#define ADDRESS 0x000ffffffffff000ull

/* ---- memory ---- */

bool fc_ram(void *ctx, uint64_t gpa, void *buf, size_t len)
{
	(void)ctx;
	if (gpa >= FC_RAM || len > FC_RAM - gpa)
		return false;
	if (len == 8)
		memcpy(buf, fc->ram + gpa, 8);
	else
		memcpy(buf, fc->ram + gpa, len);
	return true;
}

bool fc_copy(void *ctx, unsigned module, uint32_t moff, void *buf, size_t len)
{
	(void)ctx;
	if (module >= FC_MODULES || moff / 4096 >= FC_PAGES || moff % 4096 + len > 4096)
		return false;
	memcpy(buf, fc->copy[module][moff / 4096] + moff % 4096, len);
	return true;
}

void fc_poke(uint64_t gpa, const void *buf, size_t len)
{
	uint64_t word = gpa & ~7ull;

	if (gpa >= FC_RAM || gpa % 8 + len > 8)
		return;
	if (fc->ready) {
		if (fc->journaled == FC_JOURNAL)
			return; /* no input is that long */
		fc->journal[fc->journaled].gpa = (uint32_t)word;
		memcpy(&fc->journal[fc->journaled++].old, fc->ram + word, 8);
	}
	if (fc->above[gpa / 4096 / 64] >> gpa / 4096 % 64 & 1)
		fc_tables_moved();
	memcpy(fc->ram + gpa, buf, len);
	fc->live->frame[gpa / 4096].dirty = 1;
}

uint32_t fc_role(uint64_t gpa)
{
	for (unsigned i = 0; i < FC_MODULES; i++)
		if (fc->live->hidden[i] &&
		    gpa - fc->live->device[i].base < fc->live->device[i].length)
			return GUARD_ROLE_DEVICE;
	return gpa < FC_RAM ? fc->live->frame[gpa / 4096].role : GUARD_ROLE_NONE;
}

/* One level of tables down. */
static bool down(uint64_t *entry, uint64_t *rights, uint64_t gva, unsigned shift)
{
	uint64_t at = (*entry & ADDRESS) + (gva >> shift & 511) * 8;

	/* what view U hides holds no tables */
	if (at >= FC_RAM || fc->live->frame[at / 4096].role == GUARD_ROLE_PRIVATE)
		return false;
	memcpy(entry, fc->ram + at, 8);
	*rights &= *entry;
	return *entry & FC_P;
}

/* What was remembered of walks is forgotten. */
void fc_tables_moved(void)
{
	fc->tables++;
	memset(fc->above, 0, sizeof(fc->above));
}

static bool upper(uint64_t cr3, uint64_t gva, uint64_t *entry, uint64_t *rights)
{
	*entry = cr3;
	*rights = FC_W | FC_U;
	for (unsigned shift = 39; shift > 12; shift -= 9) {
		uint64_t frame = (*entry & ADDRESS) / 4096;

		if (frame < FC_FRAMES)
			fc->above[frame / 64] |= 1ull << frame % 64;
		if (!down(entry, rights, gva, shift))
			return false;
	}
	return true;
}

/* The last table over gva, as an entry that leads there. */
static bool last_table(uint64_t cr3, uint64_t gva, uint64_t *entry, uint64_t *rights)
{
	struct fc_last_table *t = &fc->last[(cr3 >> 12 ^ gva >> 21) % 4];

	if ((uint64_t)((int64_t)(gva << 16) >> 16) != gva)
		return false;
	if (t->version != fc->tables || t->cr3 != cr3 || t->region != gva >> 21) {
		t->there = upper(cr3, gva, &t->entry, &t->rights);
		t->version = fc->tables;
		t->cr3 = cr3;
		t->region = gva >> 21;
	}
	*entry = t->entry;
	*rights = t->rights;
	return t->there;
}

static struct guard_mapping leaf(uint64_t entry, uint64_t rights, uint64_t gva)
{
	struct guard_mapping map = { 0 };

	if (!down(&entry, &rights, gva, 12))
		return map;
	map.gpa = entry & ADDRESS;
	map.flags = GUARD_MAP_PRESENT | (rights & FC_W ? GUARD_MAP_WRITE : 0) |
		    (rights & FC_U ? GUARD_MAP_USER : 0) | (map.gpa < FC_RAM ? GUARD_MAP_RAM : 0);
	map.role = fc_role(map.gpa);
	return map;
}

struct guard_mapping fc_walk(uint64_t cr3, uint64_t gva)
{
	uint64_t entry, rights;

	if (!last_table(cr3, gva, &entry, &rights))
		return (struct guard_mapping){ 0 };
	return leaf(entry, rights, gva);
}

/* What guest code itself does, whose writes to frames that view U hides are dropped. */
bool fc_get(uint64_t cr3, uint64_t gva, uint64_t *word)
{
	struct guard_mapping map = fc_walk(cr3, gva & ~0xfffull);

	*word = 0;
	if (!(map.flags & GUARD_MAP_RAM) || gva % 8)
		return false;
	if (map.role != GUARD_ROLE_PRIVATE)
		memcpy(word, fc->ram + map.gpa + gva % 4096, 8);
	return true;
}

bool fc_put(uint64_t cr3, uint64_t gva, uint64_t word)
{
	struct guard_mapping map = fc_walk(cr3, gva & ~0xfffull);
	const uint32_t need = GUARD_MAP_RAM | GUARD_MAP_WRITE;

	if ((map.flags & need) != need || gva % 8)
		return false;
	if (map.role != GUARD_ROLE_PRIVATE)
		fc_poke(map.gpa + gva % 4096, &word, 8);
	return true;
}

void fc_pte(unsigned page, uint64_t entry)
{
	fc_poke(fc->table + page % 512 * 8, &entry, 8);
}

uint64_t fc_pte_now(unsigned page)
{
	uint64_t entry;

	memcpy(&entry, fc->ram + fc->table + page % 512 * 8, 8);
	return entry;
}

/* ---- what every callback goes through ---- */

static bool enter(enum fc_op op)
{
	struct fc_live *l = fc->live;

	if (++fc->ev.calls > FC_CALLS) {
		fc_broken(true, "G6 VMM safety: one event asks for more than %u callbacks",
			  FC_CALLS);
		longjmp(fc->out, 1);
	}
	if (!l->fail_in || l->fail_op != op || --l->fail_in)
		return true;
	fc->ev.failures++;
	return false;
}

static bool answer(bool ok)
{
	if (!ok)
		oracle_platform_failed(fc->oracle);
	return ok;
}

static bool in_module(const char *what, unsigned module, uint32_t page)
{
	if (module < FC_MODULES && page < FC_PAGES)
		return true;
	fc_broken(true, "G6 VMM safety: %s of page %u of module %u", what, page, module);
	return false;
}

static void op_translate(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
			 struct guard_mapping *out)
{
	uint64_t entry = 0, rights = 0;
	bool ok = enter(FC_TRANSLATE), there = false;

	(void)vmm;
	if (vcpu >= FC_VCPUS || gva % 4096 || !npages || npages > 64)
		fc_broken(true, "G6 VMM safety: translation of %zu pages at 0x%llx", npages,
			  (unsigned long long)gva);
	for (size_t i = 0; i < npages; i++) {
		uint64_t at = gva + i * 4096;

		if (!i || at % (1u << 21) == 0) /* the tables above are the same for all in 2 MiB */
			there = ok && last_table(cr3, at, &entry, &rights);
		out[i] = there ? leaf(entry, rights, at) : (struct guard_mapping){ 0 };
	}
	answer(ok);
}

/* Guest memory through a guest address: never what any module owns. */
static bool accessible(const char *what, uint64_t gpa, size_t len, bool write)
{
	uint32_t role = fc_role(gpa);

	if (!len || gpa >= FC_RAM || gpa % 4096 + len > 4096) {
		fc_broken(true, "G6 VMM safety: %s of %zu bytes at 0x%llx", what, len,
			  (unsigned long long)gpa);
		return false;
	}
	if (role != GUARD_ROLE_NONE && (write || role != GUARD_ROLE_SEGMENT))
		fc_broken(true, "G3 privacy: %s of a frame with role %u at 0x%llx", what, role,
			  (unsigned long long)gpa);
	return true;
}

static bool op_read(void *vmm, uint64_t gpa, void *buf, size_t len)
{
	(void)vmm;
	if (!accessible("read", gpa, len, false))
		return false;
	oracle_core_read(fc->oracle, gpa, len);
	if (!answer(enter(FC_READ)))
		return false;
	memcpy(buf, fc->ram + gpa, len);
	return true;
}

static bool op_write(void *vmm, uint64_t gpa, const void *buf, size_t len)
{
	(void)vmm;
	if (!accessible("write", gpa, len, true))
		return false;
	if (len > 8 || gpa % 8 + len > 8) {
		fc_broken(true, "G6 VMM safety: %zu bytes are written at once", len);
		return false;
	}
	if (fc->judges)
		oracle_core_wrote(fc->oracle, gpa, fc->ram + gpa, len);
	if (!answer(enter(FC_WRITE)))
		return false;
	fc_poke(gpa, buf, len);
	return true;
}

static bool op_digest(void *vmm, const void *data, size_t len, uint8_t out[32])
{
	/* told by its seed: manifests here are few, and REGISTER is part of what is fuzzed */
	(void)vmm;
	for (unsigned m = 0; m < FC_MODULES; m++)
		if (fc->module[m].manifest == data && fc->module[m].len == len) {
			memcpy(out, fc->module[m].binding.digest, 32);
			return true;
		}
	return false;
}

static bool op_raise(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges)
{
	struct fc_live *l = fc->live;
	bool ok;

	(void)vmm;
	if (vcpu >= FC_VCPUS || !in_module("raise", module, 0))
		return false;
	ok = enter(FC_RAISE);
	fc_ledger_raise(vcpu, module, privileges, ok);
	oracle_platform(fc->oracle, true, ok);
	if (!ok)
		return false;
	l->view[vcpu] = (uint8_t)module;
	l->set[vcpu] = privileges;
	return true;
}

static bool op_lower(void *vmm, unsigned vcpu, unsigned module)
{
	struct fc_live *l = fc->live;
	bool ok;

	(void)vmm;
	if (vcpu >= FC_VCPUS || !in_module("lower", module, 0))
		return false;
	ok = enter(FC_LOWER);
	if (l->view[vcpu] != module)
		fc_broken(true, "G6 VMM safety: vCPU %u in view %u is lowered from module %u", vcpu,
			  l->view[vcpu], module);
	oracle_platform(fc->oracle, false, ok);
	if (!ok) {
		fc->ev.lower_failed |= 1u << vcpu;
		return false;
	}
	l->view[vcpu] = GUARD_VIEW_U;
	l->set[vcpu] = 0;
	return true;
}

static bool op_fill(void *vmm, unsigned module, uint32_t page, uint64_t gpa)
{
	struct fc_frame *f;

	(void)vmm;
	if (!in_module("fill", module, page) || gpa % 4096 || gpa >= FC_RAM)
		return false;
	f = &fc->live->frame[gpa / 4096];
	if (f->role != GUARD_ROLE_NONE && (f->module != module || f->page != page))
		fc_broken(true, "G3 privacy: a copy is filled from another page's frame 0x%llx",
			  (unsigned long long)gpa);
	fc_ledger_copy_changes(module, page);
	oracle_core_read(fc->oracle, gpa, 4096);
	oracle_copy_changed(fc->oracle, module, page * 4096, 4096);
	if (!answer(enter(FC_FILL)))
		return false;
	memcpy(fc->copy[module][page], fc->ram + gpa, 4096);
	fc->copy_dirty[module] |= (uint16_t)(1u << page);
	fc->live->is_private[module] &= (uint8_t) ~(1u << page);
	fc->live->filled[module] |= (uint8_t)(1u << page);
	f->dirty = 0;
	return true;
}

static uint8_t *copied(const char *what, unsigned module, uint32_t moff, size_t len)
{
	unsigned page = moff / 4096;

	if (!in_module(what, module, page))
		return NULL;
	if (!len || moff % 4096 + len > 4096 || !(fc->live->filled[module] >> page & 1) ||
	    (fc->live->is_private[module] >> page & 1)) {
		fc_broken(true, "G6 VMM safety: %s of %zu bytes at 0x%x of module %u", what, len,
			  moff, module);
		return NULL;
	}
	return fc->copy[module][page] + moff % 4096;
}

static bool op_patch(void *vmm, unsigned module, uint32_t moff, const void *buf, size_t len)
{
	uint8_t *at = copied("patch", module, moff, len);

	(void)vmm;
	if (!at)
		return false;
	fc_ledger_copy_changes(module, moff / 4096);
	oracle_copy_changed(fc->oracle, module, moff, len);
	if (!answer(enter(FC_PATCH)))
		return false;
	memcpy(at, buf, len);
	fc->copy_dirty[module] |= (uint16_t)(1u << moff / 4096);
	return true;
}

static bool op_copy_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	uint8_t *at = copied("read", module, moff, len);

	(void)vmm;
	if (!at || !answer(enter(FC_COPY_READ)))
		return false;
	memcpy(buf, at, len);
	return true;
}

static bool op_guest_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	(void)vmm;
	if (!copied("look beneath", module, moff, len))
		return false;
	if (!fc->live->of_page[module][moff / 4096]) {
		fc_broken(true, "G6 VMM safety: no frame lies under 0x%x of module %u", moff,
			  module);
		return false;
	}
	if (!answer(enter(FC_GUEST_READ)))
		return false;
	memcpy(buf, fc->ram + fc->live->of_page[module][moff / 4096] * 4096u + moff % 4096, len);
	return true;
}

static bool op_private_fill(void *vmm, unsigned module, uint32_t page, const void *bytes,
			    size_t len)
{
	(void)vmm;
	if (!in_module("private fill", module, page) || len > 4096)
		return false;
	if (!answer(enter(FC_PRIVATE_FILL))) {
		fc->live->torn = true;
		return false;
	}
	memset(fc->copy[module][page], 0, 4096);
	if (len)
		memcpy(fc->copy[module][page], bytes, len);
	fc->copy_dirty[module] |= (uint16_t)(1u << page);
	fc->live->is_private[module] |= (uint8_t)(1u << page);
	fc->live->filled[module] |= (uint8_t)(1u << page);
	return true;
}

static bool op_written(void *vmm, unsigned module, uint32_t first, uint64_t *bits)
{
	bool ok = enter(FC_WRITTEN);

	(void)vmm;
	if (!in_module("question", module, first))
		return false;
	for (unsigned p = first; ok && p < FC_PAGES; p++) {
		struct fc_frame *f = &fc->live->frame[fc->live->of_page[module][p]];

		if (!fc->live->of_page[module][p] || !f->dirty ||
		    (f->role != GUARD_ROLE_GATES && f->role != GUARD_ROLE_VERIFIED))
			continue;
		*bits |= 1ull << (p - first);
		f->dirty = 0;
	}
	oracle_written(fc->oracle, module, first, ok ? *bits : 0, ok);
	return ok;
}

static bool op_frame_role(void *vmm, unsigned module, uint32_t page, uint64_t gpa,
			  enum guard_role role)
{
	struct fc_frame *f;
	bool ok;

	(void)vmm;
	if (!in_module("role", module, page) || gpa % 4096 || gpa >= FC_RAM)
		return false;
	f = &fc->live->frame[gpa / 4096];
	if (role == GUARD_ROLE_DEVICE ||
	    (f->role != GUARD_ROLE_NONE && (f->module != module || f->page != page)) ||
	    (f->role == GUARD_ROLE_NONE && role == GUARD_ROLE_NONE))
		fc_broken(true,
			  "G3 privacy: frame 0x%llx, of module %u page %u with role %u, "
			  "gets role %u for module %u page %u",
			  (unsigned long long)gpa, f->module, f->page, f->role, role, module, page);
	ok = enter(FC_ROLE);
	if (ok && role == GUARD_ROLE_NONE) {
		oracle_frame_released(fc->oracle, module, page);
		fc->ev.released = true;
	}
	fc->live->torn |= !ok;
	if (!answer(ok))
		return false;
	/* what nothing was put into shows the guest's own frame */
	if (role == GUARD_ROLE_PRIVATE && !(fc->live->is_private[module] >> page & 1)) {
		memcpy(fc->copy[module][page], fc->ram + gpa, 4096);
		fc->copy_dirty[module] |= (uint16_t)(1u << page);
	}
	fc_ledger_role(module, page, role);
	if (role == GUARD_ROLE_NONE)
		fc->live->is_private[module] &= (uint8_t) ~(1u << page);
	fc_tables_moved();
	*f = (struct fc_frame){ .role = (uint8_t)role,
				.module = (uint8_t)module,
				.page = (uint8_t)page,
				.dirty = f->dirty };
	fc->live->of_page[module][page] = role == GUARD_ROLE_NONE ? 0 : (uint8_t)(gpa / 4096);
	return true;
}

static bool op_device_role(void *vmm, unsigned module, unsigned privilege,
			   const struct guard_resource *range, bool bind)
{
	(void)vmm;
	if (!in_module("device", module, 0) || privilege >= FC_PRIVILEGES)
		return false;
	if (!answer(enter(FC_DEVICE)))
		return false;
	fc->live->device[module] = *range;
	fc->live->hidden[module] = bind;
	return true;
}

static bool op_mapping_locked(void *vmm, unsigned vcpu, unsigned module, uint64_t cr3)
{
	(void)vmm, (void)vcpu, (void)module, (void)cr3;
	return false;
}

const struct guard_ops fc_ops = {
	.translate = op_translate,
	.read = op_read,
	.write = op_write,
	.digest = op_digest,
	.raise = op_raise,
	.lower = op_lower,
	.verified_fill = op_fill,
	.verified_patch = op_patch,
	.verified_read = op_copy_read,
	.guest_read = op_guest_read,
	.private_fill = op_private_fill,
	.written = op_written,
	.frame_role = op_frame_role,
	.device_role = op_device_role,
	.mapping_locked = op_mapping_locked,
};
