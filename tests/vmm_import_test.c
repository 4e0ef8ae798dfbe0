// SPDX-License-Identifier: GPL-2.0-only
/*
 * I9: a data import that the guest's loader leads into another module. The code would read there
 * with its own privileges only, but what it was registered with was not this.
 */
#include "tests/support/wraptest.h"

#include "tests/support/vmtest.h"

static const char source[] = "extern long datum;\n"
			     "long get(void) { return datum; }\n"
			     "int init_module(void) { return 0; }\n"
			     "long (*const table[])(void) = { get };\n";

static bool resolve(void *ctx, const char *symbol, uint64_t *gva)
{
	(void)symbol;
	*gva = *(const uint64_t *)ctx;
	return true;
}

static enum guard_verdict last_announce(const struct vm *vm)
{
	for (size_t i = vm_log_count(vm); i--;) {
		const struct guard_line *l = &vm_log_line(vm, i)->line;

		if (l->event == GUARD_ANNOUNCE)
			return l->verdict;
	}
	return GUARD_NVERDICTS;
}

/* The verdict on a module whose datum is said to lie in that segment of `target`, or at `gva`. */
static enum guard_verdict import_from(uint32_t kind, bool own_page)
{
	struct guard_binding binding = { .policy = { .chains = 4 } };
	struct blob ko = wt_compile(source, WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	struct vm_module_source src = { "importer", r.ko, r.manifest, &binding };
	struct vm *vm = vt_guest(1);
	struct vt_module target;
	enum guard_verdict verdict;
	unsigned other, index;
	struct error err;
	uint64_t gva, gpa;
	bool loaded;

	vt_wrap(&target, "target", false);
	other = vt_load(vm, &target);
	gva = vm_module_base(vm, other, vt_segment(vm, other, kind)) + 8;
	if (own_page) {
		gva = 0xffffffffb8000000ull;
		assert_true(vm_map_ram(vm, gva, 0x1000, false, &gpa));
	}
	manifest_digest(&r.manifest, binding.digest);
	loaded = vm_load_module(vm, &src, true, resolve, &gva, &index, &err);
	verdict = last_announce(vm);
	if (loaded != (verdict == GUARD_V_OK))
		fail_msg("%s", err.text);
	vt_free(&target);
	vm_destroy(vm);
	wrap_result_free(&r);
	blob_free(&ko);
	return verdict;
}

static void data_imports_into_another_module(void **state)
{
	(void)state;
	assert_int_equal(import_from(GM_SEG_DATA, true), GUARD_V_OK);
	assert_int_equal(import_from(GM_SEG_PRIVATE, false), GUARD_V_BAD_TEXT);
	assert_int_equal(import_from(GM_SEG_TEXT, false), GUARD_V_BAD_TEXT);
	/* ordinary data of another module may be shared */
	assert_int_equal(import_from(GM_SEG_DATA, false), GUARD_V_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(data_imports_into_another_module) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
