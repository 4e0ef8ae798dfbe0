// SPDX-License-Identifier: GPL-2.0-only
/*
 * The console, and printf() as the kernel's drivers use it, on the guest's arguments. Pointers are
 * printed as they are: there is no one here to hide them from.
 */
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "hosted/kernel.h"

#define FORMAT_MAX 512u
#define VA_LIST_REG_BYTES 48u

static void flush_line(struct hosted *h)
{
	if (h->line_len && h->opt->console)
		fprintf(h->opt->console, "  | %.*s\n", (int)h->line_len, h->line);
	h->line_len = 0;
}

void hosted_console(struct hosted *h, const char *text)
{
	if ((unsigned char)text[0] == 1 && text[1]) /* KERN_SOH and the level */
		text += 2;
	for (; *text; text++) {
		if (*text == '\n' || h->line_len == sizeof(h->line))
			flush_line(h);
		if (*text != '\n')
			h->line[h->line_len++] = isprint((unsigned char)*text) ? *text : '?';
	}
}

void hosted_printf(struct hosted *h, const char *fmt, ...)
{
	char text[HOSTED_STRING];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hosted_console(h, text);
}

void hosted_varargs(struct hosted *h, const uint64_t *a, unsigned n, struct hosted_args *args)
{
	struct guard_cpu cpu;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	memcpy(args->reg, a, sizeof(args->reg));
	args->h = h;
	args->next = n;
	args->stack = cpu.gpr[GUARD_RSP] + 8;
	args->list = 0;
}

/* A va_list of the System V ABI: gp_offset, fp_offset, overflow area, register save area. */
static uint64_t next_of_list(struct hosted *h, uint64_t list)
{
	uint32_t gp = (uint32_t)hosted_get(h, list, 4);
	uint64_t area;

	if (gp < VA_LIST_REG_BYTES) {
		hosted_put(h, list, 4, gp + 8);
		return hosted_get(h, hosted_get(h, list + 16, 8) + gp, 8);
	}
	area = hosted_get(h, list + 8, 8);
	hosted_put(h, list + 8, 8, area + 8);
	return hosted_get(h, area, 8);
}

static uint64_t next(struct hosted_args *args)
{
	uint64_t v;

	if (args->list)
		return next_of_list(args->h, args->list);
	if (args->next < 6)
		return args->reg[args->next++];
	v = hosted_get(args->h, args->stack, 8);
	args->stack += 8;
	return v;
}

struct out {
	char *buf;
	size_t size, len; /* len counts also what did not fit */
};

static void put(struct out *o, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++, o->len++)
		if (o->len + 1 < o->size)
			o->buf[o->len] = s[i];
}

static void put_text(struct out *o, const char *s, int width, int precision, bool left)
{
	size_t n = precision >= 0 ? strnlen(s, (size_t)precision) : strlen(s);
	size_t pad = width > 0 && (size_t)width > n ? (size_t)width - n : 0;

	for (size_t i = 0; !left && i < pad; i++)
		put(o, " ", 1);
	put(o, s, n);
	for (size_t i = 0; left && i < pad; i++)
		put(o, " ", 1);
}

/* %p and its extensions: MAC addresses, nested formats; all else as an address. */
static const char *put_pointer(struct hosted_args *args, struct out *o, const char *ext,
			       unsigned depth)
{
	struct hosted *h = args->h;
	uint64_t p = next(args);
	char text[32];
	uint8_t mac[6];

	if (*ext == 'M' || *ext == 'm') {
		hosted_read(h, p, mac, sizeof(mac));
		snprintf(text, sizeof(text),
			 *ext == 'M' ? "%02x:%02x:%02x:%02x:%02x:%02x" : "%02x%02x%02x%02x%02x%02x",
			 mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	} else if (*ext == 'V' && !depth) {
		struct hosted_args inner = { .h = h,
					     .list = hosted_get(h, p + h->off.va_format_va, 8) };
		char nested[FORMAT_MAX] = "";

		hosted_format(&inner, hosted_get(h, p + h->off.va_format_fmt, 8), nested,
			      sizeof(nested));
		put(o, nested, strlen(nested));
		return ext + 1;
	} else {
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)p);
	}
	put(o, text, strlen(text));
	while (isalnum((unsigned char)*ext))
		ext++;
	return ext;
}

static void put_number(struct out *o, const char *flags, int width, int precision, char conv,
		       unsigned bytes, uint64_t v)
{
	char spec[32], text[96];

	if (conv == 'd' || conv == 'i') {
		int64_t s = bytes == 8	 ? (int64_t)v
			    : bytes == 4 ? (int32_t)v
			    : bytes == 2 ? (int16_t)v
					 : (int8_t)v;

		snprintf(spec, sizeof(spec), "%%%s*.*lld", flags);
		snprintf(text, sizeof(text), spec, width, precision, (long long)s);
	} else {
		if (bytes < 8)
			v &= (1ull << bytes * 8) - 1;
		snprintf(spec, sizeof(spec), "%%%s*.*ll%c", flags, conv);
		snprintf(text, sizeof(text), spec, width, precision, (unsigned long long)v);
	}
	put(o, text, strlen(text));
}

static int number(struct hosted_args *args, const char **p)
{
	int n = 0;

	if (**p == '*') {
		(*p)++;
		n = (int32_t)next(args);
		return n > 64 ? 64 : n < -64 ? -64 : n;
	}
	for (; isdigit((unsigned char)**p); (*p)++)
		n = n * 10 + (**p - '0') > 64 ? 64 : n * 10 + (**p - '0');
	return n;
}

/* One conversion; p stands behind the '%'. Returns where it ends. */
static const char *convert(struct hosted_args *args, const char *p, struct out *o)
{
	char flags[6] = "", text[HOSTED_STRING] = "";
	size_t nflags = 0;
	int width, precision = -1;
	unsigned bytes = 4;

	for (; *p && strchr("-+ #0", *p); p++)
		if (nflags < sizeof(flags) - 1 && !strchr(flags, *p))
			flags[nflags++] = *p;
	width = number(args, &p);
	if (*p == '.') {
		p++;
		precision = number(args, &p);
	}
	for (; *p && strchr("hlzjtL", *p); p++)
		bytes = *p == 'h' ? bytes / 2 : 8;
	switch (*p) {
	case '\0': return p;
	case '%': put(o, "%", 1); break;
	case 'c':
		text[0] = (char)next(args);
		text[1] = '\0';
		put_text(o, text, width, -1, strchr(flags, '-'));
		break;
	case 's':
		hosted_string(args->h, next(args), text, sizeof(text));
		put_text(o, text, width, precision, strchr(flags, '-'));
		break;
	case 'p': return put_pointer(args, o, p + 1, args->list != 0);
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o': put_number(o, flags, width, precision, *p, bytes, next(args)); break;
	default: put(o, "%?", 2);
	}
	return p + 1;
}

size_t hosted_format(struct hosted_args *args, uint64_t fmt, char *out, size_t size)
{
	struct out o = { out, size, 0 };
	char text[FORMAT_MAX];
	const char *p = text;

	hosted_string(args->h, fmt, text, sizeof(text));
	while (*p) {
		if (*p == '%')
			p = convert(args, p + 1, &o);
		else
			put(&o, p++, 1);
	}
	if (size)
		out[o.len < size ? o.len : size - 1] = '\0';
	return o.len;
}
