/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The oracle and its reference model in the core's own unit tests, which know no Unicorn: linked
 * with --wrap, every call into the core passes through here (tests/oracle_world_test.sh). It shows,
 * too, what a fake VMM needs to have the oracle: memory, and the answers of the platform.
 *
 * Nothing executes in those tests, so the oracle is told no instructions and no pages.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/oracle.h"
#include "tests/support/fakevmm.h"
#include "vmm/told.h"

#define MAX_GUARDS 64u

struct watched {
	struct guard *guard;
	struct fakevmm *vmm;
	struct oracle *oracle; /* NULL: this one is not watched (any more) */
	unsigned vcpus;
};

static struct watched table[MAX_GUARDS];
static struct oracle_counts sum;
static bool digested; /* by the last REGISTER, and what */
static uint8_t digest[32];
static unsigned long lost; /* events after which it knew no more */
static bool is_private[GUARD_MAX_MODULES][FAKE_MAX_PAGES];

struct guard *__real_guard_init(void *mem, unsigned vcpus, const struct guard_ops *ops, void *vmm);
void __real_guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d);
enum guard_verdict __real_guard_register(struct guard *g, const void *manifest, size_t len,
					 const struct guard_binding *binding, void *work,
					 size_t work_len, unsigned *index,
					 struct guard_decision *d);
enum guard_verdict __real_guard_unregister(struct guard *g, unsigned index,
					   struct guard_decision *d);
enum guard_verdict __real_guard_grant(struct guard *g, unsigned vcpu, unsigned index,
				      uint64_t privileges, bool give, struct guard_decision *d);
enum guard_verdict __real_guard_vcpu_reset(struct guard *g, unsigned vcpu,
					   struct guard_decision *d);
struct guard *__wrap_guard_init(void *mem, unsigned vcpus, const struct guard_ops *ops, void *vmm);
void __wrap_guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d);
enum guard_verdict __wrap_guard_register(struct guard *g, const void *manifest, size_t len,
					 const struct guard_binding *binding, void *work,
					 size_t work_len, unsigned *index,
					 struct guard_decision *d);
enum guard_verdict __wrap_guard_unregister(struct guard *g, unsigned index,
					   struct guard_decision *d);
enum guard_verdict __wrap_guard_grant(struct guard *g, unsigned vcpu, unsigned index,
				      uint64_t privileges, bool give, struct guard_decision *d);
enum guard_verdict __wrap_guard_vcpu_reset(struct guard *g, unsigned vcpu,
					   struct guard_decision *d);

static struct watched *of_guard(const struct guard *g)
{
	for (unsigned i = 0; i < MAX_GUARDS; i++)
		if (table[i].oracle && table[i].guard == g)
			return &table[i];
	return NULL;
}

static struct oracle *of_vmm(const void *vmm)
{
	for (unsigned i = 0; i < MAX_GUARDS; i++)
		if (table[i].oracle && table[i].vmm == vmm)
			return table[i].oracle;
	return NULL;
}

static void add_counts(const struct oracle *o)
{
	struct oracle_counts c;

	oracle_count(o, &c);
	sum.events += c.events;
	sum.lines += c.lines;
	sum.predicted += c.predicted;
}

static void forget(struct watched *w)
{
	add_counts(w->oracle);
	oracle_free(w->oracle);
	memset(w, 0, sizeof(*w));
}

__attribute__((destructor)) static void tell(void)
{
	for (unsigned i = 0; i < MAX_GUARDS; i++)
		if (table[i].oracle)
			forget(&table[i]);
	fprintf(stderr, "oracle: %llu events, %llu lines, %llu predicted, %lu after it was lost\n",
		(unsigned long long)sum.events, (unsigned long long)sum.lines,
		(unsigned long long)sum.predicted, lost);
}

/* ---- what the core asks for passes through ---- */

static bool done(void *vmm, bool ok)
{
	struct oracle *o = of_vmm(vmm);

	if (o && !ok)
		oracle_platform_failed(o);
	return ok;
}

static bool ram(void *ctx, uint64_t gpa, void *buf, size_t len)
{
	struct fakevmm *f = ctx;

	if (gpa >= FAKE_RAM || len > FAKE_RAM - gpa)
		return false;
	memcpy(buf, f->ram + gpa, len);
	return true;
}

static bool copy(void *ctx, unsigned module, uint32_t moff, void *buf, size_t len)
{
	struct fakevmm *f = ctx;
	uint32_t page = moff / GM_PAGE;
	const uint8_t *from;

	if (module >= GUARD_MAX_MODULES || page >= FAKE_MAX_PAGES || moff % GM_PAGE + len > GM_PAGE)
		return false;
	/* the fake VMM keeps the pages of modules that had this number before */
	from = is_private[module][page] ? f->module[module].private[page]
					: f->module[module].verified[page];
	if (!from)
		return false;
	memcpy(buf, from + moff % GM_PAGE, len);
	return true;
}

/* Also void: a translation that was made to fail shows as unmapped pages. */
static void shim_translate(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
			   struct guard_mapping *out)
{
	struct fakevmm *f = vmm;
	bool failed = f->failed;

	if (!f->fail_forever)
		f->failed = false;
	fake_ops.translate(vmm, vcpu, cr3, gva, npages, out);
	done(vmm, !f->failed);
	f->failed |= failed;
}

static bool shim_read(void *vmm, uint64_t gpa, void *buf, size_t len)
{
	if (of_vmm(vmm))
		oracle_core_read(of_vmm(vmm), gpa, len);
	return done(vmm, fake_ops.read(vmm, gpa, buf, len));
}

static bool shim_write(void *vmm, uint64_t gpa, const void *buf, size_t len)
{
	uint8_t old[8];

	if (of_vmm(vmm) && len <= sizeof(old) && ram(vmm, gpa, old, len))
		oracle_core_wrote(of_vmm(vmm), gpa, old, len);
	return done(vmm, fake_ops.write(vmm, gpa, buf, len));
}

static bool shim_raise(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges)
{
	bool ok = fake_ops.raise(vmm, vcpu, module, privileges);

	if (of_vmm(vmm))
		oracle_platform(of_vmm(vmm), true, ok);
	return ok;
}

static bool shim_lower(void *vmm, unsigned vcpu, unsigned module)
{
	bool ok = fake_ops.lower(vmm, vcpu, module);

	if (of_vmm(vmm))
		oracle_platform(of_vmm(vmm), false, ok);
	return ok;
}

static bool shim_fill(void *vmm, unsigned module, uint32_t page, uint64_t gpa)
{
	if (of_vmm(vmm))
		oracle_copy_changed(of_vmm(vmm), module, page * GM_PAGE, GM_PAGE);
	if (module < GUARD_MAX_MODULES && page < FAKE_MAX_PAGES)
		is_private[module][page] = false;
	return done(vmm, fake_ops.verified_fill(vmm, module, page, gpa));
}

static bool shim_patch(void *vmm, unsigned module, uint32_t moff, const void *buf, size_t len)
{
	if (of_vmm(vmm))
		oracle_copy_changed(of_vmm(vmm), module, moff, len);
	return done(vmm, fake_ops.verified_patch(vmm, module, moff, buf, len));
}

static bool shim_verified_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	return done(vmm, fake_ops.verified_read(vmm, module, moff, buf, len));
}

static bool shim_guest_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	return done(vmm, fake_ops.guest_read(vmm, module, moff, buf, len));
}

static bool shim_private_fill(void *vmm, unsigned module, uint32_t page, const void *bytes,
			      size_t len)
{
	if (module < GUARD_MAX_MODULES && page < FAKE_MAX_PAGES)
		is_private[module][page] = true;
	return done(vmm, fake_ops.private_fill(vmm, module, page, bytes, len));
}

static bool shim_written(void *vmm, unsigned module, uint32_t first, uint64_t *bits)
{
	bool ok = fake_ops.written(vmm, module, first, bits);

	/* if not, the core then looks at everything */
	if (of_vmm(vmm))
		oracle_written(of_vmm(vmm), module, first, *bits, ok);
	return ok;
}

static bool shim_role(void *vmm, unsigned module, uint32_t page, uint64_t gpa, enum guard_role role)
{
	bool ok = fake_ops.frame_role(vmm, module, page, gpa, role);

	if (of_vmm(vmm) && ok && role == GUARD_ROLE_NONE)
		oracle_frame_released(of_vmm(vmm), module, page);
	return done(vmm, ok);
}

static bool shim_digest(void *vmm, const void *data, size_t len, uint8_t out[32])
{
	digested = fake_ops.digest(vmm, data, len, out);
	memcpy(digest, out, sizeof(digest));
	return digested;
}

static bool shim_device_role(void *vmm, unsigned module, unsigned privilege,
			     const struct guard_resource *range, bool bind)
{
	return done(vmm, fake_ops.device_role(vmm, module, privilege, range, bind));
}

/* ---- what is called of the core ---- */

static void agrees(const struct watched *w)
{
	lost += oracle_lost(w->oracle);
	if (!oracle_failure(w->oracle))
		return;
	fprintf(stderr, "%s", oracle_failure(w->oracle));
	abort();
}

struct guard *__wrap_guard_init(void *mem, unsigned vcpus, const struct guard_ops *ops, void *vmm)
{
	static struct guard_ops shim;
	struct oracle_callbacks cb = { .ctx = vmm, .ram = ram, .copy = copy };
	struct watched *w = NULL;
	struct guard *g;

	/* the same memory again, or a VMM where another one was */
	for (unsigned i = 0; i < MAX_GUARDS; i++)
		if (table[i].oracle && ((const void *)table[i].guard == mem || table[i].vmm == vmm))
			forget(&table[i]);
	for (unsigned i = 0; i < MAX_GUARDS && !w; i++)
		if (!table[i].oracle)
			w = &table[i];
	if (!w) {
		w = &table[0];
		forget(w);
	}
	if (ops != &fake_ops || !vmm)
		return __real_guard_init(mem, vcpus, ops, vmm);
	shim = fake_ops;
	shim.translate = shim_translate;
	shim.read = shim_read;
	shim.write = shim_write;
	shim.raise = shim_raise;
	shim.lower = shim_lower;
	shim.verified_fill = shim_fill;
	shim.verified_patch = shim_patch;
	shim.verified_read = shim_verified_read;
	shim.guest_read = shim_guest_read;
	shim.private_fill = shim_private_fill;
	shim.written = shim_written;
	shim.frame_role = shim_role;
	shim.digest = shim_digest;
	shim.device_role = shim_device_role;
	g = __real_guard_init(mem, vcpus, &shim, vmm);
	if (g)
		*w = (struct watched){ g, vmm, oracle_new(vcpus, ORACLE_MODEL, &cb), vcpus };
	return g;
}

static void judged_register(struct watched *w, const void *manifest, size_t len,
			    const struct guard_binding *binding, const void *work, size_t work_len,
			    unsigned index, enum guard_verdict v)
{
	struct oracle_request r = { .digested = digested };
	size_t needs = binding ? guard_work_size(manifest, len, &binding->policy) : 0;

	memcpy(r.digest, digest, sizeof(r.digest));
	if (binding) {
		r.bound = true;
		memcpy(r.names, binding->digest, sizeof(r.names));
		r.mapping = binding->policy.mapping;
		r.binding = told_binding(binding);
		r.room = (uintptr_t)work % 8 == 0 && work_len >= needs;
	}
	oracle_judged_register(w->oracle, manifest, len, &r, v, index);
	agrees(w);
}

enum guard_verdict __wrap_guard_register(struct guard *g, const void *manifest, size_t len,
					 const struct guard_binding *binding, void *work,
					 size_t work_len, unsigned *index, struct guard_decision *d)
{
	struct watched *w = of_guard(g);
	struct oracle_binding b;
	enum guard_verdict v;

	digested = false;
	if (w)
		oracle_admin_begins(w->oracle);
	v = __real_guard_register(g, manifest, len, binding, work, work_len, index, d);
	if (!w)
		return v;
	judged_register(w, manifest, len, binding, work, work_len,
			v == GUARD_V_OK ? *index : GUARD_MAX_MODULES, v);
	if (v != GUARD_V_OK)
		return v;
	/* A VMM that says that a path is locked is believed by the core: there is no walk to predict. */
	if (binding->policy.mapping == GUARD_MAPPING_LOCKED) {
		forget(w);
		return v;
	}
	b = told_binding(binding);
	oracle_registered(w->oracle, *index, manifest, len, &b);
	agrees(w);
	return v;
}

enum guard_verdict __wrap_guard_unregister(struct guard *g, unsigned index,
					   struct guard_decision *d)
{
	struct watched *w = of_guard(g);
	enum guard_verdict v;

	if (w)
		oracle_admin_begins(w->oracle);
	v = __real_guard_unregister(g, index, d);
	if (w) {
		oracle_judged_unregister(w->oracle, index, v, d->kick);
		oracle_unregistered(w->oracle, index, v == GUARD_V_OK, d->stop);
		agrees(w);
	}
	return v;
}

enum guard_verdict __wrap_guard_grant(struct guard *g, unsigned vcpu, unsigned index,
				      uint64_t privileges, bool give, struct guard_decision *d)
{
	struct watched *w = of_guard(g);
	enum guard_verdict v;

	if (w)
		oracle_admin_begins(w->oracle);
	v = __real_guard_grant(g, vcpu, index, privileges, give, d);
	if (w) {
		oracle_judged_grant(w->oracle, vcpu, index, give, v, d->kick);
		agrees(w);
	}
	if (w && vcpu < w->vcpus) {
		oracle_granted(w->oracle, vcpu, index, privileges, give, v == GUARD_V_OK,
			       told_stops(d, vcpu), w->vmm->vcpu[vcpu].view);
		agrees(w);
	}
	return v;
}

enum guard_verdict __wrap_guard_vcpu_reset(struct guard *g, unsigned vcpu, struct guard_decision *d)
{
	struct watched *w = of_guard(g);
	enum guard_verdict v;

	if (w)
		oracle_admin_begins(w->oracle);
	v = __real_guard_vcpu_reset(g, vcpu, d);
	if (w && vcpu < w->vcpus) {
		oracle_judged_reset(w->oracle, vcpu, v);
		oracle_vcpu_reset(w->oracle, vcpu, told_stops(d, vcpu), w->vmm->vcpu[vcpu].view);
		agrees(w);
	}
	return v;
}

void __wrap_guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d)
{
	struct watched *w = of_guard(g);
	struct oracle_outcome out = { 0 };
	struct oracle_event event = { 0 };

	if (!w || ev->vcpu >= w->vcpus) {
		__real_guard_judge(g, ev, d);
		return;
	}
	told_event(ev, &event);
	oracle_before(w->oracle, &event);
	__real_guard_judge(g, ev, d);
	told_outcome(d, ev->vcpu, w->vmm->vcpu[ev->vcpu].view, &out);
	oracle_after(w->oracle, &event, &out);
	agrees(w);
}
