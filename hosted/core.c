// SPDX-License-Identifier: GPL-2.0-only
/* Imports of the kernel's core: memory, strings, messages, locks, bit searches. */
#include <string.h>

#include "hosted/kernel.h"

#define COPY_MAX (16u << 20)
#define SUM_MAX (1u << 16) /* byte by byte: no honest driver comes near */
#define RFLAGS_IF 0x200ull
#define FAILED (~0ull)

uint64_t hosted_zero(struct hosted *h, const uint64_t *a)
{
	(void)h;
	(void)a;
	return 0;
}

static uint64_t one(struct hosted *h, const uint64_t *a)
{
	(void)h;
	(void)a;
	return 1;
}

/* ---- memory ---- */

static uint64_t kmalloc(struct hosted *h, const uint64_t *a)
{
	return hosted_alloc(h, a[0]);
}

/* (cache, flags, size): the size class's cache is not needed */
static uint64_t kmalloc_sized(struct hosted *h, const uint64_t *a)
{
	return hosted_alloc(h, a[2]);
}

static uint64_t vmalloc(struct hosted *h, const uint64_t *a)
{
	return hosted_alloc_pages(h, a[0]);
}

static uint64_t kfree(struct hosted *h, const uint64_t *a)
{
	hosted_free(h, a[0]);
	return 0;
}

static uint64_t kstrdup(struct hosted *h, const uint64_t *a)
{
	char text[HOSTED_STRING];
	size_t n = hosted_string(h, a[0], text, sizeof(text));
	uint64_t copy = hosted_alloc(h, n + 1);

	if (copy)
		hosted_write(h, copy, text, n + 1);
	return copy;
}

/* (gfp, order) -> struct page of memory in the direct map */
static uint64_t alloc_pages(struct hosted *h, const uint64_t *a)
{
	uint64_t gva, page;

	if (a[1] > 10)
		return 0;
	gva = hosted_alloc_pages(h, 4096ull << a[1]);
	if (!gva)
		return 0;
	page = HOSTED_VMEMMAP + (gva - GH_DIRECT_MAP) / 4096 * h->off.page_size;
	hosted_put(h, page + h->off.page_refcount, 4, 1);
	return page;
}

static uint64_t folio_put(struct hosted *h, const uint64_t *a)
{
	hosted_free(h, GH_DIRECT_MAP + (a[0] - HOSTED_VMEMMAP) / h->off.page_size * 4096);
	return 0;
}

static uint64_t copy(struct hosted *h, const uint64_t *a)
{
	uint64_t to = a[0], from = a[1], left = a[2];
	uint8_t page[4096];
	size_t n;

	if (left > COPY_MAX)
		return a[0];
	for (; left; to += n, from += n, left -= n) {
		n = left < sizeof(page) ? (size_t)left : sizeof(page);
		if (!hosted_read(h, from, page, n) || !hosted_write(h, to, page, n))
			break;
	}
	return a[0];
}

/* There is no user space: its pointers are the kernel's here. Returns the bytes not copied. */
static uint64_t copy_user(struct hosted *h, const uint64_t *a)
{
	copy(h, a);
	return 0;
}

static uint64_t set(struct hosted *h, const uint64_t *a)
{
	if (a[2] <= COPY_MAX)
		hosted_fill(h, a[0], (uint8_t)a[1], a[2]);
	return a[0];
}

/* ---- strings ---- */

static uint64_t length(struct hosted *h, const uint64_t *a)
{
	char text[4096];

	return hosted_string(h, a[0], text, sizeof(text));
}

static uint64_t bounded_length(struct hosted *h, const uint64_t *a)
{
	uint64_t n;

	for (n = 0; n < a[1] && n < SUM_MAX && hosted_get(h, a[0] + n, 1); n++)
		;
	return n;
}

static uint64_t compare(struct hosted *h, const uint64_t *a)
{
	char left[HOSTED_STRING], right[HOSTED_STRING];

	hosted_string(h, a[0], left, sizeof(left));
	hosted_string(h, a[1], right, sizeof(right));
	return (uint64_t)(int64_t)strcmp(left, right);
}

/* (to, from, size) -> length, or -E2BIG */
static uint64_t string_copy(struct hosted *h, const uint64_t *a)
{
	char text[4096];
	size_t n, room = a[2] < sizeof(text) ? (size_t)a[2] : sizeof(text);

	if (!room)
		return (uint64_t)-7;
	n = hosted_string(h, a[1], text, room);
	hosted_write(h, a[0], text, n + 1);
	return hosted_get(h, a[1] + n, 1) ? (uint64_t)-7 : n;
}

static uint64_t print_to(struct hosted *h, const uint64_t *a)
{
	struct hosted_args args;
	char text[2048];
	size_t n, room = a[1] < sizeof(text) ? (size_t)a[1] : sizeof(text);

	hosted_varargs(h, a, 3, &args);
	n = hosted_format(&args, a[2], text, room);
	if (room)
		hosted_write(h, a[0], text, n < room ? n + 1 : room);
	return n;
}

/* ---- messages ---- */

static uint64_t say(struct hosted *h, const uint64_t *a, unsigned named, const char *prefix)
{
	struct hosted_args args;
	char text[1024];

	hosted_varargs(h, a, named, &args);
	hosted_format(&args, a[named - 1], text, sizeof(text));
	hosted_console(h, prefix);
	hosted_console(h, text);
	return 0;
}

static uint64_t printk(struct hosted *h, const uint64_t *a)
{
	return say(h, a, 1, "");
}

static uint64_t warn_printk(struct hosted *h, const uint64_t *a)
{
	return say(h, a, 1, "WARNING: ");
}

static uint64_t dev_message(struct hosted *h, const uint64_t *a)
{
	return say(h, a, 2, "pci 0000:00:03.0: ");
}

static uint64_t netdev_message(struct hosted *h, const uint64_t *a)
{
	return say(h, a, 2, h->registered ? "eth0: " : "eth%d: ");
}

/* Neither returns in Linux: the call that led here ends. */
static uint64_t panic(struct hosted *h, const char *what)
{
	struct guard_cpu cpu;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	hosted_printf(h, "hosted kernel: the driver stopped with %s\n", what);
	hosted_abandon(h, &cpu);
	return FAILED;
}

static uint64_t stack_chk_fail(struct hosted *h, const uint64_t *a)
{
	(void)a;
	return panic(h, "__stack_chk_fail");
}

static uint64_t fortify_panic(struct hosted *h, const uint64_t *a)
{
	(void)a;
	return panic(h, "fortify_panic");
}

/* ---- locks: one thread, so what matters is the interrupt flag ---- */

static uint64_t interrupts(struct hosted *h, bool on)
{
	struct guard_cpu cpu;
	uint64_t was;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	was = cpu.rflags;
	cpu.rflags = on ? was | RFLAGS_IF : was & ~RFLAGS_IF;
	vm_set_cpu(h->vm, h->vcpu, &cpu);
	return was;
}

static uint64_t irq_save(struct hosted *h, const uint64_t *a)
{
	(void)a;
	return interrupts(h, false);
}

static uint64_t irq_restore(struct hosted *h, const uint64_t *a)
{
	interrupts(h, a[1] & RFLAGS_IF);
	return 0;
}

static uint64_t irq_off(struct hosted *h, const uint64_t *a)
{
	(void)a;
	interrupts(h, false);
	return 0;
}

static uint64_t irq_on(struct hosted *h, const uint64_t *a)
{
	(void)a;
	interrupts(h, true);
	return 0;
}

/* ---- sums and searches ---- */

/* (bitmap, bits, start) */
static uint64_t find_next_bit(struct hosted *h, const uint64_t *a)
{
	for (uint64_t i = a[2]; i < a[1] && i < SUM_MAX; i++)
		if (hosted_get(h, a[0] + i / 64 * 8, 8) >> i % 64 & 1)
			return i;
	return a[1];
}

/* (seed, buffer, length): CRC-32, least significant bit first */
static uint64_t crc32_le(struct hosted *h, const uint64_t *a)
{
	uint32_t crc = (uint32_t)a[0];

	for (uint64_t i = 0; i < a[2] && i < SUM_MAX; i++) {
		crc ^= (uint8_t)hosted_get(h, a[1] + i, 1);
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return crc;
}

const struct hosted_symbol hosted_core_symbols[] = {
	{ "__kmalloc", kmalloc },
	{ "__kmalloc_node", kmalloc },
	{ "kmalloc_large", kmalloc },
	{ "kmalloc_trace", kmalloc_sized },
	{ "kmalloc_node_trace", kmalloc_sized },
	{ "kvmalloc_node", kmalloc },
	{ "kfree", kfree },
	{ "kvfree", kfree },
	{ "kfree_sensitive", kfree },
	{ "kstrdup", kstrdup },
	{ "vmalloc", vmalloc },
	{ "vzalloc", vmalloc },
	{ "vfree", kfree },
	{ "is_vmalloc_addr", hosted_zero },
	{ "alloc_pages", alloc_pages },
	{ "__folio_put", folio_put },
	{ "memcpy", copy },
	{ "memmove", copy },
	{ "memset", set },
	{ "_copy_from_user", copy_user },
	{ "_copy_to_user", copy_user },
	{ "strlen", length },
	{ "strnlen", bounded_length },
	{ "strcmp", compare },
	{ "strscpy", string_copy },
	{ "snprintf", print_to },
	{ "scnprintf", print_to },
	{ "_printk", printk },
	{ "__warn_printk", warn_printk },
	{ "_dev_err", dev_message },
	{ "_dev_warn", dev_message },
	{ "_dev_notice", dev_message },
	{ "_dev_info", dev_message },
	{ "netdev_err", netdev_message },
	{ "netdev_warn", netdev_message },
	{ "netdev_info", netdev_message },
	{ "netdev_notice", netdev_message },
	{ "__dynamic_netdev_dbg", hosted_zero },
	{ "__dynamic_dev_dbg", hosted_zero },
	{ "__dynamic_pr_debug", hosted_zero },
	{ "print_hex_dump", hosted_zero },
	{ "net_ratelimit", one },
	{ "___ratelimit", one },
	{ "__stack_chk_fail", stack_chk_fail },
	{ "fortify_panic", fortify_panic },
	{ "_raw_spin_lock", hosted_zero },
	{ "_raw_spin_unlock", hosted_zero },
	{ "_raw_spin_lock_bh", hosted_zero },
	{ "_raw_spin_unlock_bh", hosted_zero },
	{ "_raw_spin_trylock", one },
	{ "_raw_spin_lock_irq", irq_off },
	{ "_raw_spin_unlock_irq", irq_on },
	{ "_raw_spin_lock_irqsave", irq_save },
	{ "_raw_spin_unlock_irqrestore", irq_restore },
	{ "__mutex_init", hosted_zero },
	{ "mutex_lock", hosted_zero },
	{ "mutex_unlock", hosted_zero },
	{ "mutex_trylock", one },
	{ "mutex_lock_interruptible", hosted_zero },
	{ "rtnl_lock", hosted_zero },
	{ "rtnl_unlock", hosted_zero },
	{ "rtnl_trylock", one },
	{ "__SCT__might_resched", hosted_zero },
	{ "__SCT__preempt_schedule", hosted_zero },
	{ "__SCT__cond_resched", hosted_zero },
	{ "_find_next_bit", find_next_bit },
	{ "crc32_le", crc32_le },
	{ NULL, NULL },
};
