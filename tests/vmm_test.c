/* SPDX-License-Identifier: GPL-2.0-only */
/* The VM without an engine: memory given out, devices, console, log, symbols, host calls. */
#include "tests/support/vmtest.h"

#include <unistd.h>

/* ---- memory given out while the guest runs ---- */

static void put(struct vm *vm, uint64_t table, unsigned index, uint64_t entry)
{
	memcpy(vm->ram + table + index * 8, &entry, 8);
}

static void test_alloc(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vm_exit exit;
	uint64_t a, b, gpa = 0, top = vm->ram_size, word = 1;

	(void)state;
	a = vm_alloc_gpa(vm, 1);
	b = vm_alloc_gpa(vm, 4097);
	assert_int_equal(b, a + VM_PAGE);
	assert_int_equal(vm->alloc_low, b + 2 * VM_PAGE);
	assert_int_equal(vm_alloc_gpa(vm, 0), 0);
	assert_int_equal(vm_alloc_gpa(vm, ~(size_t)0), 0);
	assert_int_equal(vm_alloc_gpa(vm, vm->ram_size), 0);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_HALTED);
	/* from the top, zeroed, around frames that a module owns */
	vm_frame_set(vm, top - 2 * VM_PAGE, GUARD_ROLE_PRIVATE, 0, 0, 0);
	memset(vm->ram + top - 5 * VM_PAGE, 0xee, VM_PAGE);
	assert_int_equal(vm_alloc_gpa(vm, VM_PAGE), top - VM_PAGE);
	a = vm_alloc_gpa(vm, 3 * VM_PAGE);
	assert_int_equal(a, top - 5 * VM_PAGE);
	assert_int_equal(vm->ram[a], 0);
	assert_int_equal(vm->ram[top - 2 * VM_PAGE], 0);
	vm_frame_set(vm, top - 2 * VM_PAGE, GUARD_ROLE_NONE, 0, 0, 0);

	assert_true(vm_map_ram(vm, 0xffffd00000000000ull, 8192, false, &gpa));
	assert_int_equal(vt_gpa(vm, 0xffffd00000001000ull), gpa + VM_PAGE);
	assert_true(vm_write_u(vm, 0, 0xffffd00000000ff8ull, &word, 8));
	assert_true(vm_read_u(vm, 0, 0xffffd00000000ffcull, &word, 8));
	assert_false(vm_read_u(vm, 0, 0xffffd00000001ff8ull, &word, 16));
	assert_false(vm_map_ram(vm, 0x400000, 4096, false, &gpa));
	assert_false(vm_map_ram(vm, 0xffffd00000000001ull, 4096, false, &gpa));
	/* the guest's tables may lead anywhere: into nothing, into a module's frame */
	put(vm, vm->cr3, 300, 0xfffffff000 | PTE_P);
	assert_false(vm_map_ram(vm, 0xffff960000000000ull, 4096, false, &gpa));
	vm_frame_set(vm, 0x700000, GUARD_ROLE_VERIFIED, 0, 0, 0);
	put(vm, vm->cr3, 300, 0x700000 | PTE_P);
	assert_false(vm_map_ram(vm, 0xffff960000000000ull, 4096, false, &gpa));
	vm_destroy(vm);
}

static void test_devices(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vm_device d = { .name = "d", .gpa = 0xe0000000, .size = 4096 };
	struct error err;
	uint64_t word = 0;

	(void)state;
	assert_true(vm_add_device(vm, &d, &err));
	assert_true(vm_read_u(vm, 0, GH_DIRECT_MAP + d.gpa, &word, 8));
	assert_int_equal(word, ~0ull); /* nobody answers */
	assert_false(vm_add_device(vm, &d, &err));
	assert_non_null(strstr(err.text, "overlaps"));
	d.gpa = 0x1000;
	assert_false(vm_add_device(vm, &d, &err));
	d.gpa = 0xe1000800;
	assert_false(vm_add_device(vm, &d, &err));
	d.gpa = ~0xfffull;
	assert_false(vm_add_device(vm, &d, &err));

	assert_true(vm_add_doorbell(vm, 77, &err));
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_ID, 4), 0x4c4c4542);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_ID + 1, 1), 0x45);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_SECRET, 2), 77);
	vm_mmio_write(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_RING, 4, 0x123456789);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_RING, 4), 0x23456789);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_COUNT, 4), 1);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + 4092, 8), 0xffffffffffffffff);
	assert_int_equal(vm_port_in(vm, 0, 0x60, 1), 0xffffffff);
	assert_false(vm_msr_read(vm, 0, 0x10, &word));
	vm_destroy(vm);
}

/* ---- console ---- */

static void test_console(void **state)
{
	struct vm *vm = vt_create(1, 0);

	(void)state;
	assert_string_equal(vm_console(vm), "");
	for (const char *s = "hello\n"; *s; s++)
		vm_port_out(vm, 0, GH_PORT_CONSOLE, 1, (uint8_t)*s);
	assert_string_equal(vm_console(vm), "hello\n");
	for (unsigned i = 0; i < 500000; i++)
		vm_console_byte(vm, (char)('a' + i % 26));
	assert_int_equal(strlen(vm_console(vm)), VM_CONSOLE_BYTES);
	assert_int_equal(vm_console(vm)[VM_CONSOLE_BYTES - 1], 'a' + 499999 % 26);
	vm_destroy(vm);
}

/* ---- the log ---- */

static void test_log(void **state)
{
	struct vm *vm = vt_guest(2);
	struct guard_line line = {
		.event = GUARD_ENTER_CALL,
		.verdict = GUARD_V_BAD_STACK,
		.cause = GUARD_CAUSE_FETCH,
		.act = 7,
		.from = GUARD_VIEW_U,
	};
	char text[512], path[] = "/tmp/vmm_log_XXXXXX";
	struct vt_module c;
	struct error err;
	struct blob b;
	size_t before;
	int fd;

	(void)state;
	vt_wrap(&c, "counter", false);
	line.module = line.to = (uint8_t)vt_load(vm, &c);
	line.rip = vt_symbol(vm, "counter:enter/counter_get") + 4;
	before = vm_log_count(vm);
	vm_log_append(vm, 1, &line);
	assert_int_equal(vm_log_count(vm), before + 1);
	vm_log_format(vm, vm_log_line(vm, before), text, sizeof(text));
	/* the second vCPU's first line after its GRANT */
	assert_string_equal(text, "2 vcpu=1 ENTER-CALL module=counter "
				  "site=counter:enter/counter_get+0x4 verdict=bad-stack "
				  "view=U>P(counter) act=7 cause=fetch");
	line.module = GUARD_VIEW_U;
	line.to = GUARD_VIEW_U;
	line.rip = 0x1234;
	vm_log_append(vm, 0, &line);
	vm_log_format(vm, vm_log_line(vm, before + 1), text, sizeof(text));
	assert_non_null(strstr(text, " vcpu=0 ENTER-CALL module=- site=?+0x1234 "));
	assert_non_null(strstr(text, " view=U>U "));
	line.rip = 0;
	vm_log_append(vm, 0, &line);
	vm_log_format(vm, vm_log_line(vm, before + 2), text, sizeof(text));
	assert_non_null(strstr(text, " site=- "));
	assert_null(vm_log_line(vm, before + 3));
	vm_log_format(vm, vm_log_line(vm, 0), text, 12); /* short buffers are respected */
	assert_int_equal(strlen(text), 11);

	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	assert_true(vm_log_write(vm, path, &err));
	assert_true(blob_read(&b, path, 1 << 20, &err));
	assert_memory_equal(b.data, "1 vcpu=0 REGISTER module=counter site=- verdict=ok", 50);
	assert_int_equal(b.data[b.size - 1], '\n');
	blob_free(&b);
	unlink(path);
	assert_false(vm_log_write(vm, "/nonexistent/log", &err));
	vt_free(&c);
	vm_destroy(vm);
}

/* A full ring loses the oldest, counts them, and keeps each vCPU's numbering. */
static void test_log_ring(void **state)
{
	struct vm *vm = vt_create(2, 5);
	struct guard_line line = { .event = GUARD_TOUCH, .module = GUARD_VIEW_U };
	char path[] = "/tmp/vmm_log_XXXXXX";
	struct error err;
	struct blob b;
	int fd = mkstemp(path);

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		vm_log_append(vm, i % 2, &line);
	assert_int_equal(vm_log_count(vm), 5);
	assert_int_equal(vm_log_lost(vm), 7);
	assert_int_equal(vm_log_line(vm, 0)->n, 4);
	assert_int_equal(vm_log_line(vm, 0)->vcpu, 1);
	assert_int_equal(vm_log_line(vm, 4)->n, 6);
	assert_true(fd >= 0);
	close(fd);
	assert_true(vm_log_write(vm, path, &err));
	assert_true(blob_read(&b, path, 1 << 20, &err));
	assert_memory_equal(b.data + b.size - 7, "lost 7\n", 7);
	blob_free(&b);
	unlink(path);
	vm_destroy(vm);
}

static void test_trace(void **state)
{
	struct vm_config cfg = { .engine = &fake_engine, .ram_size = 16u << 20, .vcpus = 1 };
	struct guard_line line = {
		.event = GUARD_LEAVE_CALL,
		.module = GUARD_VIEW_U,
		.from = GUARD_VIEW_U,
		.to = GUARD_VIEW_U,
		.act = 3,
		.slot = 0xffffc90000007ff0ull,
		.old_word = 0x1111,
		.new_word = 0x2222,
		.rip = 0x3333,
	};
	struct guard_decision d = { .nlines = 1 };
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	struct vm *vm;

	(void)state;
	cfg.trace = f;
	vm = vm_create(&cfg, NULL);
	assert_non_null(vm);
	d.line[0] = line;
	d.stop = 1;
	vm_record(vm, 0, &d);
	assert_int_equal(vm_log_count(vm), 1);
	assert_true(vm->vcpu[0].stopped);
	vm_destroy(vm);
	fclose(f);
	assert_non_null(strstr(text, "vCPU 0 calls out of"));
	assert_non_null(strstr(text, "LEAVE-CALL"));
	assert_non_null(strstr(text, "0xffffc90000007ff0: ?+0x1111 -> ?+0x2222"));
	free(text);
}

static void test_symbols(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t start = vt_symbol(vm, "start");
	char buf[64], small[8];

	(void)state;
	assert_string_equal(vm_symbolize(vm, start + 2, buf, sizeof(buf)), "start+0x2");
	assert_string_equal(vm_symbolize(vm, 0xdeadull, buf, sizeof(buf)), "?+0xdead");
	assert_string_equal(vm_symbolize(vm, start, small, sizeof(small)), "start+0");
	vm_destroy(vm);
}

/* ---- running ---- */

struct host {
	unsigned calls;
	unsigned last;
	uint64_t stop;
	bool nest, nested_ok, answer;
	struct vm_exit exit;
};

static bool host_service(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct host *h = ctx;

	h->calls++;
	h->last = vcpu;
	if (h->nest) {
		h->nest = false;
		h->nested_ok = vm_run_nested(vm, vcpu, h->stop, &h->exit);
	}
	return h->answer;
}

static void test_host_calls(void **state)
{
	struct vm *vm = vt_guest(2);
	struct host h = { .answer = true, .stop = 0x500 };
	struct vm_exit exit;

	(void)state;
	/* nobody serves: the run ends there, and can go on */
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_HOST);
	assert_int_equal(exit.rip, 0x100);
	vm_on_host_port(vm, host_service, &h);
	/* three services; the second is another vCPU's; then the guest ends */
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0x200, NULL);
	fake_script(fake_last, VM_EXIT_GUEST, 1, 0x300, NULL);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_GUEST);
	assert_int_equal(h.calls, 2);
	assert_int_equal(h.last, 1);
	/* a nested run: other calls are served meanwhile, it ends at its own stop only */
	h.nest = true;
	h.calls = 0;
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0x500, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x400, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x500, NULL);
	fake_script(fake_last, VM_EXIT_GUEST, 0, 0x600, NULL);
	vm_run(vm, &exit);
	assert_true(h.nested_ok);
	assert_int_equal(h.calls, 3);
	assert_int_equal(exit.reason, VM_EXIT_GUEST);
	assert_int_equal(vm->nested, 0);
	/* the guest ends inside of it */
	h.nest = true;
	h.answer = false;
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_TRIPLE_FAULT, 0, 0x777, "triple fault");
	vm_run(vm, &exit);
	assert_false(h.nested_ok);
	assert_int_equal(h.exit.reason, VM_EXIT_TRIPLE_FAULT);
	assert_non_null(strstr(h.exit.message, "triple fault on vCPU 0 at ?+0x777"));
	assert_int_equal(exit.reason, VM_EXIT_HOST);
	vm_destroy(vm);
}

struct two {
	unsigned depth;
	bool ok[2];
	uint64_t first, second;
};

/* vCPU 0 waits for 0xa00; meanwhile vCPU 1 asks and waits for 0xb00. */
static bool two_services(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct two *t = ctx;
	struct vm_exit exit;
	unsigned mine = t->depth++;

	if (mine > 1)
		return true;
	t->ok[mine] = vm_run_nested(vm, vcpu, vcpu ? 0xb00 : 0xa00, &exit);
	return true;
}

/* The outer run's stop comes while the inner one waits: it is kept for its turn. */
static void test_nested_crossed(void **state)
{
	struct vm *vm = vt_guest(2);
	struct two t = { 0 };
	struct vm_exit exit;

	(void)state;
	vm_on_host_port(vm, two_services, &t);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0x200, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0xa00, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0xb00, NULL);
	fake_script(fake_last, VM_EXIT_GUEST, 1, 0x300, NULL);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_GUEST);
	assert_true(t.ok[0]);
	assert_true(t.ok[1]);
	assert_int_equal(t.depth, 2);
	assert_int_equal(fake_last->state[0], ENGINE_RUNNABLE);
	vm_destroy(vm);
}

static bool too_deep(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct vm_exit exit;
	unsigned *depth = ctx;

	++*depth;
	if (vm_run_nested(vm, vcpu, 0xffff, &exit))
		fail_msg("came back");
	return false;
}

static void test_nested_bounded(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vm_exit exit;
	unsigned depth = 0;

	(void)state;
	vm_on_host_port(vm, too_deep, &depth);
	for (unsigned i = 0; i < 40; i++)
		fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	vm_run(vm, &exit);
	assert_int_equal(depth, VM_MAX_NESTED + 1);
	vm_destroy(vm);
}

/* A message names vCPU, place and the last crossings, in one line and within its bounds. */
static void test_exit_message(void **state)
{
	struct guard_line line = { .event = GUARD_LEAVE_RETURN, .module = GUARD_VIEW_U };
	struct vm *vm = vt_guest(2);
	char noise[256];
	struct vm_exit exit;

	(void)state;
	line.rip = vt_symbol(vm, "start");
	memset(noise, 'x', sizeof(noise));
	noise[255] = 0;
	for (unsigned i = 0; i < 5; i++)
		vm_log_append(vm, 0, &line);
	fake_script(fake_last, VM_EXIT_BUDGET, 1, line.rip + 1, "budget exhausted");
	vm_run(vm, &exit);
	assert_string_equal(exit.message,
			    "budget exhausted on vCPU 1 at start+0x1; last crossings: "
			    "LEAVE-RETURN start+0x0 ok; LEAVE-RETURN start+0x0 ok; "
			    "LEAVE-RETURN start+0x0 ok;");
	fake_script(fake_last, VM_EXIT_ENGINE, 0, 0, noise);
	vm_run(vm, &exit);
	assert_true(strlen(exit.message) < sizeof(exit.message));
	vm_interrupt(vm);
	assert_int_equal(fake_last->interrupts, 1);
	vm_destroy(vm);
}

static void test_create_refuses(void **state)
{
	struct vm_config cfg = { .engine = &fake_engine, .vcpus = 1 };
	struct error err;

	(void)state;
	cfg.vcpus = 0;
	assert_null(vm_create(&cfg, &err));
	cfg.vcpus = GH_MAX_VCPUS + 1;
	assert_null(vm_create(&cfg, &err));
	cfg.vcpus = 16;
	cfg.ram_size = 4096;
	assert_null(vm_create(&cfg, &err));
	cfg.ram_size = ~0ull << 21;
	assert_null(vm_create(&cfg, &err));
	cfg.ram_size = 2u << 20;
	cfg.log_lines = SIZE_MAX;
	assert_null(vm_create(&cfg, &err));
	cfg.log_lines = 1;
	cfg.engine = NULL;
	assert_null(vm_create(&cfg, &err));
	vm_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc),	       cmocka_unit_test(test_devices),
		cmocka_unit_test(test_console),	       cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_ring),       cmocka_unit_test(test_trace),
		cmocka_unit_test(test_symbols),	       cmocka_unit_test(test_host_calls),
		cmocka_unit_test(test_nested_crossed), cmocka_unit_test(test_nested_bounded),
		cmocka_unit_test(test_exit_message),   cmocka_unit_test(test_create_refuses),
	};

	return cmocka_run_group_tests_name("vmm", tests, NULL, NULL);
}
