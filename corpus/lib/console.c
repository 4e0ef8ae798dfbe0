/* SPDX-License-Identifier: GPL-2.0-only */
/* Console over port 0xe9, and results as sentences: PASS, FAIL, SKIP. */
#include "corpus/lib/guest.h"

#define LINE_BYTES 400
#define MAX_PREFIXES 8

struct out {
	char *buf;
	size_t len, at;
};

static void put(struct out *o, char c)
{
	if (o->at + 1 < o->len)
		o->buf[o->at] = c;
	o->at++;
}

static void put_number(struct out *o, uint64_t v, unsigned base, bool negative, unsigned width,
		       char pad)
{
	char digits[24];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		put(o, '-');
	while (width > n) {
		put(o, pad);
		width--;
	}
	while (n)
		put(o, digits[--n]);
}

/* %d %u %x %p %s %c %%, with l, width and zero padding. */
int vsnprintf(char *buf, size_t len, const char *fmt, va_list ap)
{
	struct out o = { buf, len, 0 };

	for (; *fmt; fmt++) {
		unsigned width = 0;
		bool is_long = false;
		char pad = ' ';

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt++;
		if (*fmt == '0')
			pad = '0';
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + (unsigned)(*fmt++ - '0');
		while (*fmt == 'l' || *fmt == 'z') {
			is_long = true;
			fmt++;
		}
		switch (*fmt) {
		case 'd': {
			long v = is_long ? va_arg(ap, long) : va_arg(ap, int);

			put_number(&o, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0, width, pad);
			break;
		}
		case 'u':
		case 'x': {
			uint64_t v = is_long ? va_arg(ap, unsigned long) : va_arg(ap, unsigned);

			put_number(&o, v, *fmt == 'u' ? 10 : 16, false, width, pad);
			break;
		}
		case 'p':
			put(&o, '0');
			put(&o, 'x');
			put_number(&o, (uint64_t)va_arg(ap, void *), 16, false, 16, '0');
			break;
		case 's': {
			const char *s = va_arg(ap, const char *);

			while (s && *s)
				put(&o, *s++);
			break;
		}
		case 'c': put(&o, (char)va_arg(ap, int)); break;
		case '\0': fmt--; break;
		default: put(&o, *fmt);
		}
	}
	if (len)
		buf[o.at < len ? o.at : len - 1] = '\0';
	return (int)o.at;
}

/* Lines of several vCPUs do not mix, but a vCPU that stopped while it held this blocks nobody. */
static volatile int console_lock;

static void put_line(const char *s)
{
	for (unsigned spins = 0; spins < 100000; spins++) {
		if (!__atomic_exchange_n(&console_lock, 1, __ATOMIC_ACQUIRE))
			break;
		pause();
	}
	while (*s)
		outb(GH_PORT_CONSOLE, (uint8_t)*s++);
	__atomic_store_n(&console_lock, 0, __ATOMIC_RELEASE);
}

int printk(const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	put_line(line);
	return n;
}

static const char *prefixes[MAX_PREFIXES];
static unsigned prefix_count;
static long passed, failed, skipped;

void report_prefix_push(const char *prefix)
{
	if (prefix_count < MAX_PREFIXES)
		prefixes[prefix_count] = prefix;
	prefix_count++;
}

void report_prefix_pop(void)
{
	prefix_count--;
}

static void say(const char *result, const char *fmt, va_list ap)
{
	char line[LINE_BYTES];
	size_t at = 0;

	for (const char *s = result; *s; s++)
		line[at++] = *s;
	line[at++] = ':';
	line[at++] = ' ';
	for (unsigned i = 0; i < prefix_count && i < MAX_PREFIXES; i++) {
		for (const char *s = prefixes[i]; *s && at < LINE_BYTES / 2; s++)
			line[at++] = *s;
		line[at++] = ':';
		line[at++] = ' ';
	}
	at += (size_t)vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
	if (at > sizeof(line) - 2)
		at = sizeof(line) - 2;
	line[at] = '\n';
	line[at + 1] = '\0';
	put_line(line);
}

void report(bool ok, const char *fmt, ...)
{
	va_list ap;

	__atomic_add_fetch(ok ? &passed : &failed, 1, __ATOMIC_RELAXED);
	va_start(ap, fmt);
	say(ok ? "PASS" : "FAIL", fmt, ap);
	va_end(ap);
}

void report_skip(const char *fmt, ...)
{
	va_list ap;

	__atomic_add_fetch(&skipped, 1, __ATOMIC_RELAXED);
	va_start(ap, fmt);
	say("SKIP", fmt, ap);
	va_end(ap);
}

int report_summary(void)
{
	printk("%ld passed, %ld failed, %ld skipped\n", passed, failed, skipped);
	return failed || !passed;
}
