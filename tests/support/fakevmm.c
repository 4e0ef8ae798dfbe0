/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fake VMM. Everything is written plainly: the tests trust this file, so it has to be
 * readable at once. Misuse by the core ends the test program with a message.
 */
#include "tests/support/fakevmm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void misuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("fake VMM: misuse by the core: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

/* ---- memory ---- */

struct fakevmm *fake_create(void)
{
	struct fakevmm *f = calloc(1, sizeof(*f));
	unsigned v;

	if (!f)
		abort();
	f->ram = aligned_alloc(GM_PAGE, FAKE_RAM);
	if (!f->ram)
		abort();
	memset(f->ram, 0, FAKE_RAM);
	f->next_frame = 1u << 20;
	f->next_table = FAKE_RAM;
	for (v = 0; v < GUARD_MAX_VCPUS; v++)
		f->vcpu[v].view = GUARD_VIEW_U;
	return f;
}

void fake_destroy(struct fakevmm *f)
{
	unsigned m, p;

	for (m = 0; m < GUARD_MAX_MODULES; m++)
		for (p = 0; p < FAKE_MAX_PAGES; p++) {
			free(f->module[m].verified[p]);
			free(f->module[m].private[p]);
		}
	free(f->ram);
	free(f);
}

uint64_t fake_alloc(struct fakevmm *f, size_t pages)
{
	uint64_t gpa = f->next_frame;

	f->next_frame += pages * GM_PAGE;
	if (f->next_frame > f->next_table)
		misuse("test needs more than %u bytes of RAM", FAKE_RAM);
	return gpa;
}

static uint64_t alloc_table(struct fakevmm *f)
{
	f->next_table -= GM_PAGE;
	if (f->next_frame > f->next_table)
		misuse("test needs more than %u bytes of RAM", FAKE_RAM);
	memset(f->ram + f->next_table, 0, GM_PAGE);
	return f->next_table;
}

void *fake_ram(struct fakevmm *f, uint64_t gpa, size_t len)
{
	if (gpa >= FAKE_RAM || len > FAKE_RAM - gpa)
		misuse("gpa %#llx+%zu is no RAM", (unsigned long long)gpa, len);
	return f->ram + gpa;
}

void fake_poke(struct fakevmm *f, uint64_t gpa, const void *buf, size_t len)
{
	uint64_t frame;

	if (!len)
		return;
	memcpy(fake_ram(f, gpa, len), buf, len);
	for (frame = gpa / GM_PAGE; frame <= (gpa + len - 1) / GM_PAGE; frame++)
		f->frame[frame].dirty = true;
}

/* ---- page tables ---- */

static unsigned index_at(uint64_t gva, unsigned level) /* level 3: PML4 ... 0: PT */
{
	return (gva >> (12 + 9 * level)) & 511;
}

static uint64_t *entry_at(struct fakevmm *f, uint64_t table, uint64_t gva, unsigned level)
{
	return (uint64_t *)fake_ram(f, (table & PTE_ADDR) + 8 * index_at(gva, level), 8);
}

uint64_t fake_new_cr3(struct fakevmm *f, uint64_t share_kernel_of)
{
	uint64_t cr3 = alloc_table(f), gpa;

	if (share_kernel_of) {
		memcpy(f->ram + cr3 + 2048, f->ram + (share_kernel_of & PTE_ADDR) + 2048, 2048);
		return cr3;
	}
	for (gpa = 0; gpa < FAKE_RAM; gpa += 2u << 20)
		fake_map_2m(f, cr3, FAKE_DIRECT_MAP + gpa, gpa, PTE_P | PTE_W);
	return cr3;
}

static uint64_t *leaf(struct fakevmm *f, uint64_t cr3, uint64_t gva, unsigned bottom)
{
	uint64_t table = cr3;
	unsigned level;

	for (level = 3; level > bottom; level--) {
		uint64_t *e = entry_at(f, table, gva, level);

		if (!(*e & PTE_P))
			*e = alloc_table(f) | PTE_P | PTE_W | PTE_U;
		table = *e;
	}
	return entry_at(f, table, gva, bottom);
}

void fake_map(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t gpa, uint64_t flags)
{
	*leaf(f, cr3, gva, 0) = (gpa & PTE_ADDR) | flags;
}

void fake_map_2m(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t gpa, uint64_t flags)
{
	*leaf(f, cr3, gva, 1) = (gpa & PTE_ADDR) | flags | PTE_PS;
}

void fake_unmap(struct fakevmm *f, uint64_t cr3, uint64_t gva)
{
	*leaf(f, cr3, gva, 0) = 0;
}

uint64_t *fake_pte(struct fakevmm *f, uint64_t cr3, uint64_t gva)
{
	uint64_t table = cr3;
	unsigned level;

	for (level = 3; level > 0; level--) {
		table = *entry_at(f, table, gva, level);
		if (!(table & PTE_P) || (table & PTE_PS))
			return NULL;
	}
	return entry_at(f, table, gva, 0);
}

static uint32_t role_of(const struct fakevmm *f, uint64_t gpa)
{
	unsigned m, p;

	for (m = 0; m < GUARD_MAX_MODULES; m++)
		for (p = 0; p < GM_MAX_PRIVILEGES; p++)
			if (f->module[m].device_hidden[p] &&
			    gpa - f->module[m].device[p].base < f->module[m].device[p].length)
				return GUARD_ROLE_DEVICE;
	return gpa < FAKE_RAM ? f->frame[gpa / GM_PAGE].role : GUARD_ROLE_NONE;
}

struct guard_mapping fake_walk(struct fakevmm *f, uint64_t cr3, uint64_t gva)
{
	struct guard_mapping map = { 0 };
	uint64_t entry = cr3, rights = PTE_W | PTE_U;
	unsigned level;

	if ((int64_t)(gva << 16) >> 16 != (int64_t)gva)
		return map;
	for (level = 4; level-- > 0;) {
		if ((entry & PTE_ADDR) >= FAKE_RAM)
			return map;
		entry = *entry_at(f, entry, gva, level);
		f->pte_reads++;
		if (!(entry & PTE_P)) {
			if (level == 0) { /* without flags these two mean nothing */
				map.gpa = entry & PTE_ADDR;
				map.role = GUARD_ROLE_DEVICE;
			}
			return map;
		}
		rights &= entry;
		if (level == 1 && (entry & PTE_PS)) {
			map.gpa = (entry & PTE_ADDR & ~0x1fffffull) | (gva & 0x1ff000);
			break;
		}
		map.gpa = entry & PTE_ADDR;
	}
	map.flags = GUARD_MAP_PRESENT;
	map.flags |= rights & PTE_W ? GUARD_MAP_WRITE : 0;
	map.flags |= rights & PTE_U ? GUARD_MAP_USER : 0;
	map.flags |= map.gpa < FAKE_RAM ? GUARD_MAP_RAM : 0;
	map.role = role_of(f, map.gpa);
	return map;
}

bool fake_get(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t *word)
{
	struct guard_mapping map = fake_walk(f, cr3, gva & ~0xfffull);

	if (!(map.flags & GUARD_MAP_RAM))
		return false;
	memcpy(word, fake_ram(f, map.gpa + (gva & 0xfff), 8), 8);
	return true;
}

bool fake_put(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t word)
{
	struct guard_mapping map = fake_walk(f, cr3, gva & ~0xfffull);

	if (!(map.flags & GUARD_MAP_RAM))
		return false;
	fake_poke(f, map.gpa + (gva & 0xfff), &word, 8);
	return true;
}

static void copy(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint8_t *out, const uint8_t *in,
		 size_t len)
{
	size_t done, n;

	for (done = 0; done < len; done += n) {
		uint64_t at = gva + done;
		struct guard_mapping map = fake_walk(f, cr3, at & ~0xfffull);

		n = GM_PAGE - (at & 0xfff);
		n = n < len - done ? n : len - done;
		if (!(map.flags & GUARD_MAP_RAM))
			misuse("test touches unmapped %#llx", (unsigned long long)at);
		if (in)
			fake_poke(f, map.gpa + (at & 0xfff), in + done, n);
		else
			memcpy(out + done, fake_ram(f, map.gpa + (at & 0xfff), n), n);
	}
}

void fake_copy_in(struct fakevmm *f, uint64_t cr3, uint64_t gva, const void *buf, size_t len)
{
	copy(f, cr3, gva, NULL, buf, len);
}

void fake_copy_out(struct fakevmm *f, uint64_t cr3, uint64_t gva, void *buf, size_t len)
{
	copy(f, cr3, gva, buf, NULL, len);
}

/* ---- counting and failing ---- */

void fake_forget(struct fakevmm *f)
{
	memset(f->calls, 0, sizeof(f->calls));
	memset(f->fail_op, 0, sizeof(f->fail_op));
	f->total = 0;
	f->pte_reads = 0;
	f->written_bytes = 0;
	f->fail_total = 0;
	f->fail_forever = false;
	f->failed = false;
	f->njournal = 0;
}

int fake_find(const struct fakevmm *f, enum fake_op op, int role)
{
	size_t i;

	for (i = 0; i < f->njournal && i < FAKE_JOURNAL; i++)
		if (f->journal[i].op == op && (role < 0 || f->journal[i].arg == (uint64_t)role))
			return (int)i;
	return -1;
}

int fake_find_last(const struct fakevmm *f, enum fake_op op, int role)
{
	int found = -1;
	size_t i;

	for (i = 0; i < f->njournal && i < FAKE_JOURNAL; i++)
		if (f->journal[i].op == op && (role < 0 || f->journal[i].arg == (uint64_t)role))
			found = (int)i;
	return found;
}

unsigned fake_frames_of(const struct fakevmm *f, unsigned module)
{
	unsigned i, n = 0;

	for (i = 0; i < FAKE_FRAMES; i++)
		n += f->frame[i].role != GUARD_ROLE_NONE && f->frame[i].module == module;
	return n;
}

/* Enters a callback in the journal; false if it has to fail. */
static bool enter(struct fakevmm *f, const struct fake_call *call)
{
	enum fake_op op = call->op;
	bool ok = true;

	f->calls[op]++;
	f->total++;
	if (f->fail_total && --f->fail_total == 0)
		ok = false;
	if (f->fail_op[op] && --f->fail_op[op] == 0)
		ok = false;
	if (f->fail_forever && f->failed && f->failed_op == op)
		ok = false;
	if (!ok) {
		f->failed = true;
		f->failed_op = op;
	}
	if (f->njournal < FAKE_JOURNAL) {
		f->journal[f->njournal] = *call;
		f->journal[f->njournal].ok = ok;
	}
	f->njournal++;
	return ok;
}

#define CALL(...) enter(f, &(struct fake_call){ __VA_ARGS__ })

/* ---- the callbacks ---- */

static void op_translate(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
			 struct guard_mapping *out)
{
	struct fakevmm *f = vmm;
	bool ok = CALL(.op = FAKE_TRANSLATE, .vcpu = vcpu, .gpa = gva, .arg = npages);
	size_t i;

	if (vcpu >= GUARD_MAX_VCPUS || gva & 0xfff || !npages || npages > GM_MAX_PAGES)
		misuse("translate vcpu %u gva %#llx pages %zu", vcpu, (unsigned long long)gva,
		       npages);
	memset(out, 0, npages * sizeof(*out));
	for (i = 0; ok && i < npages; i++)
		out[i] = fake_walk(f, cr3, gva + i * GM_PAGE);
}

static void check_access(struct fakevmm *f, const char *what, uint64_t gpa, size_t len, bool write)
{
	uint32_t role;

	if (!len || gpa >= FAKE_RAM || (gpa & 0xfff) + len > GM_PAGE)
		misuse("%s of %#llx+%zu", what, (unsigned long long)gpa, len);
	role = role_of(f, gpa);
	if (role != GUARD_ROLE_NONE && (write || role != GUARD_ROLE_SEGMENT))
		misuse("%s of %#llx, a frame with role %u", what, (unsigned long long)gpa, role);
}

static bool op_read(void *vmm, uint64_t gpa, void *buf, size_t len)
{
	struct fakevmm *f = vmm;

	check_access(f, "read", gpa, len, false);
	if (!CALL(.op = FAKE_READ, .gpa = gpa, .arg = len))
		return false;
	memcpy(buf, f->ram + gpa, len);
	return true;
}

static bool op_write(void *vmm, uint64_t gpa, const void *buf, size_t len)
{
	struct fakevmm *f = vmm;

	check_access(f, "write", gpa, len, true);
	if (!CALL(.op = FAKE_WRITE, .gpa = gpa, .arg = len))
		return false;
	fake_poke(f, gpa, buf, len);
	f->written_bytes += len;
	return true;
}

/* Not cryptographic: four multiplying lanes are enough to tell test manifests apart. */
static bool op_digest(void *vmm, const void *data, size_t len, uint8_t out[32])
{
	struct fakevmm *f = vmm;
	const uint8_t *p = data;
	uint64_t lane[4] = { 1, 2, 3, 4 };
	size_t i;

	if (!CALL(.op = FAKE_DIGEST, .arg = len))
		return false;
	for (i = 0; i < len; i++) {
		lane[i & 3] = (lane[i & 3] ^ p[i]) * 0x9e3779b97f4a7c15ull;
		lane[i & 3] ^= lane[i & 3] >> 29;
		lane[(i + 1) & 3] += lane[i & 3];
	}
	memcpy(out, lane, 32);
	return true;
}

static struct fake_module *module_at(struct fakevmm *f, unsigned module, uint32_t page)
{
	if (module >= GUARD_MAX_MODULES || page >= FAKE_MAX_PAGES)
		misuse("module %u page %u", module, page);
	return &f->module[module];
}

static bool op_raise(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges)
{
	struct fakevmm *f = vmm;

	module_at(f, module, 0);
	if (vcpu >= GUARD_MAX_VCPUS)
		misuse("raise on vCPU %u", vcpu);
	if (f->vcpu[vcpu].view != GUARD_VIEW_U && f->vcpu[vcpu].view != module)
		misuse("raise of %u on vCPU %u in view %u", module, vcpu, f->vcpu[vcpu].view);
	if (!CALL(.op = FAKE_RAISE, .vcpu = vcpu, .module = module, .gpa = privileges))
		return false;
	f->vcpu[vcpu].view = (uint8_t)module;
	f->vcpu[vcpu].privileges = privileges;
	f->vcpu[vcpu].raises++;
	return true;
}

static bool op_lower(void *vmm, unsigned vcpu, unsigned module)
{
	struct fakevmm *f = vmm;

	module_at(f, module, 0);
	if (vcpu >= GUARD_MAX_VCPUS || f->vcpu[vcpu].view != module)
		misuse("lower of %u on vCPU %u in view %u", module, vcpu,
		       vcpu < GUARD_MAX_VCPUS ? f->vcpu[vcpu].view : 0);
	if (!CALL(.op = FAKE_LOWER, .vcpu = vcpu, .module = module))
		return false;
	f->vcpu[vcpu].view = GUARD_VIEW_U;
	f->vcpu[vcpu].privileges = 0;
	f->vcpu[vcpu].lowers++;
	return true;
}

static uint8_t *page_of(uint8_t **slot)
{
	if (!*slot)
		*slot = calloc(1, GM_PAGE);
	if (!*slot)
		abort();
	return *slot;
}

static bool op_verified_fill(void *vmm, unsigned module, uint32_t page, uint64_t gpa)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, page);
	uint32_t role;

	if (gpa & 0xfff || gpa >= FAKE_RAM)
		misuse("verified_fill from %#llx", (unsigned long long)gpa);
	role = role_of(f, gpa);
	if (role != GUARD_ROLE_NONE &&
	    (f->frame[gpa / GM_PAGE].module != module || f->frame[gpa / GM_PAGE].page != page))
		misuse("verified_fill from %#llx, not of this page", (unsigned long long)gpa);
	if (!CALL(.op = FAKE_VERIFIED_FILL, .module = module, .page = page, .gpa = gpa))
		return false;
	memcpy(page_of(&m->verified[page]), f->ram + gpa, GM_PAGE);
	f->frame[gpa / GM_PAGE].dirty = false;
	return true;
}

/* Bytes of a verified copy that was filled; never across pages. */
static uint8_t *verified_bytes(struct fake_module *m, uint32_t moff, size_t len)
{
	if (!len || moff % GM_PAGE + len > GM_PAGE || !m->verified[moff / GM_PAGE])
		misuse("verified bytes at moff %#x+%zu", moff, len);
	return m->verified[moff / GM_PAGE] + moff % GM_PAGE;
}

static bool op_verified_patch(void *vmm, unsigned module, uint32_t moff, const void *buf,
			      size_t len)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, moff / GM_PAGE);
	uint8_t *bytes = verified_bytes(m, moff, len);

	if (!CALL(.op = FAKE_VERIFIED_PATCH, .module = module, .page = moff, .arg = len))
		return false;
	memcpy(bytes, buf, len);
	return true;
}

static bool op_verified_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, moff / GM_PAGE);
	uint8_t *bytes = verified_bytes(m, moff, len);

	if (!CALL(.op = FAKE_VERIFIED_READ, .module = module, .page = moff, .arg = len))
		return false;
	memcpy(buf, bytes, len);
	return true;
}

static bool op_guest_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, moff / GM_PAGE);
	uint64_t gpa = m->gpa[moff / GM_PAGE];

	if (!gpa || !len || moff % GM_PAGE + len > GM_PAGE || !m->verified[moff / GM_PAGE])
		misuse("guest_read of module %u moff %#x+%zu", module, moff, len);
	if (!CALL(.op = FAKE_GUEST_READ, .module = module, .page = moff, .arg = len))
		return false;
	memcpy(buf, f->ram + gpa + moff % GM_PAGE, len);
	return true;
}

static bool op_private_fill(void *vmm, unsigned module, uint32_t page, const void *bytes,
			    size_t len)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, page);

	if (len > GM_PAGE || (len && !bytes))
		misuse("private_fill of %zu bytes", len);
	if (!CALL(.op = FAKE_PRIVATE_FILL, .module = module, .page = page, .arg = len))
		return false;
	memset(page_of(&m->private[page]), 0, GM_PAGE);
	if (len)
		memcpy(m->private[page], bytes, len);
	return true;
}

static bool op_written(void *vmm, unsigned module, uint32_t first, uint64_t *bits)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, 0);
	uint32_t i;

	if (!CALL(.op = FAKE_WRITTEN, .module = module, .page = first))
		return false;
	*bits = 0;
	for (i = 0; i < 64 && first + i < FAKE_MAX_PAGES; i++) {
		struct fake_frame *frame = &f->frame[m->gpa[first + i] / GM_PAGE];

		if (m->gpa[first + i] && frame->dirty &&
		    (frame->role == GUARD_ROLE_GATES || frame->role == GUARD_ROLE_VERIFIED)) {
			*bits |= 1ull << i;
			frame->dirty = false;
		}
	}
	return true;
}

static bool op_frame_role(void *vmm, unsigned module, uint32_t page, uint64_t gpa,
			  enum guard_role role)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, page);
	struct fake_frame *frame;

	if (gpa & 0xfff || gpa >= FAKE_RAM || role == GUARD_ROLE_DEVICE)
		misuse("frame_role %u for %#llx", role, (unsigned long long)gpa);
	frame = &f->frame[gpa / GM_PAGE];
	if (frame->role != GUARD_ROLE_NONE && (frame->module != module || frame->page != page))
		misuse("frame %#llx is module %u page %u, not %u page %u", (unsigned long long)gpa,
		       frame->module, frame->page, module, page);
	if (role == GUARD_ROLE_NONE && frame->role == GUARD_ROLE_NONE)
		misuse("frame %#llx is given back, but nobody has it", (unsigned long long)gpa);
	if (!CALL(.op = FAKE_FRAME_ROLE, .module = module, .page = page, .gpa = gpa, .arg = role))
		return false;
	frame->role = (uint8_t)role;
	frame->module = (uint8_t)module;
	frame->page = page;
	m->gpa[page] = role == GUARD_ROLE_NONE ? 0 : gpa;
	return true;
}

static bool op_device_role(void *vmm, unsigned module, unsigned privilege,
			   const struct guard_resource *range, bool bind)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, 0);

	if (privilege >= GM_MAX_PRIVILEGES || range->base & 0xfff || range->length & 0xfff)
		misuse("device_role privilege %u base %#llx", privilege,
		       (unsigned long long)range->base);
	if (!CALL(.op = FAKE_DEVICE_ROLE, .module = module, .page = privilege, .gpa = range->base,
		  .arg = bind))
		return false;
	m->device[privilege] = *range;
	m->device_hidden[privilege] = bind;
	return true;
}

static bool op_mapping_locked(void *vmm, unsigned vcpu, unsigned module, uint64_t cr3)
{
	struct fakevmm *f = vmm;
	struct fake_module *m = module_at(f, module, 0);

	if (!CALL(.op = FAKE_MAPPING_LOCKED, .vcpu = vcpu, .module = module, .gpa = cr3))
		return false;
	return m->locked_cr3 && m->locked_cr3 == cr3;
}

const struct guard_ops fake_ops = {
	.translate = op_translate,
	.read = op_read,
	.write = op_write,
	.digest = op_digest,
	.raise = op_raise,
	.lower = op_lower,
	.verified_fill = op_verified_fill,
	.verified_patch = op_verified_patch,
	.verified_read = op_verified_read,
	.guest_read = op_guest_read,
	.private_fill = op_private_fill,
	.written = op_written,
	.frame_role = op_frame_role,
	.device_role = op_device_role,
	.mapping_locked = op_mapping_locked,
};
