// SPDX-License-Identifier: GPL-2.0-only
/*
 * Puts the machine together: wraps the driver, makes a guest image out of its imports, loads both,
 * binds the card's registers to the driver and to nothing else.
 */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>
#include <string.h>

#include "hosted/guest_code.h"
#include "hosted/kernel.h"

#define MODULE_MAX_BYTES (64u << 20)
#define HEAP_BYTES (24u << 20)
#define PERCPU_BYTES 0x1000u
#define PAGE 4096u
#define SPARE "(other data)" /* stands for data that only unverified sections refer to */

static const struct wrap_privilege registers_privilege = { .kind = GM_PRIV_DEVICE, .name = "regs" };

/* The offsets must be those of the kernel that the driver was built for. */
static bool check_release(const struct hosted *h, const struct blob *ko, struct error *err)
{
	static const char key[] = "vermagic=";
	const uint8_t *p = memmem(ko->data, ko->size, key, sizeof(key) - 1);
	size_t len = strlen(h->off.release), left;

	if (!p)
		return error_set(err, "%s: no vermagic: not a Linux module", h->opt->module);
	p += sizeof(key) - 1;
	left = (size_t)(ko->data + ko->size - p);
	if (left <= len || memcmp(p, h->off.release, len) || p[len] != ' ')
		return error_set(err,
				 "%s: built for kernel %.*s, but the structure offsets are of %s: "
				 "`make corpus-debian` makes them anew",
				 h->opt->module,
				 (int)(left < 40 ? strnlen((const char *)p, left) : 40),
				 (const char *)p, h->off.release);
	return true;
}

/* The file first, so that what is wrong with it is said whatever else is missing. */
static bool wrap(struct hosted *h, struct error *err)
{
	struct wrap_options w = { .x = h->opt->x,
				  .views = h->opt->views,
				  .privileges = &registers_privilege,
				  .privilege_count = 1 };
	struct blob ko = { 0 };
	bool ok;

	if (!blob_read(&ko, h->opt->module, MODULE_MAX_BYTES, err))
		return false;
	ok = wrap_module(&w, h->opt->module, &ko, &h->wrapped, err) &&
	     offsets_load(&h->off, h->opt->offsets, h->opt->module, err) &&
	     check_release(h, &ko, err);
	blob_free(&ko);
	return ok;
}

static hosted_fn find_symbol(const char *name)
{
	static const struct hosted_symbol *const groups[] = {
		hosted_core_symbols, hosted_time_symbols, hosted_pci_symbols, hosted_net_symbols
	};

	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct hosted_symbol *s = groups[g]; s->name; s++)
			if (!strcmp(s->name, name))
				return s->fn;
	return NULL;
}

static bool list_imports(struct hosted *h, struct error *err)
{
	const struct gm_header *m = (const void *)h->wrapped.manifest.data;
	const struct gm_import *in = (const void *)(h->wrapped.manifest.data + m->imports.offset);
	size_t n = m->imports.count;

	h->addresses = calloc(n + 1, sizeof(*h->addresses));
	h->imports = calloc(n + 1, sizeof(*h->imports));
	if (!h->addresses || !h->imports)
		return error_set(err, "out of memory for %zu imports", n);
	h->nimports = n + 1;
	for (size_t i = 0; i < n; i++) {
		const char *name = manifest_name(&h->wrapped.manifest, in[i].name);

		h->addresses[i].name = name;
		h->imports[i].name = name;
		h->imports[i].fn = find_symbol(name);
		/* A function of which only the address is taken looks like data to the toolchain. */
		h->addresses[i].data = in[i].flags & GM_IMPORT_DATA && !h->imports[i].fn;
		h->imports[i].keeps_rax = in[i].preserve & 1u << GUARD_RAX;
	}
	h->addresses[n] = (struct image_import){ .name = SPARE, .data = true };
	h->imports[n].name = SPARE;
	return true;
}

static bool resolve(void *ctx, const char *symbol, uint64_t *gva)
{
	struct hosted *h = ctx;

	for (size_t i = 0; i < h->nimports; i++) {
		if (!strcmp(h->addresses[i].name, symbol)) {
			*gva = h->addresses[i].gva;
			return true;
		}
	}
	*gva = h->addresses[h->nimports - 1].gva;
	return true;
}

/* What drivers read directly. `percpu`: of each vCPU, at the address that it reaches through GS. */
static void put_datum(struct hosted *h, const char *name, uint64_t value)
{
	for (size_t i = 0; i < h->nimports; i++) {
		if (strcmp(h->addresses[i].name, name) || !h->addresses[i].data)
			continue;
		hosted_put(h, h->addresses[i].gva, 8, value);
		for (unsigned v = 0; v < h->opt->vcpus; v++)
			hosted_put(h,
				   HOSTED_PERCPU_BASE + ((uint64_t)v << 32) + h->addresses[i].gva,
				   8, value);
	}
}

static bool fill_data(struct hosted *h, struct error *err)
{
	uint64_t task = hosted_alloc(h, h->off.task_struct_size);
	uint64_t queue = hosted_alloc(h, PAGE);

	if (!task || !queue)
		return error_set(err, "guest memory too small for the hosted kernel");
	put_datum(h, "page_offset_base", GH_DIRECT_MAP);
	put_datum(h, "vmemmap_base", HOSTED_VMEMMAP);
	put_datum(h, "phys_base", 0);
	put_datum(h, "current_task", task);
	put_datum(h, "system_wq", queue);
	for (size_t i = 0; i < h->nimports; i++)
		if (!strcmp(h->addresses[i].name, "jiffies"))
			h->jiffies_gva = h->addresses[i].gva;
	put_datum(h, "jiffies", h->jiffies);
	for (unsigned v = 0; v < h->opt->vcpus; v++) {
		uint64_t cpu = HOSTED_PERCPU_BASE + ((uint64_t)v << 32);

		hosted_put(h, cpu + HOSTED_CPU_RETURN, 8, image_code(guest_import_return));
		hosted_put(h, cpu + HOSTED_CPU_HONEST, 8, image_code(guest_import_return));
	}
	return true;
}

/* Each vCPU's own page (stack protector) and its copies of all data imports. */
static bool map_memory(struct hosted *h, uint64_t ram, struct error *err)
{
	uint64_t gpa, base, pages = ram / PAGE;

	for (unsigned v = 0; v < h->opt->vcpus; v++) {
		base = HOSTED_PERCPU_BASE + ((uint64_t)v << 32);
		if (!vm_map_ram(h->vm, base, PERCPU_BYTES, false, &gpa) ||
		    !vm_map_ram(h->vm, base + h->image.data, h->image.data_bytes, false, &gpa))
			return error_set(err, "guest memory too small for per-CPU data");
	}
	gpa = vm_alloc_gpa(h->vm, HEAP_BYTES);
	if (!gpa || !heap_init(&h->heap, GH_DIRECT_MAP + gpa, GH_DIRECT_MAP + gpa + HEAP_BYTES))
		return error_set(err, "guest memory too small for a heap of %u bytes", HEAP_BYTES);
	if (!vm_map_ram(h->vm, HOSTED_VMEMMAP,
			(pages * h->off.page_size + PAGE - 1) & ~(PAGE - 1ull), false, &gpa))
		return error_set(err, "guest memory too small for its page structures");
	return true;
}

static bool load_module(struct hosted *h, struct error *err)
{
	struct guard_binding binding = {
		.bound = 1,
		.resource[0] = { HOSTED_NIC_GPA, NIC_BYTES },
		.policy = { .stack = GUARD_STACK_RETURNS,
			    .registers = GUARD_REGS_VERIFY,
			    .mapping = GUARD_MAPPING_CHECKED,
			    .refusal = GUARD_REFUSE_GP,
			    .chains = 32,
			    .required = 1 },
	};
	const struct gm_header *m = (const void *)h->wrapped.manifest.data;
	struct vm_module_source src = { .name = manifest_name(&h->wrapped.manifest, m->name),
					.ko = h->wrapped.ko,
					.manifest = h->wrapped.manifest,
					.binding = &binding };

	if (h->opt->policy)
		binding.policy = *h->opt->policy;
	manifest_digest(&h->wrapped.manifest, binding.digest);
	if (!vm_load_module(h->vm, &src, true, resolve, h, &h->module, err))
		return error_within(err, h->opt->module);
	for (unsigned v = 0; v < h->opt->vcpus; v++)
		if (!vm_grant(h->vm, v, h->module, 1, true))
			return error_set(err, "%s: the guard refused to grant its registers",
					 h->opt->module);
	return true;
}

bool hosted_open(struct hosted *h, const struct hosted_options *opt, struct error *err)
{
	struct vm_config cfg = { .engine = opt->engine,
				 .ram_size = 64u << 20,
				 .vcpus = opt->vcpus,
				 .seed = opt->seed,
				 .budget = opt->budget,
				 .x_kind = opt->x,
				 .trace = opt->trace,
				 .logged = opt->logged,
				 .ctx = opt->ctx,
				 .oracle = opt->oracle,
				 .measure = opt->measure,
				 .log_lines = 1u << 18 };
	struct vm_device device = { .name = "82574L",
				    .gpa = HOSTED_NIC_GPA,
				    .size = NIC_BYTES,
				    .read = nic_read,
				    .write = nic_write,
				    .ctx = &h->nic };

	memset(h, 0, sizeof(*h));
	h->opt = opt;
	if (opt->x == GM_X_NOP)
		return error_set(err, "%s: with a NOP as X it never crosses: nothing to guard",
				 opt->module);
	h->jiffies = 0x100000000ull - 300ull * 250; /* as Linux: soon to wrap in 32 bits */
	nic_reset(&h->nic);
	h->image.tickless = opt->copy != NULL;
	if (!wrap(h, err) || !list_imports(h, err) ||
	    !image_build(&h->image, h->addresses, h->nimports, opt->x, err))
		return false;
	h->vm = vm_create(&cfg, err);
	return h->vm && vm_load_guest(h->vm, "hosted kernel", &h->image.elf, err) &&
	       vm_add_device(h->vm, &device, err) && map_memory(h, cfg.ram_size, err) &&
	       load_module(h, err) && fill_data(h, err);
}

void hosted_close(struct hosted *h)
{
	if (h->vm)
		vm_destroy(h->vm);
	heap_destroy(&h->heap);
	blob_free(&h->image.elf);
	wrap_result_free(&h->wrapped);
	free(h->addresses);
	free(h->imports);
	memset(h, 0, sizeof(*h));
}
