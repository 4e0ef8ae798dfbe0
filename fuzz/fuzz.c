// SPDX-License-Identifier: GPL-2.0-only
#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrap/wrap.h"

struct blob fuzz_blob(const uint8_t *data, size_t size)
{
	struct blob b = { malloc(size ? size : 1), size };

	fuzz_must(b.data != NULL, "there is memory for a copy of the input");
	if (size)
		memcpy(b.data, data, size);
	return b;
}

struct blob fuzz_take(const uint8_t **data, size_t *size, size_t n)
{
	struct blob b = fuzz_blob(*data, n < *size ? n : *size);

	*data += b.size;
	*size -= b.size;
	return b;
}

uint32_t fuzz_number(const uint8_t **data, size_t *size)
{
	uint32_t n = 0;

	if (*size < sizeof(n))
		return 0;
	memcpy(&n, *data, sizeof(n));
	*data += sizeof(n);
	*size -= sizeof(n);
	return n;
}

void fuzz_broken(const char *what)
{
	fprintf(stderr, "fuzz: does not hold: %s\n", what);
	abort();
}

static bool digest(void *vmm, const void *data, size_t len, uint8_t out[32])
{
	const struct blob b = { (uint8_t *)(uintptr_t)data, len };

	(void)vmm;
	manifest_digest(&b, out);
	return true;
}

/* The only other callback at REGISTER and UNREGISTER of a module that was never announced. */
static bool device_role(void *vmm, unsigned module, unsigned privilege,
			const struct guard_resource *range, bool bind)
{
	(void)vmm, (void)module, (void)privilege, (void)range, (void)bind;
	return true;
}

enum guard_verdict fuzz_register(const struct blob *manifest, const struct guard_binding *binding)
{
	static const struct guard_ops ops = { .digest = digest, .device_role = device_role };
	struct guard_binding b = *binding;
	struct guard_decision d;
	enum guard_verdict v;
	unsigned index = 0;
	struct guard *g;
	void *mem, *work;
	size_t size;

	size = guard_work_size(manifest->data, manifest->size, &b.policy);
	if (!size)
		return GUARD_V_BAD_MANIFEST;
	mem = aligned_alloc(64, (guard_size() + 63) / 64 * 64);
	work = malloc(size);
	fuzz_must(mem && work, "there is memory for a guard");
	manifest_digest(manifest, b.digest);
	g = guard_init(mem, 1, &ops, NULL);
	fuzz_must(g != NULL, "a guard for one vCPU");
	v = guard_register(g, manifest->data, manifest->size, &b, work, size, &index, &d);
	if (v == GUARD_V_OK)
		fuzz_must(guard_unregister(g, index, &d) == GUARD_V_OK,
			  "what was registered can be unregistered");
	free(work);
	free(mem);
	return v;
}
