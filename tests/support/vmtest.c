/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/support/vmtest.h"

struct blob vt_read(const char *rel)
{
	const char *build = getenv("BUILD");
	char path[4096];
	struct error err;
	struct blob b;

	snprintf(path, sizeof(path), "%s/%s", build ? build : "build/release", rel);
	if (!blob_read(&b, path, 64u << 20, &err))
		fail_msg("%s", err.text);
	return b;
}

struct vm *vt_create(unsigned vcpus, size_t log_lines)
{
	struct vm_config cfg = {
		.engine = &fake_engine,
		.ram_size = 16u << 20,
		.vcpus = vcpus,
		.log_lines = log_lines ? log_lines : 4096,
	};
	struct error err;
	struct vm *vm = vm_create(&cfg, &err);

	if (!vm)
		fail_msg("%s", err.text);
	return vm;
}

struct vm *vt_guest(unsigned vcpus)
{
	struct vm *vm = vt_create(vcpus, 0);
	struct blob elf = vt_read("corpus/guests/hello.elf");
	struct error err;

	if (!vm_load_guest(vm, "hello.elf", &elf, &err))
		fail_msg("%s", err.text);
	blob_free(&elf);
	return vm;
}

void vt_wrap(struct vt_module *m, const char *name, bool device)
{
	static const struct wrap_privilege doorbell = { .kind = GM_PRIV_DEVICE,
							.name = "doorbell" };

	vt_wrap_with(m, name, &doorbell, device ? 1 : 0);
}

static void wrap(struct vt_module *m, const char *name, enum gm_x_kind x,
		 const struct wrap_privilege *privileges, size_t n)
{
	struct wrap_options opt = {
		.name = name, .x = x, .privileges = privileges, .privilege_count = n
	};
	const struct gm_privilege *p;
	const struct gm_header *h;
	struct error err;
	struct blob ko;
	char rel[256];

	memset(m, 0, sizeof(*m));
	snprintf(rel, sizeof(rel), "corpus/modules/%s.ko", name);
	ko = vt_read(rel);
	if (!wrap_module(&opt, rel, &ko, &m->wrapped, &err))
		fail_msg("%s", err.text);
	blob_free(&ko);
	manifest_digest(&m->wrapped.manifest, m->binding.digest);
	h = (const void *)m->wrapped.manifest.data;
	p = (const void *)(m->wrapped.manifest.data + h->privileges.offset);
	for (uint32_t i = 0; i < h->privileges.count; i++) {
		m->binding.bound |= 1ull << i;
		if (p[i].kind == GM_PRIV_DEVICE)
			m->binding.resource[i] =
				(struct guard_resource){ GH_DEVICE_GPA, GH_DOORBELL_SIZE };
	}
	m->binding.policy.chains = 8;
	m->source.name = name;
	m->source.ko = m->wrapped.ko;
	m->source.manifest = m->wrapped.manifest;
	m->source.binding = &m->binding;
}

void vt_wrap_with(struct vt_module *m, const char *name, const struct wrap_privilege *privileges,
		  size_t n)
{
	wrap(m, name, GM_X_VMMCALL, privileges, n);
}

void vt_wrap_x(struct vt_module *m, const char *name, enum gm_x_kind x)
{
	wrap(m, name, x, NULL, 0);
}

void vt_free(struct vt_module *m)
{
	wrap_result_free(&m->wrapped);
}

unsigned vt_load(struct vm *vm, const struct vt_module *m)
{
	struct error err;
	unsigned index;

	if (!vm_load_module(vm, &m->source, true, NULL, NULL, &index, &err))
		fail_msg("%s", err.text);
	assert_in_range(index, 0, GUARD_MAX_MODULES - 1);
	return index;
}

unsigned vt_segment(const struct vm *vm, unsigned module, uint32_t kind)
{
	const struct vm_module *m = vm->module[module];

	for (unsigned i = 0; i < vm_manifest(m)->segments.count; i++)
		if (vm_segments(m)[i].kind == kind)
			return i;
	fail_msg("no segment of kind %u", kind);
	return 0;
}

uint64_t vt_gpa(struct vm *vm, uint64_t gva)
{
	struct guard_mapping map;

	vm_translate(vm, 0, vm->cr3, gva & ~(VM_PAGE - 1), 1, &map);
	assert_true(map.flags & GUARD_MAP_PRESENT);
	return map.gpa + gva % VM_PAGE;
}

uint64_t vt_symbol(const struct vm *vm, const char *name)
{
	uint64_t gva;

	if (!vm_symbol_address(vm, name, &gva))
		fail_msg("no symbol %s", name);
	return gva;
}
