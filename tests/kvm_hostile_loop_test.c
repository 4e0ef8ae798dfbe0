/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile guests on the KVM engine, again and again in one process: every attack of the corpus in a
 * loop, and a random kernel around a real module, made of what a kernel could try with it. Nothing
 * may crash or hang, the next VM must run as ever, and no descriptor, mapping or memory may stay.
 *
 * How long, in seconds: SOAK_SECONDS; 30 where KVM_HOST is set (make test-kvm); otherwise 3. Half
 * of it for each. HOSTILE_SEED: another one (default 1); it is printed.
 */
#include <dirent.h>
#include <malloc.h>
#include <time.h>

#include "cli/expressible.h"
#include "scenario/scenario.h"
#include "tests/support/kvmtest.h"
#include "wrap/wrap.h"

#define RUN_MS 150u    /* a random program is ended then */
#define HANGS_AFTER 20 /* seconds: nothing here may take so long */
#define MAX_SCENARIOS 256u

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(void)
{
	const char *soak = getenv("SOAK_SECONDS"), *host = getenv("KVM_HOST");
	double s = soak && *soak ? strtod(soak, NULL) : host && *host ? 30 : 3;

	return s / 2;
}

/* xorshift64*: the same programs on every host. */
static uint64_t rng;

static uint64_t draw(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
	return n ? (unsigned)((draw() >> 33) % n) : 0;
}

static void seed(void)
{
	const char *text = getenv("HOSTILE_SEED");

	rng = (text ? strtoull(text, NULL, 0) : 1) * 0x9e3779b97f4a7c15ull | 1;
	printf("# HOSTILE_SEED=%s\n", text ? text : "1");
}

/* ---- what must not grow ---- */

struct held {
	unsigned descriptors, mappings;
	size_t bytes;
};

static struct held held(void)
{
	struct held h = { .descriptors = kt_descriptors() };
	FILE *f = fopen("/proc/self/maps", "r");
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		h.mappings += c == '\n';
	fclose(f);	     /* NOLINT(cert-err33-c): it was only read */
#ifndef __SANITIZE_ADDRESS__ /* whose own leak check says more, and whose allocator keeps things */
	h.bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
#else
	h.mappings = 0;
#endif
	return h;
}

/*
 * A VM is megabytes and some dozen descriptors and mappings: one that stays is seen at once, what is
 * smaller after many runs, and under ASan. The allocator keeps some freed pieces and counts them.
 */
static void holds_no_more(const struct held *before, const char *after)
{
	struct held h = held();

	if (h.descriptors != before->descriptors)
		fail_msg("%s: %u descriptors, %u before", after, h.descriptors,
			 before->descriptors);
	if (h.mappings > before->mappings + 8)
		fail_msg("%s: %u mappings, %u before", after, h.mappings, before->mappings);
	if (h.bytes > before->bytes + (256u << 10))
		fail_msg("%s: %zu bytes, %zu before", after, h.bytes, before->bytes);
}

/* ---- attacks in a loop ---- */

struct attack {
	struct scenario *s;
	bool expressible;
};

static size_t load_attacks(struct attack attack[MAX_SCENARIOS])
{
	struct inexpressible list;
	struct error err = { "" };
	struct dirent **names;
	struct blob file;
	const char *host = getenv("KVM_HOST");
	size_t count = 0;
	int n;

	if (kvm_engine.host)
		host = kvm_engine.host();
	if (!blob_read(&file, "hv-port/not-expressible.txt", 1u << 18, &err) ||
	    !inexpressible_parse(&list, "not-expressible.txt", (char *)file.data, file.size, &err))
		fail_msg("%s", err.text);
	blob_free(&file);
	n = scandir("corpus/scenarios", &names, NULL, alphasort);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		struct attack *a = &attack[count];
		char path[512];

		if (strstr(names[i]->d_name, ".scn") && count < MAX_SCENARIOS) {
			snprintf(path, sizeof(path), "corpus/scenarios/%s", names[i]->d_name);
			if (!scenario_load(path, &a->s, &err))
				fail_msg("%s", err.text);
			a->expressible = scenario_class(a->s) != SCN_RACE &&
					 !inexpressible_find(&list, host, scenario_id(a->s));
			count++;
		}
		free(names[i]);
	}
	free(names);
	inexpressible_free(&list);
	return count;
}

static void test_attacks_in_a_loop(void **state)
{
	struct attack attack[MAX_SCENARIOS] = { { 0 } };
	const char *build = getenv("BUILD");
	struct scenario_options opt = { .engine = &kvm_engine, .x = GM_X_OUT };
	struct held before = { 0 };
	char corpus[512];
	size_t count;
	unsigned runs, judged = 0;
	double end;

	(void)state;
	seed();
	snprintf(corpus, sizeof(corpus), "%s/corpus", build ? build : "build/release");
	opt.corpus = corpus;
	count = load_attacks(attack);
	assert_true(count > 60);
	end = now() + seconds();
	for (runs = 0; now() < end || runs < 10; runs++) {
		const struct attack *a = &attack[below((unsigned)count)];
		struct scenario_result r;
		struct error err = { "" };
		double start = now();

		/* What cannot be shown may end in any way, but soon: a second of guest time. */
		opt.budget = a->expressible ? 0 : 1000000;
		opt.seed = draw();
		if (!scenario_run(a->s, &opt, &r, &err))
			fail_msg("run %u, %s: %s", runs, scenario_id(a->s), err.text);
		if (now() - start > HANGS_AFTER)
			fail_msg("run %u, %s: took %.0f s", runs, scenario_id(a->s), now() - start);
		if (a->expressible && !r.passed)
			fail_msg("run %u, %s: line %u: %s; %s", runs, scenario_id(a->s),
				 r.failure[0].line, r.failure[0].text, r.exit);
		judged += a->expressible;
		if (runs == 5)
			before = held();
		else if (runs > 5)
			holds_no_more(&before, scenario_id(a->s));
	}
	printf("# %u attacks ran, %u of them with a verdict that was checked\n", runs, judged);
	assert_true(judged > 0);
	for (size_t i = 0; i < count; i++)
		scenario_free(attack[i].s);
}

/* ---- a random kernel ---- */

/* The program's slots, and behind them what imports lead to and what handlers do. */
#define SLOTS 64u
#define SLOT_BYTES 0xc0u
#define IMPORTS_AT 0x3000u
#define IMPORTS 100u
#define GO_ON_AT 0x3f00u
#define COME_BACK_AT 0x3fe0u

struct writer {
	uint8_t *at, *end;
};

static void put(struct writer *w, const void *bytes, size_t n)
{
	if ((size_t)(w->end - w->at) >= n) {
		memcpy(w->at, bytes, n);
		w->at += n;
	}
}

#define PUT(w, ...)                                                                                \
	do {                                                                                       \
		const uint8_t bytes_[] = { __VA_ARGS__ };                                          \
		put(w, bytes_, sizeof(bytes_));                                                    \
	} while (0)

/* Addresses and values that mean something to the guard or the engine. */
struct places {
	uint64_t v[64];
	unsigned n;
	uint64_t id; /* of the module */
};

static void place(struct places *p, uint64_t v)
{
	if (p->n < sizeof(p->v) / sizeof(p->v[0]))
		p->v[p->n++] = v;
}

static void list_places(struct places *p, struct simvm *s, unsigned module)
{
	static const char *const names[] = {
		"counter:enter/counter_add",	"counter:enter/counter_callout",
		"counter:enter/counter_get",	"counter:enter/counter_callback",
		"counter:enter/counter_tail",	"counter:enter/counter_deep",
		"counter:enter/counter_self",	"counter:enter/init_module",
		"counter:counter_add",		"counter:counter_callout",
		"counter:leave/kernel_callout", "counter:leave-return",
		"counter:enter-return",		"counter:leave/%rax",
	};
	uint64_t gva;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (vm_symbol_address(s->vm, names[i], &gva))
			place(p, gva);
	assert_true(p->n >= 8);
	for (unsigned seg = 0; seg < vm_module_manifest(s->vm, module)->segments.count; seg++) {
		gva = vm_module_base(s->vm, module, seg);
		if (!gva)
			continue;
		place(p, gva);
		place(p, sv_direct(s, gva));
		place(p, GH_DIRECT_MAP + ((uint64_t)((uint8_t *)sv_pte(s, gva) - s->vm->ram)));
	}
	p->id = s->vm->module[module]->id;
	place(p, SV_CODE);
	place(p, SV_DATA + 0x8000);
	place(p, SV_DATA + 8);
	place(p, SV_TABLES);
	place(p, GH_DIRECT_MAP + GH_DEVICE_GPA);
	place(p, GH_DIRECT_MAP + s->vm->cr3);
	place(p, s->vm->cr3);
	place(p, s->vm->boot_gpa + GH_DIRECT_MAP);
	place(p, 0);
	place(p, 0x800000000000ull);
	place(p, ~0ull);
}

static uint64_t value(const struct places *p)
{
	switch (below(8)) {
	case 0: return draw();
	case 1: return below(256);
	case 2: return p->v[below(p->n)] + below(64);
	case 3: return p->v[below(p->n)] - 8 * (uint64_t)below(16);
	default: return p->v[below(p->n)];
	}
}

/* mov $imm64,%reg */
static void load(struct writer *w, unsigned reg, uint64_t v)
{
	PUT(w, (uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7)));
	put(w, &v, 8);
}

static void crossing(struct writer *w)
{
	PUT(w, 0xe6, 0xb6, 0x90);
}

/* One thing that a kernel may do. */
static void deed(struct writer *w, const struct places *p)
{
	unsigned a = below(16);
	uint8_t junk[8];

	if (a == GUARD_RSP && below(8))
		a = GUARD_RAX;
	switch (below(26)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4: /* call a gate, or what is none */
		load(w, GUARD_RDI, value(p));
		load(w, GUARD_RAX, value(p));
		PUT(w, 0xff, 0xd0);
		break;
	case 5: /* jump */
		load(w, GUARD_RAX, value(p));
		PUT(w, 0xff, 0xe0);
		break;
	case 6: /* return to somewhere */
		load(w, GUARD_RAX, value(p));
		PUT(w, 0x50, 0xc3);
		break;
	case 7: load(w, a, value(p)); break;
	case 8: /* store, 8 bytes */
		load(w, GUARD_RBX, value(p));
		load(w, GUARD_RCX, value(p));
		PUT(w, 0x48, 0x89, 0x0b);
		break;
	case 9: /* load */
		load(w, GUARD_RBX, value(p));
		PUT(w, 0x48, 0x8b, 0x03);
		break;
	case 10: crossing(w); break;
	case 11: /* a numbered call */
		load(w, GUARD_RAX, 0x6000 + below(4));
		load(w, GUARD_RBX, below(4) ? p->id : value(p));
		load(w, GUARD_RCX, value(p));
		load(w, GUARD_RDX, below(8));
		crossing(w);
		break;
	case 12: /* ports: start, raise, send, timer, some other */
		load(w, GUARD_RAX, below(2) ? 0x50 + below(4) : draw() & 0xffff);
		PUT(w, 0xe7, (uint8_t)(0xf5 + below(3)));
		break;
	case 13:
		load(w, GUARD_RAX, below(4) ? 1 + below(2000) : 0);
		PUT(w, 0xe7, 0xf9);
		break;
	case 14: PUT(w, 0xfb, 0x90); break;
	case 15: PUT(w, 0xfa); break;
	case 16: /* CR3, with and without bits that are reserved */
		load(w, GUARD_RAX, below(4) ? value(p) & ~0xfffull : value(p));
		PUT(w, 0x0f, 0x22, 0xd8);
		break;
	case 17: /* flags */
		PUT(w, 0x68);
		junk[0] = (uint8_t)draw();
		put(w, (uint8_t[]){ junk[0], (uint8_t)draw(), 0, 0 }, 4);
		PUT(w, 0x9d);
		break;
	case 18: /* invlpg */
		load(w, GUARD_RBX, value(p));
		PUT(w, 0x0f, 0x01, 0x3b);
		break;
	case 19: /* rep movsb, up to 4 KiB */
		load(w, GUARD_RSI, value(p));
		load(w, GUARD_RDI, value(p));
		load(w, GUARD_RCX, below(4096));
		PUT(w, 0xf3, 0xa4);
		break;
	case 20: /* the stack elsewhere, and back */
		PUT(w, 0x49, 0x89, 0xe7);
		load(w, GUARD_RSP, value(p));
		load(w, GUARD_RAX, value(p));
		PUT(w, 0xff, 0xd0, 0x4c, 0x89, 0xfc);
		break;
	case 21: /* a privileged register */
		load(w, GUARD_RCX, below(2) ? 0xc0000080 + below(5) : draw() & 0xfff);
		load(w, GUARD_RAX, draw() & 0xffff);
		PUT(w, 0x0f, below(2) ? 0x30 : 0x32);
		break;
	case 22: PUT(w, 0xcd, (uint8_t)(0x50 + below(4))); break;
	case 23: PUT(w, 0x48, 0xcf); break; /* iretq */
	case 24:			    /* a page-table entry of the module: other bits */
		load(w, GUARD_RBX, value(p));
		PUT(w, 0x48, 0x0f, 0xba, 0x3b, (uint8_t)below(64)); /* btcq $n,(%rbx) */
		PUT(w, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8);	    /* reload CR3 */
		break;
	default:
		for (unsigned i = 0; i < sizeof(junk); i++)
			junk[i] = (uint8_t)draw();
		put(w, junk, 1 + below(sizeof(junk)));
	}
}

/* Imports are hostile code, too: 32 bytes for each, behind the program. */
static bool resolve(void *ctx, const char *symbol, uint64_t *gva)
{
	unsigned *n = ctx;

	(void)symbol;
	*gva = SV_CODE + IMPORTS_AT + 32 * (uint64_t)((*n)++ % IMPORTS);
	return true;
}

/*
 * Wherever a fault, the timer or the end of a slot leads: a sane stack and on to the next slot,
 * and the end after 64 of them. SV_DATA holds the count, open to what the slots do with it.
 */
SNIPPET(go_on,
	"mov $3000,%eax\n out %eax,$0xf9\n movabs $0xffffffff91000000,%rdi\n incq (%rdi)\n mov (%rdi),%rax\n"
	"cmp $64,%rax\n jae 1f\n"
	"imul $0xc0,%eax,%eax\n movabs $0xffffffff90000000,%rcx\n add %rcx,%rax\n"
	"movabs $0xffffffff91007000,%rsp\n push $0x202\n popfq\n jmp *%rax\n"
	"1: mov $9,%eax\n out %eax,$0xf4\n hlt");
/* An interrupt that comes back. */
SNIPPET(come_back, "iretq");

static void write_code(struct simvm *s, const struct places *p)
{
	uint8_t code[0x4000];
	struct writer w;

	memset(code, 0x90, sizeof(code));
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		w = (struct writer){ code + slot * SLOT_BYTES,
				     code + (slot + 1) * SLOT_BYTES - 12 };
		for (unsigned n = 1 + below(4); n; n--)
			deed(&w, p);
		w.at = w.end;
		w.end += 12;
		load(&w, GUARD_RAX, SV_CODE + GO_ON_AT);
		PUT(&w, 0xff, 0xe0);
	}
	for (unsigned stub = 0; stub < IMPORTS; stub++) {
		uint8_t *at = code + IMPORTS_AT + 32 * stub;

		w = (struct writer){ at, at + 31 };
		if (below(2))
			deed(&w, p);
		at[31] = 0xc3;
	}
	memcpy(code + GO_ON_AT, go_on, SNIPPET_SIZE(go_on));
	memcpy(code + COME_BACK_AT, come_back, SNIPPET_SIZE(come_back));
	sv_code(s, 0, code, sizeof(code));
}

struct tally {
	unsigned runs, reasons[VM_EXIT_HOST + 1];
	uint64_t lines, crossings, entered, refused, touches;
};

static void count_lines(struct tally *t, const struct vm *vm)
{
	const struct vm_line *l;

	for (size_t i = 0; (l = vm_log_line(vm, i)) != NULL; i++) {
		const struct guard_line *g = &l->line;

		t->lines++;
		t->crossings += g->event <= GUARD_ENTER_RETURN;
		t->entered += g->event == GUARD_ENTER_CALL && g->verdict == GUARD_V_OK;
		t->refused += g->event <= GUARD_ENTER_RETURN && g->verdict != GUARD_V_OK;
		t->touches += g->event == GUARD_TOUCH;
	}
}

static void random_kernel(struct tally *t, const struct vm_module_source *source)
{
	unsigned vcpus = 1 + below(2), module, stubs = 0;
	struct simvm *s = sv_create(vcpus, draw(), 60000);
	struct places p = { .n = 0 };
	struct error err = { "" };
	double start = now();

	if (!vm_load_module(s->vm, source, true, resolve, &stubs, &module, &err))
		fail_msg("%s", err.text);
	list_places(&p, s, module);
	write_code(s, &p);
	for (unsigned v = 0; v < 0x60; v++)
		sv_gate(s, v, v >= 0x50 && below(2) ? COME_BACK_AT : GO_ON_AT, below(16) ? 1 : 0,
			0xe, 0);
	for (unsigned v = 0; v < vcpus; v++)
		sv_start(s, v, GO_ON_AT, true);
	kt_run_for(s, RUN_MS);
	if (now() - start > HANGS_AFTER)
		fail_msg("program %u took %.0f s: %s", t->runs, now() - start, s->exit.message);
	assert_in_range(s->exit.reason, VM_EXIT_GUEST, VM_EXIT_HOST);
	if (s->exit.reason != VM_EXIT_GUEST && !s->exit.message[0])
		fail_msg("program %u: ended without a message", t->runs);
	/* Engine and guard agree on who is inside, however the run ended. */
	for (unsigned v = 0; v < vcpus; v++)
		if (s->vm->ops->view(s->vm->engine, v) != guard_view(vm_guard(s->vm), v))
			fail_msg("program %u: vCPU %u has another view than the guard says",
				 t->runs, v);
	t->runs++;
	t->reasons[s->exit.reason]++;
	count_lines(t, s->vm);
	sv_destroy(s);
}

SNIPPET(honest, "xor %eax,%eax\n mov $100,%ecx\n 1: add %rcx,%rax\n loop 1b\n"
		"mov %rax,(%rdi)\n mov $5,%eax\n out %eax,$0xf4");

static void honest_kernel(void)
{
	struct simvm *s = sv_create(1, 1, 0);

	SV_RUN(s, honest);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 5);
	assert_int_equal(*sv_data(s, 0), 5050);
	sv_destroy(s);
}

static void test_a_random_kernel(void **state)
{
	struct vt_module m;
	struct tally t = { 0 };
	struct held before = { 0 };
	double end;

	(void)state;
	seed();
	vt_wrap_x(&m, "counter", GM_X_OUT);
	end = now() + seconds();
	while (now() < end || t.runs < 10) {
		random_kernel(&t, &m.source);
		if (t.runs == 5)
			before = held();
		else if (t.runs > 5)
			holds_no_more(&before, "a random kernel");
		if (t.runs % 16 == 0)
			honest_kernel();
	}
	honest_kernel();
	vt_free(&m);
	printf("# %u random kernels: %u exits, %u halted, %u triple faults, %u stopped, %u ended by the "
	       "engine, %u by their budget, %u by the clock, %u host calls\n",
	       t.runs, t.reasons[VM_EXIT_GUEST], t.reasons[VM_EXIT_HALTED],
	       t.reasons[VM_EXIT_TRIPLE_FAULT], t.reasons[VM_EXIT_STOPPED],
	       t.reasons[VM_EXIT_ENGINE], t.reasons[VM_EXIT_BUDGET], t.reasons[VM_EXIT_INTERRUPTED],
	       t.reasons[VM_EXIT_HOST]);
	printf("# judged: %llu lines, %llu crossings, %llu of them refused; %llu entries, %llu "
	       "touches\n",
	       (unsigned long long)t.lines, (unsigned long long)t.crossings,
	       (unsigned long long)t.refused, (unsigned long long)t.entered,
	       (unsigned long long)t.touches);
	/* It is about the guard: entries, refusals and touches of all kinds, not only dead ends. */
	assert_true(t.entered > t.runs / 4);
	assert_true(t.refused > t.runs / 4);
	assert_true(t.touches > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(test_attacks_in_a_loop),
		KT_TEST(test_a_random_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
