/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine that probes run on, and how an item is told and judged. */
#include "corpus/guests/cpu_truth/probe.h"

#define WANT_BYTES 300u
#define U_STACK_PAGE 0x60000000ull
#define IMAGE_PAGES 128u
#define BOOT_STACKS 0xffffc90000000000ull
#define BOOT_STACKS_BYTES (1ull << 32)

struct regs probe_now;
struct gate probe_idt[256] __attribute__((aligned(16)));
struct tss probe_tss;
uint8_t probe_stack[4 * PAGE_BYTES] __attribute__((aligned(4096)));
uint8_t rsp0_stack[PAGE_BYTES] __attribute__((aligned(4096)));
uint8_t ist_stack[3][PAGE_BYTES] __attribute__((aligned(4096)));

extern const uint8_t probe_stubs[];
void probe_enter(void);
void probe_stray(void);

_Static_assert(offsetof(struct regs, f) == 0x80, "entry.S");
_Static_assert(offsetof(struct regs, vec) == 0xa0, "entry.S");
_Static_assert(offsetof(struct regs, cr2) == 0xb8, "entry.S");
_Static_assert(offsetof(struct tss, ist) == 36, "APM 2:12.2.5");

/* APM 2:4.8: descriptors of long mode. */
uint64_t probe_gdt[17] = {
	[SEL_CODE / 8] = 0x00af9b000000ffff,	    [SEL_DATA / 8] = 0x00cf93000000ffff,
	[SEL_USER32 / 8] = 0x00cffb000000ffff,	    [SEL_USER_DATA / 8] = 0x00cff3000000ffff,
	[SEL_USER_CODE / 8] = 0x00affb000000ffff,   [SEL_CODE_ABSENT / 8] = 0x00af1b000000ffff,
	[SEL_DATA_ABSENT / 8] = 0x00cf13000000ffff, [SEL_CODE_32 / 8] = 0x00cf9b000000ffff,
	[SEL_DATA_RO / 8] = 0x00cf91000000ffff,	    [SEL_DATA_BASE / 8] = 0x12cf93345000ffff,
	[SEL_TSS / 8] = 0x0000890000000067,	    [SEL_TSS_ABSENT / 8] = 0x0000090000000067,
	[SEL_TSS_FREE / 8] = 0x0000890000000067,
};

/* ---- the machine ---- */

void gate_set(unsigned vector, uint64_t target, unsigned ist, unsigned type)
{
	struct gate *g = &probe_idt[vector];

	if (!target)
		target = (uint64_t)probe_stubs + 32ull * vector;
	g->low = (uint16_t)target;
	g->selector = SEL_CODE;
	g->ist = (uint8_t)ist;
	g->type = (uint8_t)type;
	g->mid = (uint16_t)(target >> 16);
	g->high = (uint32_t)(target >> 32);
	g->zero = 0;
}

void gates_reset(void)
{
	for (unsigned i = 0; i < 256; i++)
		gate_set(i, 0, i == DF ? 1 : 0, 0x8e);
}

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

void idt_limit(unsigned bytes)
{
	struct table t = { (uint16_t)(bytes - 1), (uint64_t)probe_idt };

	__asm__ volatile("lidt %0" : : "m"(t));
}

uint64_t frame_new(void)
{
	return (uint64_t)alloc_pages(1) - GH_DIRECT_MAP;
}

uint64_t read_cr0(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

void write_cr0(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}

uint64_t read_cr4(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

void write_cr4(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}

uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (uint64_t)high << 32;
}

static void tss_descriptor(unsigned selector)
{
	uint64_t base = (uint64_t)&probe_tss;

	probe_gdt[selector / 8] |= (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
	probe_gdt[selector / 8 + 1] = base >> 32;
}

void probe_init(void)
{
	struct table gdt = { sizeof(probe_gdt) - 1, (uint64_t)probe_gdt };

	tss_descriptor(SEL_TSS);
	tss_descriptor(SEL_TSS_ABSENT);
	tss_descriptor(SEL_TSS_FREE);
	probe_tss.rsp[0] = RSP0_TOP;
	for (unsigned n = 1; n <= 3; n++)
		probe_tss.ist[n - 1] = IST_TOP(n);
	probe_tss.iomap = sizeof(probe_tss); /* none */
	gates_reset();
	idt_limit(sizeof(probe_idt));
	__asm__ volatile("lgdt %0" : : "m"(gdt));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
	for (unsigned n = 0; n < IMAGE_PAGES; n++) {
		uint64_t pa = virt_to_phys((void *)(IMAGE + n * PAGE_BYTES));

		if (pa != ~0ull)
			map_page(USER_TEXT + n * PAGE_BYTES, pa, PTE_PRESENT | PTE_USER);
	}
	map_page(U_STACK_PAGE, frame_new(), PTE_PRESENT | PTE_USER | PTE_WRITE | PTE_NX);
}

struct regs kernel_regs(uint64_t ip)
{
	return (struct regs){ .ip = ip, .f = F_1, .cs = SEL_CODE, .ss = SEL_DATA, .sp = PROBE_TOP };
}

struct regs user_regs(uint64_t ip)
{
	return (struct regs){
		.ip = ip, .f = F_1, .cs = SEL_USER_CODE, .ss = SEL_USER_DATA, .sp = USER_TOP
	};
}

struct regs probe_run(const struct regs *in)
{
	probe_now = *in;
	probe_now.vec = probe_now.err = probe_now.frame = 0;
	probe_enter();
	/* HLT at CPL 3 is how a user's code ends. */
	if ((in->cs & 3) == 3 && probe_now.vec == GP && (probe_now.cs & 3) == 3 &&
	    probe_now.ip - USER_TEXT < IMAGE_PAGES * PAGE_BYTES &&
	    *(const uint8_t *)(probe_now.ip - USER_TEXT + IMAGE) == 0xf4) {
		probe_now.vec = DONE;
		probe_now.f &= ~(uint64_t)F_RF;
	}
	if (probe_now.vec == DONE) {
		probe_now.ip = in->ip;
		probe_now.err = probe_now.frame = 0;
	}
	if (probe_now.vec != PF)
		probe_now.cr2 = 0;
	return probe_now;
}

/* An exception while no probe runs: nothing can be told any more. */
void probe_stray(void)
{
	printk(" stray exception %lu, error %lx, rip %lx, cr2 %lx\n", probe_now.vec, probe_now.err,
	       probe_now.ip, probe_now.cr2);
	exit(3);
}

/* ---- items ---- */

static unsigned items, wrong, open_items, skipped;
static bool judged;
static char want[WANT_BYTES];
static unsigned want_at;

/* Is name in the comma-separated list? An entry that ends in * stands for all that begin so. */
static bool listed(const char *list, const char *name)
{
	while (*list) {
		const char *n = name;

		while (*list == ',' || *list == '\n')
			list++;
		while (*list && *list != ',' && *list != '\n' && *list == *n) {
			list++;
			n++;
		}
		if (*list == '*' || ((*list == ',' || *list == '\n' || !*list) && !*n && n != name))
			return true;
		while (*list && *list != ',' && *list != '\n')
			list++;
	}
	return false;
}

bool item(const char *name)
{
	const char *arg = (const char *)boot->mailbox;

	items++;
	judged = false;
	want_at = 0;
	want[0] = '\0';
	/* The name first: should this machine end here, the output says where. */
	printk("%s", name);
	if (arg[0] == 's' && arg[1] == 'k' && arg[2] == 'i' && arg[3] == 'p' && arg[4] == '=' &&
	    listed(arg + 5, name)) {
		skipped++;
		printk(" not-run\n");
		return false;
	}
	return true;
}

/* Addresses within the image change with every build; those of the boot stack say nothing. */
static void show(const char *what, uint64_t v)
{
	if (v - IMAGE < IMAGE_PAGES * PAGE_BYTES)
		printk(" %s=image", what);
	else if (v - USER_TEXT < IMAGE_PAGES * PAGE_BYTES)
		printk(" %s=user-image", what);
	else if (v - BOOT_STACKS < BOOT_STACKS_BYTES)
		printk(" %s=boot-stack", what);
	else
		printk(" %s=%lx", what, v);
}

void is(const char *what, uint64_t got, uint64_t value)
{
	char text[20];

	judged = true;
	show(what, got);
	if (got == value)
		return;
	if (want_at && want_at + 1 < WANT_BYTES)
		want[want_at++] = ',';
	for (const char *s = what; *s && want_at + 20 < WANT_BYTES; s++)
		want[want_at++] = *s;
	if (want_at + 20 < WANT_BYTES) {
		unsigned n = 0;

		want[want_at++] = ':';
		do {
			text[n++] = "0123456789abcdef"[value & 15];
			value >>= 4;
		} while (value);
		while (n)
			want[want_at++] = text[--n];
	}
	want[want_at] = '\0';
}

void told(const char *what, uint64_t got)
{
	show(what, got);
}

void item_end(void)
{
	if (want_at) {
		wrong++;
		printk(" WRONG want=%s\n", want);
	} else if (judged) {
		printk(" ok\n");
	} else {
		open_items++;
		printk(" told\n");
	}
}

int summary(void)
{
	printk("%u items: %u ok, %u wrong, %u told, %u not-run\n", items,
	       items - wrong - open_items - skipped, wrong, open_items, skipped);
	return wrong || items == skipped;
}

/* ---- whole states ---- */

static void gpr(const char *what, uint64_t in, uint64_t got, uint64_t wanted, uint64_t base)
{
	/* On another stack altogether: say which. */
	if (got != wanted && got - base + (1ull << 20) > (1ull << 21))
		is(what, got, wanted);
	else if (got != in || wanted != in)
		is(what, got - base, wanted - base);
}

/* From the start of the probe's code, or an address of its own. */
static uint64_t place(uint64_t ip, uint64_t start)
{
	return ip - start < PAGE_BYTES ? ip - start : ip;
}

void faults(struct regs *w, unsigned vector, uint64_t error, uint64_t offset)
{
	traps(w, vector, error, offset);
	w->f |= F_RF;
}

void traps(struct regs *w, unsigned vector, uint64_t error, uint64_t offset)
{
	w->vec = vector;
	w->err = error;
	w->ip += offset;
}

void compare(const struct regs *in, const struct regs *got, const struct regs *w, uint64_t open)
{
	static const char *const name[] = { "a",  "c",	"d",   "b",   "sp",  "bp",  "si",  "di",
					    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	const uint64_t *i = &in->a, *g = &got->a, *v = &w->a;
	uint64_t rf;

	is("vec", got->vec, w->vec);
	if (got->vec != DONE || w->vec != DONE) {
		is("err", got->err, w->err);
		is("ip", place(got->ip, in->ip), place(w->ip, in->ip));
	}
	if (got->vec == PF || w->vec == PF)
		is("cr2", got->cr2, w->cr2);
	for (unsigned n = 0; n < 16; n++)
		gpr(name[n], i[n], g[n], v[n], n == 4 ? in->sp : 0);
	if (got->cs != in->cs || w->cs != in->cs)
		is("cs", got->cs, w->cs);
	if (got->ss != in->ss || w->ss != in->ss)
		is("ss", got->ss, w->ss);
	/* RF of a frame has items of its own: some engines never set it. */
	rf = got->vec != DONE ? F_RF : 0;
	is("fl", got->f & ~(open | rf), w->f & ~(open | rf));
	if (open & ~rf)
		told("open", got->f & open & ~rf);
	if (w->frame)
		is("frame", got->frame == w->frame, true);
}
