/* SPDX-License-Identifier: GPL-2.0-only */
/* What each view shows of a frame, and the callbacks through which the guard decides that. */
#include "tests/support/vmtest.h"

/* ---- views and roles ---- */

static void page_is(struct vm *vm, uint8_t view, uint64_t gpa, enum engine_page_kind kind,
		    uint32_t flags, const uint8_t *host)
{
	struct engine_page p;

	vm_page(vm, 0, view, gpa & ~(VM_PAGE - 1), &p);
	if (p.kind != kind || p.flags != flags || p.host != host)
		fail_msg("gpa 0x%llx view %u: kind %u flags %u, expected %u %u (host %s)",
			 (unsigned long long)gpa, view, p.kind, p.flags, kind, flags,
			 p.host == host ? "right" : "wrong");
	assert_true(p.pages >= 1);
}

#define RAM_U (ENGINE_PAGE_WRITE | ENGINE_PAGE_EXEC | ENGINE_PAGE_GUEST)
#define RAM_P (ENGINE_PAGE_WRITE | ENGINE_PAGE_GUEST)
#define WATCHED ENGINE_PAGE_TRACKED

/* The table of spec section 4, row by row, for a loaded module and its neighbour. */
static void test_views(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module c, d;
	uint64_t text, gates, rodata, data, priv, plain;
	unsigned mc, md, s;
	const uint8_t *copy;

	(void)state;
	assert_true(vm_add_doorbell(vm, 0x5ec2e7, NULL));
	vt_wrap(&c, "counter", false);
	vt_wrap(&d, "doorbell", true);
	mc = vt_load(vm, &c);
	md = vt_load(vm, &d);
	copy = vm->module[mc]->copy;
	text = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_TEXT)));
	gates = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_GATES)));
	rodata = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_RODATA)));
	data = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_DATA)));
	priv = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_PRIVATE)));
	plain = vt_gpa(vm, vt_symbol(vm, "start"));

	page_is(vm, GUARD_VIEW_U, text, ENGINE_PAGE_RAM, RAM_P | WATCHED, vm->ram + text);
	page_is(vm, GUARD_VIEW_U, gates, ENGINE_PAGE_RAM, RAM_U | WATCHED, vm->ram + gates);
	page_is(vm, GUARD_VIEW_U, rodata, ENGINE_PAGE_RAM, RAM_P | WATCHED, vm->ram + rodata);
	page_is(vm, GUARD_VIEW_U, data, ENGINE_PAGE_RAM, RAM_U, vm->ram + data);
	page_is(vm, GUARD_VIEW_U, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	page_is(vm, GUARD_VIEW_U, plain, ENGINE_PAGE_RAM, RAM_U, vm->ram + plain);
	page_is(vm, GUARD_VIEW_U, GH_DEVICE_GPA, ENGINE_PAGE_ONES, 0, NULL);
	page_is(vm, GUARD_VIEW_U, vm->ram_size, ENGINE_PAGE_HOLE, 0, NULL);
	page_is(vm, GUARD_VIEW_U, VM_STATUS_GPA, ENGINE_PAGE_DEVICE, 0, NULL);

	/* counter runs: its copies, its private page, nobody's device */
	assert_true(vm_guard_ops.raise(vm, 0, mc, c.binding.bound));
	s = vt_segment(vm, mc, GM_SEG_TEXT);
	page_is(vm, (uint8_t)mc, text, ENGINE_PAGE_RAM, ENGINE_PAGE_EXEC,
		copy + vm_segments(vm->module[mc])[s].start);
	s = vt_segment(vm, mc, GM_SEG_GATES);
	page_is(vm, (uint8_t)mc, gates, ENGINE_PAGE_RAM, ENGINE_PAGE_EXEC,
		copy + vm_segments(vm->module[mc])[s].start);
	s = vt_segment(vm, mc, GM_SEG_RODATA);
	page_is(vm, (uint8_t)mc, rodata, ENGINE_PAGE_RAM, 0,
		copy + vm_segments(vm->module[mc])[s].start);
	s = vt_segment(vm, mc, GM_SEG_PRIVATE);
	page_is(vm, (uint8_t)mc, priv, ENGINE_PAGE_RAM, ENGINE_PAGE_WRITE,
		copy + vm_segments(vm->module[mc])[s].start);
	page_is(vm, (uint8_t)mc, data, ENGINE_PAGE_RAM, RAM_P, vm->ram + data);
	page_is(vm, (uint8_t)mc, plain, ENGINE_PAGE_RAM, RAM_P, vm->ram + plain);
	page_is(vm, (uint8_t)mc, GH_DEVICE_GPA, ENGINE_PAGE_ONES, 0, NULL);
	assert_true(vm_guard_ops.lower(vm, 0, mc));

	/* doorbell runs: its device, not counter's secret, not counter's gates */
	assert_true(vm_guard_ops.raise(vm, 0, md, d.binding.bound));
	page_is(vm, (uint8_t)md, GH_DEVICE_GPA, ENGINE_PAGE_DEVICE, 0, NULL);
	page_is(vm, (uint8_t)md, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	page_is(vm, (uint8_t)md, gates, ENGINE_PAGE_RAM, RAM_P | WATCHED, vm->ram + gates);
	/* a view is nothing without this vCPU being in it */
	page_is(vm, (uint8_t)mc, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	assert_true(vm_guard_ops.lower(vm, 0, md));

	/* without the privilege the view alone gives nothing */
	assert_true(vm_guard_ops.raise(vm, 0, mc, 0));
	page_is(vm, (uint8_t)mc, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	assert_true(vm_guard_ops.lower(vm, 0, mc));
	vt_free(&c);
	vt_free(&d);
	vm_destroy(vm);
}

/* Runs of ordinary frames end exactly before the first special one. */
static void test_page_runs(void **state)
{
	struct vm *vm = vt_create(1, 0);
	struct engine_page p;
	uint64_t last = vm->ram_size / VM_PAGE;

	(void)state;
	vm_page(vm, 0, GUARD_VIEW_U, 0, &p);
	assert_int_equal(p.pages, last);
	vm_frame_set(vm, 0x403000, GUARD_ROLE_SEGMENT, 0, 0, 0);
	vm_page(vm, 0, GUARD_VIEW_U, 0x1000, &p);
	assert_int_equal(p.pages, 0x402);
	vm_page(vm, 0, GUARD_VIEW_U, 0x404000, &p);
	assert_int_equal(p.pages, last - 0x404);
	vm_frame_set(vm, 0x403000, GUARD_ROLE_NONE, 0, 0, 0);
	vm_page(vm, 0, GUARD_VIEW_U, 0x1000, &p);
	assert_int_equal(p.pages, last - 1);
	vm_destroy(vm);
}

/* What host-side models and devices read is what view U shows. */
static void test_stand_ins_for_the_host(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t secret, gva, text, word = 0, under = 0;
	struct vt_module c, d;
	unsigned m;

	(void)state;
	assert_true(vm_add_doorbell(vm, 0x5ec2e7, NULL));
	vt_wrap(&c, "counter", false);
	vt_wrap(&d, "doorbell", true);
	gva = GH_DIRECT_MAP + GH_DEVICE_GPA;
	/* not bound yet: an ordinary device */
	assert_true(vm_read_u(vm, 0, gva + GH_DOORBELL_SECRET, &word, 4));
	assert_int_equal(word, 0x5ec2e7);
	word = 9;
	assert_true(vm_write_u(vm, 0, gva + GH_DOORBELL_RING, &word, 4));
	assert_int_equal(vm_doorbell_rings(vm), 1);
	m = vt_load(vm, &c);
	vt_load(vm, &d);
	word = 0;
	assert_true(vm_read_u(vm, 0, gva + GH_DOORBELL_SECRET, &word, 4));
	assert_int_equal(word, 0xffffffff);
	assert_true(vm_write_u(vm, 0, gva + GH_DOORBELL_RING, &word, 4));
	assert_int_equal(vm_doorbell_rings(vm), 1);

	gva = vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_PRIVATE));
	secret = vt_gpa(vm, gva);
	memcpy(&under, vm->ram + secret, 8);
	word = 1;
	assert_true(vm_read_u(vm, 0, gva, &word, 8));
	assert_int_equal(word, 0);
	word = 0x1111;
	assert_true(vm_write_u(vm, 0, gva, &word, 8));
	assert_true(vm_dma_write(vm, secret, &word, 8));
	assert_true(vm_dma_read(vm, secret, &word, 8));
	assert_int_equal(word, 0);
	assert_memory_equal(vm->ram + secret, &under, 8);
	assert_false(vm_dma_read(vm, vm->ram_size - 4, &word, 8));
	assert_false(vm_dma_write(vm, ~0ull, &word, 8));

	/* a device that writes text changes the guest's frame and is noticed; the copy stays */
	text = vt_gpa(vm, vt_symbol(vm, "counter:counter_get"));
	word = 0xcccccccccccccccc;
	assert_true(vm_dma_write(vm, text, &word, 8));
	assert_memory_equal(vm->ram + text, &word, 8);
	word = 0;
	assert_true(vm_guard_ops.written(vm, m, 0, &word));
	assert_int_not_equal(word, 0);
	vt_free(&c);
	vt_free(&d);
	vm_destroy(vm);
}

/* ---- the guard's callbacks ---- */

static void test_ops_refuse(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t text, priv, data, word = 0;
	const struct guard_ops *o = &vm_guard_ops;
	struct vt_module c;
	uint32_t pages;
	unsigned m;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	pages = vm->module[m]->pages;
	text = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_TEXT)));
	data = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_DATA)));
	priv = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_PRIVATE)));
	assert_true(o->read(vm, data, &word, 8));
	assert_true(o->write(vm, data, &word, 8));
	assert_false(o->read(vm, priv, &word, 8));
	assert_false(o->write(vm, priv, &word, 8));
	assert_false(o->write(vm, text, &word, 8));
	assert_false(o->read(vm, vm->ram_size, &word, 8));
	assert_false(o->read(vm, GH_DEVICE_GPA, &word, 8));
	assert_false(o->write(vm, ~0ull - 3, &word, 8));
	assert_false(o->read(vm, data + 4092, &word, 8));
	assert_false(o->write(vm, data + 4092, &word, 8));
	assert_false(o->verified_fill(vm, m, pages, data));
	assert_false(o->verified_fill(vm, m, 0, priv));
	assert_false(o->verified_fill(vm, m, 0, data + 8));
	assert_false(o->verified_fill(vm, m, 0, vm->ram_size));
	assert_false(o->verified_fill(vm, 7, 0, data));
	assert_false(o->verified_fill(vm, 99, 0, data));
	assert_false(o->verified_patch(vm, m, pages * 4096 - 4, &word, 8));
	assert_false(o->verified_read(vm, m, pages * 4096 - 4, &word, 8));
	assert_true(o->verified_read(vm, m, pages * 4096 - 8, &word, 8));
	assert_false(o->guest_read(vm, m, 4092, &word, 8));
	assert_false(o->guest_read(vm, m, pages * 4096, &word, 8));
	assert_false(o->guest_read(
		vm, m, vm_segments(vm->module[m])[vt_segment(vm, m, GM_SEG_PRIVATE)].start, &word,
		8));
	assert_true(o->guest_read(vm, m, 0, &word, 8));
	assert_false(o->private_fill(vm, m, pages, NULL, 0));
	assert_false(o->private_fill(vm, m, 0, &word, 4097));
	assert_false(o->written(vm, m, pages, &word));
	assert_false(o->frame_role(vm, m, 0, data, GUARD_ROLE_DEVICE));
	assert_false(o->frame_role(vm, m, 0, priv, GUARD_ROLE_VERIFIED));
	assert_false(o->frame_role(vm, m, pages, data, GUARD_ROLE_SEGMENT));
	assert_false(o->frame_role(vm, m, 0, vm->ram_size, GUARD_ROLE_SEGMENT));
	/* taking a role away from a frame that is not this page's does nothing */
	assert_true(o->frame_role(vm, m, 0, priv, GUARD_ROLE_NONE));
	assert_int_equal(vm_frame_of(vm, priv)->role, GUARD_ROLE_PRIVATE);
	assert_false(o->mapping_locked(vm, 0, m, vm->cr3));
	assert_false(o->raise(vm, 1, m, 0));
	assert_false(o->raise(vm, 0, 5, 0));
	assert_false(o->lower(vm, 0, m));
	assert_false(o->device_role(
		vm, m, 0, &(struct guard_resource){ .base = 0x1000, .length = 0x1000 }, true));
	assert_false(o->device_role(vm, m, 0, &(struct guard_resource){ ~0xfffull, 0x2000 }, true));
	assert_false(o->device_role(vm, m, GM_MAX_PRIVILEGES,
				    &(struct guard_resource){ GH_DEVICE_GPA, 0x1000 }, true));
	vt_free(&c);
	vm_destroy(vm);
}

/* Any write to a frame under a verified page is noticed once, and again after it was asked for. */
static void test_written(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t text, bits, word = 0xc3;
	struct engine_page p;
	struct vt_module c;
	uint32_t page;
	unsigned m, tracked;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	page = vm_segments(vm->module[m])[vt_segment(vm, m, GM_SEG_GATES)].start / 4096;
	text = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_GATES)));
	assert_true(vm_guard_ops.written(vm, m, 0, &bits));
	assert_int_equal(bits, 0);

	vm_frame_written(vm, text + 100);
	vm_page(vm, 0, GUARD_VIEW_U, text, &p);
	assert_false(p.flags & ENGINE_PAGE_TRACKED);
	tracked = fake_last->tracked;
	assert_true(vm_guard_ops.written(vm, m, 0, &bits));
	assert_int_equal(bits, 1ull << page);
	assert_int_equal(fake_last->tracked, tracked + 1);
	assert_int_equal(fake_last->last_tracked, text);
	vm_page(vm, 0, GUARD_VIEW_U, text, &p);
	assert_true(p.flags & ENGINE_PAGE_TRACKED);
	assert_true(vm_guard_ops.written(vm, m, 0, &bits));
	assert_int_equal(bits, 0);

	/* by an alias, through the host; asked from another first page */
	assert_true(vm_write_u(vm, 0, GH_DIRECT_MAP + text, &word, 1));
	assert_true(vm_guard_ops.written(vm, m, page, &bits));
	assert_int_equal(bits, 1);
	vm_frame_written(vm, vm->ram_size + 5);

	/* after WITHDRAW the frames are ordinary again */
	assert_true(vm_unregister(vm, m));
	vm_page(vm, 0, GUARD_VIEW_U, text, &p);
	assert_int_equal(p.flags, RAM_U);
	assert_false(vm_unregister(vm, m));
	assert_false(vm_grant(vm, 0, m, 1, true));
	vt_free(&c);
	vm_destroy(vm);
}

/* WITHDRAW and UNREGISTER wipe private memory; a page has one frame, and none once it is let go. */
static void test_wipe_and_forget(void **state)
{
	const struct guard_ops *o = &vm_guard_ops;
	struct vm *vm = vt_guest(1);
	uint64_t other = vm_alloc_gpa(vm, VM_PAGE), gates;
	struct vt_module c;
	uint8_t *secret;
	uint32_t page;
	unsigned m, s;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	s = vt_segment(vm, m, GM_SEG_GATES);
	page = vm_segments(vm->module[m])[s].start / 4096;
	gates = vt_gpa(vm, vm_module_base(vm, m, s));
	/* filled from elsewhere: the old frame is nobody's */
	assert_true(o->verified_fill(vm, m, page, other));
	assert_int_equal(vm_frame_of(vm, gates)->role, GUARD_ROLE_NONE);
	assert_int_equal(vm_frame_of(vm, gates)->flags, 0);
	assert_int_equal(vm->module[m]->frame[page], other);
	assert_true(o->frame_role(vm, m, page, other, GUARD_ROLE_GATES));
	assert_true(o->frame_role(vm, m, page, other, GUARD_ROLE_NONE));
	assert_int_equal(vm->module[m]->frame[page], 0);

	secret = vm->module[m]->copy +
		 vm_segments(vm->module[m])[vt_segment(vm, m, GM_SEG_PRIVATE)].start;
	memset(secret, 0x5e, VM_PAGE);
	assert_true(vm_unregister(vm, m));
	for (unsigned i = 0; i < VM_PAGE; i++)
		assert_int_equal(secret[i], 0);
	vt_free(&c);
	vm_destroy(vm);
}

/* What the engine hears of a switch, and what happens if it cannot. */
static void test_raise_and_lower(void **state)
{
	struct vm *vm = vt_guest(2);
	const struct guard_ops *o = &vm_guard_ops;
	struct vt_module c;
	unsigned m;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	assert_true(o->raise(vm, 1, m, 1));
	assert_int_equal(fake_last->view[1], m);
	assert_int_equal(fake_last->view[0], GUARD_VIEW_U);
	assert_false(fake_last->dirty[1]);
	assert_false(vm_may_mwait(vm, 1));
	assert_true(o->lower(vm, 1, m));
	assert_int_equal(fake_last->view[1], GUARD_VIEW_U);
	assert_true(o->raise(vm, 1, m, 0));
	assert_true(fake_last->dirty[1]);
	assert_true(o->lower(vm, 1, m));
	assert_true(o->raise(vm, 1, m, 0));
	assert_false(fake_last->dirty[1]);
	fake_last->refuse_view = true;
	assert_false(o->lower(vm, 1, m));
	assert_int_equal(vm->vcpu[1].view, m);
	fake_last->refuse_view = false;
	assert_true(o->lower(vm, 1, m));
	fake_last->refuse_view = true;
	assert_false(o->raise(vm, 1, m, 1));
	assert_int_equal(vm->vcpu[1].view, GUARD_VIEW_U);
	assert_int_equal(vm->vcpu[1].raised, 0);
	fake_last->refuse_view = false;
	vm_fail_next(vm, 1, 1, 1);
	assert_false(o->raise(vm, 1, m, 1));
	assert_true(o->raise(vm, 1, m, 1));
	assert_false(o->lower(vm, 1, m));
	assert_true(o->lower(vm, 1, m));
	vt_free(&c);
	vm_destroy(vm);
}

static enum guard_event_name last_event(const struct vm *vm)
{
	return vm_log_line(vm, vm_log_count(vm) - 1)->line.event;
}

/* MWAIT, ports and MSRs: free where raised, denied and reported elsewhere, shown when granted. */
static void test_other_privileges(void **state)
{
	static const struct wrap_privilege kinds[] = {
		{ .kind = GM_PRIV_MWAIT, .name = "mwait" },
		{ .kind = GM_PRIV_IOPORT, .name = "ports", .first = 0x300, .last = 0x30f },
		{ .kind = GM_PRIV_MSR, .name = "msrs", .first = 0x123, .last = 0x123 },
	};
	struct vm *vm = vt_guest(2);
	const struct gh_boot *b = (const void *)(vm->ram + vm->boot_gpa);
	uint64_t value = 0, word = 0;
	struct vt_module c;
	unsigned m;

	(void)state;
	vt_wrap_with(&c, "counter", kinds, 3);
	m = vt_load(vm, &c);
	/* outside: nothing, and a line in the log */
	assert_int_equal(vm_port_in(vm, 0, 0x300, 4), 0xffffffff);
	assert_int_equal(last_event(vm), GUARD_TOUCH);
	value = vm_log_count(vm);
	vm_port_out(vm, 0, 0x30f, 4, 5);
	assert_int_equal(vm_log_count(vm), value + 1);
	assert_false(vm_msr_read(vm, 0, 0x123, &value));
	assert_false(vm_msr_write(vm, 0, 0x123, 1));
	value = vm_log_count(vm);
	vm_port_in(vm, 0, 0x310, 4);
	assert_false(vm_msr_read(vm, 0, 0x124, &word));
	assert_int_equal(vm_log_count(vm), value);
	assert_false(vm_may_mwait(vm, 0));
	/* every port that an access covers counts: the bound ones begin at its last byte */
	vm_port_in(vm, 0, 0x2ff, 1);
	vm_port_out(vm, 0, 0x2fe, 2, 5);
	vm_port_in(vm, 0, 0x2fc, 4);
	assert_int_equal(vm_log_count(vm), value);
	assert_int_equal(vm_port_in(vm, 0, 0x2ff, 2), 0xffffffff);
	assert_int_equal(vm_log_count(vm), value + 1);
	vm_port_out(vm, 0, 0x2fd, 4, 5);
	assert_int_equal(vm_log_count(vm), value + 2);
	assert_int_equal(last_event(vm), GUARD_TOUCH);
	/* inside, on this vCPU only */
	assert_true(vm_guard_ops.raise(vm, 0, m, c.binding.bound));
	assert_true(vm_may_mwait(vm, 0));
	assert_false(vm_may_mwait(vm, 1));
	vm_port_out(vm, 0, 0x30f, 4, 5);
	assert_int_equal(vm_port_in(vm, 0, 0x300, 4), 5);
	assert_int_equal(vm_port_in(vm, 1, 0x300, 4), 0xffffffff);
	assert_true(vm_msr_write(vm, 0, 0x123, 9));
	assert_true(vm_msr_read(vm, 0, 0x123, &value));
	assert_int_equal(value, 9);
	assert_false(vm_msr_read(vm, 0, 0x124, &value));
	assert_true(vm_guard_ops.lower(vm, 0, m));
	assert_false(vm_may_mwait(vm, 0));
	/* the status page of a vCPU says what is granted there */
	assert_true(vm_read_u(vm, 0, b->status_page[1], &word, 8));
	assert_int_equal(word, 1ull << m);
	fake_last->kicked = 0;
	assert_true(vm_grant(vm, 1, m, c.binding.bound, false));
	assert_int_equal(fake_last->kicked, 2); /* it may sleep in MWAIT */
	assert_true(vm_read_u(vm, 0, b->status_page[1], &word, 8));
	assert_int_equal(word, 0);
	assert_true(vm_read_u(vm, 0, b->status_page[0], &word, 8));
	assert_int_equal(word, 1ull << m);
	vt_free(&c);
	vm_destroy(vm);
}

/* What guarding would not guard is refused, by file, offset and name, before anything is placed. */
static void test_unguardable(void **state)
{
	static const struct wrap_privilege bad[] = {
		{ .kind = GM_PRIV_IOPORT, .name = "exit", .first = 0xf4, .last = 0xf4 },
		{ .kind = GM_PRIV_IOPORT, .name = "timer", .first = 0xf9, .last = 0x100 },
		{ .kind = GM_PRIV_IOPORT, .name = "serial", .first = 0xe8, .last = 0xef },
		{ .kind = GM_PRIV_IOPORT, .name = "cross", .first = 0xb0, .last = 0xb6 },
		{ .kind = GM_PRIV_MSR, .name = "time", .first = 0, .last = 0x10 },
		{ .kind = GM_PRIV_MSR, .name = "base", .first = 0xc0000101, .last = 0xc0000101 },
		{ .kind = GM_PRIV_MSR, .name = "aux", .first = 0xc0000103, .last = 0xc0000103 },
	};
	static const struct wrap_privilege good[] = {
		{ .kind = GM_PRIV_IOPORT, .name = "near", .first = 0xfa, .last = 0xff },
		{ .kind = GM_PRIV_MSR, .name = "syscall", .first = 0xc0000080, .last = 0xc0000084 },
	};
	struct vm *vm = vt_guest(1);
	struct vt_module c;
	struct error err;
	unsigned index;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vt_wrap_with(&c, "counter", &bad[i], 1);
		assert_false(vm_load_module(vm, &c.source, true, NULL, NULL, &index, &err));
		if (strncmp(err.text, "counter: manifest offset 0x", 27) ||
		    !strstr(err.text, bad[i].name) || !strstr(err.text, "cannot be bound"))
			fail_msg("%s", err.text);
		/* a range that is not bound hurts nobody */
		if (i == 0) {
			c.binding.bound = 0;
			vt_load(vm, &c);
			assert_true(vm_unregister(vm, 0));
		}
		vt_free(&c);
	}
	vt_wrap_with(&c, "counter", good, 2);
	vt_load(vm, &c);
	vt_free(&c);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_page_runs),
		cmocka_unit_test(test_stand_ins_for_the_host),
		cmocka_unit_test(test_ops_refuse),
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_wipe_and_forget),
		cmocka_unit_test(test_raise_and_lower),
		cmocka_unit_test(test_other_privileges),
		cmocka_unit_test(test_unguardable),
	};

	return cmocka_run_group_tests_name("vmm views", tests, NULL, NULL);
}
